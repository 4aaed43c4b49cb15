"""Drawings: well-formed, complete in picture and in words, legible, and the same every time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from netkit_edu import draw
from netkit_edu.costs import Cost, Costs
from netkit_edu.draw.palette import DARK, FONTS, LIGHT, css, width
from netkit_edu.journey import Fate, FateKind, Hop, HopKind, Journey, compare
from netkit_edu.uapi import Context, Hook, Policy
from tests.draw import samples

SVG = "{http://www.w3.org/2000/svg}"


def view(*chain: str, policy: Policy = Policy.DROP, peer_up: bool = True) -> draw.PairView:
    """A netkit pair with these programs at the peer hook."""
    host = draw.EndView("db", "host", 7, True, peer_up, Policy.PASS, addresses=("10.0.2.1/24",))
    pod = draw.EndView("eth0", "db", 2, peer_up, peer_up, policy, chain, 3, stats={"tx_packets": 3, "tx_dropped": 1})
    return draw.PairView(host, pod)


NASTY = 'x<script>alert("1")</script>&\x00\x1b\ud800]]>'


def nasty() -> Journey:
    """A journey whose every text tries to break out of the drawing."""
    hops = (
        Hop(NASTY, HopKind.FUNCTION, Context.PROCESS, NASTY, NASTY, NASTY),
        Hop("run", HopKind.PROGRAM, Context.SOFTIRQ, NASTY, "d", data={"program": NASTY, "verdict": 2}),
    )
    return Journey(b"", hops, Fate(FateKind.DROPPED, NASTY, NASTY, NASTY), NASTY, {NASTY: {NASTY: 1}}, label=NASTY)


def lab(device: str = "veth") -> Journey:
    """A journey as the simulator makes it."""
    import netkit_edu as nk

    with nk.Lab() as small:
        pod = small.pod("web", device=device)
        return pod.send(nk.IP(dst=small.outside.ip) / nk.UDP(dport=53) / b"hi")


def costs(n: int, base: str = "") -> Costs:
    """A table of this many rows."""
    return Costs({f"path {i}": Cost(5e6 + i * 1e5, 5e6, 5e6 + i * 2e5) for i in range(n)}, base=base)


DRAWINGS = {
    "simulated veth": lambda: draw.journey(lab()),
    "simulated netkit in brief": lambda: draw.journey(lab("netkit"), brief=True),
    "simulated comparison": lambda: draw.comparison(compare(lab(), lab("netkit"))),
    "veth": lambda: draw.journey(samples.veth()),
    "netkit": lambda: draw.journey(samples.netkit(("count", -1), ("drop_dns", 2), error="ENOBUFS")),
    "unknown": lambda: draw.journey(samples.netkit(("three", 3))),
    "nothing": lambda: draw.journey(Journey(b"", (), Fate(FateKind.NOT_SENT, reason="ENETUNREACH"))),
    "nasty": lambda: draw.journey(nasty()),
    "comparison": lambda: draw.comparison(compare(samples.veth(), samples.netkit(("drop_dns", 2)))),
    "nasty comparison": lambda: draw.comparison(compare(nasty(), samples.veth())),
    "pair": lambda: draw.pair(view("count", "drop_dns")),
    "pair down": lambda: draw.pair(view(peer_up=False)),
    "nasty pair": lambda: draw.pair(view(NASTY)),
    "chain": lambda: draw.chain(view("count", "drop_dns"), "peer"),
    "empty chain": lambda: draw.chain(view(), Hook.PEER),
    "legend": draw.legend,
    "moments": lambda: draw.moments(samples.carried()),
    "no moments": lambda: draw.moments(()),
    "nasty moments": lambda: draw.moments(
        [m._replace(task=NASTY, device=NASTY) for m in samples.carried()], title=NASTY
    ),
    "bars": lambda: draw.bars(costs(4, base="path 0")),
    "many bars": lambda: draw.bars(costs(17)),
    "no bars": lambda: draw.bars(Costs()),
    "nasty bars": lambda: draw.bars(Costs({NASTY * 3: Cost(1, 0, 1e9)}, NASTY, NASTY * 3, NASTY * 9)),
}


def tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def shown(svg: str) -> list[str]:
    """The texts of a drawing, in drawing order."""
    return ["".join(t.itertext()) for t in tree(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_an_image_with_a_name_and_a_description(name):
    root = tree(DRAWINGS[name]())
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert root.get("aria-label") and root.find(f"{SVG}title").text == root.get("aria-label")
    desc = root.find(f"{SVG}desc")
    assert desc.text and root.get("aria-describedby") == desc.get("id")


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_the_same_every_time(name):
    assert DRAWINGS[name]() == DRAWINGS[name]()


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_at_most_900_px_wide_and_nothing_lies_outside(name):
    root = tree(DRAWINGS[name]())
    wide, high = float(root.get("width")), float(root.get("height"))
    assert wide <= 900
    for x, y, w, h, text in boxes(root):
        assert -1 <= x and x + w <= wide + 1 and -1 <= y and y + h <= high + 1, text


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_text_of_a_drawing_covers_another(name):
    found = list(boxes(tree(DRAWINGS[name]())))
    for i, (x, y, w, h, text) in enumerate(found):
        for x2, y2, w2, h2, other in found[i + 1 :]:
            apart = x + w <= x2 + 1 or x2 + w2 <= x + 1 or y + h <= y2 + 1 or y2 + h2 <= y + 1
            assert apart, (text, other)


def boxes(root):
    """Yield (x, y, width, height, text) of each text, letters inside shapes left out."""
    for t in root.iter(f"{SVG}text"):
        font, text = t.get("class"), "".join(t.itertext())
        if font == "letter":
            continue
        wide, size = width(text, font), FONTS[font].size
        x = float(t.get("x")) - {"end": wide, "middle": wide / 2}.get(t.get("text-anchor"), 0)
        yield x, float(t.get("y")) - 0.78 * size, wide, 0.95 * size, text


def test_same_drawing_twice_has_different_ids_when_asked():
    a, b = (tree(draw.journey(samples.veth(), key=k)) for k in ("-1", "-2"))
    ids = [{e.get("id") for e in root.iter() if e.get("id")} for root in (a, b)]
    assert ids[0] and not ids[0] & ids[1]


@pytest.mark.parametrize("j", [samples.veth(), samples.netkit(("count", -1), ("drop_dns", 2))], ids=["veth", "netkit"])
def test_every_hop_stands_in_the_picture_in_order(j):
    names = iter(shown(draw.journey(j)))
    for h in j.hops:
        wanted = h.data.get("program", h.function)
        assert any(text == wanted for text in names), wanted


@pytest.mark.parametrize("j", [samples.veth(), samples.netkit(("count", -1), ("drop_dns", 2))], ids=["veth", "netkit"])
def test_text_alternative_tells_every_hop_in_order_and_the_end(j):
    words = tree(draw.journey(j)).find(f"{SVG}desc").text
    at = 0
    for h in j.hops:
        at = words.find(h.data.get("program", h.function), at) + 1
        assert at, h
        assert h.detail in words
    assert str(j.fate) in words
    for device, moved in j.counters.items():
        assert device in words and all(name in words for name in moved)


def test_each_hop_has_a_tooltip_with_function_detail_and_context():
    j = samples.veth()
    tips = [g.find(f"{SVG}title").text for g in tree(draw.journey(j)).iter(f"{SVG}g") if g.get("class") == "hop"]
    assert len(tips) == len(j.hops)
    for h, tip in zip(j.hops, tips, strict=True):
        assert h.function in tip and h.detail in tip and str(h.context) in tip and h.node in tip


def test_time_runs_downwards():
    root = tree(draw.journey(samples.veth()))
    tops = [float(g.find(f"{SVG}rect").get("y")) for g in root.iter(f"{SVG}g") if g.get("class") == "hop"]
    assert tops == sorted(tops)


def test_each_namespace_has_its_lane_from_left_to_right():
    j = samples.veth()
    root = tree(draw.journey(j))
    rects = [g.find(f"{SVG}rect") for g in root.iter(f"{SVG}g") if g.get("class") == "hop"]
    spans = {}
    for h, r in zip(j.hops, rects, strict=True):
        left, right = spans.get(h.node, (900, 0))
        x, wide = float(r.get("x")), float(r.get("width"))
        spans[h.node] = min(left, x), max(right, x + wide)
    web, host, outside = spans.values()
    assert web[1] < host[0] and host[1] < outside[0]


def test_softirq_is_named_and_tinted():
    svg = draw.journey(samples.veth())
    assert {"process", "softirq"} <= set(shown(svg)) and 'class="f-softirq"' in svg
    assert 'class="f-softirq"' not in draw.journey(samples.netkit(("drop_dns", 2)))


@pytest.mark.parametrize("code,letter,word", [(-1, "N", "NEXT"), (0, "P", "PASS"), (2, "D", "DROP"),
                                              (7, "R", "REDIRECT"),
                                              (3, "?", "unknown 3")])  # fmt: skip
def test_verdict_has_letter_shape_and_word(code, letter, word):
    svg = draw.journey(samples.netkit(("prog", code)))
    texts = shown(svg)
    assert letter in texts and any(word in t for t in texts)


def test_verdict_shapes_differ_without_their_colours():
    def bare(code):
        from netkit_edu.draw import shapes
        from netkit_edu.draw.canvas import Canvas

        c = Canvas(30)
        shapes.verdict(c, 15, 15, code)
        return re.sub(r'class="[^"]*"', "", c.parts[0])

    assert len({bare(code) for code in (-1, 0, 2, 7, 3)}) == 5


def test_sender_error_and_counters_are_shown():
    texts = " ".join(shown(draw.journey(samples.netkit(("drop_dns", 2), error="ENOBUFS"))))
    assert "ENOBUFS" in texts and "tx_dropped +1" in texts


def test_hostile_text_stays_text():
    svg = draw.journey(nasty())
    assert "<script>" not in svg and "\x00" not in svg and "\ud800" not in svg
    assert tree(svg).find(f".//{SVG}script") is None


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


GROUNDS = {
    "ink": ("bg", "softirq", "head", "only", "tile", "badbg", "mark"),
    "muted": ("bg", "softirq", "only", "tile", "mark"),
    "softbar": ("bg", "softirq"),
    "procbar": ("bg",),
    "bad": ("bg", "badbg"),
}
VERDICTS = ("pass", "next", "drop", "redirect", "unknown")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_a_contrast_of_at_least_4_5_in_both_themes(theme):
    pairs = [(fg, bg) for fg, grounds in GROUNDS.items() for bg in grounds]
    pairs += [("onfill", v) for v in VERDICTS] + [(v, bg) for v in VERDICTS for bg in ("bg", "softirq", "only")]
    low = {p: round(contrast(theme[p[0]], theme[p[1]]), 2) for p in pairs if contrast(theme[p[0]], theme[p[1]]) < 4.5}
    assert not low


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_shapes_have_a_contrast_of_at_least_3_in_both_themes(theme):
    lines = ("lookup", "hook", "queue", "driver", "rail")
    assert all(contrast(theme[c], theme[bg]) >= 3 for c in lines for bg in ("bg", "softirq", "only"))


def test_styles_touch_nothing_but_drawings():
    selectors = re.findall(r"(?:^|[{}])([^{}@]+)\{", css())
    assert selectors and all(".nk" in s for group in selectors for s in group.split(",")), selectors


def test_themes_have_the_same_roles():
    assert LIGHT.keys() == DARK.keys()


def test_figures_of_a_comparison_are_never_cut_short():
    texts = [t.text for t in tree(draw.comparison(compare(lab(), lab("netkit")))).iter() if " | " in (t.text or "")]
    assert "2 + 1 | 2 + 1" in texts and not [text for text in texts if "…" in text]


def test_figures_of_a_comparison_are_all_split_at_the_wire_and_say_so():
    left, right = lab(), lab("netkit")
    svg = draw.comparison(compare(left, right))
    assert "Figures with a +: here + behind the wire." in shown(svg)
    for figure in ("lookups", "hooks", "softirq_hops", "hops"):
        parts = [[str(getattr(n, figure)) for n in j.machines] for j in (left, right)]
        assert " | ".join(" + ".join(each) for each in parts) in shown(svg), figure
    for j in (left, right):
        said = f"{' + '.join(str(n.softirq_hops) for n in j.machines)} hops in softirq"
        assert said in tree(svg).find(f"{SVG}desc").text and said in draw.text_comparison(compare(left, right))


def test_comparison_on_one_machine_has_no_plus():
    svg = draw.comparison(compare(samples.netkit(("d", 2)), samples.netkit(("e", 2))))
    assert "+" not in "".join(shown(svg))


def test_common_steps_of_a_comparison_stand_side_by_side():
    c = compare(samples.veth(), samples.netkit(("drop_dns", 2)))
    root = tree(draw.comparison(c))
    hops = [g for g in root.iter(f"{SVG}g") if g.get("class") == "hop"]
    names = [[t for t in g.iter(f"{SVG}text") if t.get("class") in ("fn", "tick")][0] for g in hops]
    at = {}
    for t in names:
        at.setdefault((t.text, float(t.get("y"))), []).append(float(t.get("x")))
    both = [name for (name, _), xs in at.items() if len(xs) == 2]
    common = [r.left.function for r in c.rows if r.left and r.right]
    assert both == common and len(common) >= 4


def test_comparison_aligns_senders_of_different_names():
    left, right = samples.veth(), samples.netkit(("drop_dns", 2))
    row = next(r for r in compare(left, right).rows if r.left and r.left.function == "udp_sendmsg")
    assert row.right is not None and (row.left.node, row.right.node) == ("web", "db")


def test_policy_is_asked_only_without_a_program():
    assert any("policy DROP: not asked, 2 programs attached" in t for t in shown(draw.pair(view("a", "b"))))
    assert any("policy DROP: asked, no program attached" in t for t in shown(draw.pair(view())))


def test_chain_shows_programs_in_order_and_where_next_leads_at_the_end():
    texts = shown(draw.chain(view("count", "drop_dns"), "peer"))
    assert texts.index("count") < texts.index("drop_dns")
    assert "NEXT at the end counts as PASS" in texts
    assert "NEXT" not in " ".join(shown(draw.chain(view(), "peer")))


def test_pair_with_one_end_down_says_so_at_both():
    texts = shown(draw.pair(view(peer_up=False)))
    assert "up, but no carrier" in texts and "down" in texts


def test_plain_text_journey_tells_every_hop_and_the_end():
    j = samples.veth()
    text = draw.text_journey(j)
    assert [h.function in text for h in j.hops].count(False) == 0
    assert "web, process context" in text and "host, softirq context" in text and str(j.fate) in text


def test_plain_text_comparison_joins_common_steps():
    lines = draw.text_comparison(compare(samples.veth(), samples.netkit(("drop_dns", 2)))).splitlines()
    assert any("udp_sendmsg" in x and "  =  " in x for x in lines)
    assert any("veth_xmit" in x and x.endswith("<") for x in lines) and any(">  db p ● drop_dns" in x for x in lines)


def test_forty_hops_are_drawn_in_a_few_milliseconds():
    import time

    j = samples.veth()
    best = min(_timed(lambda: draw.journey(j), time.perf_counter) for _ in range(5))
    assert best < 0.05


def _timed(call, clock) -> float:
    start = clock()
    call()
    return clock() - start


def test_brief_journey_keeps_every_tooltip_and_is_lower():
    whole, brief = (tree(draw.journey(samples.veth(), brief=b)) for b in (False, True))
    assert float(brief.get("height")) < 0.9 * float(whole.get("height"))
    assert len([g for g in brief.iter(f"{SVG}g") if g.get("class") == "hop"]) == len(samples.veth().hops)
    assert brief.find(f"{SVG}desc").text == whole.find(f"{SVG}desc").text


def test_what_had_to_be_asked_first_is_said():
    request = Journey(b"", (), Fate(FateKind.DELIVERED, "con", "eth0"), label="who has 10.0.1.2")
    journey = Journey(b"", (), Fate(FateKind.DELIVERED, "con", "eth0"), label="ping con", requests=(request,))
    assert "asked first: who has 10.0.1.2: delivered at con (eth0)" in draw.text_journey(journey)
    assert "Asked first: who has 10.0.1.2, delivered at con (eth0)." in draw.words.describe_journey(journey)


def test_moments_stand_in_the_lane_of_their_cpu_under_whose_time_it_is():
    found = shown(draw.moments(samples.carried(), title="far"))
    assert found[:3] == ["far", "CPU 0", "CPU 1"]
    places = [text for text in found if text.endswith("context")]
    assert places == ["curl, process context", "bystander, softirq NET_RX context"]
    assert [text for text in found if text.endswith("µs")] == ["0 µs", "20 µs", "90 µs"]
    texts = {
        text: float(t.get("x"))
        for t in tree(draw.moments(samples.carried())).iter(f"{SVG}text")
        for text in t.itertext()
    }
    assert texts["netif_rx"] < texts["CPU 1"] < texts["netif_receive_skb"]

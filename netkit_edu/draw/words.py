"""A drawing in words: the text alternative of each picture, and its plain-text twin for a terminal.

What a picture says and what its alternative says come from the same functions, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator

from netkit_edu.draw.shapes import KIND_WORDS, verdict_name
from netkit_edu.journey import Comparison, Hop, HopKind, Journey
from netkit_edu.packet import summary

MARKS = {
    HopKind.FUNCTION: " ", HopKind.LOOKUP: "◇", HopKind.HOOK: "⬡", HopKind.QUEUE: "≡", HopKind.DRIVER: "▣",
    HopKind.PROGRAM: "●", HopKind.WIRE: "═", HopKind.DELIVER: "✓", HopKind.DROP: "✗",
}  # fmt: skip


def plural(n: int, one: str, many: str = "") -> str:
    """Return "1 queue" or "2 queues"."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def hop_name(hop: Hop) -> str:
    """Return what a hop is called: the program's own name for a program, else the function's."""
    return str(hop.data.get("program") or hop.function) if hop.kind is HopKind.PROGRAM else hop.function


def hop_detail(hop: Hop) -> str:
    """Return the short phrase beside a hop's name."""
    if hop.kind is HopKind.PROGRAM:
        code = int(hop.data.get("verdict", 0))
        name = verdict_name(code)
        return f"returns {name}" if name.startswith("unknown") else f"returns {name} ({code})"
    return hop.detail


def tooltip(hop: Hop) -> str:
    """Return everything that is known of one hop, one fact a line."""
    facts = [f"{hop.function}()  {KIND_WORDS[hop.kind]}"]
    if hop_detail(hop):
        facts.append(f"{hop_name(hop)} {hop_detail(hop)}" if hop.kind is HopKind.PROGRAM else hop_detail(hop))
    facts.append(f"in {hop.context} context on CPU {hop.cpu}")
    facts.append(f"namespace {hop.node}" + (f", device {hop.device}" if hop.device else ""))
    facts += [f"{key}: {value}" for key, value in hop.data.items() if key in ("hook", "reason", "length")]
    if not hop.observable:
        facts.append("nothing is registered here: a tracer on Linux does not see it")
    return "\n".join(facts)


def hop_phrase(hop: Hop) -> str:
    """Return one hop as a phrase for the text alternative."""
    kind = "" if hop.kind is HopKind.FUNCTION else f" ({KIND_WORDS[hop.kind]})"
    detail = f": {hop_detail(hop)}" if hop_detail(hop) else ""
    return f"{hop_name(hop)}{kind}{detail}"


def journey_title(j: Journey) -> str:
    """Return what a journey is called: its label, or its packet in one line."""
    return j.label or summary(j.packet)


def split(j: Journey, figure: str) -> str:
    """Return a figure of the path's cost, machine by machine: "2 + 1" is two here and one behind the wire."""
    each = [getattr(n, figure) for n in j.machines]
    while len(each) > 1 and not each[-1]:
        each.pop()
    return " + ".join(map(str, each))


FIGURES = {
    "lookups": "route lookups", "queues": "queues", "backlogs": "backlogs", "hooks": "netfilter hooks",
    "programs": "programs", "drivers": "driver calls", "softirq_hops": "hops in softirq", "hops": "hops",
}  # fmt: skip
PLUS = "here + behind the wire"


def split_line(j: Journey) -> str:
    """Return every figure of the path's cost machine by machine, "" where there is one machine."""
    if len(j.machines) < 2:
        return ""
    return f"{PLUS}: " + ", ".join(f"{split(j, figure)} {words}" for figure, words in FIGURES.items())


def cost_line(j: Journey) -> str:
    """Return what a path cost in all and machine by machine, and what its sender was told."""
    return "; ".join(filter(None, (counts_line(j), split_line(j), sender_line(j))))


def counts_line(j: Journey) -> str:
    """Return what a path cost, in one line."""
    n = j.counts
    behind = " (" + "; ".join(f"{x.lookups} and {x.hooks}" for x in j.machines[1:]) + " of these behind the wire)"
    return ", ".join([
        plural(n.lookups, "route lookup"),
        plural(n.hooks, "netfilter hook") + (behind if len(j.machines) > 1 else ""),
        f"{plural(n.queues, 'queue')} ({plural(n.backlogs, 'backlog')})",
        plural(n.programs, "program"),
        plural(n.drivers, "driver call"),
        f"{n.softirq_hops} of {plural(n.hops, 'hop')} in softirq",
    ])  # fmt: skip


def sender_line(j: Journey) -> str:
    """Return what the sending call told its caller."""
    return f"the sending call returned {j.sender_error}" if j.sender_error else "the sending call reported success"


def counter_phrases(j: Journey) -> list[str]:
    """Return one phrase for each device whose counters moved."""
    return [
        f"{device}: " + ", ".join(f"{name} +{n}" for name, n in moved.items())
        for device, moved in j.counters.items()
        if moved
    ]


def legs(hops: tuple[Hop, ...]) -> Iterator[tuple[str, list[Hop]]]:
    """Yield runs of hops in the same context, node and CPU, each with its heading."""
    several = len({h.cpu for h in hops}) > 1
    run: list[Hop] = []
    for h in hops:
        if run and (h.context, h.node, h.cpu) != (run[-1].context, run[-1].node, run[-1].cpu):
            yield _heading(run[-1], several), run
            run = []
        run.append(h)
    if run:
        yield _heading(run[-1], several), run


def _heading(h: Hop, several_cpus: bool) -> str:
    return f"{h.node}, {h.context} context" + (f" on CPU {h.cpu}" if several_cpus else "")


def describe_journey(j: Journey) -> str:
    """Return the whole journey in sentences: every hop in order, then how it ended and what it cost."""
    parts = [f"{summary(j.packet)}. Recorded by {j.backend}."]
    parts += [f"Asked first: {journey_title(r)}, {r.fate}." for r in j.requests]
    parts += [f"In {heading}: {'; '.join(map(hop_phrase, run))}." for heading, run in legs(j.hops)]
    parts.append(f"It was {j.fate}." if j.fate.kind != "not sent" else f"It was not sent: {j.fate.reason}.")
    parts.append(f"Cost: {counts_line(j)}; {sender_line(j)}.")
    if counter_phrases(j):
        parts.append(f"Counters moved: {'; '.join(counter_phrases(j))}.")
    parts += [f"Reply: {journey_title(r)}, {r.fate}." for r in j.replies]
    return " ".join(parts)


def text_journey(j: Journey) -> str:
    """Return a journey as plain text for a terminal: one line a hop, grouped by namespace and context."""
    lines = [f"{journey_title(j)}   [{j.backend}]"]
    for heading, run in legs(j.hops):
        lines.append(f"  {heading}")
        for h in run:
            detail = f"  {hop_detail(h)}" if hop_detail(h) else ""
            device = f"  [{h.device}]" if h.device else ""
            lines.append(f"    {MARKS[h.kind]} {hop_name(h):<28}{device:<10}{detail}".rstrip())
    lines.append(f"  = {j.fate}")
    lines.append(f"    {counts_line(j)}")
    lines.append(f"    {sender_line(j)}")
    lines += [f"    {phrase}" for phrase in counter_phrases(j)]
    lines += [f"    asked first: {journey_title(r)}: {r.fate}" for r in j.requests]
    lines += [f"    reply: {journey_title(r)}: {r.fate}" for r in j.replies]
    return "\n".join(lines)


def text_comparison(c: Comparison) -> str:
    """Return two journeys side by side as plain text; "=" joins the steps they share."""
    heads = [f"{journey_title(j)} [{j.backend}]" for j in (c.left, c.right)]
    cells = [[_cell(r.left), _cell(r.right)] for r in c.rows]
    wide = min(max([len(heads[0]), *(len(a) for a, _ in cells)], default=20), 60)
    lines = [f"{heads[0][:wide]:<{wide}}     {heads[1]}"]
    for a, b in cells:
        joint = "=" if a and b else "<" if a else ">"
        lines.append(f"{a[:wide]:<{wide}}  {joint}  {b}".rstrip())
    lines.append(f"{str(c.left.fate)[:wide]:<{wide}}     {c.right.fate}")
    lines.append(f"left:  {cost_line(c.left)}")
    lines.append(f"right: {cost_line(c.right)}")
    return "\n".join(lines)


def _cell(h: Hop | None) -> str:
    return "" if h is None else f"{h.node} {'s' if h.context == 'softirq' else 'p'} {MARKS[h.kind]} {hop_name(h)}"


def describe_comparison(c: Comparison) -> str:
    """Return what two journeys share and where they differ, in sentences."""
    common = sum(r.left is not None and r.right is not None for r in c.rows)
    left = [hop_phrase(r.left) for r in c.rows if r.left and not r.right]
    right = [hop_phrase(r.right) for r in c.rows if r.right and not r.left]
    names = journey_title(c.left), journey_title(c.right)
    parts = [f"{plural(common, 'step')} in common."]
    for name, only, j in ((names[0], left, c.left), (names[1], right, c.right)):
        parts.append(f"Only in {name}: {'; '.join(only) or 'nothing'}.")
        parts.append(f"{name}: {j.fate}; {cost_line(j)}.")
    return " ".join(parts)

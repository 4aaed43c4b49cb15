"""A netkit pair and the chain of programs at a hook, as pictures.

What is drawn is a `PairView`: plain facts read back from the backend. `view` makes one of a `Pair` of the lab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netkit_edu.backend import Chain
from netkit_edu.draw import shapes
from netkit_edu.draw.canvas import Canvas, num
from netkit_edu.draw.palette import width
from netkit_edu.draw.words import plural
from netkit_edu.uapi import IFF_UP, Hook, Policy

WIDE, EDGE, BOX, CHAIN = 900, 14, 236, 320  # px: the drawing, its margin, the boxes of a device and of a program


@dataclass(frozen=True)
class EndView:
    """One end of a pair: what its namespace says of it, and the hook at which its packets leave.

    ``policy`` is what this end does with what it transmits while ``chain`` (program names in order) is empty.
    """

    name: str
    node: str
    ifindex: int
    up: bool
    carrier: bool
    policy: Policy
    chain: tuple[str, ...] = ()
    revision: int = 1
    mtu: int = 1500
    mac: str = ""
    addresses: tuple[str, ...] = ()
    stats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PairView:
    """A pair: both ends and what they share."""

    primary: EndView
    peer: EndView
    mode: str = "l3"
    scrub: tuple[str, str] = ("default", "default")
    kind: str = "netkit"

    def sender(self, hook: Hook) -> EndView:
        """The end whose transmit path a hook is on."""
        return self.primary if Hook(hook) is Hook.PRIMARY else self.peer

    def receiver(self, hook: Hook) -> EndView:
        """The other end."""
        return self.peer if Hook(hook) is Hook.PRIMARY else self.primary


def view(pair) -> PairView:
    """Read a lab's `Pair` back from its kernel; a `PairView` is returned as it is."""
    if isinstance(pair, PairView):
        return pair
    primary, info = _end(pair, pair.primary, Hook.PRIMARY), pair.primary.info
    peer = _end(pair, pair.peer, Hook.PEER)
    if info.kind != "netkit":
        return PairView(primary, peer, "", ("", ""), info.kind)
    scrub = pair.primary.scrub.name.lower(), pair.primary.peer_scrub.name.lower()
    return PairView(primary, peer, pair.primary.mode.name.lower(), scrub)


def _end(pair, device, hook: Hook) -> EndView:
    info = device.info
    chain, policy = Chain(1, ()), Policy.PASS
    if info.kind == "netkit":
        chain, policy = pair.primary.chain(hook), device.policy
    return EndView(
        info.name, device.node.name, info.ifindex, bool(info.flags & IFF_UP), info.carrier, policy,
        tuple(entry.name for entry in chain.entries), chain.revision, info.mtu, info.mac, tuple(info.addresses),
        info.stats._asdict(),
    )  # fmt: skip


def policy_words(end: EndView) -> str:
    """Return what a policy does right now, in words: it is asked only while no program is attached."""
    if end.chain:
        return f"policy {end.policy.name}: not asked, {plural(len(end.chain), 'program')} attached"
    return f"policy {end.policy.name}: asked, no program attached"


def state_words(end: EndView) -> str:
    """Return whether a device is up and whether it has a carrier."""
    if end.up and end.carrier:
        return "up, carrier on"
    return "up, but no carrier" if end.up else "down"


def pair(pair, *, key: str = "") -> str:
    """Return a pair as an SVG string: two devices, and in each direction the programs and the policy.

    Args:
        pair: a lab's `Pair`, or a `PairView`.
        key: makes the ids unique where the same drawing stands twice on one page.
    """
    seen = view(pair)
    c = Canvas(WIDE)
    c.text(EDGE, 25, _name(seen), "title", room=WIDE - 320)
    c.text(WIDE - EDGE, 25, _shared(seen), "small", anchor="end")
    rows = [_flow_height(seen.sender(hook)) for hook in Hook] if seen.kind == "netkit" else []
    high = max(sum(rows) + 12, *(_box_height(e) for e in (seen.primary, seen.peer)))
    first, second = ("primary", "peer") if rows else ("", "")
    _box(c, EDGE, 42, high, seen.primary, first)
    _box(c, WIDE - EDGE - BOX, 42, high, seen.peer, second)
    y = 42
    for hook, row in zip(Hook, rows, strict=False):
        _flow(c, y, seen, hook)
        y += row + 12
    if not rows:
        _plain(c, 42 + high / 2)
    return c.svg(42 + high + 14, _name(seen), describe_pair(seen), key)


def _name(seen: PairView) -> str:
    return f"{seen.kind} pair {seen.primary.name} ↔ {seen.peer.name}"


def _shared(seen: PairView) -> str:
    if seen.kind != "netkit":
        return "no netkit hooks, no policy"
    return f"mode {seen.mode}, scrub {seen.scrub[0]}, peer scrub {seen.scrub[1]}"


def _plain(c: Canvas, y: float) -> None:
    """Draw a pair without hooks: what goes in at one end comes out at the other."""
    x1, x2 = EDGE + BOX + 14, WIDE - EDGE - BOX - 14
    for dy, right in ((-8, True), (8, False)):
        _arrow(c, x1, x2, y + dy, right)
    c.text(WIDE / 2, y - 22, "what one end sends, the other receives", "small", anchor="middle")


def _box_height(end: EndView) -> float:
    return 100 + 17 * (len(end.addresses) + bool(end.mac.strip("0:")) + len(_stats(end)))


def _stats(end: EndView) -> list[str]:
    return [f"{name} {n}" for name, n in end.stats.items() if n]


def _box(c: Canvas, x: float, y: float, high: float, end: EndView, role: str) -> None:
    """Draw one device with what its namespace says of it."""
    c.rect(x, y, BOX, high, "f-tile", 7)
    c.rect(x, y, BOX, 28, "f-head", 7)
    c.text(x + 12, y + 19, end.node, "node", room=BOX - 90)
    c.text(x + BOX - 12, y + 18.5, role, "small", anchor="end")
    used = c.text(x + 12, y + 49, end.name, "fn")
    c.text(x + 20 + used, y + 49, f"ifindex {end.ifindex}", "detail")
    good = end.up and end.carrier
    if good:
        c.circle(x + 18, y + 66, 5, "f-pass", 0)
    else:
        c.circle(x + 18, y + 66, 4.5, "o s-bad", 2)
    c.text(x + 30, y + 70, state_words(end), "detail", room=BOX - 38, fill="" if good else "bad")
    lines = [f"mtu {end.mtu}", *end.addresses, *([f"mac {end.mac}"] if end.mac.strip("0:") else [])]
    y += 90
    for line in lines:
        c.text(x + 12, y, line, "mono", room=BOX - 20)
        y += 17
    for line in _stats(end):
        c.text(x + 12, y, line, "tick", room=BOX - 20)
        y += 17


def _flow_height(end: EndView) -> float:
    return 74 + 26 * max(len(end.chain), 1)


def _flow(c: Canvas, y: float, view: PairView, hook: Hook) -> None:
    """Draw one direction: an arrow, the hook's programs in order, and its policy."""
    sender, receiver = view.sender(hook), view.receiver(hook)
    x, wide = EDGE + BOX + 18, WIDE - 2 * (EDGE + BOX + 18)
    right = hook is Hook.PRIMARY
    c.text(x, y + 13, f"{hook} hook", "strong")
    way = f"what {sender.node} sends to {receiver.node}"
    c.text(x + wide, y + 13, way, "small", anchor="end", room=wide - width(f"{hook} hook", "strong") - 10)
    _arrow(c, x, x + wide, y + 26, right)
    top = y + 36
    for i, name in enumerate(sender.chain):
        c.rect(x + 4, top + 26 * i, wide - 8, 22, "o s-line", 4, ' stroke-width="1"')
        c.text(x + 14, top + 26 * i + 15.5, f"{i + 1}", "small")
        c.text(x + 34, top + 26 * i + 15.5, name, "fn", room=wide - 50)
    if not sender.chain:
        c.rect(x + 4, top, wide - 8, 22, "o s-line", 4, ' stroke-width="1" stroke-dasharray="3 3"')
        c.text(x + 14, top + 15, "no program", "small")
    top += 26 * max(len(sender.chain), 1)
    asked = not sender.chain
    _policy(c, x + 18, top + 15, sender.policy, asked)
    c.text(x + 36, top + 19, policy_words(sender), "strong" if asked else "small", room=wide - 40)


def _policy(c: Canvas, x: float, y: float, policy: Policy, asked: bool) -> None:
    """Draw a policy as its verdict's shape; in outline where it is not asked."""
    if asked:
        shapes.verdict(c, x, y, int(policy), 9)
    elif policy is Policy.PASS:
        c.circle(x, y, 8, "o s-muted", 1.5)
    else:
        c.path(shapes.regular(x, y, 9, 8, 22.5), "o s-muted", 1.5)


def _arrow(c: Canvas, x1: float, x2: float, y: float, right: bool) -> None:
    c.line(x1, y, x2, y, "s-rail", 2)
    tip, d = (x2, -9) if right else (x1, 9)
    c.path(f"M{num(tip + d)} {num(y - 5)}L{num(tip)} {num(y)}L{num(tip + d)} {num(y + 5)}Z", "f-rail", 0)


EXITS = (("pass", "into the other end's stack"), ("drop", "freed"), ("redirect", "to another device"))


def chain(pair, hook: Hook | str, *, key: str = "") -> str:
    """Return the chain of one hook as an SVG string: programs in order, where each verdict leads, and the policy."""
    seen, hook = view(pair), Hook(hook)
    sender, receiver = seen.sender(hook), seen.receiver(hook)
    c = Canvas(800)
    c.text(EDGE, 25, f"{hook} hook: when {sender.node} transmits on {sender.name}", "title", room=560)
    c.text(c.wide - EDGE, 25, f"revision {sender.revision}", "small", anchor="end")
    columns = [484, 596, 716]
    labels = [f"{receiver.node}'s stack", "freed", "other device"]
    for x, (role, _), label in zip(columns, EXITS, labels, strict=True):
        c.text(x, 50, label, "strong", anchor="middle", fill=role, room=116)
    y = 64
    entries = list(sender.chain)
    for i, name in enumerate(entries):
        _entry(c, y, i, name, columns, last=i == len(entries) - 1)
        y += 48
    high = _policy_row(c, y, sender, columns)
    for x, (role, _) in zip(columns, EXITS, strict=True):
        c.parts.insert(0, f'<path d="M{x} 58V{num(high - 20)}" class="s-{role}" stroke-width="1.5" opacity="0.55"/>')
    return c.svg(high, f"{hook} hook of {sender.name}", describe_chain(seen, hook), key)


def _entry(c: Canvas, y: float, i: int, name: str, columns: list[float], last: bool) -> None:
    """Draw one program and the four ways out of it."""
    c.rect(EDGE, y, CHAIN, 30, "f-tile", 5)
    c.text(EDGE + 12, y + 20, str(i + 1), "small")
    c.text(EDGE + 32, y + 20, name, "fn", room=CHAIN - 40)
    c.line(EDGE + CHAIN, y + 15, columns[-1], y + 15, "s-line", 1.5)
    for x, code in zip(columns, (0, 2, 7), strict=True):
        shapes.verdict(c, x, y + 15, code)
    c.text(columns[1] + 17, y + 12, "or any", "small")
    c.text(columns[1] + 17, y + 26, "other code", "small")
    x = EDGE + CHAIN + 30
    if last:
        c.path(f"M{num(x)} {num(y + 15)}V{num(y + 48)}H{columns[0] - 4}", "s-next", 1.8)
        c.path(f"M{columns[0] - 9} {num(y + 43)}l8 5l-8 5Z", "f-next", 0)
        c.text(x - 12, y + 52, "NEXT at the end counts as PASS", "small", anchor="end")
    else:
        c.path(f"M{num(x)} {num(y + 15)}V{num(y + 38)}H{EDGE + 150}V{num(y + 44)}", "s-next", 1.8)
        c.path(f"M{EDGE + 145} {num(y + 41)}l5 6l5 -6Z", "f-next", 0)
    shapes.verdict(c, x, y + 15, -1)


def _policy_row(c: Canvas, y: float, sender: EndView, columns: list[float]) -> float:
    """Draw the policy: with an arrow to where it leads, or in outline where a program keeps it from being asked."""
    asked = not sender.chain
    y += 10 if asked else 20
    dash = "" if asked else ' stroke-dasharray="4 3"'
    c.rect(EDGE, y, CHAIN + 44, 30, "o s-line", 15, f' stroke-width="1.5"{dash}')
    _policy(c, EDGE + 20, y + 15, sender.policy, asked)
    c.text(EDGE + 38, y + 19.5, policy_words(sender), "strong" if asked else "small", room=CHAIN)
    if asked:
        x = columns[0] if sender.policy is Policy.PASS else columns[1]
        c.line(EDGE + CHAIN + 44, y + 15, x - 13, y + 15, "s-rail", 2)
        shapes.verdict(c, x, y + 15, int(sender.policy))
    return y + 46


def describe_end(end: EndView) -> str:
    """Return one end in a sentence."""
    more = "".join(f", {fact}" for fact in [*end.addresses, *_stats(end)])
    return f"{end.name} in {end.node}, ifindex {end.ifindex}, {state_words(end)}, mtu {end.mtu}{more}"


def describe_flow(view: PairView, hook: Hook) -> str:
    """Return one direction in a sentence."""
    sender, receiver = view.sender(hook), view.receiver(hook)
    programs = ", then ".join(sender.chain) or "none"
    return f"{hook} hook, from {sender.node} to {receiver.node}: programs {programs}; {policy_words(sender)}"


def describe_pair(seen: PairView) -> str:
    """Return a pair in sentences."""
    ends = f"{_name(seen)}. Primary: {describe_end(seen.primary)}. Peer: {describe_end(seen.peer)}. {_shared(seen)}."
    flows = [describe_flow(seen, hook) for hook in Hook] if seen.kind == "netkit" else []
    return " ".join([ends, *(f"{flow}." for flow in flows)])


def describe_chain(view: PairView, hook: Hook) -> str:
    """Return what each program of a hook may return and where that leads."""
    receiver = view.receiver(hook)
    rule = (
        f"Each program may return NEXT (the next program runs; at the end of the chain it counts as PASS), PASS (into "
        f"{receiver.node}'s stack), REDIRECT (to another device), or DROP; any other code drops too."
    )
    return f"{describe_flow(view, hook)}. {rule}" if view.sender(hook).chain else f"{describe_flow(view, hook)}."


def text_pair(pair) -> str:
    """Return a pair as plain text for a terminal."""
    seen = view(pair)
    lines = [f"{_name(seen)}: {_shared(seen)}"]
    lines += [f"  primary  {describe_end(seen.primary)}", f"  peer     {describe_end(seen.peer)}"]
    flows = [f"  {describe_flow(seen, hook)}" for hook in Hook] if seen.kind == "netkit" else []
    return "\n".join([*lines, *flows])


def text_chain(pair, hook: Hook | str) -> str:
    """Return the chain of one hook as plain text for a terminal."""
    sender = view(pair).sender(Hook(hook))
    lines = [f"{Hook(hook)} hook: when {sender.node} transmits on {sender.name} (revision {sender.revision})"]
    lines += [f"  {i}. {name}" for i, name in enumerate(sender.chain, 1)]
    return "\n".join([*lines, f"  {policy_words(sender)}"])

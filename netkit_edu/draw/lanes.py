"""A journey as a picture: one lane for each namespace, time downwards, softirq context as a tinted band.

Plain functions are small ticks with their names, several in a line where they fit; whatever costs or decides something
(lookups, hooks, queues, programs, driver calls) has a shape of its own and, where there is one, a phrase. A brief
drawing keeps the ticks and leaves their names to the tooltips and the text alternative.
"""

from __future__ import annotations

from dataclasses import dataclass

from netkit_edu.draw import shapes
from netkit_edu.draw.canvas import Canvas, num, wrap
from netkit_edu.draw.palette import width
from netkit_edu.draw.words import (
    counter_phrases,
    describe_journey,
    hop_detail,
    hop_name,
    journey_title,
    plural,
    sender_line,
    split,
    tooltip,
)
from netkit_edu.journey import Hop, HopKind, Journey
from netkit_edu.packet import summary
from netkit_edu.uapi import Context

FULL, LEAST = 900, 760  # px, the widest and the narrowest drawing
GUTTER, EDGE = 74, 14  # px, the column naming contexts, and the margin
RAIL, WORDS = 22, 40  # px from a lane's left edge to the line the packet follows, and to the text
TICK, BARE, ROW, TWO = 13.5, 4, 25, 38  # px, heights: plain function, without its name, shape with one line, with two
HEAD, JOINT = 100, 14  # px above the first hop, and between two names in one line


@dataclass
class Lane:
    """A namespace's column: from ``x``, ``w`` px wide."""

    node: str
    x: float = 0
    w: float = 0

    @property
    def rail(self) -> float:
        """The x of the line the packet follows."""
        return self.x + RAIL

    @property
    def room(self) -> float:
        """How many px of text fit beside the rail; a very wide lane keeps its words together."""
        return min(self.w - 8, 420) - WORDS


@dataclass
class Step:
    """A hop with its place: ``y`` is the centre of its shape, ``top`` and ``h`` its row, ``x`` where its words begin.

    ``two`` puts its phrase on a second line; ``after`` tells that it stands behind another function in the same line,
    whose right end keeps ``reserved`` px for a device. ``bare`` is a tick without its name.
    """

    hop: Hop
    lane: Lane
    device: str
    top: float = 0
    h: float = 0
    y: float = 0
    x: float = 0
    two: bool = False
    after: bool = False
    reserved: float = 0
    bare: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is a function with nothing to say but its name."""
        return self.hop.kind is HopKind.FUNCTION and not self.hop.detail

    @property
    def end(self) -> float:
        """The x where its name ends."""
        return self.x + width(hop_name(self.hop), _font(self))


def journey(j: Journey, *, brief: bool = False, key: str = "") -> str:
    """Return a journey as an SVG string, at most 900 px wide, with its text alternative.

    Args:
        j: the journey; only its data is used.
        brief: leave out the names of plain functions, so that more of the way is in sight at once.
        key: makes the ids unique where the same drawing stands twice on one page.
    """
    steps, lanes, wide = _plan(j, brief)
    c = Canvas(wide)
    end = steps[-1].top + steps[-1].h if steps else HEAD
    bottom = end + 40
    _bands(c, steps)
    _head(c, j, lanes, bottom)
    _track(c, steps)
    for s in steps:
        _step(c, s)
    _fate(c, j, steps, lanes, end)
    high = _summary(c, j, bottom)
    return c.svg(high, f"{journey_title(j)}: {j.fate}", describe_journey(j), key)


def _plan(j: Journey, brief: bool) -> tuple[list[Step], list[Lane], float]:
    """Give every hop a lane, a row and a height; return them with the lanes and the drawing's width."""
    nodes = list(dict.fromkeys([h.node for h in j.hops] + ([j.fate.node] if j.fate.node else []))) or ["sender"]
    lanes = {n: Lane(n) for n in nodes}
    steps, before = [], ""
    for h in j.hops:
        here = f"{h.node}/{h.device}"
        named = not (brief and h.kind is HopKind.FUNCTION and not h.detail)
        steps.append(Step(h, lanes[h.node], h.device if named and h.device and here != before else ""))
        before = here if h.device and named else before
    wide = _widths(steps, list(lanes.values()))
    last = None
    for s in steps:
        s.bare = brief and s.plain
        if not (last and _joins(last, s)):
            _place(s, last)
        last = s
    return steps, list(lanes.values()), wide


def _place(s: Step, last: Step | None) -> None:
    """Give a step a row of its own, below the last one's."""
    y = HEAD
    if last:
        y = last.top + last.h + 6 * (_who(s) != _who(last)) + 8 * (s.lane is not last.lane)
    detail = hop_detail(s.hop)
    s.x, s.reserved = s.lane.x + WORDS, _chip_width(s.device)
    free = s.lane.room - width(hop_name(s.hop), _font(s)) - s.reserved - 16
    s.two = bool(detail) and width(detail, "detail") > free
    if s.hop.kind is HopKind.FUNCTION:
        s.h = BARE if s.bare else TICK + 12 * s.two
        s.top, s.y = y, y + (BARE if s.bare else TICK) / 2
    else:
        s.h = TWO if s.two else ROW
        s.top, s.y = y, y + ROW / 2


def _joins(last: Step, s: Step) -> bool:
    """Put a plain function behind the one before it, in the same line, if it fits; return whether it did."""
    if s.bare or not (last.plain and s.plain and last.lane is s.lane and _who(last) == _who(s)) or s.device:
        return False
    if last.end + JOINT + width(hop_name(s.hop), "tick") + last.reserved > s.lane.x + WORDS + s.lane.room:
        return False
    s.x, s.top, s.h, s.y, s.after, s.reserved = last.end + JOINT, last.top, last.h, last.y, True, last.reserved
    return True


def _font(s: Step) -> str:
    return "tick" if s.hop.kind is HopKind.FUNCTION else "fn"


def _chip_width(device: str) -> float:
    return width(device, "chip") + 12 if device else 0


def _widths(steps: list[Step], lanes: list[Lane]) -> float:
    """Share the width among the lanes by what their names need, then by what their phrases would like."""
    least, liked = [], []
    for lane in lanes:
        own = [s for s in steps if s.lane is lane]
        names = [width(hop_name(s.hop), _font(s)) + _chip_width(s.device) for s in own]
        lines = [n + width(hop_detail(s.hop), "detail") + 12 for n, s in zip(names, own, strict=True)]
        least.append(WORDS + 14 + min(max([*names, 90]), 300))
        liked.append(max(least[-1], WORDS + 14 + min(max([*lines, 90]), 420)))
    space = FULL - GUTTER - 2 * EDGE
    spare = max(space - sum(least), 0)
    wants = [b - a for a, b in zip(least, liked, strict=True)]
    share = min(1.0, spare / sum(wants)) if sum(wants) else 0.0
    got = [a + w * share for a, w in zip(least, wants, strict=True)]
    if sum(got) > space:
        got = [g * space / sum(got) for g in got]
    total = max(sum(got), LEAST - GUTTER - 2 * EDGE)
    x = EDGE + GUTTER
    for lane, g in zip(lanes, got, strict=True):
        lane.x, lane.w = x, g + (total - sum(got)) / len(lanes)
        x += lane.w
    return x + EDGE


def _bands(c: Canvas, steps: list[Step]) -> None:
    """Tint the rows in softirq context and name every context in the gutter."""
    several = len({s.hop.cpu for s in steps}) > 1
    starts = [i for i, s in enumerate(steps) if not i or _who(s) != _who(steps[i - 1])]
    for start, stop in zip(starts, [*starts, len(steps)][1:], strict=True):
        first, last = steps[start], steps[stop - 1]
        top, low = first.top - 3, last.top + last.h + 3
        soft = first.hop.context is Context.SOFTIRQ
        if soft:
            c.rect(EDGE - 6, top, c.wide - 2 * EDGE + 12, low - top, "f-softirq", 4)
        bar = "f-softbar" if soft else "f-procbar"
        c.rect(EDGE, top + 2, 4, low - top - 4, bar, 2)
        c.text(EDGE + 10, top + 16, str(first.hop.context), "soft" if soft else "proc")
        if several and low - top > 34:
            c.text(EDGE + 10, top + 30, f"CPU {first.hop.cpu}", "small")


def _who(s: Step) -> tuple[Context, int]:
    return s.hop.context, s.hop.cpu


def _head(c: Canvas, j: Journey, lanes: list[Lane], bottom: float) -> None:
    """Write the title and how it ended, and the lanes' names and borders."""
    right = c.text(c.wide - EDGE, 24, j.backend, "small", anchor="end")
    title = journey_title(j)
    c.text(EDGE, 25, title, "title", room=c.wide - 2 * EDGE - right - 14)
    shapes.fate(c, EDGE + 10, 46, j.fate.kind)
    words = str(j.fate)
    used = c.text(EDGE + 26, 50, words, "strong", room=c.wide - 2 * EDGE - 30)
    line = summary(j.packet)
    if line != title and EDGE + 46 + used + width(line, "small") <= c.wide - EDGE:
        c.text(c.wide - EDGE, 50, line, "small", anchor="end")
    c.text(EDGE, HEAD - 17, "time ↓", "small")
    for lane in lanes:
        c.rect(lane.x + 3, HEAD - 34, lane.w - 6, 26, "f-head", 5)
        c.text(lane.x + WORDS - 4, HEAD - 16, lane.node, "node", room=lane.w - WORDS - 6)
        c.line(lane.x, HEAD - 34, lane.x, bottom - 8, "s-line", 1, "2 4")


def _track(c: Canvas, steps: list[Step]) -> None:
    """Draw the packet's way from shape to shape, with an arrow where it changes lanes."""
    for a, b in zip(steps, steps[1:], strict=False):
        x1, x2 = a.lane.rail, b.lane.rail
        if a.lane is b.lane:
            if a.y != b.y:
                c.line(x1, a.y, x2, b.y, "s-rail", 2)
            continue
        mid = a.top + a.h + (b.top - a.top - a.h) / 2
        bend = 7 if x2 > x1 else -7
        c.path(
            f"M{num(x1)} {num(a.y)}V{num(mid - 4)}Q{num(x1)} {num(mid)} {num(x1 + bend)} {num(mid)}"
            f"H{num(x2 - bend)}Q{num(x2)} {num(mid)} {num(x2)} {num(mid + 4)}V{num(b.y)}",
            "s-rail", 2,
        )  # fmt: skip
        tip = (x1 + x2) / 2
        d = 5 if x2 > x1 else -5
        c.path(f"M{num(tip - d)} {num(mid - 5)}L{num(tip + d)} {num(mid)}L{num(tip - d)} {num(mid + 5)}Z", "f-rail", 0)


def _step(c: Canvas, s: Step) -> None:
    """Draw one hop: shape, name, phrase, and the device from here on."""
    h, lane, edge = s.hop, s.lane, s.lane.x + WORDS + s.lane.room
    with c.group(tooltip(h)):
        left = s.x - 3 if s.plain else lane.x + 4
        c.rect(left, s.top, s.end + 3 - left if s.plain else lane.w - 8, s.h, "hover", 4)
        if s.after:
            c.text(s.x - JOINT / 2, s.y + 4, "›", "tick", anchor="middle")
        else:
            shapes.hop(c, lane.rail, s.y, h)
        if s.bare:
            return
        if s.device:
            c.rect(edge - s.reserved, s.y - 8, s.reserved - 2, 16, "o s-line", 8, ' stroke-width="1"')
            c.text(edge - s.reserved / 2 - 1, s.y + 3.7, s.device, "chip", anchor="middle")
        used = c.text(s.x, s.y + 4, hop_name(h), _font(s), room=0 if s.after else edge - s.x - s.reserved - 2)
        detail = hop_detail(h)
        font = "small" if h.kind is HopKind.FUNCTION else "detail"
        fill = shapes.verdict_class(int(h.data.get("verdict", 0))) if h.kind is HopKind.PROGRAM else ""
        if s.two:
            c.text(s.x, s.y + 18, detail, font, room=edge - s.x, fill=fill)
        elif detail:
            c.text(s.x + used + 8, s.y + 4, detail, font, fill=fill)


def _fate(c: Canvas, j: Journey, steps: list[Step], lanes: list[Lane], end: float) -> None:
    """Draw the end of the way: the fate's shape and words."""
    lane = steps[-1].lane if steps else lanes[-1]
    y = end + 19
    if steps:
        c.line(lane.rail, steps[-1].y + shapes.R + 1, lane.rail, y, "s-rail", 2)
    words = str(j.fate)
    wide = width(words, "strong") + 40
    x = max(EDGE, min(lane.rail - 14, c.wide - EDGE - wide))
    role = shapes.FATE_CLASS[j.fate.kind]
    with c.group(words, "fate"):
        c.rect(x, y - 14, min(wide, c.wide - 2 * EDGE), 28, f"o s-{role}", 14, ' stroke-width="1.8"')
        shapes.fate(c, x + 15, y, j.fate.kind)
        c.text(x + 31, y + 4.5, words, "strong", room=c.wide - 2 * EDGE - 36)


def _summary(c: Canvas, j: Journey, y: float) -> float:
    """Write what the way cost in a row of figures, then sender, counters and replies; return the drawing's height."""
    n = j.counts
    tiles = [
        (split(j, "lookups"), "route lookups" if n.lookups != 1 else "route lookup"),
        (str(n.queues), f"queues, {n.backlogs} backlog"),
        (split(j, "hooks"), "netfilter hooks" if n.hooks != 1 else "netfilter hook"),
        (str(n.programs), "programs" if n.programs != 1 else "program"),
        (str(n.drivers), "driver calls" if n.drivers != 1 else "driver call"),
        (f"{n.softirq_hops}/{n.hops}", "hops in softirq"),
    ]
    each = (c.wide - 2 * EDGE + 6) / len(tiles)
    for i, (figure, what) in enumerate(tiles):
        x = EDGE + i * each
        c.rect(x, y, each - 6, 42, "f-tile", 5)
        c.text(x + 9, y + 19, figure, "big")
        c.text(x + 9, y + 34, what, "small", room=each - 16)
    y += 60
    said = sender_line(j) + (". Figures with a +: here, and behind the wire" if len(j.machines) > 1 else "")
    c.text(EDGE, y, said[0].upper() + said[1:] + ".", "body", fill="bad" if j.sender_error else "")
    for heading, phrases in (
        ("Counters", counter_phrases(j)),
        (plural(len(j.replies), "reply", "replies"), [f"{summary(r.packet)}: {r.fate}" for r in j.replies]),
    ):
        lines = wrap(phrases, "mono", c.wide - 2 * EDGE - 76, "   ") if phrases else []
        for i, line in enumerate(lines):
            y += 18
            if not i:
                c.text(EDGE, y, heading, "small")
            c.text(EDGE + 70, y, line, "mono", room=c.wide - 2 * EDGE - 70)
    return y + 14

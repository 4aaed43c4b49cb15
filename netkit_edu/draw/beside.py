"""Two journeys side by side: the steps they share stand in one row, a step of one alone is tinted."""

from __future__ import annotations

from netkit_edu.draw import shapes
from netkit_edu.draw.canvas import Canvas
from netkit_edu.draw.palette import width
from netkit_edu.draw.words import (
    FIGURES,
    PLUS,
    describe_comparison,
    hop_detail,
    hop_name,
    journey_title,
    sender_line,
    split,
    tooltip,
)
from netkit_edu.journey import Comparison, Hop, HopKind, Journey
from netkit_edu.uapi import Context

WIDE, EDGE, GAP = 900, 14, 28  # px, the drawing, its margin, and the gap between the halves
HALF = (WIDE - 2 * EDGE - GAP) / 2
TICK, ROW, HEAD = 15, 25, 44
COLUMNS, TILE = 4, 48  # figures in a row, and px from one row to the next


def comparison(c: Comparison, *, key: str = "") -> str:
    """Return two aligned journeys as an SVG string, 900 px wide, with its text alternative.

    Args:
        c: what ``journey.compare`` returned.
        key: makes the ids unique where the same drawing stands twice on one page.
    """
    canvas = Canvas(WIDE)
    y = HEAD
    sides = [(EDGE, c.left), (EDGE + HALF + GAP, c.right)]
    for x, j in sides:
        _head(canvas, x, j)
    end = _rows(canvas, c, y)
    for x, j in sides:
        _fate(canvas, x, end + 22, j)
    high = _figures(canvas, c, end + 50)
    title = f"{journey_title(c.left)} beside {journey_title(c.right)}"
    return canvas.svg(high, title, describe_comparison(c), key)


def _head(canvas: Canvas, x: float, j: Journey) -> None:
    used = canvas.text(x + HALF, 25, j.backend, "small", anchor="end")
    canvas.text(x, 25, journey_title(j), "title", room=HALF - used - 12)


def _rows(canvas: Canvas, c: Comparison, y: float) -> float:
    """Draw the rows from ``y`` down, each side at its own pace between two common steps; return where they end."""
    ends, before = [y, y], [None, None]
    for row in c.rows:
        sides = [row.left, row.right]
        common = None not in sides
        headings = [h is not None and _place(h) != b for h, b in zip(sides, before, strict=True)]
        if common:
            ends = [max(e + 20 * f for e, f in zip(ends, headings, strict=True))] * 2
        for side, h in enumerate(sides):
            if h is None:
                continue
            x = EDGE + side * (HALF + GAP)
            ends[side] += 20 * (headings[side] and not common)
            if headings[side]:
                canvas.text(x + 12, ends[side] - 5, _place(h), "node")
            high = TICK if h.kind is HopKind.FUNCTION else ROW
            _cell(canvas, x, ends[side], high, h, alone=not common)
            ends[side] += high
            before[side] = _place(h)
        if common:
            middle = EDGE + HALF + GAP / 2
            canvas.line(middle - 9, ends[0] - high / 2, middle + 9, ends[0] - high / 2, "s-rail", 1.5, "2 3")
    return max(ends)


def _place(h: Hop) -> str:
    return f"{h.node}, {h.context}"


def _cell(canvas: Canvas, x: float, y: float, high: float, h: Hop, alone: bool) -> None:
    soft = h.context is Context.SOFTIRQ
    mid = y + high / 2
    with canvas.group(tooltip(h)):
        if soft:
            canvas.rect(x, y, HALF, high, "f-softirq")
        if alone:
            canvas.rect(x + 10, y + 0.5, HALF - 10, high - 1, "f-only", 3)
        canvas.rect(x, y, 6 if soft else 3, high, "f-softbar" if soft else "f-procbar")
        shapes.hop(canvas, x + 28, mid, h)
        font = "tick" if h.kind is HopKind.FUNCTION else "fn"
        used = canvas.text(x + 46, mid + 4, hop_name(h), font, room=HALF - 54)
        detail, room = hop_detail(h), HALF - 46 - used - 16
        if detail and room > 30:
            fill = shapes.verdict_class(int(h.data.get("verdict", 0))) if h.kind is HopKind.PROGRAM else ""
            canvas.text(
                x + 46 + used + 8, mid + 4, detail, "small" if font == "tick" else "detail", room=room, fill=fill
            )


def _fate(canvas: Canvas, x: float, y: float, j: Journey) -> None:
    wide = min(width(str(j.fate), "strong") + 40, HALF)
    canvas.rect(x, y - 14, wide, 28, f"o s-{shapes.FATE_CLASS[j.fate.kind]}", 14, ' stroke-width="1.8"')
    shapes.fate(canvas, x + 15, y, j.fate.kind)
    canvas.text(x + 31, y + 4.5, str(j.fate), "strong", room=wide - 36)


def _figures(canvas: Canvas, c: Comparison, y: float) -> float:
    """Write each figure of both journeys in one tile, and what their senders were told; return the drawing's height."""
    each = (WIDE - 2 * EDGE + 6) / COLUMNS
    for i, (figure, what) in enumerate(FIGURES.items()):
        left, right = split(c.left, figure), split(c.right, figure)
        x, top = EDGE + i % COLUMNS * each, y + i // COLUMNS * TILE
        canvas.rect(x, top, each - 6, TILE - 6, "f-only" if left != right else "f-tile", 5)
        canvas.text(x + 8, top + 19, f"{left} | {right}", "big", room=each - 14)
        canvas.text(x + 8, top + 34, what, "small", room=each - 14)
    y += -(-len(FIGURES) // COLUMNS) * TILE + 14
    if any(len(j.machines) > 1 for j in (c.left, c.right)):
        canvas.text(EDGE, y, f"Figures with a +: {PLUS}.", "small")
        y += 20
    for x, j in ((EDGE, c.left), (EDGE + HALF + GAP, c.right)):
        said = sender_line(j)
        fill = "bad" if j.sender_error else ""
        canvas.text(x, y, said[0].upper() + said[1:] + ".", "body", room=HALF, fill=fill)
    return y + 14

"""Costs as bars: one bar a row, from zero, what a base row costs set off from what comes on top of it.

Numbers stand beside the bars, so nothing has to be read off; where a row's runs lie apart visibly, a whisker shows it.
"""

from __future__ import annotations

from netkit_edu.costs import Costs, grouped, percent, signed
from netkit_edu.draw.canvas import Canvas, wrap
from netkit_edu.draw.palette import width

WIDE, EDGE = 900, 14  # px, the drawing and its margin
NAMES, MANY = 250, 12  # px that names may take; more rows than this are drawn narrower
ROW, NARROW = 28, 20  # px from one row to the next
COLUMNS = (("median", 96), ("over", 92), ("spread", 68))  # figures to the right, and px for each


def bars(costs: Costs, *, key: str = "") -> str:
    """Return costs as an SVG string, 900 px wide, with its text alternative.

    Args:
        costs: the table; its ``base`` row, if any, is the dark part of every bar.
        key: makes the ids unique where the same drawing stands twice on one page.
    """
    canvas = Canvas(WIDE)
    y = 26
    for line in wrap((costs.title or costs.unit).split(), "title", WIDE - 2 * EDGE):
        canvas.text(EDGE, y, line, "title", room=WIDE - 2 * EDGE)
        y += 20
    columns = [name for name, _ in COLUMNS if name != "over" or costs.base]
    left = EDGE + min(NAMES, max((width(name, "body") for name in costs), default=0)) + 12
    right = WIDE - EDGE - sum(px for name, px in COLUMNS if name in columns)
    _heads(canvas, costs, columns, y)
    y += 12
    most = max((cost.high for cost in costs.values()), default=0) or 1
    high = ROW if len(costs) <= MANY else NARROW
    for name in costs:
        _row(canvas, costs, name, y, high, left, (right - left) / most, columns)
        y += high
    canvas.line(left, y - len(costs) * high, left, y, "s-rail")
    return canvas.svg(y + 12, costs.title or costs.unit, text_bars(costs), key)


def text_bars(costs: Costs) -> str:
    """Return costs in words: the drawing's text alternative."""
    said = [f"{costs.title}, in {costs.unit}" if costs.title else costs.unit[:1].upper() + costs.unit[1:]]
    for name, cost in costs.items():
        over = f", {signed(costs.over(name))} against {costs.base}" if costs.base and name != costs.base else ""
        said.append(f"{name}: {grouped(cost.median)}{over}, spread {percent(cost.spread)}")
    return ". ".join(said) + "."


def _heads(canvas: Canvas, costs: Costs, columns: list[str], y: float) -> None:
    heads = {"over": "on top"}
    if costs.title:
        canvas.text(EDGE, y, costs.unit, "small", room=WIDE / 2)
    for name, x in _places(columns):
        canvas.text(x, y, heads.get(name, name), "small", anchor="end")


def _places(columns: list[str]) -> list[tuple[str, float]]:
    """Return each column of figures with its right edge."""
    places, x = [], WIDE - EDGE
    for name, px in reversed([c for c in COLUMNS if c[0] in columns]):
        places.append((name, x))
        x -= px
    return places


def _row(canvas: Canvas, costs: Costs, name: str, y: float, high: float, left: float, scale: float,
         columns: list[str]) -> None:  # fmt: skip
    cost, middle = costs[name], y + high / 2
    base = min(costs[costs.base].median, cost.median) if costs.base else 0.0
    figures = {"median": grouped(cost.median), "spread": percent(cost.spread)}
    if costs.base and name != costs.base:
        figures["over"] = signed(costs.over(name))
    with canvas.group(f"{name}: {grouped(cost.median)} {costs.unit}, runs {grouped(cost.low)} to {grouped(cost.high)}"):
        canvas.rect(EDGE - 4, y, WIDE - 2 * EDGE + 8, high, "hover", 4)
        canvas.text(EDGE, middle + 4, name, "body", room=left - EDGE - 12)
        thick = high - 9
        canvas.rect(left, middle - thick / 2, max(1.0, base * scale), thick, "f-rail")
        canvas.rect(left + base * scale, middle - thick / 2, max(0.0, cost.median - base) * scale, thick, "f-next")
        if (cost.high - cost.low) * scale > 2:
            _whisker(canvas, left + cost.low * scale, left + cost.high * scale, middle)
        for column, x in _places(columns):
            font = "mono" if column != "spread" else "tick"
            canvas.text(x, middle + 4, figures.get(column, ""), font, anchor="end")


def _whisker(canvas: Canvas, low: float, high: float, y: float) -> None:
    canvas.line(low, y, high, y, "s-ink", 1.5)
    for x in (low, high):
        canvas.line(x, y - 4, x, y + 4, "s-ink", 1.5)

"""Moments of a packet that a tracer saw, from top to bottom: a lane for each CPU, headed by whose time it is."""

from __future__ import annotations

from collections.abc import Sequence

from netkit_edu.draw import shapes
from netkit_edu.draw.canvas import Canvas
from netkit_edu.journey import Hop, HopKind
from netkit_edu.linux.carried import Carried
from netkit_edu.uapi import Context

WIDE, EDGE, GAP, TIME = 900, 14, 24, 70  # px: the drawing, its margin, between two lanes, and for the time
HEAD, ROW, PLACE = 54, 25, 22  # px
KINDS = {"netif_rx": HopKind.QUEUE, "enqueue_to_backlog": HopKind.QUEUE, "net_dev_xmit": HopKind.DRIVER,
         "veth_xmit": HopKind.DRIVER, "netkit_xmit": HopKind.DRIVER}  # fmt: skip
TITLE = "Who carried it, and where"


def moments(found: Sequence[Carried], *, title: str = "", key: str = "") -> str:
    """Return moments as an SVG string, 900 px wide, with its text alternative.

    Args:
        found: the moments, in order.
        title: what stands above them.
        key: makes the ids unique where the same drawing stands twice on one page.
    """
    canvas = Canvas(WIDE)
    title = title or TITLE
    canvas.text(EDGE, 25, title, "title", room=WIDE - 2 * EDGE)
    cpus = sorted({moment.cpu for moment in found})
    wide = (WIDE - 2 * EDGE - TIME - GAP * max(len(cpus) - 1, 0)) / (len(cpus) or 1)
    lanes = {cpu: EDGE + n * (wide + GAP) for n, cpu in enumerate(cpus)}
    for cpu, x in lanes.items():
        canvas.text(x, HEAD - 8, f"CPU {cpu}", "small")
    y, before = HEAD, None
    for moment in found:
        x = lanes[moment.cpu]
        if before is None or _place(before) != _place(moment):
            if before is not None and before.cpu != moment.cpu:
                canvas.line(lanes[before.cpu] + wide / 2, y + 6, x + 8, y + PLACE - 10, "s-rail", 1.5, "2 3")
            y += PLACE
            canvas.text(x + 12, y - 6, _place(moment), "node", room=wide - 12)
        _row(canvas, moment, x, y, wide)
        micros = (moment.ns - found[0].ns) / 1000
        canvas.text(WIDE - EDGE, y + ROW / 2 + 4, f"{micros:.0f} µs", "small", anchor="end")
        y, before = y + ROW, moment
    return canvas.svg(y + 12, title, text_moments(found), key)


def text_moments(found: Sequence[Carried]) -> str:
    """Return moments in words, a line each: the drawing's text alternative."""
    return "\n".join(f"CPU {moment.cpu}  {moment}" for moment in found) or "no moment was seen"


def _place(moment: Carried) -> str:
    context = f"softirq {moment.softirq}" if moment.softirq else "process"
    return f"{moment.task}, {context} context"


def _row(canvas: Canvas, moment: Carried, x: float, y: float, wide: float) -> None:
    soft, middle = moment.context is Context.SOFTIRQ, y + ROW / 2
    with canvas.group(str(moment)):
        if soft:
            canvas.rect(x, y, wide, ROW, "f-softirq")
        canvas.rect(x, y, 6 if soft else 3, ROW, "f-softbar" if soft else "f-procbar")
        kind = KINDS.get(moment.what, HopKind.FUNCTION)
        shapes.hop(canvas, x + 28, middle, Hop(moment.what, kind, moment.context, ""))
        used = canvas.text(x + 46, middle + 4, moment.what, "fn", room=wide - 54)
        if moment.device:
            canvas.text(x + 54 + used, middle + 4, moment.device, "detail", room=max(wide - used - 62, 1))

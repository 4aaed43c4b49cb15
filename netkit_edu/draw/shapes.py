"""The small shapes on a packet's way, one for each kind of hop, verdict and fate; all centred, about 20 px wide.

Verdicts: NEXT is an arrow, PASS a circle, DROP an octagon, REDIRECT a bent arrow's tag, an unknown code a square; each
carries its letter. The word always stands beside the shape.
"""

from __future__ import annotations

import math

from netkit_edu.draw.canvas import Canvas, num
from netkit_edu.journey import FateKind, Hop, HopKind, as_verdict
from netkit_edu.uapi import Verdict

R = 10  # px from the centre of a shape to its edge

KIND_WORDS = {
    HopKind.FUNCTION: "function",
    HopKind.LOOKUP: "route lookup",
    HopKind.HOOK: "netfilter hook",
    HopKind.QUEUE: "queue",
    HopKind.DRIVER: "driver call",
    HopKind.PROGRAM: "eBPF program",
    HopKind.WIRE: "cable",
    HopKind.DELIVER: "delivered",
    HopKind.DROP: "dropped",
}


def polygon(points: list[tuple[float, float]]) -> str:
    """Return the path data of a closed polygon."""
    return "M" + "L".join(f"{num(x)} {num(y)}" for x, y in points) + "Z"


def regular(x: float, y: float, r: float, sides: int, turn: float) -> str:
    """Return the path data of a regular polygon, ``turn`` in degrees."""
    angles = (math.radians(turn + 360 * i / sides) for i in range(sides))
    return polygon([(x + r * math.cos(a), y + r * math.sin(a)) for a in angles])


def verdict_name(code: int) -> str:
    """Return "PASS", "DROP", …, or "unknown 3" for a code that netkit does not know."""
    known = as_verdict(code)
    return known.name if isinstance(known, Verdict) else f"unknown {code}"


def verdict_class(code: int) -> str:
    """Return the colour role of a verdict."""
    known = as_verdict(code)
    return known.name.lower() if isinstance(known, Verdict) else "unknown"


def verdict(c: Canvas, x: float, y: float, code: int, r: float = R + 1) -> None:
    """Draw a verdict's shape with its letter."""
    role = verdict_class(code)
    fill = f"f-{role}"
    shift = 0.0
    if role == "pass":
        c.circle(x, y, r, fill, 0)
    elif role == "drop":
        c.path(regular(x, y, r + 0.8, 8, 22.5), fill, 0)
    elif role == "next":
        c.path(polygon([(x - r, y - r + 2), (x + r * 0.35, y - r + 2), (x + r + 3, y), (x + r * 0.35, y + r - 2),
                        (x - r, y + r - 2)]), fill, 0)  # fmt: skip
        shift = -1.2
    elif role == "redirect":
        corners = [(x - r - 3, y + r - 2), (x - r + 4, y - r + 2), (x + r + 3, y - r + 2), (x + r - 4, y + r - 2)]
        c.path(polygon(corners), fill, 0)
    else:
        c.rect(x - r + 1, y - r + 1, 2 * r - 2, 2 * r - 2, fill)
    letter = "?" if role == "unknown" else role[0].upper()
    c.text(x + shift, y + 4.2, letter, "letter", anchor="middle")


def _lookup(c: Canvas, x: float, y: float) -> None:
    c.path(regular(x, y, R, 4, 0), "o s-lookup", 1.8)
    c.path(f"M{num(x - 4)} {num(y)}h3l3 -3m-3 3l3 3", "s-lookup", 1.5)


def _hook(c: Canvas, x: float, y: float, dashed: bool) -> None:
    c.path(regular(x, y, R, 6, 0), "o s-hook", 1.8, "3 2" if dashed else "")
    if not dashed:
        c.circle(x, y, 2.5, "f-hook", 0)


def _queue(c: Canvas, x: float, y: float) -> None:
    c.path(f"M{num(x - R)} {num(y - 7)}h{2 * R}M{num(x - R)} {num(y + 7)}h{2 * R}", "s-queue", 1.8)
    c.rect(x - R, y - 6, 2 * R, 12, "o")
    for dx in (-7.5, -2, 3.5):
        c.rect(x + dx, y - 4.5, 4, 9, "f-queue")


def _driver(c: Canvas, x: float, y: float) -> None:
    c.rect(x - 8, y - 8, 16, 16, "o s-driver", 2.5, ' stroke-width="1.8"')
    c.path(f"M{num(x - 4.5)} {num(y)}h8m-3.5 -3.5l3.5 3.5l-3.5 3.5", "s-driver", 1.6)


def _wire(c: Canvas, x: float, y: float) -> None:
    c.rect(x - R, y - 6, 2 * R, 12, "o")
    c.path(f"M{num(x - R)} {num(y - 3)}h{2 * R}M{num(x - R)} {num(y + 3)}h{2 * R}", "s-driver", 1.8)


def deliver(c: Canvas, x: float, y: float) -> None:
    """A filled circle with a tick."""
    c.circle(x, y, R, "f-pass", 0)
    c.path(f"M{num(x - 5)} {num(y)}l3.5 4l6 -7.5", "s-onfill", 2.2)


def drop(c: Canvas, x: float, y: float) -> None:
    """A filled octagon with a cross."""
    c.path(regular(x, y, R + 1, 8, 22.5), "f-drop", 0)
    c.path(f"M{num(x - 4)} {num(y - 4)}l8 8m0 -8l-8 8", "s-onfill", 2.2)


def hop(c: Canvas, x: float, y: float, h: Hop) -> None:
    """Draw a hop's shape by its kind."""
    match h.kind:
        case HopKind.FUNCTION:
            c.line(x - 3.5, y, x + 3.5, y, "s-rail", 2)
        case HopKind.LOOKUP:
            _lookup(c, x, y)
        case HopKind.HOOK:
            _hook(c, x, y, dashed=not h.observable)
        case HopKind.QUEUE:
            _queue(c, x, y)
        case HopKind.DRIVER:
            _driver(c, x, y)
        case HopKind.PROGRAM:
            verdict(c, x, y, int(h.data.get("verdict", 0)))
        case HopKind.WIRE:
            _wire(c, x, y)
        case HopKind.DELIVER:
            deliver(c, x, y)
        case HopKind.DROP:
            drop(c, x, y)


FATE_CLASS = {
    FateKind.DELIVERED: "pass",
    FateKind.DROPPED: "drop",
    FateKind.LOST: "unknown",
    FateKind.TRANSMITTED: "next",
    FateKind.NOT_SENT: "drop",
}


def fate(c: Canvas, x: float, y: float, kind: FateKind) -> None:
    """Draw how a packet ended: tick, cross, question mark, arrow out, or a bar across."""
    if kind is FateKind.DELIVERED:
        deliver(c, x, y)
    elif kind is FateKind.DROPPED:
        drop(c, x, y)
    elif kind is FateKind.LOST:
        c.path(regular(x, y, R + 1, 3, -90), "f-unknown", 0)
        c.text(x, y + 5, "?", "letter", anchor="middle")
    elif kind is FateKind.TRANSMITTED:
        c.rect(x - R, y - R + 1, 2 * R, 2 * R - 2, "f-next", 3)
        c.path(f"M{num(x - 5)} {num(y)}h9m-4 -4l4 4l-4 4", "s-onfill", 2)
    else:
        c.circle(x, y, R, "f-drop", 0)
        c.line(x - 5.5, y, x + 5.5, y, "s-onfill", 2.6)

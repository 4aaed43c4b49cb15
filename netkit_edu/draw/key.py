"""The key to the drawings, drawn with the very shapes it explains."""

from __future__ import annotations

from netkit_edu.draw import shapes
from netkit_edu.draw.canvas import Canvas
from netkit_edu.draw.palette import width
from netkit_edu.draw.shapes import KIND_WORDS
from netkit_edu.draw.words import MARKS
from netkit_edu.journey import FateKind, Hop, HopKind
from netkit_edu.uapi import Context

_KINDS = (
    (HopKind.FUNCTION, True, "a function of the kernel"),
    (HopKind.LOOKUP, True, "route lookup"),
    (HopKind.HOOK, True, "netfilter hook"),
    (HopKind.HOOK, False, "hook with nothing registered"),
    (HopKind.QUEUE, True, "queue: the packet waits"),
    (HopKind.DRIVER, True, "driver call (ndo_start_xmit)"),
    (HopKind.WIRE, True, "cable"),
)
_VERDICTS = ((-1, "NEXT"), (0, "PASS"), (2, "DROP"), (7, "REDIRECT"), (3, "any other code: drops"))


def legend(*, key: str = "") -> str:
    """Return the key to all drawings as an SVG string."""
    c = Canvas(900)
    c.text(14, 25, "How to read the drawings", "title")
    y = _row(c, 50, "hops", [(lambda x, y, k=k, o=o: _hop(c, x, y, k, o), words) for k, o, words in _KINDS])
    y = _row(c, y, "verdicts", [(lambda x, y, n=n: shapes.verdict(c, x, y, n), words) for n, words in _VERDICTS])
    y = _row(c, y, "fates", [(lambda x, y, k=k: shapes.fate(c, x, y, k), str(k)) for k in FateKind])
    c.text(14, y + 4, "contexts", "small")
    c.rect(92, y - 8, 4, 18, "f-procbar", 2)
    used = c.text(104, y + 4, "process", "proc")
    used = 104 + used + c.text(110 + used, y + 4, "the sender's own time", "detail") + 30
    c.rect(used, y - 11, 330, 24, "f-softirq", 4)
    c.rect(used + 6, y - 8, 4, 18, "f-softbar", 2)
    soft = c.text(used + 18, y + 4, "softirq", "soft")
    c.text(used + 28 + soft, y + 4, "the kernel's deferred work, tinted", "detail")
    return c.svg(y + 26, "How to read the drawings", _describe(), key)


def text_legend() -> str:
    """Return the key as plain text, with the signs that plain-text journeys use."""
    signs = ", ".join(f"{MARKS[k]} {KIND_WORDS[k]}" for k in HopKind if MARKS[k].strip())
    verdicts = ", ".join(words for _, words in _VERDICTS)
    fates = ", ".join(str(k) for k in FateKind)
    return f"hops: {signs}\nverdicts: {verdicts}\nfates: {fates}\ncontexts: process, softirq"


def _hop(c: Canvas, x: float, y: float, kind: HopKind, observable: bool) -> None:
    shapes.hop(c, x, y, Hop("", kind, Context.PROCESS, "", observable=observable))


def _row(c: Canvas, y: float, heading: str, items: list) -> float:
    """Draw one heading and its items, over several lines where needed; return the next row's y."""
    c.text(14, y + 4, heading, "small")
    x = 104
    for draw, words in items:
        wide = width(words, "detail") + 40
        if x + wide > c.wide - 10:
            x, y = 104, y + 28
        draw(x, y)
        c.text(x + 18, y + 4, words, "detail")
        x += wide + 4
    return y + 32


def _describe() -> str:
    kinds = "; ".join(words for _, _, words in _KINDS)
    verdicts = (
        "NEXT a blue arrow with N; PASS a green circle with P; DROP a red octagon with D; REDIRECT a slanted box with R"
        "; any other code a square with a question mark"
    )
    fates = ", ".join(str(k) for k in FateKind)
    return f"Shapes of hops: {kinds}. Verdicts: {verdicts}. Fates: {fates}. Rows in softirq context are tinted."

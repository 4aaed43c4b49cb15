"""The pencil: a list of SVG elements with escaped text, a fixed width, and a text alternative.

Coordinates are px. Nothing here knows what is drawn. Output is deterministic: the same calls give the same string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape, quoteattr

from netkit_edu.draw.palette import css, width

# XML 1.0 forbids most control characters even as references.
_FORBIDDEN = {c: "\N{REPLACEMENT CHARACTER}" for c in [*range(0x20), 0xFFFE, 0xFFFF] if c not in (0x9, 0xA, 0xD)}
_FORBIDDEN |= {c: "\N{REPLACEMENT CHARACTER}" for c in range(0xD800, 0xE000)}


def clean(text: object) -> str:
    """Return ``text`` escaped for XML content, characters that XML cannot hold replaced."""
    return escape(str(text).translate(_FORBIDDEN))


def attribute(text: object) -> str:
    """Return ``text`` quoted and escaped as an XML attribute value, quotes included."""
    return quoteattr(str(text).translate(_FORBIDDEN))


def shorten(text: str, font: str, room: float) -> str:
    """Return ``text``, cut with an ellipsis where it would take more than ``room`` px."""
    if width(text, font) <= room:
        return text
    while text and width(text + "…", font) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(words: list[str], font: str, room: float, joint: str = " ") -> list[str]:
    """Return lines of ``words`` joined by ``joint``, none wider than ``room`` px unless one word alone is."""
    lines: list[str] = []
    for word in words:
        if lines and width(lines[-1] + joint + word, font) <= room:
            lines[-1] += joint + word
        else:
            lines.append(word)
    return lines


def num(value: float) -> str:
    """Return a number as SVG wants it, at most one decimal."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


class Canvas:
    """Elements in drawing order; `svg` closes them into one document."""

    def __init__(self, wide: float):
        self.wide = wide
        self.parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, classes: str, rx: float = 0, extra: str = "") -> None:
        """A rectangle; ``rx`` rounds its corners."""
        round_ = f' rx="{num(rx)}"' if rx else ""
        self.parts.append(
            f'<rect x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}"{round_} class="{classes}"{extra}/>'
        )

    def path(self, d: str, classes: str, stroke: float = 1.5, dash: str = "") -> None:
        """A path from its ``d`` data."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path d="{d}" class="{classes}" stroke-width="{num(stroke)}"{dashed}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str, stroke: float = 1, dash: str = "") -> None:
        """A straight line."""
        self.path(f"M{num(x1)} {num(y1)}L{num(x2)} {num(y2)}", classes, stroke, dash)

    def circle(self, x: float, y: float, r: float, classes: str, stroke: float = 1.5) -> None:
        """A circle."""
        self.parts.append(
            f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(r)}" class="{classes}" stroke-width="{num(stroke)}"/>'
        )

    def text(
        self, x: float, y: float, words: str, font: str, *, room: float = 0, anchor: str = "", fill: str = ""
    ) -> float:
        """Write ``words`` with their baseline at ``y``; cut to ``room`` px if given. Return the width taken, in px."""
        shown = shorten(words, font, room) if room else words
        where = f' text-anchor="{anchor}"' if anchor else ""
        color = f' style="fill:var(--nk-{fill})"' if fill else ""
        self.parts.append(f'<text x="{num(x)}" y="{num(y)}" class="{font}"{where}{color}>{clean(shown)}</text>')
        return width(shown, font)

    @contextmanager
    def group(self, tooltip: str, classes: str = "hop") -> Iterator[None]:
        """Group what is drawn inside, under a tooltip."""
        self.parts.append(f'<g class="{classes}"><title>{clean(tooltip)}</title>')
        yield
        self.parts.append("</g>")

    def svg(self, high: float, title: str, description: str, key: str = "") -> str:
        """Return the whole drawing ``high`` px tall.

        Args:
            title: the short text alternative, also the accessible name.
            description: the long one: everything the picture says, in words.
            key: makes the ids unique where the same drawing stands twice on one page.
        """
        body = "".join(self.parts)
        digest = hashlib.sha256((body + title + description).encode("utf-8", "replace")).hexdigest()[:10]
        ident = f"nk-{digest}{key}"
        box = f'viewBox="0 0 {num(self.wide)} {num(high)}" width="{num(self.wide)}" height="{num(high)}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nk" id="{ident}" {box} role="img"'
            f' aria-label={attribute(title)} aria-describedby="{ident}-d" style="max-width:100%;height:auto">'
            f'<title>{clean(title)}</title><desc id="{ident}-d">{clean(description)}</desc><style>{css()}</style>'
            f'<rect x="0.5" y="0.5" width="{num(self.wide - 1)}" height="{num(high - 1)}" rx="8" class="card"'
            f' style="fill:var(--nk-bg);stroke:var(--nk-line)"/>{body}</svg>'
        )

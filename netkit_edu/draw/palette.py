"""Colours, fonts and the style sheet of every drawing, for light and dark.

A drawing carries its own background, so it stays legible wherever it is put. Three things choose the theme, the later
winning: light by default, the reader's ``prefers-color-scheme``, JupyterLab's own theme (it marks ``<body>`` with
``data-jp-theme-light``). Print is always light. Colour never speaks alone: kinds and verdicts have shapes and words.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

LIGHT = {
    "bg": "#ffffff", "ink": "#1b1f24", "muted": "#545d68", "line": "#c9d1d9", "rail": "#6e7781",
    "head": "#eef1f5", "softirq": "#fdf0d5", "softbar": "#9c4d00", "procbar": "#57606a", "only": "#e6f0ff",
    "tile": "#f5f7fa", "pass": "#177033", "next": "#0a5fc2", "drop": "#c4232b", "redirect": "#7a3cc4",
    "unknown": "#7d4e00", "onfill": "#ffffff", "lookup": "#0b6478", "hook": "#5f5b00", "queue": "#a04100",
    "driver": "#3a4450", "bad": "#b01e26", "badbg": "#fdf0f0", "mark": "#fff3b0",
}  # fmt: skip
DARK = {
    "bg": "#15191e", "ink": "#e9edf2", "muted": "#a3afbb", "line": "#3d4853", "rail": "#8b97a3",
    "head": "#222931", "softirq": "#2b2412", "softbar": "#f2b13c", "procbar": "#a3afbb", "only": "#172b45",
    "tile": "#1d232a", "pass": "#56cf7b", "next": "#79b4ff", "drop": "#ff8f8a", "redirect": "#cfaaff",
    "unknown": "#efc15c", "onfill": "#0b0f13", "lookup": "#5ccbe0", "hook": "#d6cf5a", "queue": "#ff9d5c",
    "driver": "#c3ced9", "bad": "#ff8f8a", "badbg": "#2e1a1b", "mark": "#4a4210",
}  # fmt: skip

SANS = "var(--jp-ui-font-family, system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif)"
MONO = "var(--jp-code-font-family, ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace)"


class Font(NamedTuple):
    """A text class: size in px, monospaced or not, weight, and the colour role it is filled with."""

    size: float
    mono: bool = False
    weight: int = 400
    color: str = "ink"


FONTS = {
    "title": Font(15, weight=600),
    "node": Font(13, weight=600),
    "fn": Font(12.5, mono=True, weight=600),
    "tick": Font(10.5, mono=True, color="muted"),
    "detail": Font(11.5, color="ink"),
    "small": Font(11, color="muted"),
    "chip": Font(10.5, mono=True, color="ink"),
    "mono": Font(11.5, mono=True),
    "big": Font(17, weight=600),
    "body": Font(12.5),
    "strong": Font(12.5, weight=600),
    "letter": Font(11.5, weight=700, color="onfill"),
    "soft": Font(11, weight=600, color="softbar"),
    "proc": Font(11, weight=600, color="procbar"),
}
VERDICT_CLASSES = ("pass", "next", "drop", "redirect", "unknown")
_WIDE = 0.602  # advance of DejaVu Sans Mono and Menlo in em; Consolas is narrower
_SANS_NARROW, _SANS_MEAN = set("ijlI.,:;'|!()[] "), 0.63


def width(text: str, font: str) -> float:
    """Return about how many px ``text`` takes in a text class; errs on the wide side, since readers' fonts differ."""
    f = FONTS[font]
    if f.mono:
        return len(text) * _WIDE * f.size
    ems = sum(
        0.36 if c in _SANS_NARROW else 0.9 if c in "mwMW@→" else 0.73 if c.isupper() else _SANS_MEAN for c in text
    )
    return ems * f.size * (1.13 if f.weight >= 600 else 1.0)


def _variables(theme: dict[str, str]) -> str:
    return ";".join(f"--nk-{k}:{v}" for k, v in theme.items())


@cache
def css() -> str:
    """Return the style sheet; every rule is confined to the class ``nk``, so it touches nothing else on a page."""
    rules = [
        f".nk{{{_variables(LIGHT)};color-scheme:light}}",
        f"@media (prefers-color-scheme:dark){{.nk{{{_variables(DARK)};color-scheme:dark}}}}",
        f"body[data-jp-theme-light='true'] .nk{{{_variables(LIGHT)};color-scheme:light}}",
        f"body[data-jp-theme-light='false'] .nk{{{_variables(DARK)};color-scheme:dark}}",
        f"@media print{{.nk,body[data-jp-theme-light] .nk{{{_variables(LIGHT)}}}}}",
    ]
    for name, f in FONTS.items():
        family = MONO if f.mono else SANS
        rules.append(f".nk .{name}{{font:{f.weight} {f.size}px {family};fill:var(--nk-{f.color})}}")
    for role in LIGHT:
        rules.append(f".nk .f-{role}{{fill:var(--nk-{role})}}.nk .s-{role}{{stroke:var(--nk-{role});fill:none}}")
    rules += [
        ".nk .o{fill:var(--nk-bg)}",
        ".nk text{stroke:none;white-space:pre}",
        ".nk g.hop:hover .hover{fill:var(--nk-mark)}",
        ".nk .hover{fill:transparent}",
    ]
    return "".join(rules)

"""HTML for a notebook: boxes, tables and code in the colours of the drawings, every text escaped.

Each fragment carries its own style sheet, confined to the class ``nk``, so that it looks the same when the notebook is
exported.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from functools import cache

from netkit_edu.draw.palette import MONO, SANS, css

TONES = {"good": "pass", "bad": "bad", "plain": "rail", "warn": "unknown"}


@cache
def style() -> str:
    """Return the style element of every fragment."""
    rules = [
        f".nk.box{{font:13px/1.5 {SANS};color:var(--nk-ink);background:var(--nk-bg);border:1px solid var(--nk-line);"
        "border-left-width:5px;border-radius:6px;padding:8px 14px;margin:4px 0;max-width:900px;box-sizing:border-box}",
        *(f".nk.box.{tone}{{border-left-color:var(--nk-{role})}}" for tone, role in TONES.items()),
        ".nk.box.bad{background:var(--nk-badbg)}",
        ".nk.box .word{font-weight:600}",
        *(f".nk.box.{tone} .word{{color:var(--nk-{role})}}" for tone, role in TONES.items() if tone != "plain"),
        ".nk.box p{margin:2px 0;color:inherit}",
        f".nk.box code,.nk.box pre{{font:12.5px/1.5 {MONO};color:inherit;background:none;padding:0}}",
        ".nk.box pre{margin:4px 0;overflow-x:auto;white-space:pre}",
        ".nk.box .dim{color:var(--nk-muted)}",
        ".nk.box .wrong{color:var(--nk-bad);font-weight:600}",
        ".nk.box .on{background:var(--nk-mark)}",
        ".nk.box summary{cursor:pointer;color:var(--nk-muted);margin-top:2px}",
        ".nk.box table{border-collapse:collapse;margin:6px 0;font:inherit;border:0}",
        ".nk.box table tr{background:none!important}",
        ".nk.box table :is(td,th){padding:1px 12px 1px 0;text-align:left!important;vertical-align:top;border:0;"
        "color:inherit;white-space:pre-wrap;font-weight:inherit}",
        ".nk.box table thead th{color:var(--nk-muted);font-weight:600}",
        ".nk.box table tr.c td{padding-top:6px;font-weight:600}",
        ".nk.box table tr.on td{background:var(--nk-mark)}",
        ".nk.box svg{vertical-align:middle}",
        ".nk.box .cols{display:flex;flex-wrap:wrap;gap:8px 36px}",
    ]
    return f"<style>{css()}{''.join(rules)}</style>"


def esc(text: object) -> str:
    """Return a text escaped for HTML."""
    return html.escape(str(text))


def inline(text: object) -> str:
    """Return a sentence escaped for HTML, words between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", esc(text))


def plain(text: object) -> str:
    """Return a sentence without the backticks around its words of code, for where only bare text can stand."""
    return re.sub(r"`([^`]+)`", r"\1", str(text))


def box(body: str, tone: str = "plain", role: str = "") -> str:
    """Return a box around HTML; ``tone`` is "good", "bad", "warn" or "plain", ``role`` an ARIA role ("alert")."""
    said = f' role="{role}"' if role else ""
    return f'<div class="nk box {tone}"{said}>{style()}{body}</div>'


def code(text: object) -> str:
    """Return a text as inline code."""
    return f"<code>{esc(text)}</code>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], classes: Iterable[str] = ()) -> str:
    """Return a table of HTML cells under plain headings; ``classes`` names each row's class."""
    named = iter(classes)
    cells = "".join(f"<th scope='col'>{esc(h)}</th>" for h in heads)
    head = f"<thead><tr>{cells}</tr></thead>" if heads else ""
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr class='{next(named, '')}'>{line}</tr>" for line in lines)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def details(summary: str, body: str, open_: bool = False) -> str:
    """Return a part that opens on demand; ``summary`` is plain text."""
    return f"<details{' open' if open_ else ''}><summary>{esc(summary)}</summary>{body}</details>"

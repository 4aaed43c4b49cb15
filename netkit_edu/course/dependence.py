"""What a recording depends on: the notebook's cells that make what its experiment uses, and no others.

A cell needs another one above it that binds a name it uses, and whatever that one needs. So prose, exercises and
predictions may change without a recording growing old, and what a piece runs may not.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import symtable
from collections.abc import Sequence
from pathlib import Path

from netkit_edu.errors import CourseError

_C_CELL = re.compile(r"%%(?:bpf|bcc)\b[ \t]*(?P<name>[A-Za-z_]\w*)?")
_C_FUNCTION = re.compile(r"^(?:static )?\w[\w\s*]*?\b(\w+)\(struct __sk_buff \*", re.M)


def code_of(notebook: Path, key: str) -> str:
    """Return a digest of the code that a recording was made by: while it stays, the recording is not stale.

    Args:
        notebook: the chapter's file.
        key: the recording's, which one cell names in a call of ``on_linux``.

    Raises:
        CourseError: no cell does.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    text = "\0".join(texts[i] for i in needed(texts, key))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def needed(texts: Sequence[str], key: str) -> list[int]:
    """Return which of a notebook's code cells the piece of this key needs, in order, its own included."""
    asks = re.compile(rf"on_linux\(\s*[\"']{re.escape(key)}[\"']")
    asked = [i for i, text in enumerate(texts) if asks.search(text)]
    if not asked:
        raise CourseError(f"no cell of this notebook has on_linux({key!r}, …)")
    found: list[int] = []
    wanted: set[str] = set()
    for i in range(asked[-1], -1, -1):
        if i in asked or _binds(texts[i]) & wanted:
            found.append(i)
            wanted |= _uses(texts[i])
    return found[::-1]


def _uses(text: str) -> set[str]:
    """Return the names that a cell takes from elsewhere, those of its functions' bodies included."""
    if _C_CELL.match(text):
        return set()
    code = _python(text)
    counters = {
        n.id for loop in ast.parse(code).body if isinstance(loop, ast.For) for n in ast.walk(loop.target)
        if isinstance(n, ast.Name)
    }  # fmt: skip
    top = symtable.symtable(code, "cell", "exec")
    used = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()} - counters
    inside = list(top.get_children())
    while inside:
        table = inside.pop()
        used |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        inside += table.get_children()
    return used


def _binds(text: str) -> set[str]:
    """Return the names that a cell makes."""
    if c_cell := _C_CELL.match(text):
        return {c_cell["name"]} if c_cell["name"] else set(_C_FUNCTION.findall(text))
    top = symtable.symtable(_python(text), "cell", "exec")
    return {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def _python(text: str) -> str:
    """Return a cell without what is IPython's own."""
    return "\n".join("" if line.lstrip()[:1] in ("%", "!", "?") else line for line in text.splitlines())

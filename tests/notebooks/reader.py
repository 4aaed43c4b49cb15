"""Notebooks as the tests read them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from netkit_edu.course import catalogue

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
CHAPTERS = [chapter for chapter in catalogue.load().chapters.values() if chapter.written]


@cache
def read(name: str) -> dict:
    """Return the notebook of a chapter's name as JSON."""
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    """Return a cell's text."""
    return "".join(cell["source"])


def cells(name: str, kind: str = "") -> list[dict]:
    """Return the cells of one kind ("markdown", "code"), all of them by default."""
    return [cell for cell in read(name)["cells"] if kind in ("", cell["cell_type"])]


def exercise_of(cell: dict) -> str:
    """Return the id of the exercise whose stub this cell is, "" for any other cell."""
    return cell["metadata"].get("netkit_edu", {}).get("exercise", "")

"""What a learner has tried and solved, kept in one small file on the learner's own machine.

The file is ``progress.json`` in the folder NETKIT_EDU_STATE, else in the user's state folder (XDG base directories).
Where it cannot be read or written, the process remembers for itself; nothing is sent anywhere.
"""

from __future__ import annotations

import html
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from netkit_edu.course.catalogue import Catalogue, load

_memory: dict[str, dict[str, dict]] = {}  # state file -> what this process knows


def state_file() -> Path:
    """Return where progress is kept; the folder need not exist."""
    folder = os.environ.get("NETKIT_EDU_STATE")
    if folder:
        return Path(folder) / "progress.json"
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "netkit-edu" / "progress.json"


def record(exercise: str, passed: bool) -> None:
    """Count one attempt at an exercise; once passed, it stays passed."""
    state = _entry(exercise)
    _store(exercise, {**state, "attempts": state["attempts"] + 1, "passed": state["passed"] or passed})


def record_hint(exercise: str, seen: int) -> None:
    """Remember that ``seen`` hints of an exercise have been shown."""
    state = _entry(exercise)
    _store(exercise, {**state, "hints": max(state["hints"], seen)})


def attempts(exercise: str) -> int:
    """Return how often an exercise was checked with an answer."""
    return _entry(exercise)["attempts"]


def hints_seen(exercise: str) -> int:
    """Return how many hints of an exercise have been shown."""
    return _entry(exercise)["hints"]


@dataclass(frozen=True)
class Progress:
    """A table of the exercises: for each its chapter, title, and "solved", "tried" or "". Text or HTML."""

    rows: tuple[tuple[str, str, str, str], ...]
    note: str

    @property
    def solved(self) -> int:
        """How many exercises are solved."""
        return sum(state == "solved" for *_, state in self.rows)

    def __repr__(self) -> str:
        lines = [f"{self.solved} of {len(self.rows)} exercises solved"]
        for identifier, title, _, state in self.rows:
            mark = {"solved": "[✓]", "tried": "[~]"}.get(state, "[ ]")
            lines.append(f"  {mark} {identifier:<18} {title}")
        return "\n".join([*lines, self.note] if self.note else lines)

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><td style='text-align:left'><code>{html.escape(identifier)}</code></td>"
            f"<td style='text-align:left'>{html.escape(title)}</td>"
            f"<td style='text-align:left'>{html.escape(state or 'open')}</td></tr>"
            for identifier, title, _, state in self.rows
        )
        head = "<tr><th scope='col'>exercise</th><th scope='col'>title</th><th scope='col'>state</th></tr>"
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        caption = f"{self.solved} of {len(self.rows)} exercises solved"
        return f"<table><caption>{caption}</caption><thead>{head}</thead><tbody>{body}</tbody></table>{note}"


def progress(catalogue: Catalogue | None = None) -> Progress:
    """Return which exercises are solved, tried, or open."""
    catalogue = catalogue or load()
    rows = []
    for entry in catalogue.exercises.values():
        state = _entry(entry.id)
        word = "solved" if state["passed"] else "tried" if state["attempts"] else ""
        rows.append((entry.id, entry.title, entry.chapter, word))
    note = "" if _writable() else "(This machine does not let me keep a file: the list lasts as long as this notebook.)"
    return Progress(tuple(rows), note)


def _writable() -> bool:
    return not _memory.get(str(state_file()), {}).get("", {}).get("unwritable", False)


def _entry(exercise: str) -> dict:
    found = _all().get(exercise, {})
    return {
        "attempts": int(found.get("attempts", 0)),
        "passed": bool(found.get("passed", False)),
        "hints": int(found.get("hints", 0)),
    }


def _all() -> dict[str, dict]:
    """Return everything known: the file's content, and over it what this process remembers."""
    path = state_file()
    remembered = _memory.get(str(path), {})
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["exercises"]
        return {**{k: v for k, v in stored.items() if isinstance(v, dict)}, **remembered}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return dict(remembered)


def _store(exercise: str, state: dict) -> None:
    """Write the file whole, by rename, so that a reader never meets half of it; else remember."""
    path = state_file()
    everything = {k: v for k, v in _all().items() if k}
    everything[exercise] = state
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix="progress", suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"version": 1, "exercises": everything}, file, indent=1, sort_keys=True)
        os.replace(name, path)
        _memory.pop(str(path), None)
    except OSError:
        _memory[str(path)] = {**everything, "": {"unwritable": True}}

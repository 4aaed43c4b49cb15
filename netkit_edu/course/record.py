"""``python -m netkit_edu record``: run notebooks on a real kernel and keep what their `on_linux` cells returned."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from netkit_edu.course.catalogue import load
from netkit_edu.course.dependence import code_of
from netkit_edu.course.linux import KEPT
from netkit_edu.course.recordings import Recording
from netkit_edu.errors import CourseError

PATIENCE_S = 300  # for one cell


def record(chapters: Sequence[str] = (), *, say: Callable[[str], None] = print) -> list[str]:
    """Record chapters anew; return the keys that were written.

    Each notebook runs whole, and nothing is changed before it has run to its end. What a cell cannot run on this
    machine keeps the recording it has: a piece for BCC where BCC is not, for example.

    Args:
        chapters: numbers such as "09"; by default every chapter that has an `on_linux` cell.
        say: told what is going on, line by line.

    Raises:
        CourseError: there is no such chapter, it has nothing to record, or a cell fails.
    """
    package = Path(__file__).resolve().parent.parent
    folder, to = package.parent / "notebooks", package / "recordings"
    if not folder.is_dir():
        raise CourseError("recordings are made in the repository: there are no notebooks beside the package")
    known = {c.number: folder / f"{c.name}.ipynb" for c in load().chapters.values() if c.written}
    if unknown := [number for number in chapters if number not in known]:
        raise CourseError(f"no chapter {', '.join(unknown)}; there are {', '.join(known)}")
    written = []
    for number, path in known.items():
        if "nk.on_linux(" not in path.read_text(encoding="utf-8") or (chapters and number not in chapters):
            if number in chapters:
                raise CourseError(f"chapter {number} has no on_linux cell")
            continue
        with tempfile.TemporaryDirectory(prefix="netkit-edu-record-") as work:
            say(f"{path.stem} ...")
            _run(path, Path(work))
            written += replace(number, path, Path(work), to, say)
    return written


def _run(path: Path, work: Path) -> None:
    """Run a notebook, whose pieces leave in ``work`` what they returned, or why they could not run."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    env = {**os.environ, "NETKIT_EDU_RECORD_NOTEBOOK": str(path), "NETKIT_EDU_RECORD_FOLDER": str(work),
           "NETKIT_EDU_LINUX": os.environ.get("NETKIT_EDU_LINUX") or "vm"}  # fmt: skip
    try:
        client = NotebookClient(
            nbformat.read(path, as_version=4), timeout=PATIENCE_S, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute(env=env)
    except CellExecutionError as error:
        raise CourseError(f"{path.stem}: a cell failed, nothing was kept:\n{error}") from None


def replace(number: str, path: Path, work: Path, to: Path, say: Callable[[str], None]) -> list[str]:
    """Put what a run made in the place of a chapter's recordings, except where it could not; return the keys made.

    Args:
        number: the chapter's.
        path: its notebook.
        work: the folder with what the run left: ``<key>.json``, or ``<key>.kept`` with the reason.
        to: the folder of the recordings.
        say: told each key, and why an old recording stays.
    """
    to.mkdir(exist_ok=True)
    made = sorted(p.stem for p in work.glob("*.json"))
    kept = {p.name.removesuffix(KEPT): p.read_text(encoding="utf-8") for p in sorted(work.glob(f"*{KEPT}"))}
    for old in to.glob(f"{number}.*.json"):
        if old.stem not in kept:
            old.unlink()
    for key in made:
        shutil.move(work / f"{key}.json", to / f"{key}.json")
        say(f"  {key}")
    for key, why in kept.items():
        if key not in made:
            found = Recording.from_json((to / f"{key}.json").read_text(encoding="utf-8"))
            stale = "" if found.code == code_of(path, key) else " Its code has changed since: it is stale."
            say(f"  {key} stays as of {found.date}, Linux {found.kernel}: {why}.{stale}")
    return made

"""``python -m netkit_edu record``: run notebooks on a real kernel and keep what their `on_linux` cells returned."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from netkit_edu.course.catalogue import load
from netkit_edu.errors import CourseError


def record(chapters: Sequence[str] = (), *, say: Callable[[str], None] = print) -> list[str]:
    """Record chapters anew; return the keys that were written.

    Each notebook runs whole. Its recordings replace the old ones only once it has run to its end.

    Args:
        chapters: numbers such as "09"; by default every chapter that has an `on_linux` cell.
        say: told what is going on, line by line.

    Raises:
        CourseError: there is no such chapter, it has nothing to record, or a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

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
            env = {**os.environ, "NETKIT_EDU_RECORD_NOTEBOOK": str(path), "NETKIT_EDU_RECORD_FOLDER": work,
                   "NETKIT_EDU_LINUX": os.environ.get("NETKIT_EDU_LINUX") or "vm"}  # fmt: skip
            try:
                client = NotebookClient(
                    nbformat.read(path, as_version=4), timeout=300, resources={"metadata": {"path": str(folder)}}
                )
                client.execute(env=env)
            except CellExecutionError as error:
                raise CourseError(f"{path.stem}: a cell failed, nothing was kept:\n{error}") from None
            to.mkdir(exist_ok=True)
            for old in to.glob(f"{number}.*.json"):
                old.unlink()
            for made in sorted(Path(work).glob("*.json")):
                shutil.move(made, to / made.name)
                written.append(made.stem)
                say(f"  {made.stem}")
    return written

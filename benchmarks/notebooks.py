"""Seconds per notebook, top to bottom as shipped, each with a kernel of its own. Bar: 120 s for the whole course.

The cache of compiled programs is empty at the start, as it is for a learner.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
QUIET = ["--log-level=ERROR"]


def main() -> None:
    """Time every notebook once; the kernel's start counts, as it does for a learner."""
    total = 0.0
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}, extra_arguments=QUIET
        )
        start = time.perf_counter()
        client.execute()
        seconds = time.perf_counter() - start
        total += seconds
        cells = sum(cell.cell_type == "code" for cell in notebook.cells)
        print(f"  {path.name:<28} {seconds:6.1f} s   {cells} code cells", flush=True)
    print(f"  {'all':<28} {total:6.1f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NETKIT_EDU_CACHE"] = cache
        main()

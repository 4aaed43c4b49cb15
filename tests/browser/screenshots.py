"""Look at chapters as a learner sees them: ``python -m tests.browser.screenshots OUTDIR [notebook…]``.

Opens each notebook of ``notebooks/`` (or those named) in a JupyterLab of its own, runs all cells, and writes
``<name>-light.png``, ``<name>-dark.png`` in full length, cut into parts of 2000 px (``-2.png`` …) for reading.
``--keep-length`` writes one long picture instead; ``--light`` or ``--dark`` takes one theme. Error outputs are listed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.browser.cdp import Browser
from tests.browser.lab import ROOT, LabServer, Notebook

PART = 2000  # px


def shoot(notebook: Notebook, path: Path, part: int) -> list[Path]:
    """Write the notebook's picture in parts of ``part`` px; return the files."""
    height = notebook.full_height()
    files = []
    for i, top in enumerate(range(0, height, part)):
        file = path.with_name(path.name + (f"-{i + 1}" if height > part else "") + ".png")
        file.write_bytes(notebook.page.png((0, top, 1280, min(part, height - top))))
        files.append(file)
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures; return 1 if any cell ended in an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebook files; all of notebooks/ by default")
    parser.add_argument("--light", action="store_true", help="the light theme only")
    parser.add_argument("--dark", action="store_true", help="the dark theme only")
    parser.add_argument("--keep-length", action="store_true", help="one long picture for each notebook")
    args = parser.parse_intermixed_args(arguments)
    themes = [t for t, wanted in (("light", args.light), ("dark", args.dark)) if wanted] or ["light", "dark"]
    files = args.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb"))
    args.outdir.mkdir(parents=True, exist_ok=True)
    failed = 0
    for folder in dict.fromkeys(f.resolve().parent for f in files):
        with LabServer(folder) as server, Browser() as browser:
            for file in [f for f in files if f.resolve().parent == folder]:
                notebook = server.open(browser, file.name)
                notebook.run_all()
                for theme in themes:
                    notebook.theme(dark=theme == "dark")
                    part = 100_000 if args.keep_length else PART
                    for written in shoot(notebook, args.outdir / f"{file.stem}-{theme}", part):
                        print(written)
                for error in notebook.errors():
                    failed = 1
                    print(f"{file.name}: {error}", file=sys.stderr)
                notebook.page.close()
    return failed


if __name__ == "__main__":
    sys.exit(main())

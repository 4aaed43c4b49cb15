"""``python -m benchmarks [NAME…]`` (make bench): run each benchmark in a Python of its own; each prints its figures."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ORDER = ("import_time", "edit_to_journey", "interpreter", "journeys", "notebooks")


def main(chosen: list[str]) -> int:
    """Run the chosen benchmarks, or all; returns 1 if one of them failed."""
    there = {path.stem for path in FOLDER.glob("*.py")} - {"__main__", "__init__"}
    names = chosen or [*(n for n in ORDER if n in there), *sorted(there - set(ORDER))]
    if unknown := set(names) - there:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(sorted(there))}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}")
    failed = []
    for name in names:
        print(f"\n{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return bool(failed)


sys.exit(main(sys.argv[1:]))

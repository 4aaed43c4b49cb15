"""How long ``import netkit_edu`` takes: median of 15 fresh Pythons, beside one that imports nothing.

The face fetches its rooms at first use; the last figure has all of the simulator's rooms imported. Bar: 0.3 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(code: str) -> float:
    """Wall time of one fresh Python that runs ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure the three alternately, so that a busy moment hits all of them."""
    codes = {
        "nothing": "pass",
        "import netkit_edu": "import netkit_edu",
        "import netkit_edu; netkit_edu.Lab, .compile": "import netkit_edu as nk; nk.Lab; nk.compile",
    }
    times = {label: [] for label in codes}
    for _ in range(ROUNDS):
        for label, code in codes.items():
            times[label].append(seconds(code))
    for label, values in times.items():
        print(f"  {label:<45} {statistics.median(values):6.3f} s")


if __name__ == "__main__":
    main()

"""A lab on this machine's own kernel: the first of a Python, the next one, and what the first one has to find out.

What is compared is measured alternately in one run: a new door against the one that the lab before left; functions
asked for by name against the kernel's list of them, read; the places of the kernel's types against a plain walk that
notes each one's name. Needs the privileges of `nk.Lab("host")`. Whether a lab's journeys are recorded decides much of
what a new door costs, so it is said.
"""

from __future__ import annotations

import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import netkit_edu as nk
from netkit_edu.linux import spare, symbols
from netkit_edu.linux.child import open_child
from netkit_edu.linux.files import read_file
from netkit_edu.linux.kernelbtf import KernelBtf
from netkit_edu.linux.probe import probe_host
from netkit_edu.linux.trace_setup import BTF_FILE
from netkit_edu.linux.trace_table import DROPPING, FUNCTIONS

FRESH, ROUNDS = 5, 15
FIRST = """
import time
import netkit_edu as nk
begun = time.perf_counter()
lab = nk.Lab("host")
print(time.perf_counter() - begun)
"""


def seconds(do: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def show(label: str, times: list[float], than: list[float] | None = None) -> float:
    """Print the median in ms, and how many times longer the other takes."""
    median = statistics.median(times)
    ratio = f"   {statistics.median(than) / median:5.1f} times as fast" if than else ""
    print(f"  {label:<44} {1000 * median:8.1f} ms   fastest {1000 * min(times):8.1f}{ratio}")
    return median


def labs() -> None:
    """The first lab of a fresh Python; then one with a pod and its end, in a new door and in the one left behind."""
    runs = [subprocess.run([sys.executable, "-c", FIRST], check=True, capture_output=True) for _ in range(FRESH)]
    show("first lab of a Python", [float(run.stdout) for run in runs])

    def lab() -> None:
        with nk.Lab("host") as lab:
            lab.pod("web")

    new, kept = [], []
    lab()
    for _ in range(ROUNDS):
        spare.take(None)
        new.append(seconds(lab))
        kept.append(seconds(lab))
    show("lab with a pod, and its end: a new door", new)
    show("the same: the door of the lab before", kept, new)


def walk(raw: bytes) -> dict[tuple[int, int], int]:
    """Note the first type of each name and kind, one after the other."""
    _, _, _, header, at, length, _, _ = struct.unpack_from("<HBBIIIII", raw)
    extra, each = {1: 4, 3: 12, 14: 4, 17: 4}, {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
    types, at, number, found = raw[header + at : header + at + length], 0, 0, {}
    while at < length:
        number += 1
        name, info, _ = struct.unpack_from("<III", types, at)
        kind = info >> 24 & 0x1F
        found.setdefault((kind, name), number)
        at += 12 + extra.get(kind, 0) + each.get(kind, 0) * (info & 0xFFFF)
    return found


def finding_out() -> None:
    """Functions and types of this kernel."""
    door = open_child()
    names = [*(function.symbol for function in FUNCTIONS), *DROPPING]
    asked, read, counted, walked = [], [], [], []
    try:
        types = read_file(door, BTF_FILE)
        for _ in range(5):
            asked.append(seconds(lambda: symbols.find(door, names)))
            read.append(seconds(lambda: symbols.read_symbols(read_file(door, symbols.SYMBOLS))))
            counted.append(seconds(lambda: KernelBtf(types)))
            walked.append(seconds(lambda: walk(types)))
    finally:
        door.close()
        door.child.wait()
    show("functions out of the kernel's list", read)
    show(f"the same {len(set(names))} asked for by name", asked, read)
    show("types walked, with their names", walked)
    show("types' places counted", counted, walked)


def main() -> None:
    """Say why not where there can be no lab."""
    report = probe_host()
    if not report.ok:
        print(f"  not here: {report.why}")
        return
    print(f"  Linux {report.release}; {report['journeys'].detail}")
    labs()
    finding_out()


if __name__ == "__main__":
    main()

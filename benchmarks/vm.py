"""A virtual machine: cold build, restore to first reply, a lab with one pod, a round trip, sizes.

Bars: restore to first reply 0.15 s (median of 20), a lab with one pod ready 0.3 s, cold build 30 s once.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import netkit_edu as nk
from netkit_edu.vm import cache, image, machine

ROUNDS = 20
TRIPS = 500


def spread(seconds: list[float], unit: str = "s", scale: float = 1.0) -> str:
    """Median, fastest and slowest of some times."""
    median, fastest, slowest = (scale * f(seconds) for f in (statistics.median, min, max))
    return f"median {median:6.3f} {unit}   fastest {fastest:6.3f}   slowest {slowest:6.3f}   of {len(seconds)}"


def timed(do: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Wall time of each round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return times


def cold_build() -> None:
    """In a cache of its own, where only the kernel is there already."""
    kernels = cache.folder() / "kernels"
    with tempfile.TemporaryDirectory() as place:
        if kernels.is_dir():
            shutil.copytree(kernels, Path(place) / "kernels")
        before = os.environ.get("NETKIT_EDU_VM_CACHE")
        os.environ["NETKIT_EDU_VM_CACHE"] = place
        try:
            seconds = timed(image.snapshot, 1)[0]
            facts = image.snapshot().facts
        finally:
            os.environ.pop("NETKIT_EDU_VM_CACHE") if before is None else os.environ.update(NETKIT_EDU_VM_CACHE=before)
    print(f"  {'cold build':<28} {seconds:.1f} s   Linux {facts['kernel']}, {facts['qemu']}")
    print(f"  {'snapshot':<28} {facts['bytes'] / 1e6:.1f} MB")


def restore() -> None:
    """Until the door has said who it is, and gone again."""
    machine.open_vm().close()
    opened: list[machine.Machine] = []

    def start() -> None:
        vm = machine.open_vm()
        vm.door.call("getpid")
        opened.append(vm)

    times = []
    for _ in range(ROUNDS):
        times += timed(start, 1)
        opened.pop().close()
    print(f"  {'restore to first reply':<28} {spread(times)}")


def round_trip() -> None:
    """One system call, with the machine let go before it and stopped behind it; and QEMU's memory."""
    with machine.open_vm() as vm:
        fresh = vm.guest.memory()
        times = timed(lambda: vm.door.call("getpid"), TRIPS)
        print(f"  {'round trip':<28} {spread(times, 'ms', 1000)}")
        print(f"  {'QEMU memory, fresh':<28} {fresh / 1e6:.0f} MB")


def lab_with_a_pod() -> None:
    """From nothing to a pod on a netkit pair that can send."""

    def start() -> None:
        with nk.Lab("vm") as lab:
            lab.pod("db", device="netkit")
            opened.append(time.perf_counter())

    opened: list[float] = []
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        start()
        times.append(opened.pop() - begun)
    print(f"  {'lab with one pod ready':<28} {spread(times)}")


def main() -> None:
    """Say why not where there can be no virtual machine."""
    if reason := image.unavailable():
        print(f"  not here: {reason}")
        return
    cold_build()
    restore()
    round_trip()
    lab_with_a_pod()


if __name__ == "__main__":
    main()

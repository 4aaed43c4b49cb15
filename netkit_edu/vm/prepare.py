"""What the guest is brought to before its snapshot is taken, all of it over the door.

A room that has more to set up (tracing costs seconds) offers ``prepare(door)``; `ROOMS` names it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import time
from collections.abc import Callable
from pathlib import Path

from netkit_edu.errors import KernelError
from netkit_edu.linux.door import Door

ROOMS = ("netkit_edu.linux.trace_setup",)
FOLDERS = ("dev", "proc", "sys", "modules", "tmp")
_MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
)
_LINUX = "netkit_edu.linux"
_IMPORTS = re.compile(r"^from netkit_edu\.linux(\.[\w.]+)? import ([^\n(]+|\([^)]*\))", re.M)
_SETTLE = 2.0  # seconds of the guest's time
_SPARE = 24 << 20  # bytes left alone when free memory is emptied
_PIECE = 16 << 20  # bytes
_CLOCK_REALTIME = 0
_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS_POPULATE = 3, 0x8022
_AT_FDCWD = -100


def prepare(door: Door, modules: list[str]) -> None:
    """Mount what the rooms read, and load the modules.

    Args:
        door: the guest's.
        modules: names of files in ``/modules``, in the order of loading.

    Raises:
        KernelError: the guest's kernel lacks something that cannot be done without.
    """
    for kind, place in _MOUNTS:
        with contextlib.suppress(KernelError if kind == "tracefs" else ()):
            door.call("mount", kind.encode() + b"\0", place.encode() + b"\0", kind.encode() + b"\0", 0, 0)
    for name in modules:
        _load(door, f"/modules/{name}")


def furnish(door: Door, progress: Callable[[str, str], None]) -> None:
    """Have each room set up what it needs.

    Args:
        door: the guest's.
        progress: told what is done.
    """
    for room in ROOMS:
        if importlib.util.find_spec(room) is not None and (own := getattr(importlib.import_module(room), "prepare", 0)):
            begun, said = time.monotonic(), ""
            try:
                own(door)
            except KernelError as error:  # another kernel than the course's: the room says so itself when it is used
                said = f", not on this kernel: {error}"
            progress("set up", f"{room.rpartition('.')[2]}, {time.monotonic() - begun:.1f} s{said}")


def settle(door: Door) -> None:
    """Let what the boot left running come to its end, and empty free memory: pages of zeros need no room on disk."""
    batch = door.batch()
    batch.call("nanosleep", _timespec(_SETTLE), 0)
    batch.run()
    batch = door.batch()
    info = batch.room(112)
    batch.call("sysinfo", info)
    data = batch.read(info, 112)
    batch.run()
    free = int.from_bytes(data.value[40:48], "little") * int.from_bytes(data.value[104:108], "little")
    taken = []
    with contextlib.suppress(KernelError):
        for _ in range(max(0, free - _SPARE) // _PIECE):
            taken.append(door.call("mmap", 0, _PIECE, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS_POPULATE, -1, 0))
    for address in taken:
        door.call("munmap", address, _PIECE)


def set_clock(door: Door) -> None:
    """Give the guest our time: a restored one believes that it is still the moment of its snapshot.

    It keeps that where our time is none: Linux takes no time of day before its own start, as a board without a battery
    may have it.
    """
    batch = door.batch()
    batch.call("clock_settime", _CLOCK_REALTIME, _timespec(time.time()), must=False)
    batch.run()


def sources() -> list[Path]:
    """Return the files whose text decides what `furnish` does: a change of one asks for another snapshot.

    They are each room's module and what that imports of the Linux rooms, read as text.
    """
    found, names = {Path(__file__)}, list(ROOMS)
    while names:
        spec = importlib.util.find_spec(names.pop())
        if spec is not None and spec.origin and (path := Path(spec.origin)) not in found:
            found.add(path)
            for line in _IMPORTS.finditer(path.read_text(encoding="utf-8")):
                inside = [f"{_LINUX}.{name}" for name in re.findall(r"\w+", line[2])] if not line[1] else []
                names += inside or [f"{_LINUX}{line[1]}"]
    return sorted(found)


def _timespec(seconds: float) -> bytes:
    whole = int(seconds)
    return whole.to_bytes(8, "little") + int((seconds - whole) * 1e9).to_bytes(8, "little")


def _load(door: Door, path: str) -> None:
    batch = door.batch()
    handle = batch.call("openat", _AT_FDCWD, path.encode() + b"\0", 0, 0)
    batch.call("finit_module", handle, b"\0", 0)
    batch.call("close", handle)
    batch.call("unlinkat", _AT_FDCWD, path.encode() + b"\0", 0)
    batch.run()

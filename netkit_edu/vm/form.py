"""A snapshot's form: the guest's memory page by page, empty ones left out, and behind it the rest of the machine.

QEMU leaves memory that is shared with a file out of a migration if it is asked to (x-ignore-shared, since 4.0). So a
restored machine reads 0.4 MB, has its memory from the file as it touches it, and shares what it does not write.
"""

from __future__ import annotations

import mmap
import os
import time

from netkit_edu.errors import DoorError
from netkit_edu.vm.qemu import MEMORY_MB
from netkit_edu.vm.qmp import Qmp

MEMORY = MEMORY_MB << 20  # bytes
TIMEOUT = 60.0  # seconds
_PAGE = 4096
_PIECE = 64 * _PAGE
_IGNORE_SHARED = [{"capability": "x-ignore-shared", "state": True}]


def save(monitor: Qmp, memory: int, to: int) -> int:
    """Write a stopped machine into an empty file; return how many bytes of it are there.

    Args:
        memory: the descriptor of its memory.
        to: that of the file.

    Raises:
        DoorError: QEMU cannot.
        OSError: the file cannot be written to.
    """
    os.lseek(to, MEMORY, os.SEEK_SET)
    monitor.call("migrate-set-capabilities", capabilities=_IGNORE_SHARED)
    monitor.call("getfd", fds=(to,), fdname="snapshot")
    monitor.call("migrate-set-parameters", max_bandwidth=1 << 40)
    monitor.call("migrate", uri="fd:snapshot")
    try:
        _wait(monitor, 0.02)
    except DoorError:
        os.pwrite(to, bytes(_PIECE), MEMORY)  # QEMU does not always say why: if it is the disk, this does
        raise
    written = os.fstat(to).st_size - MEMORY
    with mmap.mmap(memory, MEMORY, prot=mmap.PROT_READ) as pages:
        empty, nothing = bytes(_PIECE), bytes(_PAGE)
        for start in range(0, MEMORY, _PIECE):
            if (piece := pages[start : start + _PIECE]) != empty:
                for at in range(0, _PIECE, _PAGE):
                    if (page := piece[at : at + _PAGE]) != nothing:
                        written += os.pwrite(to, page, start + at)
    return written


def restore(monitor: Qmp, snapshot: int) -> None:
    """Have a machine that waits for it read its rest from a snapshot; it is stopped then.

    Raises:
        DoorError: QEMU cannot: the file is broken, or another QEMU's.
    """
    os.lseek(snapshot, MEMORY, os.SEEK_SET)
    monitor.call("migrate-set-capabilities", capabilities=_IGNORE_SHARED)
    monitor.call("getfd", fds=(snapshot,), fdname="snapshot")
    monitor.call("migrate-incoming", uri="fd:snapshot")
    _wait(monitor, 0.001)


def copy_memory(snapshot: int, to: int) -> None:
    """Copy the memory of a snapshot into an empty file, holes as holes."""
    os.ftruncate(to, MEMORY)
    at = 0
    while at < MEMORY:
        try:
            at = os.lseek(snapshot, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        end = min(os.lseek(snapshot, at, os.SEEK_HOLE), MEMORY)
        while at < end:
            at += os.pwrite(to, os.pread(snapshot, min(end - at, 1 << 20), at), at)


def _wait(monitor: Qmp, pause: float) -> None:
    deadline = time.monotonic() + TIMEOUT
    while (status := (told := monitor.call("query-migrate")).get("status")) != "completed":
        if status in ("failed", "cancelled") or time.monotonic() > deadline:
            why = f": {told['error-desc']}" if "error-desc" in told else ""
            raise DoorError(f"QEMU's migration has {status or 'not begun'}{why}")
        time.sleep(pause)

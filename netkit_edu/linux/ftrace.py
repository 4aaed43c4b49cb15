"""The kernel's own function tracer, to be read as it writes: one tracing instance for the length of a call.

Documentation/trace/ftrace.rst, Linux 6.12. Journeys are recorded in another way (`trace.py`); this is for the eye.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Sequence

from netkit_edu.errors import BackendUnavailable, KernelError, UsageError
from netkit_edu.linux.door import Batch, Door
from netkit_edu.linux.netns import open_file, write_file
from netkit_edu.linux.syscalls import O_WRONLY

TRACEFS = "/sys/kernel/tracing"
PREFIX = "netkit-edu-"
KFREE_SKB = "skb/kfree_skb"
_PIECE, _AT_ONCE = 1 << 16, 16  # bytes of one read, reads in one round trip
_REST = struct.pack("<qq", 0, 20_000_000)  # seconds, nanoseconds
_TIMEOUT = 30.0  # seconds
_NUMBERS: dict[tuple[str, ...], dict[str, int]] = {}  # by release and loaded modules: to list them takes seconds


class FtraceCalls:
    """What it needs of the backend: ``door`` and ``kernel``."""

    def ftrace(self, run: Callable[[], object], functions: Sequence[str], events: Sequence[str]) -> str:
        """Return what the function tracer wrote while ``run()`` ran; see `ftrace`."""
        return ftrace(self.door, run, functions, events, release=self.kernel)


def ftrace(
    door: Door, run: Callable[[], object], functions: Sequence[str], events: Sequence[str] = (KFREE_SKB,),
    release: str = "",
) -> str:  # fmt: skip
    """Return what the function tracer wrote while ``run()`` ran, without its head of comments.

    Args:
        door: to the kernel that is traced; all of its CPUs and tasks are.
        run: does something through that door.
        functions: names of kernel functions, without a compiler's suffix; none for the events alone.
        events: tracepoints beside them, as "subsystem/name".
        release: that kernel's release, under which the places of its functions are remembered; "" for not at all.

    Raises:
        BackendUnavailable: that kernel has no function tracer, or the door may not use it.
        UsageError: it has no function, or no event, of one of the names.
    """
    instance = f"{TRACEFS}/instances/{PREFIX}{os.getpid()}-{door.pid}"
    door.at_end(_removal(door, instance))
    try:
        door.call("mkdir", instance.encode() + b"\0", 0o700)
    except KernelError as error:
        raise BackendUnavailable(f"no function tracer here: {error}") from None
    try:
        _set_up(door, instance, functions, events, release)
        run()
        batch = door.batch()
        batch.call("nanosleep", _REST, 0)  # another CPU's softirq may still be at it
        write_file(batch, f"{instance}/tracing_on", "0")
        batch.run()
        lines = _read(door, f"{instance}/trace").splitlines()
        return "\n".join(line for line in lines if not line.startswith("#"))
    finally:
        _remove(door, instance)


def _set_up(door: Door, instance: str, functions: Sequence[str], events: Sequence[str], release: str) -> None:
    """Filters are written as numbers: by name, the kernel would look through all its functions for each of them."""
    number = _numbers(door, release) if functions else {}
    if unknown := [name for name in functions if name not in number]:
        raise UsageError(f"that kernel has no function {', '.join(unknown)} to trace")
    batch = door.batch()
    write_file(batch, f"{instance}/tracing_on", "0")
    enabled = [write_file(batch, f"{instance}/events/{event}/enable", "1", must=False) for event in events]
    tracer = None
    if functions:  # an empty filter would mean all of them
        fd = open_file(batch, f"{instance}/set_ftrace_filter", O_WRONLY)
        for name in functions:
            text = f"{number[name]}\n".encode()
            batch.call("write", fd, text, len(text))
        batch.call("close", fd)
        _, tracer = write_file(batch, f"{instance}/current_tracer", "function", must=False)
    write_file(batch, f"{instance}/tracing_on", "1")
    batch.run(_TIMEOUT)
    if absent := [event for event, (fd, _) in zip(events, enabled, strict=True) if fd.errno]:
        raise UsageError(f"that kernel has no event {', '.join(absent)} to trace: it is 'subsystem/name'")
    if tracer is not None and tracer.errno:
        raise BackendUnavailable("that kernel is built without the function tracer (CONFIG_FUNCTION_TRACER)")


def _numbers(door: Door, release: str) -> dict[str, int]:
    """Return the number of every function that can be traced, by its name."""
    key = release, *(line.split()[0] for line in _read(door, "/proc/modules").splitlines())
    if key not in _NUMBERS or not release:
        known = [line.split()[0] for line in _read(door, f"{TRACEFS}/available_filter_functions").splitlines()]
        _NUMBERS[key] = {name.partition(".")[0]: n for n, name in enumerate(known, 1)}
    return _NUMBERS[key]


def _read(door: Door, path: str) -> str:
    """Return a whole file of tracefs, which does not tell its size."""
    batch = door.batch()
    fd = open_file(batch, path)
    batch.run()
    parts: list[bytes] = []
    while not parts or parts[-1]:
        batch = door.batch()
        room = batch.room(_PIECE)
        read = [batch.read(room, batch.call("read", fd.value, room, _PIECE), _PIECE) for _ in range(_AT_ONCE)]
        batch.run(_TIMEOUT)
        parts += [data.value for data in read]
    door.call("close", fd.value)
    return b"".join(parts).decode()


def _removal(door: Door, instance: str) -> Batch:
    """What takes the instance away; left with the door too, since it has a name that a killed process would leave."""
    batch = door.batch()
    write_file(batch, f"{instance}/current_tracer", "nop", must=False)
    batch.call("rmdir", instance.encode() + b"\0", must=False)
    return batch


def _remove(door: Door, instance: str) -> None:
    with contextlib.suppress(KernelError):
        _removal(door, instance).run(_TIMEOUT)

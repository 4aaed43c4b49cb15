"""A lab's door on this very machine: a child process, alone privileged, that leaves nothing behind.

What a lab makes is held by descriptors of the door's process: namespaces, programs, links. When the stream to it closes
(`Host.close`, the interpreter's exit, or its death) the door exits, and the kernel takes back all of it; when the door
is killed, the same. A lab that is closed may leave its door to the next one, emptied (spare.py). The machine's own
network namespace and mounts are left before anything else is done.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from netkit_edu.errors import BackendUnavailable, KernelError, UsageError
from netkit_edu.linux import spare
from netkit_edu.linux.child import open_child
from netkit_edu.linux.door import Door
from netkit_edu.linux.mounts import leave_the_machine
from netkit_edu.linux.probe import probe_host

BACKLOG = 1000  # packets: the kernel's own default, and the lab's
NAME = "netkit-edu"  # what the door's process is called: the task that a tracer sees
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_asked: set[tuple[str, str]] = set()  # what the probe found good in this process


class Host:
    """A door on this machine.

    ``door`` is its client, ``kernel`` the running release, ``cpus`` the numbers of the CPUs a lab may use, in order.
    """

    def __init__(self, door: Door, kernel: str, cpus: tuple[int, ...]):
        self.door = door
        self.kernel = kernel
        self.cpus = cpus

    def leave(self) -> None:
        """Have the door let go of all that was made with it, and wait a moment for the next lab; or exit."""
        if not spare.keep(self.door, _key(), _usable()):
            self.close()

    def close(self) -> None:
        """Have the door exit, and wait until it has; a second call does nothing."""
        spare.end(self.door)


def open_host(cpus: int = 1, backlog: int = BACKLOG) -> Host:
    """Start a door on this machine, in namespaces of its own.

    Args:
        cpus: how many CPUs the lab wants.
        backlog: packets. It is a sysctl of the whole machine, so that a lab may ask for what is set, and for no other.

    Raises:
        BackendUnavailable: there are not so many CPUs, or the door cannot do what a lab needs: a line for each.
        UsageError: the machine's backlog is another one.
    """
    usable = _usable()
    if _key() not in _asked:
        report = probe_host()
        if not report.ok:
            raise BackendUnavailable(f"no lab on this machine's own kernel:\n{report.why}")
        _asked.add(_key())
    if backlog not in (BACKLOG, there := _machines_backlog()):
        raise UsageError(f"net.core.netdev_max_backlog is the whole machine's, {there}: take that, or nk.Lab('vm')")
    if cpus > len(usable):
        raise BackendUnavailable(f"this machine has {len(usable)} CPUs, not {cpus}: take fewer, or nk.Lab('vm')")
    if (door := spare.take(_key())) is not None:
        return Host(door, os.uname().release, usable[:cpus])
    door = open_child()
    try:
        if threading.current_thread() is threading.main_thread():  # a call that waits is interrupted by our death, too
            door.call("prctl", _PR_SET_PDEATHSIG, signal.SIGALRM)
        door.call("prctl", _PR_SET_NAME, NAME.encode() + b"\0")
        leave_the_machine(door)
        return Host(door, os.uname().release, usable[:cpus])
    except KernelError as error:
        door.close()
        raise BackendUnavailable(f"the door may not do what a lab needs: {error}") from None
    except BaseException:
        door.close()
        raise


def _key() -> tuple[str, str]:
    """Return what decides which door is started."""
    return os.environ.get("NETKIT_EDU_DOOR", ""), os.environ.get("NETKIT_EDU_CACHE", "")


def _usable() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _machines_backlog() -> int:
    try:
        return int(Path("/proc/sys/net/core/netdev_max_backlog").read_text())
    except (OSError, ValueError):  # it shows in the first network namespace only
        return BACKLOG

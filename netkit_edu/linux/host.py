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
from typing import NamedTuple

from netkit_edu.errors import BackendUnavailable, KernelError, UsageError
from netkit_edu.linux import spare
from netkit_edu.linux.child import open_child
from netkit_edu.linux.door import Door
from netkit_edu.linux.mounts import leave_the_machine
from netkit_edu.linux.netns import MACHINE_BACKLOG, open_file, sysctl_path
from netkit_edu.linux.probe import probe_host, release_of

BACKLOG = 1000  # packets: the kernel's own default, and the lab's
NAME = "netkit-edu"  # what the door's process is called: the task that a tracer sees
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_MASK, _TEXT = 128, 32  # bytes of a set of CPUs, of a sysctl
_machines: dict[tuple[str, str], Machine] = {}  # where doors stand that the probe found good in this process


class Machine(NamedTuple):
    """Where a door stands: the running release, the CPUs that it may use, and packets that fit the backlog of each."""

    release: str
    cpus: tuple[int, ...]
    backlog: int


class Host:
    """A door on this machine.

    ``door`` is its client, ``kernel`` the running release, ``cpus`` the numbers of the CPUs a lab may use, in order.
    """

    def __init__(self, door: Door, machine: Machine, cpus: int):
        self.door = door
        self.kernel = machine.release
        self.cpus = machine.cpus[:cpus]
        self._machine = machine
        self._pid = os.getpid()

    def leave(self) -> None:
        """Have the door let go of all that was made with it, and wait a moment for the next lab; or exit."""
        if os.getpid() != self._pid:  # a copy of this process: the door is not its to empty
            self.door.close()
        elif not spare.keep(self.door, _key(), self._machine.cpus):
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
    key = _key()
    if key not in _machines:
        report = probe_host()
        if not report.ok:
            raise BackendUnavailable(f"no lab on this machine's own kernel:\n{report.why}")
    door = (spare.take(key) if key in _machines else None) or _start(key)
    machine = _machines[key]
    try:
        if backlog not in (BACKLOG, there := machine.backlog):
            raise UsageError(f"net.core.netdev_max_backlog is the whole machine's, {there}: take that, or nk.Lab('vm')")
        if cpus > len(machine.cpus):
            there = len(machine.cpus)
            raise BackendUnavailable(f"this machine has {there} CPUs, not {cpus}: take fewer, or nk.Lab('vm')")
        mask = sum(1 << cpu for cpu in machine.cpus[:cpus]).to_bytes(_MASK, "little")
        door.call("sched_setaffinity", 0, _MASK, mask)  # what it sends is received on the same CPU
        return Host(door, machine, cpus)
    except BaseException:
        spare.end(door)
        raise


def _start(key: tuple[str, str]) -> Door:
    """Start a door, note where it stands, and have it leave the machine's namespaces."""
    door = open_child()
    try:
        if threading.current_thread() is threading.main_thread():  # a call that waits is interrupted by our death, too
            door.call("prctl", _PR_SET_PDEATHSIG, signal.SIGALRM)
        door.call("prctl", _PR_SET_NAME, NAME.encode() + b"\0")
        _machines[key] = _machine(door)
        leave_the_machine(door)
        spare.settle(door)
        return door
    except KernelError as error:
        door.close()
        raise BackendUnavailable(f"the door may not do what a lab needs: {error}") from None
    except BaseException:
        door.close()
        raise


def _key() -> tuple[str, str]:
    """Return what decides which door is started."""
    return os.environ.get("NETKIT_EDU_DOOR", ""), os.environ.get("NETKIT_EDU_CACHE", "")


def _machine(door: Door) -> Machine:
    batch = door.batch()
    mask, text = batch.room(_MASK), batch.room(_TEXT)
    batch.call("sched_getaffinity", 0, _MASK, mask)
    fd = open_file(batch, sysctl_path(MACHINE_BACKLOG), must=False)  # it shows in the first network namespace only
    batch.call("read", fd, text, _TEXT, must=False)
    batch.call("close", fd, must=False)
    allowed, backlog = batch.read(mask, _MASK), batch.read(text, _TEXT)
    batch.run()
    bits = int.from_bytes(allowed.value, "little")
    cpus = tuple(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)
    return Machine(release_of(door), cpus, int(backlog.value.strip(b"\0\n") or BACKLOG))

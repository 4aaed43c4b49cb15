"""The journey of packets on a real Linux: what its functions did to each, recorded by an eBPF program of our own.

One program sits at the entry of every function that the simulator's hops are called after (a kprobe.multi link), and
at the tracepoints where packets are freed; it writes records into a log whose pages lie at the end of the door's arena.
Everything is descriptors of the door's process: nothing has a name on the machine, and all of it ends with the door.

How it is used: `prepare(door)` once a door (it costs seconds, and is part of a virtual machine's snapshot); then for
each send `Tracer.start(batch)`, the system calls, `Tracer.stop(batch)`, one round trip, `Tracer.journeys(...)`::

    batch = door.batch()
    tracer.start(batch)
    ...                                     # sendto(2), and whatever else the batch does
    traced = tracer.stop(batch)             # stop may stand in the batch several times, each with what came so far
    batch.run()
    if tracer.waiting(traced): ...          # a packet still waits (for an ARP answer): sleep, stop(batch) again, run
    journeys = tracer.journeys(traced, request, [0 or the errno of each packet sent], counters, received)

What it needs of the backend: ``door``; ``_ns``, whose values have ``name`` and ``inode``; ``_devices()``, which returns
a `Place` for every device of every namespace; ``kernel``. Programs are watched by `Tracer.watch`, called after a load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from netkit_edu.backend import SendRequest
from netkit_edu.journey import Journey
from netkit_edu.linux.door import Batch, Data, Door


class Place(NamedTuple):
    """A device, as the backend knows it.

    ``inode`` is that of its network namespace (/proc/self/ns/net) and ``node`` that namespace's name; ``wire`` is
    "node/device" of the other end of the cable for a "nic", "" for a nic without a cable and for any other kind.
    """

    inode: int
    ifindex: int
    node: str
    name: str
    kind: str
    qdisc: str = ""
    wire: str = ""


def prepare(door: Door) -> None:
    """Set up the recording in the door's process; see the module's text. A second call does nothing.

    Raises:
        KernelError: the kernel refuses: no kprobe.multi links (before 5.18, or without CONFIG_FPROBE), no BTF, no right.
    """


class Tracer:
    """Records what happens to the packets of one backend."""

    def __init__(self, backend):
        self._backend = backend

    def start(self, batch: Batch) -> None:
        """Append operations: forget what was recorded, and record from now on."""

    def stop(self, batch: Batch) -> Data:
        """Append operations: record no more, and bring back what was recorded since `start`."""
        return Data()

    def resume(self, batch: Batch) -> None:
        """Append operations: go on recording behind what is there (after `stop`, for what still waits)."""

    def waiting(self, traced: Data) -> bool:
        """Return whether a packet still waits somewhere: for a neighbour's address, for its other fragments."""
        return False

    def journeys(self, traced: Data, request: SendRequest, sent: Sequence[int] = (0,),
                 counters: Mapping[str, Mapping[str, int]] | None = None) -> list[Journey]:  # fmt: skip
        """Return a journey for each packet sent, in order.

        Args:
            traced: what the last `stop` brought back.
            sent: for each packet the errno of its system call, positive, 0 for none.
            counters: what moved, by "node/device"; of several packets sent at once the first gets all of it.
        """
        return []

    def watch(self, prog_id: int, name: str, fd: int, main: int) -> None:
        """Record what a program returns from now on; nothing if the kernel has no fexit for it.

        Args:
            fd: the program's descriptor in the door.
            main: the type id of its main function in the BTF it was loaded with (`btfload.Types.main`).
        """

    def unwatch(self, prog_id: int) -> None:
        """Let go of a program; it can be unloaded then."""

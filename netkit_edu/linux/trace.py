"""The journey of packets on a real Linux: what its functions did to each, recorded by an eBPF program of our own.

One program sits at the entry of every function that the simulator's hops are called after (a kprobe.multi link), and
at the tracepoints where packets are freed; it writes records into a log whose pages lie at the end of the door's arena.
Everything is descriptors of the door's process: nothing has a name on the machine, and all of it ends with the door.

How it is used: `prepare(door)` once a door (it costs seconds, and is part of a virtual machine's snapshot); then for
each send `Tracer.start(batch)`, the system calls, `Tracer.stop(batch)`, one round trip, `Tracer.journeys(...)`::

    batch = door.batch()
    tracer.start(batch)
    ...                                     # sendto(2), and whatever else the batch does
    traced = tracer.stop(batch)
    batch.run()
    if tracer.waiting(traced): ...          # for an ARP answer: another batch with resume, a sleep, and stop
    journeys = tracer.journeys(traced, request, [0 or the errno of each packet sent], counters)

What it needs of the backend: ``door``; ``_ns``, whose values have ``name`` and ``inode``; ``_devices()``, which returns
a `Place` for every device of every namespace; ``kernel``. `Tracer.watch` is called after a program's load. What the
recording programs cost is paid also while nothing is recorded: who counts instructions calls `Tracer.silence` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from netkit_edu.backend import SendRequest
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import Journey
from netkit_edu.linux import fexit
from netkit_edu.linux import trace_setup as setup
from netkit_edu.linux.door import Batch, Data, Result
from netkit_edu.linux.records import overflowed, read_records
from netkit_edu.linux.story import Names, Story
from netkit_edu.linux.trace_probe import HEAD, LOG
from netkit_edu.linux.trace_setup import prepare
from netkit_edu.linux.way import Way, Where
from netkit_edu.linux.words import Places


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


_NEW, _GOING_ON, _STILL = 0, 8, 16  # where in the facts' head lie: length 0 and recording; recording; not recording


class Traced(Data):
    """What `Tracer.stop` brings back: the log's head, and as ``value`` its records."""

    def __init__(self, head: Data, log: Data):
        self._head, self._log = head, log

    @property
    def value(self) -> bytes:
        """The records."""
        return self._log.value

    @property
    def overflowed(self) -> bool:
        """Whether more happened than there was room for."""
        return bool(self._head.value) and overflowed(self._head.value)


class Tracer:
    """Records what happens to the packets of one backend.

    Raises:
        KernelError: as `prepare`.
    """

    def __init__(self, backend):
        self._backend = backend
        door = backend.door
        self._facts = prepare(door)
        self._log = setup.log_address(door)
        door.size = min(door.size, self._log - door.base)
        setup.map_log(door)
        self._verdict = bytes.fromhex(self._facts["verdict"])
        self._reasons = {int(number): name for number, name in self._facts["reasons"].items()}
        self._places = Places(self._facts["places"])
        self._watching: dict[int, int] = {}
        self._programs: dict[int, str] = {}
        self._watched: dict[int, tuple[int, int]] = {}
        self._looked: tuple[Data | None, list[Way]] = None, []
        self._silent = False

    @property
    def unseen(self) -> tuple[str, ...]:
        """Functions that a journey would show, and that this kernel has under no name: inlined, renamed or gone."""
        return tuple(self._facts["missing"])

    def start(self, batch: Batch) -> None:
        """Append operations: forget what was recorded, and record from now on."""
        self._listen()
        self._write(batch, self._log, _NEW, 16)

    def stop(self, batch: Batch) -> Traced:
        """Append operations: record no more, and bring back what was recorded since `start`."""
        self._write(batch, self._log + 8, _STILL, 8)
        head = batch.read(self._log, 16)
        length = Result(self._log - batch.door.base, "what was recorded")
        return Traced(head, batch.read(self._log + HEAD, length, LOG - HEAD))

    def resume(self, batch: Batch) -> None:
        """Append operations: go on recording behind what is there (after `stop`, for what still waits)."""
        self._write(batch, self._log + 8, _GOING_ON, 8)

    def _write(self, batch: Batch, address: int, at: int, n: int) -> None:
        batch.call("pread64", setup.FACTS, address, n, at)

    def waiting(self, traced: Data) -> bool:
        """Return whether a packet still waits for the address of a neighbour."""
        return any(way.waits() for way in self._look(traced))

    def unread(self, traced: Data) -> bool:
        """Return whether a socket holds a datagram that it will throw away when somebody reads."""
        return any(way.unread() for way in self._look(traced))

    def journeys(self, traced: Data, request: SendRequest, sent: Sequence[int] = (0,),
                 counters: Mapping[str, Mapping[str, int]] | None = None) -> list[Journey]:  # fmt: skip
        """Return a journey for each packet sent, in order.

        Args:
            traced: what the last `stop` brought back.
            sent: for each packet the errno of its system call, positive, 0 for none.
            counters: what moved, by "node/device"; of several packets sent at once the first gets all of it.

        Raises:
            UsageError: so much happened that the log could not hold it.
        """
        if getattr(traced, "overflowed", False):
            raise UsageError("more happened to these packets than can be recorded at once: send fewer at a time")
        ways = self._read(traced, request).ways
        missing = len(sent) - len(ways)
        journeys = []
        for errno in sent:
            if errno and missing > 0 or not ways:
                missing -= 1
                way = Way(request.packet)
            else:
                way = ways.pop(0)
            moved = counters or {} if not journeys else {}
            journeys.append(way.journey(f"Linux {self._backend.kernel}", request.label, errno, moved))
        return journeys

    def _look(self, traced: Data) -> list[Way]:
        """Return the packets of a recording, put together once for all that is asked of it while it goes on."""
        if self._looked[0] is not traced:
            self._looked = traced, self._read(traced).ways
        return self._looked[1]

    def _read(self, traced: Data, request: SendRequest | None = None) -> Story:
        backend = self._backend
        names = Names(
            {(one.inode, one.ifindex): Where(one.node, one.name, one.kind) for one in backend._devices()},
            {net.inode: net.name for net in backend._ns.values()},
            self._programs,
            self._reasons,
            self._places,
        )
        packet, frame = (request.packet, request.via == "packet") if request else (b"", False)
        return Story(names, packet, frame).read(read_records(traced.value))

    def watch(self, number: int, name: str, fd: int, main: int) -> None:
        """Record what a program returns from now on; nothing if the kernel has no fexit for it.

        Args:
            number: the program's id.
            name: its name in journeys.
            fd: its descriptor in the door.
            main: the type id of its main function in the BTF it was loaded with (`btfload.Types.main`), 0 for none.
        """
        self._programs[number] = name
        if main:
            self._watched[number] = fd, main
            if not self._silent:
                self._look_at(number)

    def silence(self) -> None:
        """Let go of all functions and programs until the next `start`; they cost what they cost without us."""
        if not self._silent:
            setup.detach(self._backend.door)
            while self._watching:
                self._backend.door.call("close", self._watching.popitem()[1])
            self._silent = True

    def _listen(self) -> None:
        if self._silent:
            setup.attach(self._backend.door, [tuple(pair) for pair in self._facts["functions"]])
            self._silent = False
            for number in self._watched:
                self._look_at(number)

    def _look_at(self, number: int) -> None:
        with suppress(KernelError):
            code = setup.verdict(self._verdict, number)
            self._watching[number] = fexit.watch(self._backend.door, *self._watched[number], code, name="nk_trace")

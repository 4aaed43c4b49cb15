"""``Trace``: the record of one packet while it travels; in the end it becomes a `Journey`.

Every function of this room that the kernel's own tracer would see writes a hop here, in the context of the CPU that
runs it. A copy of a packet (a fragment, a clone) shares the trace; a packet sent in answer gets a trace of its own,
kept among the ``replies`` of the one it answers, or among the ``requests`` of the one that waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.journey import Fate, FateKind, Hop, HopKind, Journey

NOTHING: Mapping = {}
_FUNCTION = HopKind.FUNCTION
_new = tuple.__new__


class Trace:
    """What happened so far to one packet.

    Args:
        cpu: the CPU that handles the packet; the softirq sets it anew when it takes the packet from a queue.
        packet: the bytes as the sender's stack made them.
        label: what the sender calls it.
    """

    __slots__ = ("cpu", "hops", "fate", "packet", "arrived", "replies", "requests", "moved", "sender_error", "label")

    def __init__(self, cpu, packet: bytes = b"", label: str = ""):
        self.cpu = cpu
        self.packet = packet
        self.label = label
        self.hops: list[Hop] = []
        self.moved: list[tuple[str, str, int]] = []
        self.replies: list[Trace] = []
        self.requests: list[Trace] = []
        self.fate: Fate | None = None
        self.arrived = b""
        self.sender_error: str | None = None

    def hop(self, function, where, kind=_FUNCTION, detail="", data=NOTHING, observable=True):
        """Write down one step; ``where`` is a device or a namespace: both know their ``node`` and ``label``."""
        cpu = self.cpu
        self.hops.append(
            _new(Hop, (function, kind, cpu.context, where.node, where.label, detail, data, observable, cpu.number))
        )

    def count(self, dev, counter: str, n: int) -> None:
        """Increase a counter of ``dev`` by ``n`` (packets or bytes) on behalf of this packet."""
        dev.stats[counter] += n
        if n:
            self.moved.append((dev.path, counter, n))

    def end(self, kind: FateKind, where, reason: str = "") -> None:
        """Write down how it ended; of several copies a delivered one tells, otherwise the first to end."""
        if self.fate is None or (kind is FateKind.DELIVERED and not self.fate.delivered):
            self.fate = Fate(kind, where.node, where.label, reason)

    def answer(self) -> Trace:
        """Return a new trace for a packet that is sent in answer to this one, on the same CPU."""
        reply = Trace(self.cpu)
        self.replies.append(reply)
        return reply

    def request(self) -> Trace:
        """Return a new trace for a packet that has to be sent before this one can go on, on the same CPU."""
        asked = Trace(self.cpu)
        self.requests.append(asked)
        return asked

    def movements(self) -> dict[str, dict[str, int]]:
        """Return what all counters gained through this packet, what it asked and what answers it, by device path."""
        total: dict[str, dict[str, int]] = {}
        for path, counter, n in self.moved:
            counters = total.setdefault(path, {})
            counters[counter] = counters.get(counter, 0) + n
        for reply in (*self.requests, *self.replies):
            for path, gained in reply.movements().items():
                counters = total.setdefault(path, {})
                for counter, n in gained.items():
                    counters[counter] = counters.get(counter, 0) + n
        return total

    def journey(self, backend: str) -> Journey:
        """Return the finished record."""
        if self.fate is None:
            raise AssertionError(f"a packet came to rest without a fate after {self.hops[-1:]}")
        return Journey(
            packet=self.packet,
            hops=tuple(self.hops),
            fate=self.fate,
            sender_error=self.sender_error,
            counters=self.movements(),
            replies=tuple(reply.journey(backend) for reply in self.replies),
            requests=tuple(request.journey(backend) for request in self.requests),
            arrived=self.arrived if self.fate.delivered else b"",
            backend=backend,
            label=self.label,
        )

"""What happened to one packet: hops, fate, and two journeys side by side.

A `Journey` is plain data made by a backend from what was executed. It knows nothing of drawing, nor of who made it.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from netkit_edu.uapi import Context, Verdict


class HopKind(enum.StrEnum):
    """What a hop is to a reader; the drawing gives each kind its shape."""

    FUNCTION = "function"
    LOOKUP = "lookup"  # a route lookup
    HOOK = "hook"  # a netfilter hook point
    QUEUE = "queue"  # a place where packets wait: per-CPU backlog, qdisc
    DRIVER = "driver"  # a device's ndo_start_xmit
    PROGRAM = "program"  # one eBPF program run
    WIRE = "wire"  # the cable between two hosts
    DELIVER = "deliver"
    DROP = "drop"


class Hop(NamedTuple):
    """One step. ``function`` is the kernel's name, ``node`` the namespace's, ``device`` the device's name or "".

    ``detail`` is one short phrase ("FORWARD", "10.0.9.0/24 dev eth0", "DROP"); ``data`` holds what it was made from:
    ``verdict`` and ``program`` (PROGRAM), ``hook`` (HOOK), ``reason`` (DROP), ``length`` in bytes.
    ``observable`` is False for what Linux does but a tracer cannot see (a hook point where nothing is registered).
    """

    function: str
    kind: HopKind
    context: Context
    node: str
    device: str = ""
    detail: str = ""
    data: Mapping = {}
    observable: bool = True
    cpu: int = 0


class FateKind(enum.StrEnum):
    """How a packet ended."""

    DELIVERED = "delivered"  # a socket, or the kernel's own endpoint, took it
    DROPPED = "dropped"  # someone decided to free it, and a counter or the sender can tell
    LOST = "lost"  # freed although it was counted as sent: a redirect that led nowhere
    TRANSMITTED = "transmitted"  # handed to a device with nothing behind it that we watch
    NOT_SENT = "not sent"  # the sender's own stack refused: no packet ever reached a device


@dataclass(frozen=True)
class Fate:
    """How and where a packet ended: ``node`` and ``device`` by name, ``reason`` in the kernel's words if any."""

    kind: FateKind
    node: str = ""
    device: str = ""
    reason: str = ""

    @property
    def delivered(self) -> bool:
        """True if a socket or the kernel's own endpoint took the packet."""
        return self.kind is FateKind.DELIVERED

    def __str__(self) -> str:
        where = f" at {self.node}" if self.node else ""
        through = f" ({self.device})" if self.device else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.kind}{where}{through}{why}"


class Ran(NamedTuple):
    """One program run on the way: the program's name, what it returned, and the device at whose hook it sat."""

    program: str
    verdict: Verdict | int
    device: str


class Counts(NamedTuple):
    """What the path cost in events: lookups, queueings, netfilter hook points, programs, drivers, hops in softirq."""

    lookups: int
    queues: int
    backlogs: int
    hooks: int
    programs: int
    drivers: int
    softirq_hops: int
    hops: int


@dataclass(frozen=True, repr=False)
class Journey:
    """One packet from the sender's call to its end.

    Attributes:
        packet: the bytes as the sender's stack made them, from the IP header (or from Ethernet where it was sent so).
        hops: every step in order.
        fate: how it ended.
        sender_error: None, or the symbol of the errno the sending call returned ("ENOBUFS").
        counters: device name -> {counter: increase}, only what moved. Keys are "node/device".
        replies: journeys of the packets that were sent in answer (an ICMP echo reply), in order.
        arrived: the bytes at the end of the path, from the IP header; b"" unless delivered.
        backend: who made it, for example "sim" or "Linux 6.12.117".
        label: what the sender calls it, for titles.
        requests: journeys of the packets that had to be sent first, ARP requests, in order; each has its own replies.
    """

    packet: bytes
    hops: tuple[Hop, ...]
    fate: Fate
    sender_error: str | None = None
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    replies: tuple[Journey, ...] = ()
    arrived: bytes = b""
    backend: str = "sim"
    label: str = ""
    requests: tuple[Journey, ...] = ()

    def __repr__(self) -> str:
        asked = f", sender told {self.sender_error}" if self.sender_error else ""
        return f"<Journey of {self.label or 'a packet'}: {len(self.hops)} hops, {self.fate}{asked}>"

    @cached_property
    def verdicts(self) -> tuple[Ran, ...]:
        """The programs that ran, in order, and what each returned (known verdicts as `Verdict`, others as int)."""
        return tuple(
            Ran(h.data["program"], as_verdict(h.data["verdict"]), h.device)
            for h in self.hops
            if h.kind is HopKind.PROGRAM
        )

    @cached_property
    def counts(self) -> Counts:
        """What the path cost in all, counted from the hops."""
        return count(self.hops)

    @cached_property
    def machines(self) -> tuple[Counts, ...]:
        """What the path cost each machine it led through: counted anew behind every wire."""
        ends = [n + 1 for n, hop in enumerate(self.hops) if hop.kind is HopKind.WIRE]
        starts = [0, *ends]
        return tuple(
            count(self.hops[a:b]) for a, b in zip(starts, [*ends, len(self.hops)], strict=True) if a < b or not a
        )

    def functions(self, only: Iterable[str] | None = None) -> list[tuple[str, Context]]:
        """Return (function, context) of each observable hop, restricted to the names in ``only`` if given.

        This is what is compared with an ftrace recording, whose filter is such a set of names.
        """
        names = None if only is None else set(only)
        return [(h.function, h.context) for h in self.hops if h.observable and (names is None or h.function in names)]

    def compare(self, other: Journey) -> Comparison:
        """Put this journey beside ``other``: the same steps in one row, the rest alone."""
        return compare(self, other)


class Row(NamedTuple):
    """One line of a comparison; a side is None where only the other journey has that step."""

    left: Hop | None
    right: Hop | None


@dataclass(frozen=True)
class Comparison:
    """Two journeys aligned on their common steps (same function, context and node; the senders count as one node)."""

    left: Journey
    right: Journey
    rows: tuple[Row, ...]

    @property
    def same(self) -> bool:
        """True if every step, the fate's kind and the sender's error agree."""
        return (
            all(r.left is not None and r.right is not None for r in self.rows)
            and self.left.fate.kind is self.right.fate.kind
            and self.left.sender_error == self.right.sender_error
        )


def count(hops: Sequence[Hop]) -> Counts:
    """Count what these hops cost."""
    kinds = Counter(h.kind for h in hops)
    return Counts(
        lookups=kinds[HopKind.LOOKUP],
        queues=kinds[HopKind.QUEUE],
        backlogs=sum(h.function == "enqueue_to_backlog" for h in hops),
        hooks=kinds[HopKind.HOOK],
        programs=kinds[HopKind.PROGRAM],
        drivers=kinds[HopKind.DRIVER],
        softirq_hops=sum(h.context is Context.SOFTIRQ for h in hops),
        hops=len(hops),
    )


def as_verdict(code: int) -> Verdict | int:
    """Return the `Verdict` for a program's return code, or the bare int where netkit knows none."""
    try:
        return Verdict(code)
    except ValueError:
        return code


def compare(left: Journey, right: Journey) -> Comparison:
    """Align two journeys by their longest common subsequence of (function, context, node).

    The two senders count as one node, so that the same steps of two pods of different names stand side by side.
    """
    from difflib import SequenceMatcher

    a, b = (
        [(h.function, h.context, h.node if h.node != j.hops[0].node else None) for h in j.hops] for j in (left, right)
    )
    rows: list[Row] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [Row(x, y) for x, y in zip(left.hops[i1:i2], right.hops[j1:j2], strict=True)]
        else:
            rows += [Row(x, None) for x in left.hops[i1:i2]]
            rows += [Row(None, y) for y in right.hops[j1:j2]]
    return Comparison(left, right, tuple(rows))

"""``Way``: what has been put together of one packet so far; in the end it becomes a `Journey`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from netkit_edu.journey import Fate, FateKind, Hop, HopKind, Journey
from netkit_edu.linux.evidence import filled
from netkit_edu.linux.records import Record
from netkit_edu.packet import IP_HLEN, checksum
from netkit_edu.uapi import ETH_HLEN, IPPROTO_UDP, errno_name

NOTHING: Mapping = {}


class Where(NamedTuple):
    """Where something happened: a namespace's name, a device's name or "", and its kind or ""."""

    node: str
    device: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.node}/{self.device}"


class Way:
    """One packet and its copies, fragments and segments.

    ``frame``: its bytes begin with an Ethernet header; ``bound``: a packet of it has been seen; ``splits``: it may turn
    into further ones. ``parent`` is the way of the packet that this one answers, or that waits for it.
    """

    def __init__(self, packet: bytes = b"", parent: Way | None = None):
        self.packet = packet
        self.parent = parent
        self.hops: list[Hop] = []
        self.places: list[Where] = []
        self.fate: Fate | None = None
        self.arrived = b""
        self.bound = False
        self.splits = False
        self.named = self.frame = False
        self.replies: list[Way] = []
        self.requests: list[Way] = []

    def hop(self, record: Record, function: str, place: Where, kind: HopKind = HopKind.FUNCTION, detail: str = "",
            data: Mapping = NOTHING) -> None:  # fmt: skip
        """Write down one step."""
        hop = Hop(function, kind, record.context, place.node, place.device, detail, data, True, record.cpu)
        self.hops.append(hop)
        self.places.append(place)

    @property
    def last(self) -> str:
        """The function of the last step, "" before the first."""
        return self.hops[-1].function if self.hops else ""

    def take_back(self) -> None:
        """The last step was none."""
        self.hops.pop()
        self.places.pop()

    def end(self, kind: FateKind, place: Where, reason: str = "") -> None:
        """Write down how it ended; of several copies a delivered one tells, otherwise the first to end."""
        if self.fate is None or (kind is FateKind.DELIVERED and not self.fate.delivered):
            self.fate = Fate(kind, place.node, place.device, reason)

    def name(self, data: bytes, frame: bool) -> None:
        """The packet as its sender's stack made it: from its IP header, or a ``frame``; the first to say so counts."""
        if not self.named:
            self.named, self.frame = True, frame
            self.packet = data if frame else self.whole(data)

    def whole(self, data: bytes) -> bytes:
        """Return a packet from its IP header of which the record holds the start: its payload is what was sent.

        Of the segments of a packet that is the first one.
        """
        length = int.from_bytes(data[2:4], "big") if len(data) >= IP_HLEN else len(data)
        packet = self.packet[ETH_HLEN:] if self.frame else self.packet
        if len(data) < length <= len(packet):
            data += packet[len(data) : length]
        return filled(data)

    def asks(self) -> bool:
        """Return whether it is an ARP request for a packet that waits."""
        return self.parent is not None and self in self.parent.requests

    def waits(self) -> bool:
        """Return whether it, or what it asked or set off, waits for a neighbour's address."""
        steps = (hop.function for hop in reversed(self.hops) if hop.function != "consume_skb")  # of what was cut up
        own = self.fate is None and next(steps, "") == "__neigh_event_send"
        return own or any(way.waits() for way in (*self.replies, *self.requests))

    def unread(self) -> bool:
        """Return whether a socket has taken a datagram of it whose checksum is wrong: who reads finds out."""
        own = self.fate is not None and self.fate.delivered and udp_checksum_wrong(self.arrived)
        return own or any(way.unread() for way in (*self.replies, *self.requests))

    def prune(self) -> None:
        """Forget answers that were never sent."""
        for ways in (self.replies, self.requests):
            ways[:] = [way for way in ways if way.bound]
            for way in ways:
                way.prune()

    def journey(self, backend: str, label: str = "", errno: int = 0, counters: Mapping = NOTHING) -> Journey:
        """Return the finished record; ``errno`` is what the sender was told."""
        fate = self.fate
        if fate is None and not self.bound and errno:
            fate = Fate(FateKind.NOT_SENT, self.places[0].node if self.places else "", "", errno_name(errno))
        elif fate is None:
            place = self.places[-1] if self.places else Where("")
            reason = "FRAG_REASM_TIMEOUT" if self.last == "ip_defrag" else "it was not seen again"
            fate = Fate(FateKind.DROPPED, place.node, place.device, reason)
        return Journey(
            packet=self.packet,
            hops=tuple(self.hops),
            fate=fate,
            sender_error=errno_name(errno) if errno else None,
            counters=counters,
            replies=tuple(way.journey(backend) for way in self.replies),
            arrived=self.arrived if fate.delivered else b"",
            backend=backend,
            label=label,
            requests=tuple(way.journey(backend) for way in self.requests),
        )


def udp_checksum_wrong(packet: bytes) -> bool:
    """Return whether an IPv4 packet is a whole UDP datagram that has a checksum, and a wrong one."""
    ihl = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < ihl + 8 or ihl < IP_HLEN or packet[9] != IPPROTO_UDP or not any(packet[ihl + 6 : ihl + 8]):
        return False
    length = int.from_bytes(packet[ihl + 4 : ihl + 6], "big")
    pseudo = packet[12:20] + bytes((0, IPPROTO_UDP)) + length.to_bytes(2, "big")
    return len(packet) - ihl == length and checksum(pseudo + packet[ihl:]) != 0

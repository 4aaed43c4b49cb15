"""Whose packet is it? The kernel's addresses of packets, and the ways they belong to.

A packet is known by its address, until that is another's. A new one belongs to whoever is at hand where it is born:
what a sender, or a CPU's softirq, has worked on last; what is born otherwise is not ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netkit_edu.linux.records import Record
from netkit_edu.linux.way import Way, Where
from netkit_edu.linux.words import Asked
from netkit_edu.uapi import Context

COPIES = {"udp_queue_rcv_one_skb", "ping_queue_rcv_skb"}  # what sockets are given may be a copy of its own
BIRTHS = COPIES | {
    "ip_output", "ip_mc_output", "ip_finish_output2", "__dev_queue_xmit", "__bpf_redirect", "__br_forward",
    "dev_hard_start_xmit", "loopback_xmit", "dummy_xmit", "veth_xmit", "netkit_xmit", "br_dev_xmit",
}  # fmt: skip
_OF_IP = {"ip_output", "ip_mc_output", "ip_finish_output2"}  # where no ARP request comes by
_END = "skb_release_head_state"  # a second one is that of a packet at the same address that was never seen alive
_PASSIVE = {"sock_wfree", _END}  # what happens to a packet while others are worked on


@dataclass
class Hook:
    """Where programs run on a packet now: at which device, at which tcx hook ("" for netkit), and which have run."""

    place: Where
    name: str = ""
    ran: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Packet:
    """What is known of one address.

    ``released``: its memory is given back; ``held``: a socket has it; ``on_wire``: it is on a cable, to ``other`` once
    that is known; ``carried``: it came over one, where no socket comes along; ``receiver``: inode and ifindex of the
    device that it was to cross over to; ``asked``: where to it was to be redirected.
    """

    way: Way
    released: bool = False
    held: bool = False
    on_wire: bool = False
    other: Where | None = None
    carried: bool = False
    receiver: tuple[int, int] = (0, 0)
    asked: Asked = Asked()  # noqa: RUF009  a tuple
    hook: Hook | None = None


class Owners:
    """All packets that are ours. ``task`` is the sender's, 0 before there is one."""

    def __init__(self):
        self.task = 0
        self._packets: dict[int, Packet] = {}
        self._at_hand: dict[tuple[int, Context], Way | None] = {}

    def near(self, record: Record) -> Way | None:
        """Return what is at hand where this happened."""
        context = record.context
        if context is Context.PROCESS and record.task != self.task:
            return None
        return self._at_hand.get((record.cpu, context))

    def take(self, record: Record, way: Way | None) -> None:
        """Have a way at hand here from now on."""
        self._at_hand[record.cpu, record.context] = way

    def nothing_at_hand(self, record: Record) -> None:
        """The CPU's softirq begins with nothing."""
        self._at_hand[record.cpu, Context.SOFTIRQ] = None

    def known(self, record: Record) -> Packet | None:
        """Return what is known of the record's packet, None if it is not ours or given back."""
        packet = self._packets.get(record.skb)
        return None if packet is None or packet.released else packet

    def of(self, record: Record, function: str) -> Packet | None:
        """Return the record's packet, whose way is at hand from now on; None if it is not ours."""
        packet = self._packets.get(record.skb)
        if packet is not None and packet.released and function != "sock_wfree":
            packet.released = False
            if function in BIRTHS or function == _END:
                del self._packets[record.skb]
                packet = None
        if packet is None:
            way = self._heir(record, function)
            if way is None:
                return None
            packet = self._packets[record.skb] = Packet(way)
            way.bound = True
        if function not in _PASSIVE:
            self.take(record, packet.way)
        return packet

    def _heir(self, record: Record, function: str) -> Way | None:
        way = self.near(record) if function in BIRTHS else None
        while way is not None and (
            way.asks() and function in _OF_IP or way.bound and not way.splits and function not in COPIES
        ):
            way = way.parent
        return way

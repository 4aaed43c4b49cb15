"""Neighbours: which hardware address a next hop has, and the ready-made header for it.

Mirrors net/core/neighbour.c, the constructor of net/ipv4/arp.c and the header cache of net/ethernet/eth.c, Linux 6.12.
The first packet to a known neighbour goes through `neigh_resolve_output`, which leaves a ready-made Ethernet header
behind (``hh``); later ones only copy it, unless it is known only from having asked us itself (NUD_STALE). Packets to an
unknown one wait until somebody answers, or nobody has.

Deviation: entries do not age, since packets take no time: one that was valid stays so until its device loses it. Only
the second between two requests that nobody answers passes, when all else has come to rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import HopKind
from netkit_edu.sim.dev import __dev_queue_xmit as dev_queue_xmit
from netkit_edu.sim.inet import in_multicast, ntoa
from netkit_edu.sim.route import RTN_BROADCAST, inet_addr_type
from netkit_edu.sim.skbuff import kfree_skb_reason
from netkit_edu.uapi import ETH_HLEN, IFF_LOOPBACK, IFF_NOARP

MCAST_PROBES = 3  # requests before giving up (net.ipv4.neigh.default.mcast_solicit)
RETRANS_TIME = 1_000_000_000  # ns between two of them
QUEUE_LEN_BYTES = 212_992  # net.ipv4.neigh.default.unres_qlen_bytes, counted in bytes of memory
_SKB_OVERHEAD, _SKB_LEAST = 576, 768  # bytes of memory that a packet takes beside its own, and at least

ARP_OPS: dict[str, Callable] = {}  # "solicit" and "error_report": arp.py puts its functions here
_ETHERTYPE_IP = b"\x08\x00"


class Neighbour:
    """One entry: ``ha`` is the hardware address, None while unknown; ``hh`` the ready-made header once there is one.

    ``connected`` says that the address is for certain (NUD_CONNECTED): somebody said so, or it needs no saying.
    While nobody has answered yet (``incomplete``), packets wait in ``arp_queue`` and ``probes`` counts the requests.
    """

    __slots__ = ("dev", "address", "ha", "permanent", "connected", "hh", "incomplete", "probes", "arp_queue")

    def __init__(self, ha: bytes | None, permanent: bool = False, dev=None, address: int = 0):
        self.dev = dev
        self.address = address
        self.ha = ha
        self.permanent = permanent
        self.connected = True
        self.hh: bytes | None = None
        self.incomplete = False
        self.probes = 0
        self.arp_queue: deque[SkBuff] = deque()


def ip_neigh_gw4(dev, nexthop: int) -> Neighbour:
    """Find the neighbour entry of a next hop, or make one (arp_constructor)."""
    if dev.flags & IFF_LOOPBACK:
        nexthop = 0
    neigh = dev.neighbours.get(nexthop)
    if neigh is None:
        if in_multicast(nexthop):
            ha = b"\x01\x00\x5e" + (nexthop & 0x7FFFFF).to_bytes(3, "big")
        elif dev.flags & (IFF_NOARP | IFF_LOOPBACK):
            ha = dev.dev_addr
        elif inet_addr_type(dev.net, nexthop) is RTN_BROADCAST:
            ha = b"\xff" * 6
        else:
            ha = None
        neigh = dev.neighbours[nexthop] = Neighbour(ha, dev=dev, address=nexthop)
    return neigh


def neigh_output(neigh: Neighbour, skb: SkBuff) -> int:
    """Put the Ethernet header on and transmit; returns what `__dev_queue_xmit` says, 0 for a packet that waits."""
    if neigh.hh is None or not neigh.connected:
        return neigh_resolve_output(neigh, skb)
    return neigh_hh_output(neigh, skb)


def neigh_resolve_output(neigh: Neighbour, skb: SkBuff) -> int:
    """The slow way: ask for the address unless it is known; make the header, and keep it for the next packet."""
    dev = skb.dev
    skb.trace.hop("neigh_resolve_output", dev)
    if neigh.ha is None:
        __neigh_event_send(neigh, skb)
        return 0
    # eth_header() writes all-zero addresses on a device that has none: IFF_NOARP frames of netkit in L3 mode.
    neigh.hh = neigh.ha + dev.dev_addr + _ETHERTYPE_IP
    return neigh_hh_output(neigh, skb)


def neigh_hh_output(neigh: Neighbour, skb: SkBuff) -> int:
    """The fast way: copy the ready-made header."""
    at = skb.push(ETH_HLEN)
    skb.buf[at : at + ETH_HLEN] = neigh.hh
    return dev_queue_xmit(skb)


# an address that is not known yet -------------------------------------------------------------------------------------


def __neigh_event_send(neigh: Neighbour, skb: SkBuff) -> None:
    """Let the packet wait; the first to do so asks for the address and starts the timer."""
    dev = skb.dev
    skb.trace.hop("__neigh_event_send", dev, HopKind.QUEUE, f"waits for the address of {ntoa(neigh.address)}")
    queue = neigh.arp_queue
    while queue and sum(map(_truesize, queue)) + _truesize(skb) > QUEUE_LEN_BYTES:
        kfree_skb_reason(queue.popleft(), "NEIGH_QUEUEFULL", dev)
    queue.append(skb)
    if not neigh.incomplete:
        neigh.incomplete, neigh.probes = True, 0
        dev.net.kernel.neigh_timers.append(neigh)
        neigh_probe(neigh)


def neigh_probe(neigh: Neighbour) -> None:
    """Ask once."""
    neigh.probes += 1
    ARP_OPS["solicit"](neigh, neigh.arp_queue[-1])


def neigh_timer_handler(neigh: Neighbour, cpu) -> None:
    """A second has passed without an answer: ask again, or give up. Where nothing waits, Linux asks on unheard."""
    for skb in neigh.arp_queue:
        skb.trace.cpu = cpu
    if neigh.arp_queue and neigh.probes < MCAST_PROBES:
        neigh.dev.net.kernel.neigh_timers.append(neigh)
        return neigh_probe(neigh)
    neigh.incomplete = False
    neigh_invalidate(neigh)


def neigh_invalidate(neigh: Neighbour) -> None:
    """Tell the senders of what waits; once word to this very address asks for it anew, all that waits is purged."""
    while not neigh.incomplete and neigh.arp_queue:
        ARP_OPS["error_report"](neigh, neigh.arp_queue.popleft())
    while neigh.arp_queue:
        kfree_skb_reason(neigh.arp_queue.popleft(), "QUEUE_PURGE", neigh.dev)


def neigh_update(neigh: Neighbour, ha: bytes, cpu, *, permanent: bool = False, stale: bool = False) -> None:
    """The address is known, or another now: put a ready-made header right, and send what waited for it.

    Args:
        permanent: somebody says so who may change even a permanent entry.
        stale: it is not certain; of an address that was known before this says nothing.
    """
    if neigh.permanent and not permanent:
        return
    if not stale or ha != neigh.ha:
        neigh.connected = not stale
    neigh.ha, neigh.permanent = ha, permanent
    if neigh.hh is not None:
        neigh.hh = ha + neigh.hh[6:]
    if neigh.incomplete:
        neigh.incomplete = False
        neigh.dev.net.kernel.neigh_timers.remove(neigh)
    while neigh.arp_queue:
        skb = neigh.arp_queue.popleft()
        skb.trace.cpu = cpu
        neigh_resolve_output(neigh, skb)


def neigh_event_ns(dev, address: int, ha: bytes, cpu) -> None:
    """Somebody asked, and so told its own address: keep it."""
    neigh = dev.neighbours.get(address)
    if neigh is None:
        neigh = dev.neighbours[address] = Neighbour(None, dev=dev, address=address)
    neigh_update(neigh, ha, cpu, stale=True)


def _truesize(skb: SkBuff) -> int:
    return max(len(skb) + _SKB_OVERHEAD, _SKB_LEAST)

"""Neighbours: which hardware address a next hop has, and the ready-made header for it.

Mirrors net/core/neighbour.c, net/ipv4/arp.c and the header cache of net/ethernet/eth.c, Linux 6.12. The first packet to
a neighbour goes through `neigh_resolve_output`, which leaves a ready-made Ethernet header behind (``hh``); later ones
only copy it.

Deviation: there is no ARP yet. A device with IFF_NOARP (netkit in L3 mode, loopback, dummy) needs none; on others only
permanent neighbours are reachable, and they outlive the device's going down, which Linux's would not.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.sim.dev import __dev_queue_xmit as dev_queue_xmit
from netkit_edu.sim.inet import in_multicast
from netkit_edu.sim.route import RTN_BROADCAST
from netkit_edu.sim.skbuff import kfree_skb_reason
from netkit_edu.uapi import ETH_HLEN, IFF_LOOPBACK, IFF_NOARP

_ETHERTYPE_IP = b"\x08\x00"


class Neighbour:
    """One entry: ``ha`` is the hardware address, None while unknown; ``hh`` the ready-made header once there is one."""

    __slots__ = ("ha", "permanent", "hh")

    def __init__(self, ha: bytes | None, permanent: bool = False):
        self.ha = ha
        self.permanent = permanent
        self.hh: bytes | None = None


def ip_neigh_gw4(dev, nexthop: int, kind: str) -> Neighbour:
    """Find the neighbour entry of a next hop, or make one (arp_constructor)."""
    if dev.flags & IFF_LOOPBACK:
        nexthop = 0
    neigh = dev.neighbours.get(nexthop)
    if neigh is None:
        if kind is RTN_BROADCAST:
            neigh = Neighbour(b"\xff" * 6)
        elif dev.flags & (IFF_NOARP | IFF_LOOPBACK):
            neigh = Neighbour(dev.dev_addr)
        elif in_multicast(nexthop):
            neigh = Neighbour(b"\x01\x00\x5e" + (nexthop & 0x7FFFFF).to_bytes(3, "big"))
        else:
            return Neighbour(None)
        dev.neighbours[nexthop] = neigh
    return neigh


def neigh_output(neigh: Neighbour, skb: SkBuff) -> int:
    """Put the Ethernet header on and transmit; returns what `__dev_queue_xmit` says."""
    if neigh.hh is None:
        return neigh_resolve_output(neigh, skb)
    return neigh_hh_output(neigh, skb)


def neigh_resolve_output(neigh: Neighbour, skb: SkBuff) -> int:
    """The slow way: make the header, and keep it for the next packet."""
    dev = skb.dev
    skb.trace.hop("neigh_resolve_output", dev)
    if neigh.ha is None:
        kfree_skb_reason(skb, "NEIGH_FAILED", dev)
        return 0
    # eth_header() writes all-zero addresses on a device that has none: IFF_NOARP frames of netkit in L3 mode.
    neigh.hh = neigh.ha + dev.dev_addr + _ETHERTYPE_IP
    return neigh_hh_output(neigh, skb)


def neigh_hh_output(neigh: Neighbour, skb: SkBuff) -> int:
    """The fast way: copy the ready-made header."""
    at = skb.push(ETH_HLEN)
    skb.buf[at : at + ETH_HLEN] = neigh.hh
    return dev_queue_xmit(skb)

"""The MTU of a path: what a route allows, and how an ICMP error makes it known.

Mirrors include/net/ip.h and parts of net/ipv4/route.c, Linux 6.12 (RFC 1191). A router that cannot send a packet on
tells its MTU; the sender's stack then cuts what is longer, or refuses it, until the knowledge is over.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.sim.fnhe import find_exception, update_or_create_fnhe
from netkit_edu.sim.inet import Iphdr
from netkit_edu.sim.route import RTN_LOCAL, FibInfo, Rt, ip_route_output_key_hash
from netkit_edu.sim.trace import Trace

IP_MAX_MTU = 0xFFFF  # bytes
IPSKB_FORWARDED = 1 << 0  # of IPCB()->flags, the lower half of what programs call cb[3]
_UNKNOWN_PATH = 576  # bytes that every host can take


def ip_dst_mtu_maybe_forward(rt: Rt, forwarding: bool) -> int:
    """Return the longest packet for a route, in bytes; one that is sent on does not go by what its router has learnt.

    Unless what was learnt is locked, or net.ipv4.ip_forward_use_pmtu says so.
    """
    net = rt.dev.net
    if (net.pmtu.forward_use_pmtu or rt.mtu_locked or not forwarding) and rt.pmtu and _now(net) < rt.expires:
        return min(rt.pmtu, IP_MAX_MTU)
    mtu = rt.dev.mtu
    if rt.mtu_locked and rt.gateway and mtu > _UNKNOWN_PATH:
        mtu = _UNKNOWN_PATH
    return min(mtu, IP_MAX_MTU)


def dst_mtu(rt: Rt) -> int:
    """Return the longest packet that may start here with this route (ipv4_mtu)."""
    return ip_dst_mtu_maybe_forward(rt, False)


def ip_skb_dst_mtu(skb: SkBuff) -> int:
    """Return how long the packet may be with the route that it has."""
    return ip_dst_mtu_maybe_forward(skb.dst, bool(skb.cb[3] & IPSKB_FORWARDED))


def ip_mtu_from_fib_result(res: FibInfo, daddr: int) -> int:
    """Return what a route is known to allow to an address, else its device's MTU."""
    fnhe = find_exception(res, daddr, _now(res.dev.net))
    return fnhe.pmtu if fnhe is not None else min(res.dev.mtu, IP_MAX_MTU)


def ipv4_update_pmtu(skb: SkBuff, mtu: int, iph: Iphdr, oif: int = 0) -> None:
    """An ICMP error says that packets like the one it quotes may have ``mtu`` bytes at most.

    Args:
        skb: the error; its own journey has no step of this.
        iph: the IP header that it quotes.
        oif: the device that the sender is bound to, 0 for none.
    """
    try:
        rt = ip_route_output_key_hash(Trace(skb.trace.cpu), skb.dev.net, iph.daddr, iph.saddr, oif=oif)
    except KernelError:
        return
    __ip_rt_update_pmtu(skb.dev.net, rt, iph.daddr, mtu, oif)


def __ip_rt_update_pmtu(net, rt: Rt, daddr: int, mtu: int, oif: int) -> None:
    """Remember the path's MTU with the route; less than net.ipv4.route.min_pmtu is not believed, but locked."""
    old = dst_mtu(rt)
    if rt.mtu_locked or old < mtu:
        return
    lock = mtu < net.pmtu.min_pmtu
    if lock:
        mtu = min(old, net.pmtu.min_pmtu)
    lasts = net.pmtu.mtu_expires
    if rt.pmtu == mtu and not lock and _now(net) < rt.expires - lasts // 2:
        return
    res = net.fib.find(daddr, net.loopback.ifindex if rt.type is RTN_LOCAL else oif)
    if res is not None:
        update_or_create_fnhe(res, daddr, mtu, lock, _now(net) + lasts)


def _now(net) -> int:
    return net.kernel.world.now

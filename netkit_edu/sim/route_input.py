"""Where a packet that arrived is to go, and whether it can have come from where it says.

Mirrors the input half of net/ipv4/route.c and fib_validate_source of fib_frontend.c, Linux 6.12.
"""

from __future__ import annotations

from netkit_edu.sim.inet import in_multicast
from netkit_edu.sim.route import (
    INADDR_BROADCAST,
    RTN_BROADCAST,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    FibInfo,
    Rt,
    fib_table_lookup,
)
from netkit_edu.uapi import ETH_P_IP

MARTIAN_SOURCE, MARTIAN_OWN = "martian source", "martian source: one of our own addresses"
MARTIAN_ZERO, MARTIAN_LOOPBACK = "martian: the address 0.0.0.0", "martian: a loopback address on the wire"
NO_IPV4 = "a device that speaks no IPv4: its MTU was below 68"


def ip_route_input_noref(skb, daddr: int, saddr: int) -> str:
    """Decide the way of a packet that arrived; it gets ``skb->dst``. Returns "" or why it must not go any way."""
    skb.trace.hop("ip_route_input_noref", skb.dev)
    if in_multicast(daddr):
        return "multicast group not joined" if skb.dev.in_dev else NO_IPV4
    return ip_route_input_slow(skb, daddr, saddr)


def ip_route_input_slow(skb, daddr: int, saddr: int) -> str:
    """The decision itself: for us, to be forwarded, or neither."""
    dev = skb.dev
    net = dev.net
    skb.trace.hop("ip_route_input_slow", dev)
    if not dev.in_dev:
        return NO_IPV4
    if in_multicast(saddr) or saddr == INADDR_BROADCAST:
        return MARTIAN_SOURCE
    if daddr == INADDR_BROADCAST or not (saddr or daddr):
        return _brd_input(skb, saddr)
    if not (saddr and daddr):
        return MARTIAN_ZERO
    if saddr >> 24 == 127 or daddr >> 24 == 127:
        return MARTIAN_LOOPBACK
    res = fib_table_lookup(skb.trace, net, daddr, dev)
    forwarding = net.ip_forward
    if res is None or (res.type is RTN_UNICAST and not forwarding):
        error = "ENETUNREACH" if forwarding else "EHOSTUNREACH"
        skb.dst = Rt(dev, RTN_UNREACHABLE, error=error)
        return ""
    if res.type is RTN_BROADCAST:
        return _brd_input(skb, saddr)
    if res.type is RTN_UNICAST:
        return __mkroute_input(skb, res, saddr, daddr)
    refused, _ = fib_validate_source(skb, saddr, None)
    skb.dst = Rt(dev, res.type)
    return refused


def _brd_input(skb, saddr: int) -> str:
    """It is for everyone; only who asks for an address of its own has none yet."""
    refused, _ = fib_validate_source(skb, saddr, None) if saddr else ("", False)
    skb.dst = Rt(skb.dev, RTN_BROADCAST)
    return refused


def __mkroute_input(skb, res: FibInfo, saddr: int, daddr: int) -> str:
    """The way onward; one that leads back where the packet came from, from a neighbour there, could be shorter."""
    if not res.dev.in_dev:
        return NO_IPV4
    refused, onlink = fib_validate_source(skb, saddr, res.dev)
    rt = skb.dst = Rt(res.dev, RTN_UNICAST, res.gateway).bind_exception(res, daddr)
    rt.doredirect = onlink and res.dev is skb.dev and skb.protocol == ETH_P_IP
    return refused


def fib_validate_source(skb, saddr: int, out) -> tuple[str, bool]:
    """Return why nobody can have sent this from where it came, or "", and whether the sender is a neighbour there.

    Routes are looked up only where the way onward leads back through the same device (``out``), which the sender is to
    be told of; there is no rp_filter. Else it is enough that the address is not ours, by the loopback, too: what is
    sent through that has its route already.
    """
    dev = skb.dev
    if out is dev and (dev.net.send_redirects or dev.send_redirects):  # IN_DEV_TX_REDIRECTS
        onlink = __fib_validate_source(skb, saddr)
        return ("", onlink) if onlink is not None else (MARTIAN_SOURCE, False)
    return (MARTIAN_OWN if dev.net.is_local(saddr) else ""), False


def __fib_validate_source(skb, saddr: int) -> bool | None:
    """True if the sender is a neighbour on the device it came by, False if not; None for no sender's address."""
    dev = skb.dev
    res = fib_table_lookup(skb.trace, dev.net, saddr, dev)
    if res is None:
        return False
    if res.type is not RTN_UNICAST:
        return None
    if res.dev is not dev:
        res = fib_table_lookup(skb.trace, dev.net, saddr, dev, dev.ifindex)
    return res is not None and res.type is RTN_UNICAST and not res.gateway

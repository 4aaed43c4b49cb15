"""Sockets, as far as a packet's journey shows them: who sends, with which options, and where datagrams end up.

Mirrors ``struct sock`` (include/net/sock.h, Linux 6.12). `sock_sendmsg` is the way in from a system call.
"""

from __future__ import annotations

from netkit_edu.backend import Received
from netkit_edu.errors import KernelError, PacketError
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.sim.inet import IP_DF, IPDEFTTL, IPHDR_LEN, Iphdr, ip_hdr, ntoa
from netkit_edu.sim.pmtu import dst_mtu
from netkit_edu.sim.route import ip_route_output_flow
from netkit_edu.sim.skbuff import alloc_skb, packet_bytes
from netkit_edu.sim.snmp import SNMP_INC_STATS


class Sock:
    """A socket that sends; options as in socket(7) and ip(7)."""

    __slots__ = ("net", "mark", "priority", "recverr", "bound_dev_if", "gso_size")

    def __init__(self, net, *, mark: int = 0, priority: int = 0, recverr: bool = False, bound_dev_if: int = 0,
                 gso_size: int = 0):  # fmt: skip
        self.net = net
        self.mark = mark & 0xFFFFFFFF
        self.priority = priority & 0xFFFFFFFF
        self.recverr = recverr
        self.bound_dev_if = bound_dev_if
        self.gso_size = gso_size


def parse_datagram(packet: bytes, protocol: int, name: str, header: int) -> Iphdr:
    """Return the IP header of a datagram to be sent; PacketError unless it is IPv4 and of this protocol.

    Args:
        header: bytes of the protocol's own header that must be there.
    """
    if len(packet) < IPHDR_LEN or packet[0] >> 4 != 4:
        raise PacketError(
            f"a {name} socket sends IPv4 packets; these {len(packet)} bytes do not start with such a header"
        )
    iph = ip_hdr(packet, 0)
    if iph.ihl < IPHDR_LEN or len(packet) < iph.ihl + header:
        raise PacketError(f"{len(packet)} bytes are too short for an IPv4 header and a {name} header")
    if iph.protocol != protocol:
        raise PacketError(f"a {name} socket cannot send IP protocol {iph.protocol}: send it with via='raw'")
    return iph


def ip_route_output_sock(sk: Sock, trace, iph: Iphdr):
    """Return the route of a datagram of a UDP or ping socket, and count one that has none; KernelError as its stack."""
    try:
        return ip_route_output_flow(trace, sk.net, iph.daddr, iph.saddr, oif=sk.bound_dev_if)
    except KernelError as refused:
        if refused.name == "ENETUNREACH":
            SNMP_INC_STATS(sk.net, "IpOutNoRoutes")
        raise


def ip_make_skb(sk: Sock, trace, rt, packet: bytes, iph: Iphdr):
    """Return the packet as the socket's own stack makes it: what the caller left open is filled in.

    A source address of 0 becomes the route's, a TTL of 0 the default, an id of 0 the next one. What does not fit the
    path's MTU loses its DF, as with IP_PMTUDISC_WANT, the default, and so does all if that MTU is locked; a GSO packet
    keeps it (IP_PMTUDISC_DO).
    """
    buf = bytearray(packet)
    frag_off = iph.frag_off & IP_DF
    if not sk.gso_size and (len(packet) > dst_mtu(rt) or rt.mtu_locked):
        frag_off = 0
    buf[6:8] = frag_off.to_bytes(2, "big")
    if not iph.id:
        buf[4:6] = sk.net.next_ip_id().to_bytes(2, "big")
    buf[8] = iph.ttl or IPDEFTTL
    if not iph.saddr:
        buf[12:16] = rt.saddr.to_bytes(4, "big")
    skb = alloc_skb(trace, buf)
    skb.network_header = skb.data
    skb.transport_header = skb.data + iph.ihl
    skb.sk, skb.dst, skb.ignore_df = sk, rt, not (sk.gso_size and frag_off)
    skb.mark, skb.priority = sk.mark, sk.priority
    return skb


def deliver(skb, function: str, what: str, iph: Iphdr, *, sport: int = 0, dport: int = 0, payload: bytes | None = None):
    """A socket or an endpoint of the kernel takes the packet; with ``payload`` it is kept for `received`."""
    dev = skb.dev
    trace = skb.trace
    trace.hop(function, dev, HopKind.DELIVER, what)
    if trace.fate is None or not trace.fate.delivered:  # of several copies, the first
        trace.arrived = packet_bytes(skb)
    trace.end(FateKind.DELIVERED, dev)
    if payload is not None:
        dev.net.received.append(Received(ntoa(iph.saddr), sport, ntoa(iph.daddr), dport, payload))

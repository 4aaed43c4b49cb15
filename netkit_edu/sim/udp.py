"""UDP: from a socket to the IP layer, and back.

Mirrors net/ipv4/udp.c, Linux 6.12. A socket's datagram leaves with its checksum half done (CHECKSUM_PARTIAL): all
virtual devices promise to finish it, and never do, since no wire is crossed. Its receiver then has nothing to verify.
"""

from __future__ import annotations

from netkit_edu.errors import KernelError
from netkit_edu.journey import FateKind
from netkit_edu.sim.gso import SKB_GSO_UDP_L4, UDP_MAX_SEGMENTS, skb_gso_segment
from netkit_edu.sim.icmp import ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, icmp_send
from netkit_edu.sim.inet import Iphdr, ip_compute_csum, pseudo_header
from netkit_edu.sim.ip_output import ip_send_skb
from netkit_edu.sim.pmtu import dst_mtu
from netkit_edu.sim.route import RTN_BROADCAST, RTN_MULTICAST
from netkit_edu.sim.skbuff import CHECKSUM_PARTIAL, consume_skb, kfree_skb_reason
from netkit_edu.sim.snmp import IP_ADD_STATS, SNMP_INC_STATS
from netkit_edu.sim.sock import Sock, deliver, ip_make_skb, ip_route_output_sock, parse_datagram
from netkit_edu.uapi import IPPROTO_UDP, Errno

UDPHDR_LEN = 8  # bytes
MAX_PACKET = 65535  # bytes, IP header included


def udp_sendmsg(sk: Sock, trace, packet: bytes) -> int:
    """Send a datagram, given from its IP header; returns 0 or a negative errno, raises KernelError before it exists.

    The headers' lengths, the checksums and what is 0 where it cannot be are the socket's to fill in.
    """
    net = sk.net
    iph = parse_datagram(packet, IPPROTO_UDP, "UDP", UDPHDR_LEN)
    if iph.saddr and not net.is_local(iph.saddr):  # what bind() says before anything is sent
        raise KernelError("EADDRNOTAVAIL", hint="a UDP socket can only be bound to an address of its own namespace")
    trace.hop("udp_sendmsg", net)
    if len(packet) > MAX_PACKET:
        raise KernelError("EMSGSIZE")
    net.udp_senders[int.from_bytes(packet[iph.ihl : iph.ihl + 2], "big")] = sk.bound_dev_if
    rt = ip_route_output_sock(sk, trace, iph)
    if rt.type is RTN_BROADCAST:
        raise KernelError("EACCES", hint="only a socket with SO_BROADCAST may send to a broadcast address")
    err = udp_send_skb(sk, ip_make_skb(sk, trace, rt, packet, iph), iph.ihl)
    if err == -Errno.ENOBUFS:
        SNMP_INC_STATS(net, "UdpSndbufErrors")
    return err


def udp_send_skb(sk: Sock, skb, ihl: int) -> int:
    """Fill in the UDP header and send; a drop on the way out is only told to a socket with IP_RECVERR."""
    buf, start = skb.buf, skb.data + ihl
    ulen = len(buf) - start
    buf[start + 4 : start + 6] = ulen.to_bytes(2, "big")
    saddr, daddr = (
        int.from_bytes(buf[skb.data + 12 : skb.data + 16], "big"),
        int.from_bytes(buf[skb.data + 16 : skb.data + 20], "big"),
    )
    pseudo = pseudo_header(saddr, daddr, IPPROTO_UDP, ulen)
    if sk.gso_size:
        udp_set_gso(sk, skb, ulen - UDPHDR_LEN)
    if len(skb) <= dst_mtu(skb.dst) or skb.gso_size:
        skb.ip_summed, skb.csum_start, skb.csum_offset = CHECKSUM_PARTIAL, start, 6
        buf[start + 6 : start + 8] = (~ip_compute_csum(b"", pseudo) & 0xFFFF).to_bytes(2, "big")
    else:
        buf[start + 6 : start + 8] = b"\0\0"
        buf[start + 6 : start + 8] = (ip_compute_csum(buf[start:], pseudo) or 0xFFFF).to_bytes(2, "big")
    err = ip_send_skb(sk.net, skb)
    if not err:
        SNMP_INC_STATS(sk.net, "UdpOutDatagrams")
    elif err == -Errno.ENOBUFS and not sk.recverr:
        SNMP_INC_STATS(sk.net, "UdpSndbufErrors")
        err = 0
    return err


def udp_set_gso(sk: Sock, skb, length: int) -> None:
    """Make one packet of many datagrams of the same size (UDP_SEGMENT), which must each fit the path's MTU."""
    if skb.transport_header - skb.data + UDPHDR_LEN + min(length, sk.gso_size) > dst_mtu(skb.dst):
        raise KernelError("EMSGSIZE", hint="each datagram must fit the path's MTU: take a smaller gso_size")
    if length > sk.gso_size * UDP_MAX_SEGMENTS:
        raise KernelError("EINVAL", hint=f"UDP_SEGMENT makes {UDP_MAX_SEGMENTS} datagrams at most")
    if length > sk.gso_size:
        skb.gso_type, skb.gso_size, skb.gso_segs = SKB_GSO_UDP_L4, sk.gso_size, -(-length // sk.gso_size)
        skb.linear = skb.transport_header - skb.data + UDPHDR_LEN


def udp_rcv(skb, iph: Iphdr) -> None:
    """A datagram for this host: find its socket, or tell the sender that the port is closed."""
    dev = skb.dev
    skb.trace.hop("udp_rcv", dev)
    net = dev.net
    buf, start = skb.buf, skb.data
    have = len(buf) - start
    if have < UDPHDR_LEN:
        SNMP_INC_STATS(net, "UdpInErrors")
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "shorter than a UDP header")
    ulen = buf[start + 4] << 8 | buf[start + 5]
    if ulen < UDPHDR_LEN or ulen > have:
        SNMP_INC_STATS(net, "UdpInErrors")
        return kfree_skb_reason(skb, "PKT_TOO_SMALL", dev)
    if ulen < have:
        del buf[start + ulen :]
    dport = buf[start + 2] << 8 | buf[start + 3]
    if dport in net.udp_ports or net.udp_sink:
        return udp_queue_rcv_skb(skb, iph, dport)
    if skb.dst.type in (RTN_BROADCAST, RTN_MULTICAST):  # __udp4_lib_mcast_deliver
        SNMP_INC_STATS(net, "UdpIgnoredMulti")
        consume_skb(skb, dev)
        return skb.trace.end(FateKind.DROPPED, dev, "no socket listens, and nobody is told: it was for everyone")
    if not udp_checksum_ok(skb, iph):
        _count_csum_error(net)
        return kfree_skb_reason(skb, "UDP_CSUM", dev)
    SNMP_INC_STATS(net, "UdpNoPorts")
    icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH)
    kfree_skb_reason(skb, "NO_SOCKET", dev)


def udp_queue_rcv_skb(skb, iph: Iphdr, dport: int) -> None:
    """A socket without UDP_GRO gets what was sent as one packet as the datagrams it stands for (udp_rcv_segment)."""
    if not skb.gso_size:
        return udp_queue_rcv_one_skb(skb, iph, dport)
    skb.push(iph.ihl)
    try:
        segments = skb_gso_segment(skb)
    except KernelError:
        IP_ADD_STATS(skb.dev.net, "UdpInErrors", skb.gso_segs)
        return kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "a GSO packet of one segment")
    skb.trace.hop("consume_skb", skb.dev)
    for segment in segments:
        segment.pull(iph.ihl)
        udp_queue_rcv_one_skb(segment, iph, dport)


def udp_queue_rcv_one_skb(skb, iph: Iphdr, dport: int) -> None:
    """The socket takes the datagram, and somebody reads it at once.

    What `udp_recvmsg` does comes here, then: it counts, and finds a wrong checksum and throws the datagram away.
    """
    if not udp_checksum_ok(skb, iph):
        skb.trace.hop("udp_queue_rcv_one_skb", skb.dev)
        _count_csum_error(skb.dev.net)
        return kfree_skb_reason(skb, "UDP_CSUM", skb.dev)
    start = skb.data
    sport = skb.buf[start] << 8 | skb.buf[start + 1]
    payload = bytes(skb.buf[start + UDPHDR_LEN :])
    SNMP_INC_STATS(skb.dev.net, "UdpInDatagrams")
    deliver(skb, "udp_queue_rcv_one_skb", f"udp port {dport}", iph, sport=sport, dport=dport, payload=payload)


def _count_csum_error(net) -> None:
    SNMP_INC_STATS(net, "UdpInCsumErrors")
    SNMP_INC_STATS(net, "UdpInErrors")


def udp_checksum_ok(skb, iph: Iphdr) -> bool:
    """True if the checksum is right, absent (0), or was never finished because no wire was crossed."""
    start = skb.data
    if skb.ip_summed == CHECKSUM_PARTIAL or not (skb.buf[start + 6] or skb.buf[start + 7]):
        return True
    data = skb.buf[start:]
    return not ip_compute_csum(data, pseudo_header(iph.saddr, iph.daddr, IPPROTO_UDP, len(data)))

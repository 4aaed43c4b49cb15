"""Raw sockets: whole IP packets (IP_HDRINCL) and whole frames (AF_PACKET).

Mirrors net/ipv4/raw.c and net/packet/af_packet.c, Linux 6.12.
"""

from __future__ import annotations

from netkit_edu.errors import KernelError
from netkit_edu.sim.dev import __dev_queue_xmit as dev_queue_xmit
from netkit_edu.sim.gso import virtio_net_hdr_to_skb
from netkit_edu.sim.inet import IPHDR_LEN, ip_send_check
from netkit_edu.sim.ip_output import ip_output, net_xmit_errno
from netkit_edu.sim.netfilter import LOCAL_OUT, nf_hook
from netkit_edu.sim.route import RTN_BROADCAST, ip_route_output_flow
from netkit_edu.sim.skbuff import alloc_skb
from netkit_edu.sim.snmp import SNMP_INC_STATS, icmp_out_count
from netkit_edu.sim.sock import Sock
from netkit_edu.sim.vlan import VLAN_HLEN, VLANS
from netkit_edu.uapi import ETH_HLEN, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, IFF_LOOPBACK, IPPROTO_ICMP, Errno

ICMPHDR_LEN, IPV6HDR_LEN, ARPHDR_LEN = 8, 40, 8  # bytes
NEXTHDR_HOP, NEXTHDR_ROUTING, NEXTHDR_FRAGMENT, NEXTHDR_DEST = 0, 43, 44, 60
FRAG_HDRLEN, MAX_FLOW_DISSECT_HDRS = 8, 15

LL_RESERVED_SPACE, PAGE_SIZE = 16, 4096  # bytes


def raw_sendmsg(sk: Sock, trace, packet: bytes) -> int:
    """Send a packet whose IP header the caller wrote; returns 0 or a negative errno."""
    net = sk.net
    trace.hop("raw_sendmsg", net)
    if len(packet) < IPHDR_LEN or (packet[0] & 15) * 4 > len(packet):
        raise KernelError("EINVAL", hint="a raw socket sends whole IPv4 packets: 20 bytes of header at least")
    daddr = int.from_bytes(packet[16:20], "big")
    rt = ip_route_output_flow(trace, net, daddr, oif=sk.bound_dev_if, anysrc=True)
    if rt.type is RTN_BROADCAST:
        raise KernelError("EACCES", hint="only a socket with SO_BROADCAST may send to a broadcast address")
    return raw_send_hdrinc(sk, trace, packet, rt)


def raw_send_hdrinc(sk: Sock, trace, packet: bytes, rt) -> int:
    """Write what the kernel always writes: length and checksum, and source address and id where they are 0."""
    if len(packet) > rt.dev.mtu:
        raise KernelError("EMSGSIZE", hint="a raw socket does not cut packets: keep them within the device's MTU")
    skb = alloc_skb(trace, packet, protocol=ETH_P_IP)
    buf, at = skb.buf, skb.data
    ihl = (buf[at] & 15) * 4
    skb.network_header, skb.transport_header = at, at + ihl
    skb.sk, skb.dst, skb.dev = sk, rt, rt.dev
    skb.mark, skb.priority = sk.mark, sk.priority
    if ihl >= IPHDR_LEN:
        if not any(buf[at + 12 : at + 16]):
            buf[at + 12 : at + 16] = rt.saddr.to_bytes(4, "big")
        buf[at + 2 : at + 4] = len(packet).to_bytes(2, "big")
        if not any(buf[at + 4 : at + 6]):
            buf[at + 4 : at + 6] = sk.net.next_ip_id().to_bytes(2, "big")
        ip_send_check(buf, at, ihl)
        if buf[at + 9] == IPPROTO_ICMP and len(packet) >= ihl + ICMPHDR_LEN:
            icmp_out_count(sk.net, buf[at + ihl])
    trace.packet = skb.bytes
    nf_hook(skb, LOCAL_OUT, sk.net)
    err = net_xmit_errno(ip_output(skb))
    if err:
        SNMP_INC_STATS(sk.net, "IpOutDiscards")
    return 0 if err == -Errno.ENOBUFS and not sk.recverr else err


def packet_snd(sk: Sock, trace, frame: bytes) -> int:
    """Send a frame, Ethernet header included, straight through the device; returns 0 or a negative errno.

    The socket's protocol, which becomes ``skb->protocol``, is the frame's ethertype.
    """
    net = sk.net
    trace.hop("packet_snd", net)
    dev = net.devices.get(sk.bound_dev_if)
    if dev is None:
        raise KernelError("ENXIO", hint="a packet socket sends through one device: name it")
    if not dev.up:
        raise KernelError("ENETDOWN")
    tagged = frame[12:14] == b"\x81\0" and dev is not net.loopback  # packet_extra_vlan_len_allowed
    if len(frame) > dev.mtu + ETH_HLEN + VLAN_HLEN * tagged and not sk.gso_size:
        raise KernelError("EMSGSIZE")
    if len(frame) < ETH_HLEN:
        raise KernelError("EINVAL", hint="a frame starts with a 14-byte Ethernet header")
    skb = alloc_skb(trace, frame, protocol=int.from_bytes(frame[12:14], "big"))
    if LL_RESERVED_SPACE + len(frame) >= PAGE_SIZE:
        skb.linear = ETH_HLEN  # packet_alloc_skb: more than a page lies in fragments, but for the device's header
    skb.dev, skb.sk = dev, sk
    skb.mark, skb.priority = sk.mark, sk.priority
    packet_parse_headers(skb)
    if sk.gso_size:
        virtio_net_hdr_to_skb(skb, sk.gso_size)
        trace.packet = skb.bytes
    return net_xmit_errno(dev_queue_xmit(skb))


def packet_parse_headers(skb) -> None:
    """Find the frame's network header, which lies behind VLAN tags, and its transport header."""
    at = skb.data + ETH_HLEN
    protocol, behind = _skip_tags(skb, skb.protocol, at)
    tagged = behind > at and protocol and protocol not in VLANS and not skb.dev.flags & IFF_LOOPBACK
    skb.network_header = behind if tagged else at
    if tagged:
        skb.make_linear(behind - skb.data)  # vlan_get_protocol_and_depth
    skb.transport_header = skb_probe_transport_header(skb, protocol, behind) or skb.network_header


def skb_probe_transport_header(skb, protocol: int, at: int) -> int:
    """Return where the transport header begins, 0 where the flow dissector cannot tell (net/core/flow_dissector.c).

    Args:
        protocol, at: the ethertype, and where the header that it announces begins.
    """
    room = len(skb.buf) - at
    if protocol == ETH_P_IP and room >= IPHDR_LEN and skb.buf[at] & 15 >= 5:
        return min(at + (skb.buf[at] & 15) * 4, len(skb.buf))
    if protocol == ETH_P_IPV6 and room >= IPV6HDR_LEN:
        return _behind_extensions(skb.buf, skb.buf[at + 6], at + IPV6HDR_LEN)
    return at if protocol == ETH_P_ARP and room >= ARPHDR_LEN else 0


def _behind_extensions(buf, nexthdr: int, at: int) -> int:
    """Return where the transport header begins behind IPv6 extension headers (RFC 8200, section 4); 0 if one is cut."""
    for _ in range(MAX_FLOW_DISSECT_HDRS + 1):
        if nexthdr == NEXTHDR_FRAGMENT:
            return at + FRAG_HDRLEN if len(buf) >= at + FRAG_HDRLEN else 0
        if nexthdr not in (NEXTHDR_HOP, NEXTHDR_ROUTING, NEXTHDR_DEST):
            return min(at, len(buf))
        if len(buf) < at + 2:
            return 0
        nexthdr, at = buf[at], at + (buf[at + 1] + 1) * 8
    return min(at, len(buf))


def _skip_tags(skb, protocol: int, at: int) -> tuple[int, int]:
    while protocol in VLANS and len(skb.buf) >= at + VLAN_HLEN:
        protocol, at = int.from_bytes(skb.buf[at + 2 : at + 4], "big"), at + VLAN_HLEN
    return protocol, at

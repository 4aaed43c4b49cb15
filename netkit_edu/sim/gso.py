"""GSO: one packet that stands for many of one size, and cutting it up where a device cannot.

Mirrors net/core/gso.c, net/ipv4/tcp_offload.c, udp_offload.c and include/linux/virtio_net.h, Linux 6.12. Of a long one
only the headers are in its linear part. Every virtual device takes it whole; a card of ours does not, and gets segments
with headers and checksums of their own. One that comes from outside the kernel (SKB_GSO_DODGY) is looked at before
every device: there its segments are counted, or it is found to be none.
"""

from __future__ import annotations

import struct

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.sim.inet import IPHDR_LEN, ip_compute_csum, ip_send_check, pseudo_header
from netkit_edu.sim.skbuff import CHECKSUM_NONE, CHECKSUM_PARTIAL, alloc_skb
from netkit_edu.uapi import ETH_HLEN, ETH_P_IP, IPPROTO_TCP, IPPROTO_UDP

SKB_GSO_TCPV4, SKB_GSO_DODGY, SKB_GSO_UDP_L4 = 1 << 0, 1 << 1, 1 << 17
UDP_MAX_SEGMENTS = 128
GSO_MAX_SIZE = 65536  # bytes that a device takes at once, header included, are fewer (gso_ipv4_max_size)
_TCP_MIN_GSO_SIZE, _GSO_BY_FRAGS = 8, 0xFFFF
_TCP_HLEN, _UDP_HLEN = 20, 8
_GSO_TYPES = {IPPROTO_TCP: SKB_GSO_TCPV4, IPPROTO_UDP: SKB_GSO_UDP_L4}
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_COPIED = ("dev", "sk", "dst", "protocol", "pkt_type", "priority", "mark", "skb_iif", "tstamp", "ignore_df",
           "nf_skip_egress", "tc_at_ingress", "hash", "queue_mapping")  # fmt: skip


def skb_gso_transport_hlen(skb: SkBuff) -> int:
    """Return the bytes of the TCP or UDP header."""
    if skb.gso_type & SKB_GSO_TCPV4:
        return (skb.buf[skb.transport_header + 12] >> 4) * 4
    return _UDP_HLEN


def skb_gso_validate_network_len(skb: SkBuff, mtu: int) -> bool:
    """True if each segment, from its IP header, fits ``mtu`` bytes."""
    headers = skb.transport_header - skb.network_header + skb_gso_transport_hlen(skb)
    return headers + skb.gso_size <= mtu


def qdisc_pkt_len_init(skb: SkBuff) -> int:
    """Return how many bytes the packet is on the wire, as each segment has headers of its own; 0: it cannot be one."""
    if not skb.gso_size:
        return len(skb)
    tlen = skb_gso_transport_hlen(skb)
    headers = skb.transport_header - skb.mac_header + tlen
    if (skb.gso_type & SKB_GSO_TCPV4 and tlen < _TCP_HLEN) or headers > len(skb):
        return 0
    segments = skb.gso_segs
    if skb.gso_type & SKB_GSO_DODGY:
        segments = -(-(len(skb) - headers) // skb.gso_size)
    return len(skb) + (segments - 1) * headers if segments else 0


def netif_needs_gso(skb: SkBuff, dev) -> bool:
    """True if a GSO packet must be cut up before the device gets it, or at least be looked at."""
    return not skb_gso_ok(skb, dev) or bool(skb.gso_type & SKB_GSO_DODGY)


def skb_gso_ok(skb: SkBuff, dev) -> bool:
    """True if the device takes such a packet whole, if all is well with it."""
    return dev.gso and len(skb) < GSO_MAX_SIZE


def virtio_net_hdr_to_skb(skb: SkBuff, gso_size: int) -> None:
    """What a packet socket with PACKET_VNET_HDR says of a frame: segments of this size, the checksum still to do.

    It goes by a TCP header without options when it says whether there is more than one segment.
    """
    at = skb.data + ETH_HLEN
    ihl = (skb.buf[at] & 15) * 4 if len(skb) > ETH_HLEN else 0
    protocol = skb.buf[at + 9] if len(skb) >= ETH_HLEN + IPHDR_LEN else 0
    least = {IPPROTO_TCP: _TCP_HLEN, IPPROTO_UDP: _UDP_HLEN}.get(protocol)
    if skb.protocol != ETH_P_IP or ihl < IPHDR_LEN or least is None or len(skb) < ETH_HLEN + ihl + least:
        raise KernelError("EINVAL", hint="a GSO frame holds IPv4 with TCP or UDP")
    skb.network_header, skb.transport_header = at, at + ihl
    tcp = protocol == IPPROTO_TCP
    headers = ETH_HLEN + ihl + (max(_TCP_HLEN, (skb.buf[at + ihl + 12] >> 4) * 4) if tcp else _UDP_HLEN)
    if headers > len(skb):
        raise KernelError("EINVAL", hint="the TCP header's length is not possible")
    payload = len(skb) - ETH_HLEN - ihl - least
    if gso_size == _GSO_BY_FRAGS or (not tcp and payload > gso_size * UDP_MAX_SEGMENTS):
        raise KernelError("EINVAL")
    gso_size = max(gso_size, _TCP_MIN_GSO_SIZE) if tcp else gso_size
    if payload > gso_size:
        skb.gso_type = (SKB_GSO_TCPV4 if tcp else SKB_GSO_UDP_L4) | SKB_GSO_DODGY
        skb.gso_size, skb.gso_segs = gso_size, 0
    if skb.linear is not None:
        skb.linear = headers
    skb.ip_summed, skb.csum_start, skb.csum_offset = CHECKSUM_PARTIAL, at + ihl, 16 if tcp else 6
    length = len(skb) - ETH_HLEN - ihl
    field = at + ihl + skb.csum_offset
    skb.buf[field : field + 2] = (~ip_compute_csum(b"", _pseudo(skb, length)) & 0xFFFF).to_bytes(2, "big")


def skb_gso_segment(skb: SkBuff, whole: bool = False) -> list[SkBuff] | None:
    """Return the segments of a packet, each from where the packet starts now: at its Ethernet or at its IP header.

    Args:
        whole: only count them, and return None.

    Raises:
        KernelError: EINVAL, it is none: what lies behind its headers fits into one segment, or its headers cannot be;
            EPROTONOSUPPORT, its protocol is not TCP or UDP any more.
    """
    start, net = skb.data, skb.network_header
    trans, protocol = net + (skb.buf[net] & 15) * 4, skb.buf[net + 9]
    if skb.protocol != ETH_P_IP or protocol not in _GSO_TYPES:
        raise KernelError("EPROTONOSUPPORT", hint="only TCP and UDP packets are cut into segments")
    if trans != skb.csum_start or not skb.gso_type & _GSO_TYPES[protocol]:
        raise KernelError("EINVAL")
    skb.transport_header = trans
    body = trans + skb_gso_transport_hlen(skb)
    header, payload = bytes(skb.buf[start:body]), bytes(skb.buf[body:])
    if body - trans < _UDP_HLEN or len(payload) <= skb.gso_size:
        raise KernelError("EINVAL")
    parts = [payload[at : at + skb.gso_size] for at in range(0, len(payload), skb.gso_size)]
    if whole:
        skb.gso_segs = len(parts)
        return None
    segments = []
    for n, part in enumerate(parts):
        seg = alloc_skb(skb.trace, header + part)
        for name in _COPIED:
            setattr(seg, name, getattr(skb, name))
        seg.mac_header = seg.data
        seg.network_header, seg.transport_header = seg.data + net - start, seg.data + trans - start
        _ip_header(seg, n)
        (_tcp_header if skb.gso_type & SKB_GSO_TCPV4 else _udp_header)(seg, n, skb.gso_size, n == len(parts) - 1)
        segments.append(seg)
    return segments


def _ip_header(seg: SkBuff, n: int) -> None:
    """Its own length, and identifications that count up (inet_gso_segment)."""
    buf, at = seg.buf, seg.network_header
    number = int.from_bytes(buf[at + 4 : at + 6], "big")
    buf[at + 2 : at + 4] = (len(buf) - at).to_bytes(2, "big")
    buf[at + 4 : at + 6] = (number + n & 0xFFFF).to_bytes(2, "big")
    ip_send_check(buf, at, seg.transport_header - at)


def _tcp_header(seg: SkBuff, n: int, size: int, last: bool) -> None:
    """Its own sequence number; FIN and PSH are the last one's, CWR the first one's (tcp_gso_segment)."""
    buf, at = seg.buf, seg.transport_header
    seq = struct.unpack_from("!I", buf, at + 4)[0]
    struct.pack_into("!I", buf, at + 4, seq + n * size & 0xFFFFFFFF)
    if not last:
        buf[at + 13] &= ~(_FIN | _PSH)
    if n:
        buf[at + 13] &= ~_CWR
    _checksum(seg, 16)


def _udp_header(seg: SkBuff, n: int, size: int, last: bool) -> None:
    """Its own length: each segment is a datagram (__udp_gso_segment)."""
    at = seg.transport_header
    seg.buf[at + 4 : at + 6] = (len(seg.buf) - at).to_bytes(2, "big")
    _checksum(seg, 6)


def _checksum(seg: SkBuff, offset: int) -> None:
    buf, at = seg.buf, seg.transport_header
    buf[at + offset : at + offset + 2] = b"\0\0"
    total = ip_compute_csum(buf[at:], _pseudo(seg, len(buf) - at))
    buf[at + offset : at + offset + 2] = (total or 0xFFFF if offset == 6 else total).to_bytes(2, "big")
    seg.ip_summed = CHECKSUM_NONE


def _pseudo(skb: SkBuff, length: int):
    at = skb.network_header
    saddr, daddr = (int.from_bytes(skb.buf[at + n : at + n + 4], "big") for n in (12, 16))
    return pseudo_header(saddr, daddr, skb.buf[at + 9], length)

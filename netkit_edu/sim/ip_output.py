"""The way out of the IP layer, for packets that start here and for forwarded ones.

Mirrors net/ipv4/ip_output.c, Linux 6.12: `ip_send_skb` and `ip_local_out` for our own packets, then for all of them
`ip_output`, `ip_finish_output`, if need be `ip_do_fragment`, and `ip_finish_output2`, which asks for the neighbour.
Functions return a NET_XMIT code or a negative errno, as in the kernel.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.sim.gso import skb_gso_segment, skb_gso_validate_network_len
from netkit_edu.sim.inet import IP_DF, IP_MF, IP_OFFSET, ip_hdr, ip_send_check
from netkit_edu.sim.neighbour import ip_neigh_gw4, neigh_output
from netkit_edu.sim.netfilter import LOCAL_OUT, POSTROUTING, nf_hook
from netkit_edu.sim.pmtu import ip_skb_dst_mtu
from netkit_edu.sim.route import RTN_BROADCAST, RTN_MULTICAST
from netkit_edu.sim.skbuff import alloc_skb, consume_skb, kfree_skb_reason, packet_bytes, skb_checksum_help
from netkit_edu.sim.snmp import IP_UPD_PO_STATS, OUT, OUTBCAST, OUTMCAST, SNMP_INC_STATS
from netkit_edu.uapi import ETH_P_IP, Errno, NetXmit

_CN = NetXmit.CN


def net_xmit_errno(rc: int) -> int:
    """Turn a NET_XMIT code into what a socket reports: congestion (CN) is no error, a drop is ENOBUFS."""
    if rc <= 0:
        return rc
    return 0 if rc == _CN else -Errno.ENOBUFS


def ip_send_skb(net, skb: SkBuff) -> int:
    """Send a packet of a socket; returns 0 or a negative errno."""
    err = net_xmit_errno(ip_local_out(net, skb))
    if err:
        SNMP_INC_STATS(net, "IpOutDiscards")
    return err


def ip_local_out(net, skb: SkBuff) -> int:
    """Fill in the length and the checksum, pass LOCAL_OUT, and go the way that was decided."""
    SNMP_INC_STATS(net, "IpOutRequests")
    buf, start = skb.buf, skb.data
    skb.network_header = start
    buf[start + 2 : start + 4] = len(skb).to_bytes(2, "big")
    ip_send_check(buf, start, (buf[start] & 15) * 4)
    skb.protocol = ETH_P_IP
    skb.trace.packet = packet_bytes(skb)
    nf_hook(skb, LOCAL_OUT, net)
    return ip_output(skb)


def ip_output(skb: SkBuff) -> int:
    """A packet, our own or forwarded, has its route: pass POSTROUTING with the device it leaves by."""
    dev = skb.dst.dev
    skb.trace.hop("ip_output", dev)
    skb.dev = dev
    skb.protocol = ETH_P_IP
    nf_hook(skb, POSTROUTING, dev)
    return ip_finish_output(skb)


def ip_finish_output(skb: SkBuff) -> int:
    """Cut what is longer than the way allows."""
    mtu = ip_skb_dst_mtu(skb)
    if skb.gso_size:
        return ip_finish_output_gso(skb, mtu)
    if len(skb) > mtu:
        return ip_fragment(skb, mtu, frag_list=skb.ignore_df)
    return ip_finish_output2(skb)


def ip_finish_output_gso(skb: SkBuff, mtu: int) -> int:
    """What stands for segments that fit goes whole; else they are made here, and each is cut."""
    if skb_gso_validate_network_len(skb, mtu):
        return ip_finish_output2(skb)
    skb.trace.hop("ip_finish_output_gso", skb.dev)
    try:
        segments = skb_gso_segment(skb)
    except KernelError:
        kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "a GSO packet of one segment, or with impossible headers")
        return -Errno.ENOMEM
    rc = 0
    for segment in segments:
        rc = ip_fragment(segment, mtu) or rc
    return rc


def ip_finish_output2(skb: SkBuff) -> int:
    """Find the next hop's neighbour and transmit."""
    dev = skb.dev
    skb.trace.hop("ip_finish_output2", dev)
    rt, at = skb.dst, skb.data
    if rt.type is RTN_MULTICAST:
        IP_UPD_PO_STATS(dev.net, OUTMCAST, len(skb))
    elif rt.type is RTN_BROADCAST:
        IP_UPD_PO_STATS(dev.net, OUTBCAST, len(skb))
    IP_UPD_PO_STATS(dev.net, OUT, len(skb))
    nexthop = rt.gateway or int.from_bytes(skb.buf[at + 16 : at + 20], "big")
    return neigh_output(ip_neigh_gw4(dev, nexthop), skb)


def ip_fragment(skb: SkBuff, mtu: int, frag_list: bool = False) -> int:
    """Cut the packet unless its sender forbade it (DF): then it is dropped and the sender told."""
    frag_off = int.from_bytes(skb.buf[skb.data + 6 : skb.data + 8], "big")
    if frag_off & IP_DF and not skb.ignore_df:
        from netkit_edu.sim.icmp import ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, icmp_send

        SNMP_INC_STATS(skb.dev.net, "IpFragFails")
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
        kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "longer than the path's MTU, and not to be cut")
        return -Errno.EMSGSIZE
    return ip_do_fragment(skb, mtu, frag_list)


def ip_do_fragment(skb: SkBuff, mtu: int, frag_list: bool = False) -> int:
    """Send the packet as fragments of ``mtu`` bytes at most; stop at the first that cannot be sent.

    What a socket's own stack sends was cut when it was made (``frag_list``, __ip_append_data): then the packet itself
    is the first fragment, and nothing is left to be freed.
    """
    skb.trace.hop("ip_do_fragment", skb.dev)
    net = skb.dev.net
    skb_checksum_help(skb)
    iph = ip_hdr(skb.buf, skb.data)
    header, payload = skb.bytes[: iph.ihl], skb.bytes[iph.ihl :]
    room = mtu - iph.ihl & ~7
    if room < 8:
        kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "no room for a fragment")
        SNMP_INC_STATS(net, "IpFragFails")
        return -Errno.EMSGSIZE
    for offset in range(0, len(payload), room):
        more = offset + room < len(payload) or iph.frag_off & IP_MF
        field = (iph.frag_off & IP_OFFSET) + offset // 8 | (IP_MF if more else 0)
        frag = _fragment(skb, header, payload[offset : offset + room], field)
        err = ip_finish_output2(frag)
        if err:
            kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "a fragment could not be sent")
            SNMP_INC_STATS(net, "IpFragFails")
            return err
        SNMP_INC_STATS(net, "IpFragCreates")
    if not frag_list:
        consume_skb(skb, skb.dev)
    SNMP_INC_STATS(net, "IpFragOKs")
    return 0


def _fragment(skb: SkBuff, header: bytes, data: bytes, field: int) -> SkBuff:
    """Return one fragment of ``skb`` (ip_frag_next): its headers and metadata, part of its data."""
    frag = alloc_skb(skb.trace, header + data, protocol=skb.protocol)
    for name in ("dev", "sk", "dst", "pkt_type", "priority", "mark", "skb_iif", "tstamp"):
        setattr(frag, name, getattr(skb, name))
    start = frag.network_header = frag.data
    frag.transport_header = start + len(header)
    frag.buf[start + 2 : start + 4] = len(frag).to_bytes(2, "big")
    frag.buf[start + 6 : start + 8] = field.to_bytes(2, "big")
    ip_send_check(frag.buf, start, len(header))
    return frag

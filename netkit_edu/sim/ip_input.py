"""The way into the IP layer: receive, decide, deliver here or forward.

Mirrors net/ipv4/ip_input.c and ip_forward.c, Linux 6.12.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.sim.dev import PTYPES
from netkit_edu.sim.gso import skb_gso_validate_network_len
from netkit_edu.sim.icmp import (
    ICMP_DEST_UNREACH,
    ICMP_EXC_TTL,
    ICMP_FRAG_NEEDED,
    ICMP_NET_UNREACH,
    ICMP_PROT_UNREACH,
    ICMP_REDIR_HOST,
    ICMP_REDIRECT,
    ICMP_TIME_EXCEEDED,
    icmp_rcv,
    icmp_send,
)
from netkit_edu.sim.inet import IP_DF, IPHDR_LEN, Iphdr, ip_compute_csum, ip_decrease_ttl, ip_hdr
from netkit_edu.sim.inetpeer import InetPeer
from netkit_edu.sim.ip_fragment import ip_defrag
from netkit_edu.sim.ip_output import ip_output
from netkit_edu.sim.netfilter import FORWARD, LOCAL_IN, PREROUTING, nf_hook
from netkit_edu.sim.pmtu import IPSKB_FORWARDED, ip_dst_mtu_maybe_forward
from netkit_edu.sim.route import (
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    Rt,
)
from netkit_edu.sim.route_input import ip_route_input_noref
from netkit_edu.sim.skbuff import HOST, OTHERHOST, kfree_skb_reason, skb_orphan
from netkit_edu.sim.snmp import ECN_COUNTERS, IN, INBCAST, INMCAST, IP_ADD_STATS, IP_UPD_PO_STATS, SNMP_INC_STATS
from netkit_edu.sim.udp import udp_rcv
from netkit_edu.uapi import ETH_P_IP, ETH_P_IPV6, IFF_LOOPBACK, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

_PRIORITY_OF_TOS = (0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4)  # ip_tos2prio[]
REDIRECT_LOAD, REDIRECT_NUMBER = 20_000_000, 9  # ns; messages to one neighbour
REDIRECT_SILENCE = REDIRECT_LOAD << REDIRECT_NUMBER + 1


def ip_rcv(skb: SkBuff) -> None:
    """The function that IP registers with the core for its ethertype."""
    skb.trace.hop("ip_rcv", skb.dev)
    iph = ip_rcv_core(skb)
    if iph is not None:
        nf_hook(skb, PREROUTING, skb.dev)
        ip_rcv_finish(skb, iph)


def ip_rcv_core(skb: SkBuff) -> Iphdr | None:
    """Check the header; orphan the packet: from here on its sender's socket no longer feels it. None if dropped."""
    dev = skb.dev
    skb.trace.hop("ip_rcv_core", dev)
    if skb.pkt_type == OTHERHOST:
        return kfree_skb_reason(skb, "OTHERHOST", dev)
    net, buf, start, length = dev.net, skb.buf, skb.data, len(skb)
    IP_UPD_PO_STATS(net, IN, length)
    if length < IPHDR_LEN:
        return _inhdr_error(skb)
    iph = ip_hdr(buf, start)
    if iph.version != 4 or iph.ihl < IPHDR_LEN:
        return _inhdr_error(skb)
    IP_ADD_STATS(net, ECN_COUNTERS[iph.tos & 3], skb.gso_segs or 1)
    if iph.ihl > length:
        return _inhdr_error(skb)
    if ip_compute_csum(buf[start : start + iph.ihl]):
        SNMP_INC_STATS(net, "IpExtInCsumErrors")
        return _inhdr_error(skb, "IP_CSUM")
    if length < iph.tot_len:
        SNMP_INC_STATS(net, "IpExtInTruncatedPkts")
        return kfree_skb_reason(skb, "PKT_TOO_SMALL", dev)
    if iph.tot_len < iph.ihl:
        return _inhdr_error(skb)
    if length > iph.tot_len:  # padding of the link
        del buf[start + iph.tot_len :]
    skb.transport_header = start + iph.ihl
    skb.cb[:4], skb.tc_classid = [0] * 4, 0  # IPCB() lies over what programs call cb[0] to cb[3]
    skb_orphan(skb, dev)
    return iph


def _inhdr_error(skb: SkBuff, reason: str = "IP_INHDR") -> None:
    SNMP_INC_STATS(skb.dev.net, "IpInHdrErrors")
    kfree_skb_reason(skb, reason, skb.dev)


def ip_rcv_finish(skb: SkBuff, iph: Iphdr) -> None:
    """Decide and go on."""
    if ip_rcv_finish_core(skb, iph):
        dst_input(skb, iph)


def ip_rcv_finish_core(skb: SkBuff, iph: Iphdr) -> bool:
    """Give the packet a route unless it has one already (loopback); False if it was dropped."""
    skb.trace.hop("ip_rcv_finish_core", skb.dev)
    if skb.dst is None:
        refused = ip_route_input_noref(skb, iph.daddr, iph.saddr)
        if refused:
            kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, refused)
            return False
        brought_back = False
    else:
        brought_back = skb.dst.type in (RTN_UNICAST, RTN_MULTICAST)
    if skb.dst.type is RTN_MULTICAST:
        IP_UPD_PO_STATS(skb.dev.net, INMCAST, len(skb))
    elif skb.dst.type is RTN_BROADCAST:
        IP_UPD_PO_STATS(skb.dev.net, INBCAST, len(skb))
    return ip_output_route_input(skb) if brought_back else True


def ip_output_route_input(skb: SkBuff) -> bool:
    """The loopback brought back a packet routed elsewhere: what was sent through the loopback is for us (RTCF_LOCAL).

    That is the function which a route for packets that leave has for those that come in, set by rt_dst_alloc: a group's
    is no exception unless it is joined, and nobody joins one here.
    """
    rt = skb.dst
    if rt.dev.flags & IFF_LOOPBACK:
        skb.dst = Rt(rt.dev, RTN_LOCAL if rt.type is RTN_UNICAST else rt.type)
        return True
    kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "came back by the loopback though its route leads elsewhere")
    return False


def dst_input(skb: SkBuff, iph: Iphdr) -> None:
    """Go the way that was decided: here, onward, or nowhere."""
    kind = skb.dst.type
    if kind is RTN_UNICAST:
        ip_forward(skb, iph)
    elif kind is RTN_UNREACHABLE:
        ip_error(skb)
    else:
        ip_local_deliver(skb, iph)


def ip_error(skb: SkBuff) -> None:
    """There is no way: a router says so to the sender, a host just drops what is not for it (net/ipv4/route.c)."""
    dev = skb.dev
    skb.trace.hop("ip_error", dev)
    if dev.net.ip_forward:
        SNMP_INC_STATS(dev.net, "IpExtInNoRoutes")
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_NET_UNREACH)
        kfree_skb_reason(skb, "IP_INNOROUTES", dev)
    else:
        SNMP_INC_STATS(dev.net, "IpInAddrErrors")
        kfree_skb_reason(skb, "IP_INADDRERRORS", dev)


# for us -------------------------------------------------------------------------------------------------------------


def ip_local_deliver(skb: SkBuff, iph: Iphdr) -> None:
    """The packet is for this host: put fragments together, pass LOCAL_IN, find its protocol."""
    dev = skb.dev
    skb.trace.hop("ip_local_deliver", dev)
    if iph.is_fragment:
        skb = ip_defrag(skb, iph)
        if skb is None:
            return
        iph = ip_hdr(skb.buf, skb.network_header)
    nf_hook(skb, LOCAL_IN, dev)
    ip_local_deliver_finish(skb, iph)


def ip_local_deliver_finish(skb: SkBuff, iph: Iphdr) -> None:
    """Hand the packet to its protocol's function, or tell the sender that there is none."""
    net = skb.dev.net
    skb.pull(iph.ihl)
    handler = INET_PROTOS.get(iph.protocol)
    if handler is None:
        SNMP_INC_STATS(net, "IpInUnknownProtos")
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH)
        kfree_skb_reason(skb, "IP_NOPROTO", skb.dev)
    else:
        handler(skb, iph)
        SNMP_INC_STATS(net, "IpInDelivers")


# onward -------------------------------------------------------------------------------------------------------------


def ip_forward(skb: SkBuff, iph: Iphdr) -> None:
    """Send on a packet that is not for us: TTL, MTU, FORWARD."""
    dev = skb.dev
    skb.trace.hop("ip_forward", dev)
    if skb.pkt_type != HOST or skb.sk is not None:
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "not addressed to this router")
    if iph.ttl <= 1:
        SNMP_INC_STATS(dev.net, "IpInHdrErrors")
        icmp_send(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL)
        return kfree_skb_reason(skb, "IP_INHDR", dev, "TTL exceeded")
    rt = skb.dst
    skb.cb[3] |= IPSKB_FORWARDED
    SNMP_INC_STATS(dev.net, "IpForwDatagrams")
    mtu = ip_dst_mtu_maybe_forward(rt, True)
    if iph.frag_off & IP_DF and ip_exceeds_mtu(skb, mtu):
        SNMP_INC_STATS(dev.net, "IpFragFails")
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
        return kfree_skb_reason(skb, "PKT_TOO_BIG", dev)
    ip_decrease_ttl(skb.buf, skb.data)
    if rt.doredirect:
        ip_rt_send_redirect(skb, iph)
    skb.priority = _PRIORITY_OF_TOS[iph.tos >> 1 & 15]
    nf_hook(skb, FORWARD, dev)
    ip_forward_finish(skb)


def ip_rt_send_redirect(skb: SkBuff, iph: Iphdr) -> None:
    """Tell a neighbour that its packet's next hop is its own neighbour too (net/ipv4/route.c).

    Seldom enough: after the first, 20 ms pass, twice as long each time, and after the ninth 20 seconds of silence.
    """
    rt = skb.dst
    net = rt.dev.net
    skb.trace.hop("ip_rt_send_redirect", skb.dev)
    now, peer = net.kernel.world.now, net.peers.setdefault(iph.saddr, InetPeer())
    if now > peer.rate_last + REDIRECT_SILENCE:
        peer.n_redirects = 0
    if peer.n_redirects >= REDIRECT_NUMBER:
        peer.rate_last = now
    elif peer.n_redirects == 0 or now > peer.rate_last + (REDIRECT_LOAD << peer.n_redirects):
        icmp_send(skb, ICMP_REDIRECT, ICMP_REDIR_HOST, rt.gateway or iph.daddr)
        peer.rate_last = now
        peer.n_redirects += 1


def ip_exceeds_mtu(skb: SkBuff, mtu: int) -> bool:
    """True if the packet, or each that it stands for, is longer than ``mtu`` bytes."""
    return not skb_gso_validate_network_len(skb, mtu) if skb.gso_size else len(skb) > mtu


def ip_forward_finish(skb: SkBuff) -> None:
    """Go out (dst_output)."""
    skb.trace.hop("ip_forward_finish", skb.dev)
    ip_output(skb)


# what has no endpoint here ------------------------------------------------------------------------------------------


def tcp_v4_rcv(skb: SkBuff, iph: Iphdr) -> None:
    """TCP has no endpoints in this stack: every port is closed, and silently so."""
    skb.trace.hop("tcp_v4_rcv", skb.dev)
    kfree_skb_reason(skb, "NO_SOCKET", skb.dev)


def ipv6_rcv(skb: SkBuff) -> None:
    """IPv6 is switched off on every device (net.ipv6.conf.all.disable_ipv6 = 1)."""
    skb.trace.hop("ipv6_rcv", skb.dev)
    kfree_skb_reason(skb, "IPV6DISABLED", skb.dev)


INET_PROTOS = {IPPROTO_ICMP: icmp_rcv, IPPROTO_UDP: udp_rcv, IPPROTO_TCP: tcp_v4_rcv}
PTYPES.update({ETH_P_IP: ip_rcv, ETH_P_IPV6: ipv6_rcv})

"""What an ICMP error does here: it finds who sent the packet that it quotes, and makes a path's MTU known.

Mirrors icmp_unreach and icmp_err of net/ipv4/icmp.c, udp_err of udp.c and ping_err of ping.c, Linux 6.12. What a socket
is told of it (its error queue) is not here.
"""

from __future__ import annotations

from netkit_edu.sim.inet import IPHDR_LEN, Iphdr, ip_hdr
from netkit_edu.sim.pmtu import ipv4_update_pmtu
from netkit_edu.sim.snmp import SNMP_INC_STATS
from netkit_edu.uapi import IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

ICMP_ECHOREPLY, ICMP_DEST_UNREACH, ICMP_REDIRECT, ICMP_ECHO, ICMP_TIME_EXCEEDED = 0, 3, 5, 8, 11
ICMP_FRAG_NEEDED, NR_ICMP_UNREACH, ICMP_EXC_FRAGTIME = 4, 15, 1
ICMPHDR_LEN = 8  # bytes
_LEAST_QUOTE = 8  # bytes behind the IP header that an error quotes at least
_ZERO_MTU, _NO_MORE, _STRICT = 1, 2, 3  # net.ipv4.ip_no_pmtu_disc, if it is not 0


def mangled(message: bytes) -> str:
    """Return the reason to drop an error that quotes no IP header, "" for one that does."""
    quote = message[ICMPHDR_LEN:]
    if message[0] == ICMP_REDIRECT:
        return "PKT_TOO_SMALL" if len(quote) < IPHDR_LEN else ""
    return "NOT_SPECIFIED" if len(quote) < IPHDR_LEN else "IP_INHDR" if quote[0] & 15 < IPHDR_LEN // 4 else ""


def icmp_unreach(skb, message: bytes) -> None:
    """An error other than a redirect, given from its ICMP header."""
    quote, kind, code = message[ICMPHDR_LEN:], message[0], message[1]
    mtu = 0
    if kind == ICMP_DEST_UNREACH:
        if code & 15 == ICMP_FRAG_NEEDED:
            how = skb.dev.net.pmtu.no_pmtu_disc
            if how == _NO_MORE or (how == _STRICT and quote[9] != IPPROTO_TCP):
                return None
            mtu = int.from_bytes(message[6:8], "big") if how in (0, _STRICT) else 0
        if code > NR_ICMP_UNREACH:
            return None
    elif kind == ICMP_TIME_EXCEEDED and code == ICMP_EXC_FRAGTIME:
        return None
    return icmp_socket_deliver(skb, message, mtu if kind == ICMP_DEST_UNREACH and code == ICMP_FRAG_NEEDED else None)


def icmp_socket_deliver(skb, message: bytes, mtu: int | None = None) -> None:
    """Have the protocol of the quoted packet look for its sender.

    Args:
        mtu: of the path, in bytes, if that is what the error is about.
    """
    quote = message[ICMPHDR_LEN:]
    ihl, handler = (quote[0] & 15) * 4, ERR_HANDLERS.get(quote[9])
    if len(quote) < ihl + _LEAST_QUOTE:
        SNMP_INC_STATS(skb.dev.net, "IcmpInErrors")
    elif handler is not None:
        handler(skb, ip_hdr(quote, 0), quote[ihl:], mtu)


def udp_err(skb, iph: Iphdr, quote: bytes, mtu: int | None) -> None:
    """A datagram's: the path is known from now on, to its socket too; what no socket here can have sent is counted.

    A socket that is bound to a device hears nothing that comes by another one, and asks for its own way.
    """
    net = skb.dev.net
    if mtu is not None:
        ipv4_update_pmtu(skb, mtu, iph)
    port = quote[0] << 8 | quote[1]
    bound = 0 if port in net.udp_ports or net.udp_sink else net.udp_senders.get(port)
    if bound is None or bound not in (0, skb.dev.ifindex):
        SNMP_INC_STATS(net, "IcmpInErrors")
    elif mtu is not None:
        ipv4_update_pmtu(skb, mtu, iph, bound)


def icmp_err(skb, iph: Iphdr, quote: bytes, mtu: int | None) -> None:
    """An ICMP message's: a ping socket's request, or a reply of the kernel's own."""
    net = skb.dev.net
    if mtu is None:
        return
    if quote[0] == ICMP_ECHOREPLY:
        ipv4_update_pmtu(skb, mtu, iph)
    elif quote[0] == ICMP_ECHO and not quote[1]:
        bound = net.ping_idents.get(quote[4] << 8 | quote[5])
        if bound is not None and bound in (0, skb.dst.iif or skb.dev.ifindex):
            ipv4_update_pmtu(skb, mtu, iph, bound)


def tcp_v4_err(skb, iph: Iphdr, quote: bytes, mtu: int | None) -> None:
    """A segment's: there are no TCP sockets here."""
    SNMP_INC_STATS(skb.dev.net, "IcmpInErrors")


ERR_HANDLERS = {IPPROTO_ICMP: icmp_err, IPPROTO_UDP: udp_err, IPPROTO_TCP: tcp_v4_err}

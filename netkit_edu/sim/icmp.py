"""ICMP: the kernel's own endpoint, which answers echo requests, and the errors it sends back.

Mirrors net/ipv4/icmp.c and ping.c, Linux 6.12. What is sent in answer to a packet gets a journey of its own, among the
``replies`` of the packet's.

Deviation: errors are not rate-limited, for want of a clock that means anything; and nobody learns from a redirect.
"""

from __future__ import annotations

import struct

from netkit_edu.errors import KernelError
from netkit_edu.sim.icmp_err import icmp_socket_deliver, icmp_unreach, mangled
from netkit_edu.sim.inet import IP_OFFSET, IPHDR_LEN, Iphdr, build_ip, ip_compute_csum, ip_hdr
from netkit_edu.sim.ip_output import ip_send_skb
from netkit_edu.sim.pmtu import dst_mtu
from netkit_edu.sim.route import (
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    ip_route_output_flow,
    ip_route_output_key_hash,
)
from netkit_edu.sim.skbuff import HOST, alloc_skb, consume_skb, kfree_skb_reason
from netkit_edu.sim.snmp import ICMPMSGIN_INC_STATS, SNMP_INC_STATS, icmp_out_count
from netkit_edu.sim.sock import Sock, deliver, ip_make_skb, ip_route_output_sock, parse_datagram
from netkit_edu.uapi import IPPROTO_ICMP

ICMP_ECHOREPLY, ICMP_DEST_UNREACH, ICMP_REDIRECT, ICMP_ECHO, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB = 0, 3, 5, 8, 11, 12
ICMP_NET_UNREACH, ICMP_PROT_UNREACH, ICMP_PORT_UNREACH, ICMP_FRAG_NEEDED = 0, 2, 3, 4
ICMP_EXC_TTL, ICMP_EXC_FRAGTIME = 0, 1
ICMP_REDIR_HOST = 1
ICMPHDR_LEN, MAX_PACKET = 8, 65535  # bytes
NR_ICMP_TYPES = 18

_ERRORS = frozenset({ICMP_DEST_UNREACH, 4, ICMP_REDIRECT, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB})
_IPTOS_PREC_INTERNETCONTROL = 0xC0
_ERROR_MAX = 576  # bytes that an error has at most, headers included: what every host can take
_INADDR_DUMMY = 192 << 24 | 8  # 192.0.0.8, the sender of a router without an address (RFC 7600)


# a "ping" socket (SOCK_DGRAM, IPPROTO_ICMP) -------------------------------------------------------------------------


def ping_v4_sendmsg(sk: Sock, trace, packet: bytes) -> int:
    """Send an echo request, given from its IP header; returns 0 or a negative errno.

    Unlike a UDP socket it reports a drop on the way out whether or not IP_RECVERR is set.
    """
    net = sk.net
    iph = parse_datagram(packet, IPPROTO_ICMP, "ping", ICMPHDR_LEN)
    at = iph.ihl
    if iph.saddr and not net.is_local(iph.saddr):  # what bind() says before anything is sent
        raise KernelError("EADDRNOTAVAIL", hint="a ping socket can only be bound to an address of its own namespace")
    trace.hop("ping_v4_sendmsg", net)
    if packet[at] != ICMP_ECHO or packet[at + 1]:
        raise KernelError("EINVAL", hint="a ping socket sends echo requests only: send others with via='raw'")
    if len(packet) > 65535:
        raise KernelError("EMSGSIZE")
    rt = ip_route_output_sock(sk, trace, iph)
    if rt.type is RTN_BROADCAST:
        raise KernelError("EACCES", hint="only a socket with SO_BROADCAST may send to a broadcast address")
    skb = ip_make_skb(sk, trace, rt, packet, iph)
    _icmp_csum(skb.buf, skb.data + at)
    net.ping_idents[int.from_bytes(packet[at + 4 : at + 6], "big")] = sk.bound_dev_if
    icmp_out_count(net, ICMP_ECHO)
    return ip_send_skb(net, skb)


def ping_rcv(skb, iph: Iphdr) -> None:
    """An echo reply: the ping socket with that identifier takes it."""
    dev = skb.dev
    skb.trace.hop("ping_rcv", dev)
    at = skb.data
    ident = skb.buf[at + 4] << 8 | skb.buf[at + 5]
    if dev.net.ping_idents.get(ident) not in (0, skb.dst.iif or dev.ifindex):
        return kfree_skb_reason(skb, "NO_SOCKET", dev)
    payload = bytes(skb.buf[at + ICMPHDR_LEN :])
    deliver(skb, "ping_queue_rcv_skb", "echo reply", iph, payload=payload)
    consume_skb(skb, dev)  # the socket has a clone


# the kernel's endpoint ----------------------------------------------------------------------------------------------


def icmp_rcv(skb, iph: Iphdr) -> None:
    """An ICMP message for this host."""
    dev = skb.dev
    skb.trace.hop("icmp_rcv", dev)
    net = dev.net
    SNMP_INC_STATS(net, "IcmpInMsgs")
    message = skb.buf[skb.data :]
    if ip_compute_csum(message):
        SNMP_INC_STATS(net, "IcmpInCsumErrors")
        SNMP_INC_STATS(net, "IcmpInErrors")
        return kfree_skb_reason(skb, "ICMP_CSUM", dev)
    if len(message) < ICMPHDR_LEN:
        SNMP_INC_STATS(net, "IcmpInErrors")
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "shorter than an ICMP header")
    kind = message[0]
    ICMPMSGIN_INC_STATS(net, kind)
    if kind > NR_ICMP_TYPES:
        SNMP_INC_STATS(net, "IcmpInErrors")
        return kfree_skb_reason(skb, "UNHANDLED_PROTO", dev)
    if kind == ICMP_ECHO:
        icmp_echo(skb, iph)
    elif kind == ICMP_ECHOREPLY:
        ping_rcv(skb, iph)
    elif kind in _ERRORS:
        handler, reason = "icmp_redirect" if kind == ICMP_REDIRECT else "icmp_unreach", mangled(message)
        if reason:
            skb.trace.hop(handler, dev)
            SNMP_INC_STATS(net, "IcmpInErrors")
            return kfree_skb_reason(skb, reason, dev)
        deliver(skb, handler, f"type {kind} code {message[1]}", iph)
        (icmp_socket_deliver if kind == ICMP_REDIRECT else icmp_unreach)(skb, message)
        consume_skb(skb, dev)
    else:
        deliver(skb, "icmp_discard", f"type {kind}", iph)
        consume_skb(skb, dev)


def icmp_echo(skb, iph: Iphdr) -> None:
    """An echo request: answer it, unless it was for everyone (net.ipv4.icmp_echo_ignore_broadcasts)."""
    if skb.dst.type in (RTN_BROADCAST, RTN_MULTICAST):
        SNMP_INC_STATS(skb.dev.net, "IcmpInErrors")
        return kfree_skb_reason(skb, "INVALID_PROTO", skb.dev, "echo requests to a broadcast address are ignored")
    deliver(skb, "icmp_echo", "echo request", iph)
    reply = skb.buf[skb.data :]
    reply[0] = ICMP_ECHOREPLY
    icmp_reply(skb, reply, iph.saddr, iph.daddr, iph.tos)
    consume_skb(skb, skb.dev)


def icmp_send(skb_in, kind: int, code: int, info: int = 0) -> None:
    """Tell the sender of ``skb_in`` what became of it (__icmp_send); not for an error or a broadcast."""
    iph = ip_hdr(skb_in.buf, skb_in.network_header)
    rt = skb_in.dst
    if rt is None or skb_in.pkt_type != HOST or rt.type in (RTN_BROADCAST, RTN_MULTICAST):
        return
    if iph.frag_off & IP_OFFSET or not iph.saddr:
        return
    quote = bytes(skb_in.buf[skb_in.network_header :])
    if iph.protocol == IPPROTO_ICMP and kind in _ERRORS:
        inner = quote[iph.ihl] if len(quote) > iph.ihl else MAX_PACKET
        if inner in _ERRORS or inner > NR_ICMP_TYPES:
            return
    message = bytearray(struct.pack("!BBHI", kind, code, 0, info)) + quote
    saddr = iph.daddr if rt.type is RTN_LOCAL else 0
    tos = iph.tos & 0x1E | _IPTOS_PREC_INTERNETCONTROL
    _icmp_push_reply(skb_in, "__icmp_send", ip_route_output_key_hash, message, iph.saddr, saddr, tos)


def icmp_reply(skb_in, message: bytearray, daddr: int, saddr: int, tos: int) -> None:
    """Answer an echo request; without a way back, nothing is sent."""
    _icmp_push_reply(skb_in, "icmp_reply", ip_route_output_flow, message, daddr, saddr, tos)


def _icmp_push_reply(skb_in, name: str, route, message: bytearray, daddr: int, saddr: int, tos: int) -> None:
    net = skb_in.dev.net
    trace = skb_in.trace.answer()
    trace.hop(name, net)
    try:
        rt = route(trace, net, daddr, saddr)
        room = min(dst_mtu(rt), _ERROR_MAX) - IPHDR_LEN - ICMPHDR_LEN if message[0] in _ERRORS else MAX_PACKET
        if room <= IPHDR_LEN:
            raise KernelError("EMSGSIZE")
    except KernelError:
        skb_in.trace.replies.pop()
        return
    del message[ICMPHDR_LEN + room :]
    _icmp_csum(message, 0)
    source = rt.saddr or _INADDR_DUMMY
    skb = alloc_skb(trace, build_ip(IPPROTO_ICMP, source, daddr, message, tos=tos, id=net.next_ip_id()))
    skb.transport_header = skb.data + IPHDR_LEN
    skb.sk, skb.dst, skb.ignore_df = net.icmp_sk, rt, True
    icmp_out_count(net, message[0])
    ip_send_skb(net, skb)


def _icmp_csum(buf: bytearray, at: int) -> None:
    buf[at + 2 : at + 4] = b"\0\0"
    buf[at + 2 : at + 4] = ip_compute_csum(buf[at:]).to_bytes(2, "big")

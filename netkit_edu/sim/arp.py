"""ARP: asking which hardware address an IPv4 address has, and answering.

Mirrors net/ipv4/arp.c, Linux 6.12 (RFC 826), with the sysctls' defaults: any address of the namespace is answered for
on any of its devices, and only who asks us is learnt. A request has a journey of its own, among the ``requests`` of the
packet that waits for it; the answer is a reply to the request.
"""

from __future__ import annotations

import struct

from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.sim.dev import PTYPES
from netkit_edu.sim.dev import __dev_queue_xmit as dev_queue_xmit
from netkit_edu.sim.icmp import ICMP_DEST_UNREACH, icmp_send
from netkit_edu.sim.inet import in_multicast, ntoa
from netkit_edu.sim.neighbour import ARP_OPS, Neighbour, neigh_event_ns, neigh_update
from netkit_edu.sim.route import RTN_LOCAL, inet_select_addr
from netkit_edu.sim.route_input import NO_IPV4, ip_route_input_noref
from netkit_edu.sim.skbuff import HOST, OTHERHOST, alloc_skb, consume_skb, kfree_skb_reason
from netkit_edu.uapi import ETH_P_ARP, ETH_P_IP, IFF_LOOPBACK, IFF_NOARP

ARPOP_REQUEST, ARPOP_REPLY = 1, 2
ARPHRD_ETHER = 1
ICMP_HOST_UNREACH = 1
_ARP = struct.Struct("!HHBBH6sI6sI")  # hardware type, protocol, their address lengths, operation, sender, target
_BROADCAST, _NOBODY = b"\xff" * 6, bytes(6)


def arp_solicit(neigh: Neighbour, skb: SkBuff) -> None:
    """Ask for the address of a next hop on behalf of the packet that waits for it."""
    dev = neigh.dev
    trace = skb.trace.request()
    saddr = int.from_bytes(skb.buf[skb.network_header + 12 : skb.network_header + 16], "big")
    if not dev.net.is_local(saddr):
        saddr = inet_select_addr(dev.net, dev, neigh.address)
    trace.hop("arp_solicit", dev)
    arp_send_dst(trace, ARPOP_REQUEST, dev, saddr, neigh.address, _BROADCAST, _NOBODY)


def arp_send_dst(trace, op: int, dev, saddr: int, daddr: int, to: bytes, target: bytes) -> None:
    """Make a packet and send it through ``dev``.

    Args:
        saddr, daddr: whose address is told, and whose is asked for or who is answered.
        to: whom the frame is for, 6 bytes.
        target: the hardware address of ``daddr`` as far as it is known, else zeros.
    """
    trace.hop("arp_send_dst", dev)
    if dev.flags & IFF_NOARP:
        return trace.end(FateKind.NOT_SENT, dev, "a device without ARP")
    body = _ARP.pack(ARPHRD_ETHER, ETH_P_IP, 6, 4, op, dev.dev_addr, saddr, target, daddr)
    skb = alloc_skb(trace, to + dev.dev_addr + ETH_P_ARP.to_bytes(2, "big") + body, protocol=ETH_P_ARP)
    skb.network_header = skb.transport_header = skb.data + 14
    skb.dev = dev
    trace.packet = skb.bytes
    dev_queue_xmit(skb)


def arp_rcv(skb: SkBuff) -> None:
    """The function that ARP registers with the core for its ethertype."""
    dev = skb.dev
    skb.trace.hop("arp_rcv", dev)
    if dev.flags & IFF_NOARP or skb.pkt_type == OTHERHOST:
        words = "a device without ARP" if dev.flags & IFF_NOARP else "addressed to another host"
        return _pass_over(skb, words)
    if len(skb) < _ARP.size or skb.buf[skb.data + 4 : skb.data + 6] != b"\x06\x04":
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "not ARP for Ethernet and IPv4")
    arp_process(skb)


def arp_process(skb: SkBuff) -> None:
    """Answer a request for an address of ours and keep who asked; of other senders update what is known already."""
    dev, trace = skb.dev, skb.trace
    if not dev.in_dev:
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, NO_IPV4)
    hardware, protocol, _, _, op, sha, sip, _tha, tip = _ARP.unpack_from(skb.buf, skb.data)
    trace.hop("arp_process", dev)
    if (
        dev.flags & IFF_LOOPBACK
        or hardware != ARPHRD_ETHER
        or protocol != ETH_P_IP
        or op not in (ARPOP_REQUEST, ARPOP_REPLY)
    ):
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "no ARP request or reply of this kind of device")
    if in_multicast(tip) or tip >> 24 == 127:
        return kfree_skb_reason(skb, "NOT_SPECIFIED", dev, f"nobody has the address {ntoa(tip)}")
    if not sip and op == ARPOP_REQUEST and dev.net.is_local(tip):  # duplicate address detection, RFC 2131
        _take(skb, f"asks whether {ntoa(tip)} is taken")
        return arp_send_dst(trace.answer(), ARPOP_REPLY, dev, tip, 0, sha, sha)
    if op == ARPOP_REQUEST and not ip_route_input_noref(skb, tip, sip) and skb.dst.type is RTN_LOCAL:
        _take(skb, f"who has {ntoa(tip)}")
        neigh_event_ns(dev, sip, sha, trace.cpu)
        return arp_send_dst(trace.answer(), ARPOP_REPLY, dev, tip, sip, sha, sha)
    neigh = dev.neighbours.get(sip)
    if neigh is None:
        return _pass_over(skb, f"{ntoa(tip)} is not ours" if op == ARPOP_REQUEST else "an answer nobody asked for")
    _take(skb, f"{ntoa(sip)} is at {sha.hex(':')}")
    neigh_update(neigh, sha, trace.cpu, stale=op != ARPOP_REPLY or skb.pkt_type != HOST)


def arp_error_report(neigh: Neighbour, skb: SkBuff) -> None:
    """Nobody answered: tell the packet's sender that the host cannot be reached (ipv4_link_failure)."""
    skb.trace.hop("arp_error_report", neigh.dev)
    if skb.dst is not None and skb.pkt_type == HOST:
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH)
    kfree_skb_reason(skb, "NEIGH_FAILED", neigh.dev)


def _take(skb: SkBuff, what: str) -> None:
    """The packet has done its work."""
    skb.trace.hop("consume_skb", skb.dev, HopKind.DELIVER, f"ARP: {what}")
    skb.trace.arrived = bytes(skb.buf[skb.network_header :])
    skb.trace.end(FateKind.DELIVERED, skb.dev)


def _pass_over(skb: SkBuff, words: str) -> None:
    """Not for us: the kernel frees it without calling it a drop."""
    consume_skb(skb, skb.dev)
    skb.trace.end(FateKind.DROPPED, skb.dev, words)


ARP_OPS.update(solicit=arp_solicit, error_report=arp_error_report)
PTYPES[ETH_P_ARP] = arp_rcv

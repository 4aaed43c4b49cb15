"""How packets are freed, orphaned, scrubbed and classified.

Mirrors parts of net/core/skbuff.c and net/ethernet/eth.c, Linux 6.12. Freeing writes the packet's fate: a ``kfree_skb``
is a drop with a reason, a ``consume_skb`` is the normal end of a packet that has done its work.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.sim.inet import ip_compute_csum
from netkit_edu.uapi import ETH_HLEN, PacketType

CHECKSUM_NONE = 0  # the bytes carry a whole checksum, or none is needed
CHECKSUM_PARTIAL = 3  # the checksum field holds the pseudo-header's sum; the hardware is to add the rest

HOST, BROADCAST, MULTICAST, OTHERHOST = (
    int(PacketType.HOST), int(PacketType.BROADCAST), int(PacketType.MULTICAST), int(PacketType.OTHERHOST),
)  # fmt: skip
_ETH_P_802_3_MIN, _ETH_P_802_3, ETH_P_802_2 = 0x0600, 0x0001, 0x0004
_BROADCAST_MAC = b"\xff" * 6


def alloc_skb(trace, packet: bytes, *, protocol: int = 0) -> SkBuff:
    """Return a packet that writes down its way in ``trace``."""
    skb = SkBuff(packet, protocol=protocol)
    skb.trace = trace
    return skb


def skb_clone(skb: SkBuff) -> SkBuff:
    """Return a copy, which belongs to no socket."""
    clone = skb.clone()
    clone.sk = None
    return clone


def skb_orphan(skb: SkBuff, where) -> None:
    """Cut the packet loose from its socket: the socket's send buffer has room again, whatever becomes of the packet."""
    if skb.sk is not None:
        skb.trace.hop("sock_wfree", where)
        skb.sk = None


def consume_skb(skb: SkBuff, where) -> None:
    """Free a packet that has done its work."""
    skb.trace.hop("consume_skb", where)
    skb_orphan(skb, where)


def kfree_skb_reason(skb: SkBuff, reason: str, where, words: str = "", *, fate: FateKind = FateKind.DROPPED) -> None:
    """Free a packet that goes no further.

    Args:
        reason: the kernel's drop reason without its prefix ("NO_SOCKET"), include/net/dropreason-core.h.
        where: the device or namespace whose code dropped it.
        words: what to say beside the reason; where the kernel only knows NOT_SPECIFIED, what to say instead.
        fate: LOST for a packet that counts as sent.
    """
    said = words if reason == "NOT_SPECIFIED" else f"{reason}: {words}" if words else reason
    skb.trace.hop("kfree_skb", where, HopKind.DROP, said or reason, {"reason": reason})
    skb.trace.end(fate, where, said or reason)
    skb_orphan(skb, where)


def skb_scrub_packet(skb: SkBuff, xnet: bool) -> None:
    """Take off what must not follow a packet to another device; with ``xnet`` also what names things of its netns."""
    skb.trace.hop("skb_scrub_packet", skb.dev)
    skb.pkt_type = HOST
    skb.skb_iif = 0
    skb.ignore_df = False
    skb.dst = None
    if xnet:
        skb.mark = 0
        skb.tstamp = 0


def eth_skb_pkt_type(skb: SkBuff, dev) -> None:
    """Set for whom the frame is, from its destination address and that of ``dev``; one that is ours is left alone."""
    dest = skb.buf[skb.mac_header : skb.mac_header + 6]
    if dest != dev.dev_addr:
        if dest[0] & 1:
            skb.pkt_type = BROADCAST if dest == _BROADCAST_MAC else MULTICAST
        else:
            skb.pkt_type = OTHERHOST


def eth_type_trans(skb: SkBuff, dev) -> int:
    """Take the Ethernet header off a frame that ``dev`` receives; return its protocol, host order."""
    skb.dev = dev
    skb.trace.hop("eth_type_trans", dev)
    skb.mac_header = skb.data
    skb.pull(ETH_HLEN)
    eth_skb_pkt_type(skb, dev)
    return eth_protocol(int.from_bytes(skb.buf[skb.mac_header + 12 : skb.mac_header + 14], "big"), skb.buf, skb.data)


def eth_protocol(ethertype: int, buf: bytearray, at: int) -> int:
    """Return what a frame carries from ``at`` on: with a length for its ethertype that is 802.2, or Novell's 802.3."""
    if ethertype >= _ETH_P_802_3_MIN:
        return ethertype
    return _ETH_P_802_3 if buf[at : at + 2] == b"\xff\xff" else ETH_P_802_2


def skb_checksum_help(skb: SkBuff) -> None:
    """Fill in a checksum that was left to the hardware."""
    if skb.ip_summed != CHECKSUM_PARTIAL:
        return
    at = skb.csum_start + skb.csum_offset
    if at + 2 <= len(skb.buf):
        skb.buf[at : at + 2] = (ip_compute_csum(skb.buf[skb.csum_start :]) or 0xFFFF).to_bytes(2, "big")
    skb.ip_summed = CHECKSUM_NONE


def packet_bytes(skb: SkBuff) -> bytes:
    """Return the packet from its IP header, with the checksum that the hardware would have filled in."""
    at = skb.csum_start + skb.csum_offset
    if skb.ip_summed != CHECKSUM_PARTIAL or at + 2 > len(skb.buf):
        return bytes(skb.buf[skb.network_header :])
    done = skb.buf[:]
    done[at : at + 2] = (ip_compute_csum(done[skb.csum_start :]) or 0xFFFF).to_bytes(2, "big")
    return bytes(done[skb.network_header :])

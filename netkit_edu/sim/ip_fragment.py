"""Putting fragments together again.

Mirrors net/ipv4/ip_fragment.c and inet_fragment.c, Linux 6.12. What is still incomplete when everything has come to
rest is thrown away, as Linux does after 30 seconds: nothing more can arrive.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import FateKind
from netkit_edu.sim.inet import IP_MF, IP_OFFSET, Iphdr, ip_send_check
from netkit_edu.sim.skbuff import alloc_skb, consume_skb, kfree_skb_reason
from netkit_edu.sim.snmp import SNMP_INC_STATS

MAX_DATAGRAM = 65535  # bytes


class FragQueue:
    """The fragments of one datagram so far: data by offset in bytes, and its whole length once the last one came."""

    def __init__(self):
        self.parts: dict[int, bytes] = {}
        self.skbs: list[SkBuff] = []
        self.header = b""
        self.total = -1

    def complete(self) -> bytes | None:
        """Return the datagram's data if nothing is missing."""
        if self.total < 0 or 0 not in self.parts:
            return None
        data = b""
        for offset in sorted(self.parts):
            if offset != len(data):
                return None
            data += self.parts[offset]
        return data if len(data) == self.total else None


def ip_defrag(skb: SkBuff, iph: Iphdr) -> SkBuff | None:
    """Add a fragment; return the whole packet if this was the last missing one, else None."""
    net = skb.dev.net
    skb.trace.hop("ip_defrag", skb.dev)
    SNMP_INC_STATS(net, "IpReasmReqds")
    key = (iph.id, iph.saddr, iph.daddr, iph.protocol)
    queue = net.fragments.setdefault(key, FragQueue())
    refused = _ip_frag_queue(queue, skb, iph)
    if refused:
        kfree_skb_reason(skb, refused, skb.dev, "a fragment that does not fit the others")
        if refused != "DUP_FRAG":
            _discard_qp(net, key)
        return None
    data = queue.complete()
    if data is None:
        return None
    del net.fragments[key]
    SNMP_INC_STATS(net, "IpReasmOKs")
    return _ip_frag_reasm(queue, skb, data)


def _ip_frag_queue(queue: FragQueue, skb: SkBuff, iph: Iphdr) -> str:
    """Keep one fragment; return "", or the reason to drop it: a duplicate, an overlap, an impossible place."""
    data = bytes(skb.buf[skb.transport_header :])
    offset = (iph.frag_off & IP_OFFSET) * 8
    more = iph.frag_off & IP_MF
    if more:  # only the last may have an odd length; of another the rest is cut off
        data = data[: len(data) & ~7]
    end = offset + len(data)
    if end + iph.ihl > MAX_DATAGRAM or end == offset:
        return "NOT_SPECIFIED"
    if len(queue.parts.get(offset, b"")) >= len(data):
        return "DUP_FRAG"
    if any(offset < at + len(part) and at < end for at, part in queue.parts.items()):
        SNMP_INC_STATS(skb.dev.net, "IpExtReasmOverlaps")
        return "NOT_SPECIFIED"
    if not more:
        if queue.total >= 0:
            return "NOT_SPECIFIED"
        queue.total = end
    if offset == 0:
        queue.header = bytes(skb.buf[skb.network_header : skb.transport_header])
    queue.parts[offset] = data
    queue.skbs.append(skb)
    return ""


def _discard_qp(net, key) -> None:
    """One fragment is impossible: the whole datagram is given up."""
    SNMP_INC_STATS(net, "IpReasmFails")
    for skb in net.fragments.pop(key).skbs:
        consume_skb(skb, skb.dev)
        skb.trace.end(FateKind.DROPPED, skb.dev, "another fragment of it does not fit")


def _ip_frag_reasm(queue: FragQueue, last: SkBuff, data: bytes) -> SkBuff:
    """Build the whole packet with the metadata of the fragment that completed it.

    The kernel makes it from the first fragment; one that comes last takes that one's data over and frees it.
    """
    if _offset(last):
        last.trace.hop("consume_skb", last.dev)
    whole = alloc_skb(last.trace, queue.header + data, protocol=last.protocol)
    whole.dev, whole.dst, whole.skb_iif, whole.mark = last.dev, last.dst, last.skb_iif, last.mark
    whole.pkt_type, whole.priority = last.pkt_type, last.priority
    start = whole.network_header = whole.data
    whole.transport_header = start + len(queue.header)
    whole.buf[start + 2 : start + 4] = len(whole).to_bytes(2, "big")
    whole.buf[start + 6 : start + 8] = b"\0\0"
    ip_send_check(whole.buf, start, len(queue.header))
    return whole


def ip_expire(net) -> None:
    """Throw away what is incomplete, and tell the sender if its first fragment is here (RFC 792)."""
    from netkit_edu.sim.icmp import ICMP_EXC_FRAGTIME, ICMP_TIME_EXCEEDED, icmp_send

    given_up, net.fragments = net.fragments, {}
    for queue in given_up.values():
        SNMP_INC_STATS(net, "IpReasmFails")
        SNMP_INC_STATS(net, "IpReasmTimeout")
        if 0 in queue.parts:
            first = next(skb for skb in queue.skbs if not _offset(skb))
            icmp_send(first, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME)
        for skb in queue.skbs:
            kfree_skb_reason(skb, "FRAG_REASM_TIMEOUT", skb.dev)


def _offset(skb: SkBuff) -> int:
    """Return where in its datagram a fragment lies, in units of 8 bytes."""
    return int.from_bytes(skb.buf[skb.network_header + 6 : skb.network_header + 8], "big") & IP_OFFSET

"""The counters of /proc/net/snmp and /proc/net/netstat, of which each namespace has its own.

Mirrors include/net/ip.h, udp.h and icmp.h (the macros) and net/ipv4/proc.c (the names), Linux 6.12. A counter goes by
the name that nstat prints: that of its section and its own, such as IpInReceives.

Not here: TCP, which has no endpoints in this stack, and IcmpMsg, which says the same as Icmp by numbers of types.
"""

from __future__ import annotations

_IP = (
    "InReceives", "InHdrErrors", "InAddrErrors", "ForwDatagrams", "InUnknownProtos", "InDiscards", "InDelivers",
    "OutRequests", "OutDiscards", "OutNoRoutes", "ReasmTimeout", "ReasmReqds", "ReasmOKs", "ReasmFails", "FragOKs",
    "FragFails", "FragCreates", "OutTransmits",
)  # fmt: skip
_IP_EXT = (
    "InNoRoutes", "InTruncatedPkts", "InMcastPkts", "OutMcastPkts", "InBcastPkts", "OutBcastPkts", "InOctets",
    "OutOctets", "InMcastOctets", "OutMcastOctets", "InBcastOctets", "OutBcastOctets", "InCsumErrors", "InNoECTPkts",
    "InECT1Pkts", "InECT0Pkts", "InCEPkts", "ReasmOverlaps",
)  # fmt: skip
_ICMP_TYPES = {
    3: "DestUnreachs", 11: "TimeExcds", 12: "ParmProbs", 4: "SrcQuenchs", 5: "Redirects", 8: "Echos", 0: "EchoReps",
    13: "Timestamps", 14: "TimestampReps", 17: "AddrMasks", 18: "AddrMaskReps",
}  # fmt: skip
_ICMP = (
    "InMsgs", "InErrors", "InCsumErrors", *(f"In{kind}" for kind in _ICMP_TYPES.values()), "OutMsgs", "OutErrors",
    "OutRateLimitGlobal", "OutRateLimitHost", *(f"Out{kind}" for kind in _ICMP_TYPES.values()),
)  # fmt: skip
_UDP = (
    "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
    "IgnoredMulti", "MemErrors",
)  # fmt: skip
_SECTIONS = {"Ip": _IP, "Icmp": _ICMP, "Udp": _UDP, "IpExt": _IP_EXT}
NAMES = tuple(f"{section}{name}" for section, names in _SECTIONS.items() for name in names)

ECN_COUNTERS = ("IpExtInNoECTPkts", "IpExtInECT1Pkts", "IpExtInECT0Pkts", "IpExtInCEPkts")  # by the two bits of the TOS
IN, OUT, INMCAST, OUTMCAST, INBCAST, OUTBCAST = (
    ("IpInReceives", "IpExtInOctets"),
    ("IpOutTransmits", "IpExtOutOctets"),
    *((f"IpExt{way}Pkts", f"IpExt{way}Octets") for way in ("InMcast", "OutMcast", "InBcast", "OutBcast")),
)


def snmp_mib() -> dict[str, int]:
    """Return the counters of a new namespace, all 0."""
    return dict.fromkeys(NAMES, 0)


def SNMP_INC_STATS(net, name: str) -> None:
    """Count one more of what ``name`` stands for (IP_INC_STATS, UDP_INC_STATS, ICMP_INC_STATS)."""
    net.mib[name] += 1


def IP_ADD_STATS(net, name: str, n: int) -> None:
    """Count ``n`` more."""
    net.mib[name] += n


def IP_UPD_PO_STATS(net, pair: tuple[str, str], length: int) -> None:
    """Count a packet of ``length`` bytes, IP header included, in a pair of counters: packets and octets."""
    packets, octets = pair
    net.mib[packets] += 1
    net.mib[octets] += length


def ICMPMSGIN_INC_STATS(net, kind: int) -> None:
    """Count an ICMP message of this type that came in; types without a name of their own are not shown."""
    if kind in _ICMP_TYPES:
        net.mib[f"IcmpIn{_ICMP_TYPES[kind]}"] += 1


def icmp_out_count(net, kind: int) -> None:
    """Count an ICMP message of this type that goes out (net/ipv4/icmp.c)."""
    if kind in _ICMP_TYPES:
        net.mib[f"IcmpOut{_ICMP_TYPES[kind]}"] += 1
    net.mib["IcmpOutMsgs"] += 1

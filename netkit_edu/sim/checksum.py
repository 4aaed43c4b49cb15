"""The Internet checksum (RFC 1071), exact, in one big-integer division.

2**16 is 1 modulo 65535, so the ones' complement sum of all 16-bit words is the whole packet read as one number, modulo
65535; only "all bits zero" has to be told from "a multiple of 65535".
"""

from __future__ import annotations


def csum_fold(data: bytes, start: int = 0) -> int:
    """Return the ones' complement sum of ``data`` (padded to whole words) and ``start``, in 16 bits."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    number += start
    return (number - 1) % 0xFFFF + 1 if number else 0


def ip_compute_csum(data: bytes, start: int = 0) -> int:
    """Return the checksum field for ``data`` in which that field is zero; for intact data with its field, 0."""
    return ~csum_fold(data, start) & 0xFFFF


def pseudo_header(saddr: int, daddr: int, protocol: int, length: int) -> int:
    """Return the sum of the IPv4 pseudo-header (csum_tcpudp_nofold); ``length`` in bytes, transport header included."""
    return (saddr >> 16) + (saddr & 0xFFFF) + (daddr >> 16) + (daddr & 0xFFFF) + protocol + length

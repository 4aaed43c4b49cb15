"""IPv4 on the wire: addresses as numbers, checksums, the header as a record, both ways.

Formats: RFC 791. Numbers are in host order here and in network order in the bytes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from netkit_edu.errors import UsageError
from netkit_edu.packet import ones_complement_sum

IPHDR_LEN = 20  # bytes, without options
IP_DF, IP_MF, IP_OFFSET = 0x4000, 0x2000, 0x1FFF  # in frag_off; the offset counts units of 8 bytes
IPDEFTTL = 64
IPV4_MIN_MTU = 68  # bytes, RFC 791
_IPHDR = struct.Struct("!BBHHHBBHII")


class Iphdr(NamedTuple):
    """The fixed part of an IPv4 header (``struct iphdr``); ``ihl`` in bytes, addresses as numbers."""

    ihl: int
    version: int
    tos: int
    tot_len: int
    id: int
    frag_off: int
    ttl: int
    protocol: int
    check: int
    saddr: int
    daddr: int

    @property
    def is_fragment(self) -> bool:
        """True for a part of a larger packet (ip_is_fragment)."""
        return bool(self.frag_off & (IP_MF | IP_OFFSET))


def ip_compute_csum(data: bytes, start: int = 0) -> int:
    """Return the checksum field for ``data`` in which that field is zero; for intact data with its field, 0."""
    return ~ones_complement_sum(data, start) & 0xFFFF


def pseudo_header(saddr: int, daddr: int, protocol: int, length: int) -> int:
    """Return the sum of the IPv4 pseudo-header (csum_tcpudp_nofold); ``length`` in bytes, transport header included."""
    return (saddr >> 16) + (saddr & 0xFFFF) + (daddr >> 16) + (daddr & 0xFFFF) + protocol + length


def ip_hdr(buf, offset: int) -> Iphdr:
    """Read the header at ``offset``; 20 bytes must be there."""
    first, *rest = _IPHDR.unpack_from(buf, offset)
    return Iphdr((first & 15) * 4, first >> 4, *rest)


def ip_send_check(buf: bytearray, offset: int, ihl: int) -> None:
    """Compute the header's checksum anew."""
    buf[offset + 10 : offset + 12] = b"\0\0"
    check = ip_compute_csum(buf[offset : offset + ihl])
    buf[offset + 10 : offset + 12] = check.to_bytes(2, "big")


def build_ip(protocol: int, saddr: int, daddr: int, payload: bytes, *, tos: int = 0, id: int = 0) -> bytes:
    """Return a packet with a plain header around ``payload``, checksum included."""
    header = bytearray(_IPHDR.pack(0x45, tos, IPHDR_LEN + len(payload), id, 0, IPDEFTTL, protocol, 0, saddr, daddr))
    ip_send_check(header, 0, IPHDR_LEN)
    return bytes(header) + payload


def ip_decrease_ttl(buf: bytearray, offset: int) -> None:
    """Take one from the TTL and correct the checksum for it, without looking at the rest (RFC 1141)."""
    check = (buf[offset + 10] << 8 | buf[offset + 11]) + 0x0100
    if check >= 0xFFFF:
        check += 1
    buf[offset + 10] = check >> 8 & 0xFF
    buf[offset + 11] = check & 0xFF
    buf[offset + 8] -= 1


def ntoa(address: int) -> str:
    """Return an address as text."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def aton(text: str) -> int:
    """Return an address as a number; UsageError if it is not four numbers from 0 to 255."""
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts):
        raise UsageError(f"{text!r} is not an IPv4 address, such as '10.0.1.2'")
    return int.from_bytes(map(int, parts), "big")


def parse_prefix(text: str) -> tuple[int, int]:
    """Return (address, prefix length) of "10.0.1.2/24", of a bare address (/32) or of "default" (0.0.0.0/0)."""
    if text == "default":
        return 0, 0
    address, slash, length = text.partition("/")
    if slash and not (length.isascii() and length.isdigit() and int(length) <= 32):
        raise UsageError(f"{text!r} is not an address with a prefix length, such as '10.0.1.2/24'")
    return aton(address), int(length) if slash else 32


def mask(plen: int) -> int:
    """Return the netmask of a prefix length."""
    return 0xFFFFFFFF << 32 - plen & 0xFFFFFFFF


def in_multicast(address: int) -> bool:
    """True for 224.0.0.0/4."""
    return address >> 28 == 14

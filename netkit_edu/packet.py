"""Packets at the edge of the package: whatever a learner writes in, bytes out.

Everything below this module moves ``bytes``. Here a scapy packet becomes bytes, with the fields that its writer left
out filled as a network stack would fill them, and bytes become one line of text or a list of changed fields.

Scapy is imported inside functions, and never asked where a packet would leave this machine: every address is set
before it builds. The one-line summary is plain Python, so that a packet can be shown where scapy is not installed.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import struct
import sys
from typing import Any, NamedTuple

from netkit_edu.errors import PacketError
from netkit_edu.uapi import ETH_HLEN, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

MAX_IP = 65535  # the total length field of RFC 791 has 16 bits
MAX_FRAME = MAX_IP + ETH_HLEN
IP_HLEN = 20
IPV6_HLEN = 40
ICMP_ECHO = 8
EPHEMERAL_PORT = 40000  # the source port of a UDP or TCP packet whose writer named none
NO_MAC = "00:00:00:00:00:00"

_ETHERTYPES = {ETH_P_IP, ETH_P_ARP, ETH_P_IPV6, 0x8100, 0x88A8}
_LAYERS = {
    "IP": "scapy.layers.inet",
    "UDP": "scapy.layers.inet",
    "TCP": "scapy.layers.inet",
    "ICMP": "scapy.layers.inet",
    "Ether": "scapy.layers.l2",
    "ARP": "scapy.layers.l2",
    "Dot1Q": "scapy.layers.l2",
    "IPv6": "scapy.layers.inet6",
    "Raw": "scapy.packet",
}
LAYERS = tuple(_LAYERS)


class Wire(NamedTuple):
    """A packet as bytes; ``ethernet`` says whether the first byte is an Ethernet header's or an IP header's."""

    data: bytes
    ethernet: bool


class Change(NamedTuple):
    """One field that differs between two packets, for example ``Change("IP.ttl", 64, 63)``; None where absent."""

    field: str
    before: Any
    after: Any


class Ipv4(NamedTuple):
    """What the package itself reads of an IPv4 packet; ports are 0 where there are none, ``offset`` is in bytes."""

    src: str
    dst: str
    protocol: int
    header: int
    length: int
    offset: int
    more_fragments: bool
    sport: int
    dport: int
    icmp_type: int


@functools.cache
def layer(name: str):
    """Return one of scapy's packet classes by name (`LAYERS`), importing scapy at the first call.

    Raises:
        PacketError: scapy is not installed.
    """
    if sys.platform == "emscripten":
        _prepare_browser()
    import importlib

    try:
        importlib.import_module("scapy.layers.inet")  # first, so that l2 and inet6 find what they bind to
        return getattr(importlib.import_module(_LAYERS[name]), name)
    except ModuleNotFoundError as error:
        raise PacketError(f"building {name} needs scapy: pip install scapy ({error})") from error


def _prepare_browser() -> None:
    """Let scapy load IPv6 in Pyodide, whose socket module has no AF_INET6 conversions; scapy brings its own."""
    import logging
    import socket

    socket.has_ipv6 = True
    for name in ("inet_pton", "inet_ntop"):
        if hasattr(socket, name):
            delattr(socket, name)
    logging.getLogger("scapy").setLevel(logging.CRITICAL + 1)


def to_bytes(packet, *, ethernet: bool | None = None, src: str = "0.0.0.0", mac: str = NO_MAC,
             dst_mac: str = NO_MAC) -> Wire:  # fmt: skip
    """Turn a scapy packet or anything bytes-like into bytes.

    A scapy packet is copied first, and what its writer left out is filled as a stack would: lengths and checksums,
    TTL 64, "don't fragment", an ephemeral source port, and the addresses given here. Bytes are taken as they are.

    Args:
        packet: a scapy packet that starts with IP, IPv6 or Ether; bytes, bytearray or memoryview; a `Wire`.
        ethernet: whether bytes start with an Ethernet header; by default told from the bytes.
        src: the IPv4 source for a packet that names none; "0.0.0.0" leaves the choice to the sending stack.
        mac, dst_mac: the same for a frame that names no source or destination.

    Returns:
        The bytes, and whether they start with an Ethernet header.

    Raises:
        PacketError: not a packet, too short for its header, longer than 65535 bytes, or scapy cannot build it.
    """
    if isinstance(packet, Wire):
        data, is_ethernet = packet
    elif isinstance(packet, bytes | bytearray | memoryview):
        data = bytes(packet)
        is_ethernet = looks_like_ethernet(data) if ethernet is None else ethernet
    else:
        data, is_ethernet = _build(packet, src, mac, dst_mac)
    _check_length(data, is_ethernet)
    return Wire(data, is_ethernet)


def looks_like_ethernet(data: bytes) -> bool:
    """Tell a frame from an IP packet: IP starts with its version, and its length field fits the bytes there are."""
    if len(data) >= IP_HLEN and data[0] >> 4 == 4 and data[0] & 15 >= 5:
        total = int.from_bytes(data[2:4], "big")
        fits = total == len(data) or checksum(data[: (data[0] & 15) * 4]) == 0
        return not fits and _ethertype(data) in _ETHERTYPES
    if len(data) >= IPV6_HLEN and data[0] >> 4 == 6:
        return int.from_bytes(data[4:6], "big") + IPV6_HLEN != len(data) and _ethertype(data) in _ETHERTYPES
    return len(data) >= ETH_HLEN


def _ethertype(data: bytes) -> int:
    return int.from_bytes(data[12:14], "big")


def _check_length(data: bytes, ethernet: bool) -> None:
    if ethernet:
        least, most, what = ETH_HLEN, MAX_FRAME, "an Ethernet header"
    elif data[:1] and data[0] >> 4 == 6:
        least, most, what = IPV6_HLEN, MAX_IP, "an IPv6 header"
    else:
        least, most, what = IP_HLEN, MAX_IP, "an IP header"
    if len(data) < least:
        raise PacketError(f"the packet has {len(data)} bytes: {what} alone takes {least}")
    if len(data) > most:
        raise PacketError(f"the packet has {len(data)} bytes: at most {most} fit")
    if not ethernet and data[0] >> 4 not in (4, 6):
        raise PacketError(f"an IP packet starts with version 4 or 6, this one with {data[0] >> 4}")


def _build(packet, src: str, mac: str, dst_mac: str) -> Wire:
    scapy_packet = sys.modules.get("scapy.packet")
    if scapy_packet is None or not isinstance(packet, scapy_packet.Packet):
        raise PacketError(
            f"a packet is bytes or a scapy packet such as IP(dst='192.0.2.2')/UDP(dport=53)/b'hi', "
            f"not {type(packet).__name__}"
        )
    first = type(packet).__name__
    if first not in ("IP", "IPv6", "Ether", "Dot3"):
        raise PacketError(f"a packet starts with IP, IPv6 or Ether, this one with {first}: write IP(dst=...)/{first}()")
    filled = packet.copy()
    fill(filled, src=src, mac=mac, dst_mac=dst_mac)
    try:
        return Wire(bytes(filled), first in ("Ether", "Dot3"))
    except Exception as error:  # scapy raises whatever the field's conversion met: struct.error, ValueError, OSError
        raise PacketError(f"scapy cannot build this packet: {error}") from error


def fill(packet, *, src: str = "0.0.0.0", mac: str = NO_MAC, dst_mac: str = NO_MAC) -> None:
    """Set the fields of a scapy packet that it would otherwise look up on this machine, and the source port.

    Only what the writer left out is touched; the packet is changed in place. An inner header (inside a tunnel, or
    quoted in an ICMP error) gets the unspecified address.

    Raises:
        PacketError: a field stands for several packets (a network, a list of addresses).
    """
    from scapy.fields import SourceIP6Field, SourceIPField
    from scapy.layers.l2 import DestMACField, SourceMACField

    if sum(1 for _ in itertools.islice(packet, 2)) > 1:
        raise PacketError("this stands for several packets (a network, a list, a range in a field): send one at a time")
    unset = {SourceIPField: src, SourceIP6Field: "::", SourceMACField: mac, DestMACField: dst_mac}
    for part in packet.iterpayloads():
        for field in part.fields_desc:
            if part.fields.get(field.name) is not None:
                continue
            chosen = next((unset[kind] for kind in unset if any(isinstance(f, kind) for f in _unwrap(field))), None)
            if chosen is not None:
                part.setfieldval(field.name, chosen)
        if type(part).__name__ in ("IP", "ARP"):
            unset[SourceIPField] = "0.0.0.0"
        if type(part).__name__ == "IP":
            _fill_identity(part)
        if type(part).__name__ in ("UDP", "TCP") and "sport" not in part.fields:
            part.sport = EPHEMERAL_PORT


def _fill_identity(header) -> None:
    """Set DF, which Linux's sockets do by default (IP_PMTUDISC_WANT), and the id 0 that goes with it (ip_select_ident).

    A packet whose writer says anything about fragments is left alone but for the id.
    """
    if "id" not in header.fields:
        header.id = 0
    if "flags" not in header.fields and "frag" not in header.fields:
        header.flags = "DF"


def _unwrap(field) -> list:
    """Return the fields behind scapy's wrappers: Emph and ConditionalField hold one, MultipleTypeField several."""
    from scapy.fields import MultipleTypeField

    while not isinstance(field, MultipleTypeField) and hasattr(field, "fld"):
        field = field.fld
    return [f for f, _ in field.flds] if isinstance(field, MultipleTypeField) else [field]


def checksum(data: bytes) -> int:
    """Return the Internet checksum of RFC 1071; over a header that holds its own checksum it is 0.

    Raises:
        PacketError: no bytes.
    """
    return ~ones_complement_sum(_as_bytes(data, "a checksum is taken over")) & 0xFFFF


def ones_complement_sum(data: bytes, start: int = 0) -> int:
    """Return the ones' complement sum of all 16-bit words of ``data`` (padded to whole ones) and ``start``, in 16 bits.

    2**16 is 1 modulo 65535, so the sum is the whole packet read as one number, modulo 65535; only "all bits zero" has
    to be told from "a multiple of 65535".
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    number += start
    return (number - 1) % 0xFFFF + 1 if number else 0


def _as_bytes(value, what: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise PacketError(f"{what} bytes, not {value!r}")


def icmp_echo(dst: str, *, src: str = "0.0.0.0", ident: int = 1, seq: int = 1, payload: bytes = bytes(56)) -> bytes:
    """Return an ICMP echo request (RFC 792) in an IPv4 header with DF, built without scapy.

    Raises:
        PacketError: an address is not IPv4 in dotted decimal, or the payload is no bytes.
    """
    payload = _as_bytes(payload, "a payload is")
    body = struct.pack("!BBHHH", ICMP_ECHO, 0, 0, ident, seq) + payload
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    try:
        ends = ipaddress.IPv4Address(src).packed + ipaddress.IPv4Address(dst).packed
    except ValueError as error:
        raise PacketError(f"not an IPv4 address: {error}") from error
    head = struct.pack("!BBHHHBBH", 0x45, 0, IP_HLEN + len(body), 0, 0x4000, 64, IPPROTO_ICMP, 0) + ends
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def ipv4(wire: Wire) -> Ipv4 | None:
    """Read the IPv4 header and the ports of a packet; None if it is something else or cut short."""
    data = wire.data
    if wire.ethernet:
        if _ethertype(data) != ETH_P_IP:
            return None
        data = data[ETH_HLEN:]
    header = (data[0] & 15) * 4 if data else 0
    if len(data) < IP_HLEN or data[0] >> 4 != 4 or not IP_HLEN <= header <= len(data):
        return None
    fragment = int.from_bytes(data[6:8], "big")
    offset = (fragment & 0x1FFF) * 8
    sport = dport = 0
    body = data[header:]
    if data[9] in (IPPROTO_UDP, IPPROTO_TCP) and not offset and len(body) >= 4:
        sport, dport = struct.unpack_from("!HH", body)
    icmp_type = body[0] if data[9] == IPPROTO_ICMP and body and not offset else -1
    return Ipv4(
        ".".join(map(str, data[12:16])), ".".join(map(str, data[16:20])), data[9], header,
        int.from_bytes(data[2:4], "big"), offset, bool(fragment & 0x2000), sport, dport, icmp_type,
    )  # fmt: skip


def summary(packet, *, ethernet: bool | None = None) -> str:
    """Return one line on a packet, for example ``IP 10.0.1.2 > 192.0.2.2 UDP 40000 > 53, 2 bytes``.

    Never raises on bytes, however broken: what cannot be read is counted in bytes.
    """
    if isinstance(packet, bytes | bytearray | memoryview):
        data = bytes(packet)
        wire = Wire(data, looks_like_ethernet(data) if ethernet is None else ethernet)
    else:
        wire = to_bytes(packet)
    if not wire.ethernet:
        return _network(wire.data, ETH_P_IPV6 if wire.data[:1] and wire.data[0] >> 4 == 6 else ETH_P_IP)
    if len(wire.data) < ETH_HLEN:
        return f"Ethernet cut short, {len(wire.data)} bytes"
    to, source = (":".join(f"{b:02x}" for b in wire.data[i : i + 6]) for i in (0, 6))
    return f"Ethernet {source} > {to}, {_network(wire.data[ETH_HLEN:], _ethertype(wire.data))}"


def _network(data: bytes, ethertype: int) -> str:
    if ethertype == ETH_P_IP:
        head = ipv4(Wire(data, False))
        if head is None:
            return f"IP cut short, {len(data)} bytes"
        return f"IP {head.src} > {head.dst} {_transport(head.protocol, data[head.header :], head)}"
    if ethertype == ETH_P_IPV6:
        if len(data) < IPV6_HLEN:
            return f"IPv6 cut short, {len(data)} bytes"
        source, to = (ipaddress.IPv6Address(data[i : i + 16]) for i in (8, 24))
        return f"IPv6 {source} > {to} {_transport(data[6], data[IPV6_HLEN:], None)}"
    if ethertype == ETH_P_ARP and len(data) >= 28:
        asks, wants = (".".join(map(str, data[i : i + 4])) for i in (14, 24))
        if data[6:8] == b"\0\1":
            return f"ARP who has {wants}? tell {asks}"
        return f"ARP {asks} is at {':'.join(f'{b:02x}' for b in data[8:14])}"
    return f"type 0x{ethertype:04x}, {len(data)} bytes"


def _transport(protocol: int, body: bytes, head: Ipv4 | None) -> str:
    name = {IPPROTO_UDP: "UDP", IPPROTO_TCP: "TCP", IPPROTO_ICMP: "ICMP", 58: "ICMPv6"}.get(protocol)
    if name is None:
        return f"protocol {protocol}, {len(body)} bytes"
    if head is not None and head.offset:
        return f"{name} fragment at {head.offset}, {len(body)} bytes"
    size = {"UDP": 8, "TCP": 20}.get(name, 4)
    if len(body) < size:
        return f"{name} cut short, {len(body)} bytes"
    if name == "UDP":
        words = "{} > {}".format(*struct.unpack_from("!HH", body))
    elif name == "TCP":
        size = max(size, (body[12] >> 4) * 4)
        flags = "".join(c for i, c in enumerate("FSRPAUEC") if body[13] >> i & 1)
        words = "{} > {} [{}]".format(*struct.unpack_from("!HH", body), flags)
    else:
        words, size = _icmp_words(name, body)
    return f"{name} {words}, {max(0, len(body) - size)} bytes"


def _icmp_words(name: str, body: bytes) -> tuple[str, int]:
    known = {
        "ICMP": {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"},
        "ICMPv6": {1: "unreachable", 3: "time exceeded", 128: "echo request", 129: "echo reply"},
    }[name].get(body[0], f"type {body[0]}")
    if "echo" in known and len(body) >= 8:
        return "{} id {} seq {}".format(known, *struct.unpack_from("!HH", body, 4)), 8
    return f"{known} code {body[1]}", 8


def fields(packet, *, ethernet: bool | None = None) -> dict[str, Any]:
    """Dissect a packet with scapy; return its fields in order, named as ``IP.ttl``; a second IP header is ``IP2.ttl``.

    Raises:
        PacketError: the value is no packet.
    """
    wire = to_bytes(packet, ethernet=ethernet)
    if wire.ethernet:
        kind = layer("Ether")
    else:
        kind = layer("IPv6") if wire.data[0] >> 4 == 6 else layer("IP")
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for part in kind(wire.data).iterpayloads():
        name = type(part).__name__
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name = f"{name}{seen[name]}"
        for key, value in part.fields.items():
            found[f"{name}.{key}"] = str(value) if type(value).__name__ == "FlagValue" else value
    return found


def diff(before, after) -> list[Change]:
    """Return the fields in which two packets differ, in the order of the first packet's headers.

    Raises:
        PacketError: one of the values is no packet.
    """
    a, b = fields(before), fields(after)
    return [Change(k, a.get(k), b.get(k)) for k in [*a, *(k for k in b if k not in a)] if a.get(k) != b.get(k)]

"""Captures: pcap and pcapng files read into packets, packets written as pcap.

The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng, as far as tcpdump and Wireshark write them
for Ethernet and IP. A capture that is cut short or makes no sense is refused whole, with the place named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from netkit_edu.errors import PacketError
from netkit_edu.packet import MAX_FRAME, Wire, to_bytes

MAX_FILE = 64 << 20  # bytes; a lesson's capture is far smaller
MAX_PACKETS = 100_000
LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101
_IP = {LINKTYPE_RAW, 12, 14, 228, 229}  # LINKTYPE_RAW, DLT_RAW of two systems, LINKTYPE_IPV4, LINKTYPE_IPV6
_COOKED = {113: 16, 276: 20}  # LINKTYPE_LINUX_SLL, _SLL2: bytes of the header that tcpdump -i any puts before IP
_PCAP = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6


def read_pcap(source: str | Path | bytes) -> list[Wire]:
    """Return the packets of a capture in order.

    Args:
        source: a pcap or pcapng file of at most 64 MiB and 100 000 packets, or its bytes.

    Raises:
        PacketError: no such file, not a capture, broken or cut short, too large, or of a link type other than Ethernet,
            raw IP and Linux cooked; packets that the capture holds only the beginning of are refused too.
    """
    data, name = _load(source)
    if data[:4] in _PCAP:
        packets = _read_pcap(data)
    elif data[:4] == b"\x0a\x0d\x0d\x0a":
        packets = _read_pcapng(data)
    else:
        raise PacketError(f"{name} is no pcap or pcapng capture: it starts with {data[:4].hex() or 'nothing'}")
    out: list[Wire] = []
    try:
        for packet in packets:
            if len(out) == MAX_PACKETS:
                raise PacketError(f"it holds more than {MAX_PACKETS} packets")
            out.append(packet)
    except PacketError as error:
        raise PacketError(f"{name}, packet {len(out) + 1}: {error}") from error
    return out


def write_pcap(path: str | Path, packets: Iterable) -> int:
    """Write packets to a pcap file; return how many. All must start at Ethernet, or all at IP.

    The n-th packet's time is n microseconds, so that the same packets make the same file.

    Raises:
        PacketError: one of them is no packet, they are of both kinds, or the file cannot be written.
    """
    wires = [to_bytes(packet) for packet in packets]
    if len({w.ethernet for w in wires}) > 1:
        raise PacketError("a pcap file holds frames or IP packets, not both: give every packet an Ethernet header")
    link = LINKTYPE_RAW if wires and not wires[0].ethernet else LINKTYPE_ETHERNET
    out = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, MAX_FRAME, link))
    for number, (data, _) in enumerate(wires):
        out += struct.pack("<IIII", *divmod(number, 1_000_000), len(data), len(data)) + data
    try:
        Path(path).write_bytes(out)
    except OSError as error:
        raise PacketError(f"cannot write {path}: {error.strerror}") from error
    return len(wires)


def _load(source: str | Path | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), "the capture"
    else:
        name = str(source)
        try:
            with Path(source).open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except (OSError, ValueError) as error:
            raise PacketError(f"cannot read {name}: {error}") from error
    if len(data) > MAX_FILE:
        raise PacketError(f"{name} is larger than {MAX_FILE >> 20} MiB")
    return data, name


def _unpack(fmt: str, data: bytes, at: int, what: str) -> tuple[int, ...]:
    try:
        return struct.unpack_from(fmt, data, at)
    except struct.error:
        raise PacketError(f"the file ends inside {what}, at byte {len(data)}") from None


def _take(data: bytes, at: int, size: int, what: str) -> bytes:
    if size > len(data) - at:
        raise PacketError(f"{what} at byte {at} says {size} bytes, the file has {len(data) - at} more")
    return data[at : at + size]


def _read_pcap(data: bytes) -> Iterator[Wire]:
    order = _PCAP[data[:4]]
    link = _unpack(order + "20xI", data, 0, "the file header")[0] & 0xFFFF  # the upper half says how long the FCS is
    at = 24
    while at < len(data):
        captured, length = _unpack(order + "8xII", data, at, "a packet header")
        packet = _take(data, at + 16, captured, "a packet")
        yield _packet(packet, length, link)
        at += 16 + captured


def _read_pcapng(data: bytes) -> Iterator[Wire]:
    order, links, at = "<", [], 0
    while at < len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order, links = _byte_order(data, at), []
        kind, size = _unpack(order + "II", data, at, "a block header")
        if size < 12 or size % 4:
            raise PacketError(f"the block at byte {at} says {size} bytes, which no block has")
        block = _take(data, at, size, "a block")
        if _unpack(order + "I", block, size - 4, "a block") != (size,):
            raise PacketError(f"the block at byte {at} does not end with its own length")
        body = block[8:-4]
        if kind == _INTERFACE:
            links.append(_unpack(order + "HxxI", body, 0, "an interface block"))
        elif kind == _ENHANCED:
            number, captured, length = _unpack(order + "I8xII", body, 0, "a packet block")
            yield _packet(_take(body, 20, captured, "a packet"), length, _interface(links, number)[0])
        elif kind == _SIMPLE:
            link, most = _interface(links, 0)
            (length,) = _unpack(order + "I", body, 0, "a packet block")
            yield _packet(_take(body, 4, min(length, most or length), "a packet"), length, link)
        at += size


def _byte_order(data: bytes, at: int) -> str:
    order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(data[at + 8 : at + 12])
    if order is None:
        raise PacketError(f"the section header at byte {at} has no byte-order magic")
    return order


def _interface(links: list[tuple[int, ...]], number: int) -> tuple[int, ...]:
    if number >= len(links):
        raise PacketError(f"it names interface {number}, but the file describes {len(links)}")
    return links[number]


def _packet(data: bytes, length: int, link: int) -> Wire:
    if length > len(data):
        raise PacketError(f"only {len(data)} of its {length} bytes were captured: capture with tcpdump -s 0")
    if link == LINKTYPE_ETHERNET:
        return to_bytes(data, ethernet=True)
    if link in _COOKED:
        return to_bytes(data[_COOKED[link] :], ethernet=False)
    if link in _IP:
        return to_bytes(data, ethernet=False)
    raise PacketError(f"its link type is {link}; this package reads Ethernet (1), raw IP (101) and Linux cooked (113)")

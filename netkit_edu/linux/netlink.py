"""Netlink: messages and attributes as bytes, and back.

A message is a struct nlmsghdr, a fixed part, and attributes: a length, a number and a value each, padded to 4 bytes;
a value may be attributes again (include/uapi/linux/netlink.h, Linux 6.12). Numbers are in the machine's order.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netkit_edu.errors import KernelError

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP_INTR = 0x1, 0x2, 0x4, 0x8, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200  # of an acknowledgement
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
IFINFOMSG_LEN = 16  # bytes
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # length, number
_IFINFOMSG = struct.Struct("=BxHiII")  # family, hardware type, ifindex, flags, mask of flags to change

Attributes = Iterable[tuple[int, "bytes | Attributes"]]


class Message(NamedTuple):
    """One message: its type, flags and sequence number, and what follows the header."""

    type: int
    flags: int
    seq: int
    body: bytes


def u8(value: int) -> bytes:
    """Return a number as one byte."""
    return struct.pack("=B", value & 0xFF)


def u16(value: int) -> bytes:
    """Return a number as 2 bytes."""
    return struct.pack("=H", value & 0xFFFF)


def u32(value: int) -> bytes:
    """Return a number as 4 bytes; a negative one as its complement."""
    return struct.pack("=I", value & 0xFFFF_FFFF)


def u64(value: int) -> bytes:
    """Return a number as 8 bytes."""
    return struct.pack("=Q", value)


def text(value: str) -> bytes:
    """Return a text as bytes with a terminating zero."""
    return value.encode() + b"\0"


def ipv4(value: str) -> bytes:
    """Return an IPv4 address as 4 bytes in the network's order."""
    return socket.inet_aton(value)


def number(value: bytes | None, default: int = 0) -> int:
    """Return an attribute's value as an unsigned number; ``default`` if it is absent."""
    return default if value is None else int.from_bytes(value, "little")


def string(value: bytes | None) -> str:
    """Return an attribute's value as text, up to its terminating zero; "" if it is absent."""
    return (value or b"").split(b"\0", 1)[0].decode(errors="replace")


def attributes(given: Attributes) -> bytes:
    """Return attributes one behind the other; a value that is no bytes is attributes again."""
    out = bytearray()
    for kind, value in given:
        value = value if isinstance(value, bytes | bytearray) else attributes(value)
        out += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
    return bytes(out)


def walk(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start of the value, its end) of each attribute; what is left and too short for one is passed over.

    The number is as it stands there, with its two flag bits.
    """
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            return
        yield kind, at + _ATTRIBUTE.size, at + length
        at += (length + 3) & ~3


def parse(data: bytes) -> dict[int, bytes]:
    """Take attributes apart: values by number; of two of one number the last counts, as in the kernel."""
    return {kind & NLA_TYPE_MASK: data[start:end] for kind, start, end in walk(data)}


def ifinfomsg(*, ifindex: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """Return a struct ifinfomsg: which device, its flags (IFF_*), and which of them are meant."""
    return _IFINFOMSG.pack(0, 0, ifindex, flags, change)


def message(kind: int, flags: int, seq: int, fixed: bytes, given: Attributes = ()) -> bytes:
    """Return a request: header, fixed part, attributes.

    Args:
        kind: RTM_*.
        flags: NLM_F_* beside NLM_F_REQUEST.
        seq: the number that the answers carry.
    """
    body = fixed + bytes(-len(fixed) % 4) + attributes(given)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, seq, 0) + body


def split(data: bytes) -> list[Message]:
    """Take what one recv() gave apart into messages; what is left and too short for one is passed over."""
    found, at = [], 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, seq, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            break
        found.append(Message(kind, flags, seq, data[at + _HEADER.size : at + length]))
        at += (length + 3) & ~3
    return found


def refusal(answer: Message) -> KernelError | None:
    """Return the error that an NLMSG_ERROR or NLMSG_DONE carries, with the kernel's words; None if it is none."""
    if answer.type not in (NLMSG_ERROR, NLMSG_DONE) or len(answer.body) < 4:
        return None
    errno = struct.unpack_from("=i", answer.body)[0]
    if errno >= 0:
        return None
    said = b""
    if answer.flags & NLM_F_ACK_TLVS:
        said = answer.body[4:]
        if answer.type == NLMSG_ERROR:  # behind the errno the request's header, and where it is not capped all of it
            quoted = _HEADER.unpack_from(answer.body, 4)[0] if len(answer.body) >= 20 else 0
            said = answer.body[4 + (_HEADER.size if answer.flags & NLM_F_CAPPED else (quoted + 3) & ~3) :]
    return KernelError(-errno, string(parse(said).get(NLMSGERR_ATTR_MSG)))

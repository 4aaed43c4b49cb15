"""``struct __sk_buff``: the view of a packet's metadata that a program gets as its argument.

A table of fields and one region over it. Which bytes may be read or written in which sizes follows
``tc_cls_act_is_valid_access`` and ``bpf_skb_is_valid_access``; what a field shows follows ``bpf_convert_ctx_access``
(net/core/filter.c, Linux 6.12). A refused access faults in the verifier's words.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from netkit_edu.engine.memory import CTX, PACKET, SOCKET, U64, Fault, Packet, Region, address_of
from netkit_edu.engine.skb import SkBuff

SIZE = 192  # bytes of struct __sk_buff
_CB = struct.Struct("<5I")
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF
_NO_QUEUE_MAPPING = 0xFFFF


class Field(NamedTuple):
    """One field: its place in bytes, what a read shows, what a write does (None: not allowed), and in which sizes.

    ``kept`` is how many bytes the kernel keeps of it in struct sk_buff (``target_size`` in bpf_convert_ctx_access).
    ``pointer`` is set for those that point into the packet: ``read`` shows them as they are at first.
    """

    name: str
    offset: int
    size: int
    read: Callable[[SkBuff], int] | None = None
    write: Callable[[SkBuff, int], None] | None = None
    load_sizes: tuple[int, ...] = (1, 2, 4)
    store_sizes: tuple[int, ...] = (4,)
    kept: int = 4
    pointer: bool = False


def _set(name: str, mask: int) -> Callable[[SkBuff, int], None]:
    return lambda skb, value: setattr(skb, name, value & mask)


def _set_queue_mapping(skb: SkBuff, value: int) -> None:
    # Numbers from 0xffff up leave the field alone; a negative constant (BPF_ST) is stored, as its low 16 bits.
    if value < _NO_QUEUE_MAPPING:
        skb.queue_mapping = value & _U16


def _get_cb(skb: SkBuff) -> int:
    return int.from_bytes(_CB.pack(*skb.cb), "little")


def _set_cb(skb: SkBuff, value: int) -> None:
    skb.cb[:] = _CB.unpack(value.to_bytes(_CB.size, "little"))


def _swap16(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8 & 0xFF  # a __be16 as a little-endian program sees it


_WORD, _WIDE, _ANY = (4,), (8,), (1, 2, 4, 8)

FIELDS: tuple[Field, ...] = (
    Field("len", 0, 4, len),
    Field("pkt_type", 4, 4, lambda skb: skb.pkt_type, kept=1),
    Field("mark", 8, 4, lambda skb: skb.mark, _set("mark", _U32)),
    Field("queue_mapping", 12, 4, lambda skb: skb.queue_mapping, _set_queue_mapping, kept=2),
    Field("protocol", 16, 4, lambda skb: _swap16(skb.protocol), kept=2),
    Field("vlan_present", 20, 4, lambda skb: int(bool(skb.vlan_present))),
    Field("vlan_tci", 24, 4, lambda skb: skb.vlan_tci, kept=2),
    Field("vlan_proto", 28, 4, lambda skb: _swap16(skb.vlan_proto), kept=2),
    Field("priority", 32, 4, lambda skb: skb.priority, _set("priority", _U32)),
    Field("ingress_ifindex", 36, 4, lambda skb: skb.skb_iif),
    Field("ifindex", 40, 4, lambda skb: skb.ifindex),
    Field("tc_index", 44, 4, lambda skb: skb.tc_index, _set("tc_index", _U16), kept=2),
    Field("cb", 48, 20, _get_cb, _set_cb, _ANY, _ANY, kept=20),
    Field("hash", 68, 4, lambda skb: skb.hash),
    Field("tc_classid", 72, 4, lambda skb: skb.tc_classid, _set("tc_classid", _U16), kept=2),
    Field("data", 76, 4, lambda skb: address_of(PACKET), None, _WORD, pointer=True),
    Field("data_end", 80, 4, lambda skb: address_of(PACKET, skb.headlen), None, _WORD, pointer=True),
    Field("napi_id", 84, 4, lambda skb: skb.napi_id),
    # of a socket's own programs, refused for this program type
    Field("family", 88, 4),
    Field("remote_ip4", 92, 4),
    Field("local_ip4", 96, 4),
    Field("remote_ip6", 100, 16),
    Field("local_ip6", 116, 16),
    Field("remote_port", 132, 4),
    Field("local_port", 136, 4),
    Field("data_meta", 140, 4, lambda skb: address_of(PACKET), None, _WORD, pointer=True),
    Field("flow_keys", 144, 8),
    Field("tstamp", 152, 8, lambda skb: skb.tstamp & U64, _set("tstamp", U64), _WIDE, _WIDE),
    Field("wire_len", 160, 4, lambda skb: skb.wire_len),
    Field("gso_segs", 164, 4, lambda skb: skb.gso_segs, kept=2),
    Field("sk", 168, 8, lambda skb: 0 if skb.sk is None else address_of(SOCKET), None, _WIDE),
    Field("gso_size", 176, 4, lambda skb: skb.gso_size, kept=2),
    Field("tstamp_type", 180, 1, lambda skb: skb.tstamp_type, None, (1,)),
    Field("hwtstamp", 184, 8, lambda skb: 0, None, _WIDE),
)
_AT = {offset: field for field in FIELDS for offset in range(field.offset, field.offset + field.size)}


class Context(Region):
    """The region behind r1: an access is looked up in `FIELDS` and answered from the skb.

    ``packet`` knows which pointers into it are valid now; without one they are those of a run's start.
    """

    number, name = CTX, "context"

    def __init__(self, skb: SkBuff, packet: Packet | None = None):
        self.skb = skb
        self.packet = packet or Packet(skb)

    def load(self, offset: int, size: int) -> int:
        field = _AT.get(offset)
        if field is None or field.read is None or not _fits(field, offset, size, field.load_sizes):
            raise self.fault("read", offset, size)
        value = field.read(self.skb)
        # The kernel cuts a part out of a field only if the part is smaller than what it keeps: the upper half of
        # protocol, of which it keeps two bytes, shows protocol itself.
        if size >= field.kept:
            return value + self.packet.base if field.pointer else value
        return value >> 8 * (offset - field.offset) & (1 << 8 * size) - 1

    def store(self, offset: int, size: int, value: int) -> None:
        field = _AT.get(offset)
        if field is None or field.write is None or not _fits(field, offset, size, field.store_sizes):
            raise self.fault("write", offset, size)
        if size != field.size:  # a part of cb: put it in its place between the others
            shift, mask = 8 * (offset - field.offset), (1 << 8 * size) - 1
            value = field.read(self.skb) & ~(mask << shift) | (value & mask) << shift
        field.write(self.skb, value)

    def read(self, offset: int, size: int) -> bytes:
        raise Fault("the context is not memory that a helper can read: copy the field first", region=self.name)

    def write(self, offset: int, data: bytes) -> None:
        raise Fault("the context is not memory that a helper can fill", region=self.name)

    def fault(self, verb: str, offset: int, size: int) -> Fault:
        """Return the fault for a refused access: the verifier's words, then which field it was and why."""
        said = f"invalid bpf_context access off={offset} size={size}"
        field = _AT.get(offset)
        if field is None:
            why = f"struct __sk_buff has {SIZE} bytes" if not 0 <= offset < SIZE else "padding"
        elif field.read is None:
            why = f"{field.name} is not for programs of this type"
        elif verb == "write" and field.write is None:
            why = f"{field.name} is read-only"
        else:
            sizes = field.store_sizes if verb == "write" else field.load_sizes
            why = f"a {verb} of {field.name} takes {' or '.join(map(str, sizes))} bytes, aligned"
        return Fault(f"{said}: {why}", address_of(CTX, offset), self.name)


def _fits(field: Field, offset: int, size: int, sizes: tuple[int, ...]) -> bool:
    return size in sizes and offset % size == 0 and offset + size <= field.offset + field.size

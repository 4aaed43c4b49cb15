"""``union bpf_attr``: how each command of bpf(2) is laid out (include/uapi/linux/bpf.h, Linux 6.12).

All of it is the same for 32 and 64 bits, and little-endian machines are what netkit-edu runs on.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from netkit_edu.linux.door import Batch, Data, Door, Result
from netkit_edu.uapi import BpfCmd

MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, MAP_GET_NEXT_KEY, PROG_LOAD = range(6)
PROG_TEST_RUN, PROG_GET_FD_BY_ID, RAW_TRACEPOINT_OPEN, BTF_LOAD, MAP_FREEZE = 10, 13, 17, 18, 22
ENABLE_STATS = 32
BPF_OBJ_NAME_LEN = 16  # bytes, the terminating zero among them
INFO_LEN = 256  # bytes of struct bpf_prog_info and its kin that are asked for
NO_FD = 0xFFFF_FFFF  # a descriptor that is never open


class Field(NamedTuple):
    """A field of one command: its offset and its size, both in bytes."""

    offset: int
    size: int = 4


class Layout(NamedTuple):
    """A command's fields by name; ``end`` is where the last of any kind ends, behind which all bytes must be zero."""

    fields: Mapping[str, Field]
    end: int


def _place(offset: int) -> dict[str, Field]:
    """Where in a hook's list: one field of two names, and a revision."""
    return {"relative_fd": Field(offset), "relative_id": Field(offset), "expected_revision": Field(24, 8)}


_ATTACH = {"target_ifindex": Field(0), "attach_bpf_fd": Field(4), "attach_type": Field(8), "attach_flags": Field(12)}
LAYOUTS = {
    BpfCmd.PROG_ATTACH: Layout({**_ATTACH, "replace_bpf_fd": Field(16), **_place(20)}, 32),
    BpfCmd.PROG_DETACH: Layout({**_ATTACH, **_place(20)}, 32),
    BpfCmd.PROG_QUERY: Layout(
        {
            "target_ifindex": Field(0), "attach_type": Field(4), "query_flags": Field(8), "attach_flags": Field(12),
            "prog_ids": Field(16, 8), "count": Field(24), "prog_attach_flags": Field(32, 8), "link_ids": Field(40, 8),
            "link_attach_flags": Field(48, 8), "revision": Field(56, 8),
        },
        64,
    ),
    # the part for uprobes is the longest: its pid ends at byte 60
    BpfCmd.LINK_CREATE: Layout(
        {"prog_fd": Field(0), "target_ifindex": Field(4), "attach_type": Field(8), "flags": Field(12), **_place(16)}, 60
    ),
    BpfCmd.LINK_UPDATE: Layout(
        {"link_fd": Field(0), "new_prog_fd": Field(4), "flags": Field(8), "old_prog_fd": Field(12)}, 16
    ),
    BpfCmd.LINK_DETACH: Layout({"link_fd": Field(0)}, 4),
    BpfCmd.OBJ_GET_INFO_BY_FD: Layout({"bpf_fd": Field(0), "info_len": Field(4), "info": Field(8, 8)}, 16),
}  # fmt: skip

MAP_CREATE_ATTR = struct.Struct("<7I16s5I")  # up to btf_value_type_id
ELEMENT_ATTR = struct.Struct("<IIQQQ")  # map_fd, key, value or next_key, flags
PROG_LOAD_ATTR = struct.Struct("<IIQQIIQII16sIIIIQIIQIII")  # up to attach_prog_fd
TEST_RUN_ATTR = struct.Struct("<IIIIQQIIIIQQIIII")
BTF_LOAD_ATTR = struct.Struct("<QQIII")
RAW_TRACEPOINT_ATTR = struct.Struct("<QI4x")

PROG_BTF_FD, PROG_LOG_TRUE_SIZE, PROG_ATTACH_PROG_FD = 72, 140, 112  # offsets in BPF_PROG_LOAD's part
MAP_BTF_FD = 48  # offset in BPF_MAP_CREATE's part


def pack(cmd: int, fields: Mapping[str, int], tail: bytes = b"") -> bytes:
    """Return a command's bytes as far as its last field, and ``tail`` behind it; numbers are cut to their fields."""
    layout = LAYOUTS.get(cmd, Layout({}, 0))
    out = bytearray(layout.end)
    for name, value in fields.items():
        offset, size = layout.fields[name]
        out[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(out) + tail


def unpack(cmd: int, data: bytes, name: str) -> int:
    """Return the field ``name`` of what the kernel wrote back."""
    offset, size = LAYOUTS[cmd].fields[name]
    return int.from_bytes(data[offset : offset + size], "little")


def bpf(batch: Batch, cmd: int, attr: bytes | int, size: int = 0, *, must: bool = True) -> Result:
    """Call bpf(2) with these bytes, or with ``size`` bytes that are at an address already."""
    return batch.call("bpf", cmd, attr, size or len(attr), must=must)


def poke(batch: Batch, result: Result, address: int, n: int = 4) -> None:
    """Have the low ``n`` bytes of what a call returned copied to an address: a descriptor into the next attributes."""
    copy(batch, batch.door, result_address(batch.door, result), address, n)


def result_address(door: Door, result: Result) -> int:
    """Return where in the arena a call's value lies."""
    return door.base + result.cell


def copy(batch: Batch, door: Door, start: int, to: int, n: int) -> Result:
    """Copy ``n`` bytes inside the door's process, the arena or a mapping on either side (process_vm_readv)."""
    vector = struct.Struct("<QQ" if door.word == 8 else "<II")
    return batch.call("process_vm_readv", door.pid, vector.pack(to, n), 1, vector.pack(start, n), 1, 0)


def info(batch: Batch, fd: int | Result, length: int = INFO_LEN) -> Data:
    """Ask what the object behind a descriptor is (BPF_OBJ_GET_INFO_BY_FD); return the bytes of its struct."""
    room = batch.room(length)
    given = 0 if isinstance(fd, Result) else fd
    attr = batch.put(pack(BpfCmd.OBJ_GET_INFO_BY_FD, {"bpf_fd": given, "info_len": length, "info": room}))
    if isinstance(fd, Result):
        poke(batch, fd, attr)
    bpf(batch, BpfCmd.OBJ_GET_INFO_BY_FD, attr, 16)
    return batch.read(room, length)


def object_name(name: str) -> bytes:
    """Return what the kernel takes as an object's name: letters, digits, ``_`` and ``.``, 15 bytes at most."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name).encode()[:15]

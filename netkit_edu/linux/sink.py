"""A namespace in which every UDP port is open: an sk_lookup program leads each datagram to one socket.

The kernel asks such a program when it looks for the socket of a packet, before it looks at the ports
(net/core/filter.c, BPF_PROG_TYPE_SK_LOOKUP, Linux 6.12). Ours assigns it the only socket of a map.
"""

from __future__ import annotations

import struct

from netkit_edu.linux.door import Batch, Door, Result
from netkit_edu.linux.netlink import u32

BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_LINK_CREATE = 0, 2, 5, 28
BPF_MAP_TYPE_SOCKMAP, BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP = 15, 30, 36
MAP_LOOKUP_ELEM, SK_RELEASE, SK_ASSIGN = 1, 86, 124
ATTR = 128  # bytes of union bpf_attr that are handed over


def program(map_fd: int) -> bytes:
    """Return the instructions (RFC 9669): assign the map's socket, and go on."""
    code = [
        (0xBF, 6, 1, 0, 0),  # r6 = ctx
        (0xB7, 1, 0, 0, 0), (0x63, 10, 1, -4, 0),  # key = 0
        (0x18, 1, 1, 0, map_fd), (0, 0, 0, 0, 0),  # r1 = map
        (0xBF, 2, 10, 0, 0), (0x07, 2, 0, 0, -4),  # r2 = &key
        (0x85, 0, 0, 0, MAP_LOOKUP_ELEM),
        (0x15, 0, 0, 7, 0),  # no socket: pass
        (0xBF, 7, 0, 0, 0),
        (0xBF, 1, 6, 0, 0), (0xBF, 2, 7, 0, 0), (0xB7, 3, 0, 0, 0),
        (0x85, 0, 0, 0, SK_ASSIGN),  # refused for what is not UDP, which goes its own way
        (0xBF, 1, 7, 0, 0), (0x85, 0, 0, 0, SK_RELEASE),
        (0xB7, 0, 0, 0, 1), (0x95, 0, 0, 0, 0),  # return SK_PASS
    ]  # fmt: skip
    return b"".join(struct.pack("=BBhi", op, src << 4 | dst, off, imm) for op, dst, src, off, imm in code)


def install(door: Door, ns_fd: int, sock: int) -> list[int]:
    """Lead what comes for any UDP port of a namespace to a socket of it; return the descriptors that keep it so."""
    batch = door.batch()
    made = _bpf(batch, BPF_MAP_CREATE, struct.pack("=IIII", BPF_MAP_TYPE_SOCKMAP, 4, 4, 1))
    batch.run()
    batch = door.batch()
    pointers = batch.put(u32(0)), batch.put(u32(sock))
    _bpf(batch, BPF_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", made.value, *pointers, 0))
    code = program(made.value)
    head = struct.pack("=IIQQ", BPF_PROG_TYPE_SK_LOOKUP, len(code) // 8, batch.put(code), batch.put(b"GPL\0"))
    loaded = _bpf(batch, BPF_PROG_LOAD, head + bytes(44) + u32(BPF_SK_LOOKUP))
    batch.run()
    batch = door.batch()
    link = _bpf(batch, BPF_LINK_CREATE, struct.pack("=IIII", loaded.value, ns_fd, BPF_SK_LOOKUP, 0))
    batch.run()
    return [made.value, loaded.value, link.value]


def _bpf(batch: Batch, cmd: int, attr: bytes) -> Result:
    return batch.call("bpf", cmd, batch.put(attr.ljust(ATTR, b"\0")), ATTR)

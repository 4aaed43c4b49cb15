"""A namespace in which every UDP port is open: an sk_lookup program leads each datagram to one socket.

The kernel asks such a program when it looks for the socket of a packet, before it looks at the ports
(net/core/filter.c, BPF_PROG_TYPE_SK_LOOKUP, Linux 6.12). Ours assigns it the only socket of a map.
"""

from __future__ import annotations

import struct

from netkit_edu.linux.door import Batch, Door, Result
from netkit_edu.linux.netlink import u32
from netkit_edu.program import isa

BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_LINK_CREATE = 0, 2, 5, 28
BPF_MAP_TYPE_SOCKMAP, BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP = 15, 30, 36
ATTR = 128  # bytes of union bpf_attr that are handed over
PROGRAM = """
    r6 = r1
    r1 = 0
    *(u32 *)(r10 -4) = r1
    r1 = map[fd:{map}]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto pass
    r7 = r0
    r1 = r6
    r2 = r7
    r3 = 0
    call bpf_sk_assign      ; refused for what is not UDP, which goes its own way
    r1 = r7
    call bpf_sk_release
pass:
    r0 = 1                  ; SK_PASS
    exit
"""


def install(door: Door, ns_fd: int, sock: int) -> list[int]:
    """Lead what comes for any UDP port of a namespace to a socket of it; return the descriptors that keep it so."""
    batch = door.batch()
    made = _bpf(batch, BPF_MAP_CREATE, struct.pack("=IIII", BPF_MAP_TYPE_SOCKMAP, 4, 4, 1))
    batch.run()
    batch = door.batch()
    pointers = batch.put(u32(0)), batch.put(u32(sock))
    _bpf(batch, BPF_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", made.value, *pointers, 0))
    code = isa.encode(isa.assemble(PROGRAM.format(map=made.value)))
    head = struct.pack("=IIQQ", BPF_PROG_TYPE_SK_LOOKUP, len(code) // 8, batch.put(code), batch.put(b"GPL\0"))
    loaded = _bpf(batch, BPF_PROG_LOAD, head + bytes(44) + u32(BPF_SK_LOOKUP))
    batch.run()
    batch = door.batch()
    link = _bpf(batch, BPF_LINK_CREATE, struct.pack("=IIII", loaded.value, ns_fd, BPF_SK_LOOKUP, 0))
    batch.run()
    return [made.value, loaded.value, link.value]


def _bpf(batch: Batch, cmd: int, attr: bytes) -> Result:
    return batch.call("bpf", cmd, batch.put(attr.ljust(ATTR, b"\0")), ATTR)

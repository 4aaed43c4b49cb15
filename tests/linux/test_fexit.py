"""Programs that watch the end of others: what they see of its return value, and how long."""

from __future__ import annotations

import struct

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.linux import fexit
from netkit_edu.program import isa
from netkit_edu.program.object import MapSpec
from netkit_edu.uapi import BPF_MAP_TYPE_ARRAY
from tests.linux.bpf_room import load

PACKET = bytes(12) + b"\x88\xb5" + bytes(50)
BPF_PSEUDO_MAP_FD, LDDW = 1, 0x18
# writes what the watched program returned, and how often it did, into the only entry of a map
WRITE_DOWN = """
    r2 = r10
    r2 += -8
    call bpf_get_func_ret
    r2 = 0
    *(u32 *)(r10 -12) = r2
    r1 = 0 ll
    r2 = r10
    r2 += -12
    call bpf_map_lookup_elem
    if r0 == 0 goto +5
    r3 = *(u64 *)(r10 -8)
    *(u64 *)(r0 +0) = r3
    r3 = *(u64 *)(r0 +8)
    r3 += 1
    *(u64 *)(r0 +8) = r3
    r0 = 0
    exit
"""


@pytest.fixture
def book(room) -> int:
    return room.map_create(MapSpec("book", BPF_MAP_TYPE_ARRAY, 4, 16, 1))


def watched(room, number: int, book: int) -> int:
    """Watch a program; skip where this kernel lets nobody do that."""
    handle = room._maps[book].fd
    code = [i._replace(src=BPF_PSEUDO_MAP_FD, imm=handle) if i.opcode == LDDW else i for i in isa.assemble(WRITE_DOWN)]
    prog = room._progs[number]
    try:
        return fexit.watch(room.door, prog.fd, prog.main, code)
    except KernelError as refusal:
        if refusal.name == "EPERM":
            pytest.skip("this kernel lets nobody load programs of type tracing")
        raise


def written(room, book: int) -> tuple[int, int]:
    """Return what was returned last, and how often anything was."""
    code, times = struct.unpack("<qq", room.map_lookup(book, bytes(4)))
    return (code & 0xFFFF_FFFF) - ((code & 0x8000_0000) << 1), times


def test_it_sees_what_was_returned(room, book):
    for times, code in enumerate((-1, 0, 2, 7, 99), 1):
        number = load(room, f"r0 = {code}\nexit")
        watched(room, number, book)
        room.prog_test_run(number, PACKET)
        assert written(room, book) == (code, times)


def test_once_it_is_closed_a_watch_is_over(room, book):
    number = load(room, "r0 = 2\nexit")
    fd = watched(room, number, book)
    room.prog_test_run(number, PACKET)
    room.door.call("close", fd)
    room.prog_test_run(number, PACKET)
    assert written(room, book) == (2, 1)


def test_what_is_no_function_cannot_be_watched(room, book):
    number = load(room)
    watched(room, number, book)
    with pytest.raises(KernelError, match="^EINVAL"):
        fexit.watch(room.door, room._progs[number].fd, 9999, isa.assemble("r0 = 0\nexit"))

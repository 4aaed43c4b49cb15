"""Maps through the door: every kind that the simulator has, beside the simulator's own answers."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program.object import MapSpec
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import (
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_HASH,
    BPF_MAP_TYPE_LPM_TRIE,
    BPF_MAP_TYPE_LRU_HASH,
    BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_PERCPU_HASH,
    BPF_MAP_TYPE_PROG_ARRAY,
    BPF_MAP_TYPE_RINGBUF,
    BPF_PROG_TYPE_XDP,
)
from tests.contract import map_programs
from tests.linux.bpf_room import load
from tests.requires import a_compiler

PACKET = bytes(12) + b"\x88\xb5" + bytes(22) + b"\0\7" + bytes(30)  # 0x0007 where a UDP header has its port
KINDS = {
    "hash": MapSpec("m", BPF_MAP_TYPE_HASH, 2, 6, 3),
    "array": MapSpec("m", BPF_MAP_TYPE_ARRAY, 4, 6, 3),
    "lpm": MapSpec("m", BPF_MAP_TYPE_LPM_TRIE, 8, 4, 3, 1),
    "per-CPU hash": MapSpec("m", BPF_MAP_TYPE_PERCPU_HASH, 2, 6, 3),
    "per-CPU array": MapSpec("m", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 6, 3),
    "prog array": MapSpec("m", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 3),
}


def refused(errno: str):
    return pytest.raises(KernelError, match=f"^{errno}")


def said(call, *args):
    """Return what a call answers: its value, or the name of its refusal."""
    try:
        return call(*args)
    except KernelError as refusal:
        return refusal.name


@pytest.mark.parametrize("kind", KINDS)
def test_random_calls_are_answered_as_by_the_simulator(room, kind):
    spec = KINDS[kind]
    sim = SimBackend(cpus=room.possible_cpus)
    chance = random.Random(kind)
    here, there = room.map_create(spec), sim.map_create(spec)
    size = len(room.map_lookup(here, bytes(4)) or b"") if kind.endswith("array") else 0
    size = size or {"per-CPU hash": 8 * room.possible_cpus, "per-CPU array": 8 * room.possible_cpus}.get(
        kind, spec.value_size
    )
    played = []
    for _ in range(120):
        what, key = chance.choice(["lookup", "update", "update", "delete", "keys"]), random_key(chance, kind)
        value = chance.randbytes(6) + bytes(2)
        value = value * room.possible_cpus if kind.startswith("per-CPU") else value[:size].ljust(size, b"\0")
        if kind == "prog array":
            value = struct.pack("<I", 0xFF_FFFF)  # no program
        args = {"lookup": (key,), "delete": (key,), "keys": ()}.get(what, (key, value, chance.choice([0, 0, 1, 2, 9])))
        played.append((what, args))
        answers = [said(getattr(c, f"map_{what}"), n, *args) for c, n in ((room, here), (sim, there))]
        if what == "keys":
            answers = [sorted(answer) for answer in answers]
        assert answers[0] == answers[1], played[-4:]


def random_key(chance: random.Random, kind: str) -> bytes:
    if kind == "lpm":
        return struct.pack("<I4s", chance.choice([0, 8, 16, 32, 33]), bytes([10, chance.choice([0, 1]), 0, 1]))
    return struct.pack("<H" if "hash" in kind else "<I", chance.randrange(5))


def test_more_keys_than_one_round_trip_brings(room):
    number = room.map_create(MapSpec("many", BPF_MAP_TYPE_HASH, 4, 4, 300))
    for n in range(200):
        room.map_update(number, struct.pack("<I", n), struct.pack("<I", 2 * n))
    assert sorted(struct.unpack("<I", key)[0] for key in room.map_keys(number)) == list(range(200))
    assert room.map_lookup(number, struct.pack("<I", 99)) == struct.pack("<I", 198)


def test_a_full_lru_forgets(room):
    number = room.map_create(MapSpec("lru", BPF_MAP_TYPE_LRU_HASH, 4, 4, 2))
    for n in range(5):
        room.map_update(number, struct.pack("<I", n), bytes(4))
    assert len(room.map_keys(number)) <= 2


@pytest.mark.parametrize(
    "spec",
    [
        MapSpec("m", 99, 4, 4, 1),
        MapSpec("m", BPF_MAP_TYPE_HASH, 0, 4, 1),
        MapSpec("m", BPF_MAP_TYPE_HASH, 4, 4, 0),
        MapSpec("m", BPF_MAP_TYPE_ARRAY, 8, 4, 1),
        MapSpec("m", BPF_MAP_TYPE_LPM_TRIE, 8, 4, 1),
        MapSpec("m", BPF_MAP_TYPE_RINGBUF, 0, 0, 1000),
        MapSpec("m", BPF_MAP_TYPE_PROG_ARRAY, 4, 8, 1),
    ],
)
def test_a_map_that_cannot_be_is_refused(room, spec):
    with refused("EINVAL"):
        room.map_create(spec)


def test_keys_and_values_of_another_length_do_not_reach_the_kernel(room, hash_map):
    for call in (lambda: room.map_lookup(hash_map, b"abc"), lambda: room.map_update(hash_map, b"abcd", b"x")):
        with pytest.raises(UsageError, match="has 4 bytes"):
            call()


def test_a_number_of_no_map_is_refused(room):
    for call in (
        room.map_keys,
        room.ringbuf_read,
        lambda n: room.map_lookup(n, b""),
        lambda n: room.map_delete(n, b""),
    ):
        with refused("EBADF"):
            call(99_999)


def test_variables_have_their_values_and_constants_are_frozen(room):
    data = MapSpec(".data", BPF_MAP_TYPE_ARRAY, 4, 8, 1, initial=b"\1\2\3\4")
    number = room.map_create(data)
    assert room.map_lookup(number, bytes(4)) == b"\1\2\3\4\0\0\0\0"
    room.map_update(number, bytes(4), b"changed!")
    const = room.map_create(replace(data, name=".rodata", flags=1 << 7, readonly=True))
    with refused("EPERM"):
        room.map_update(const, bytes(4), b"changed!")


def test_a_map_that_is_let_go_is_no_map(room, hash_map):
    room.map_close(hash_map)
    for call in (room.map_close, room.map_keys):
        with refused("EBADF"):
            call(hash_map)


def test_a_prog_array_takes_programs_by_their_ids(room):
    jumps = room.map_create(KINDS["prog array"])
    prog, other = load(room), load(room)
    for number, errno in ((0xFF_FFFF, "EBADF"), (0, "EINVAL"), (jumps, "EINVAL")):
        with refused(errno):
            room.map_update(jumps, bytes(4), struct.pack("<I", number))
    room.map_update(jumps, bytes(4), struct.pack("<I", prog))
    room.map_update(jumps, bytes(4), struct.pack("<I", other))
    assert room.map_lookup(jumps, bytes(4)) == struct.pack("<I", other)
    with refused("EINVAL"):
        room.map_update(jumps, bytes(4), struct.pack("<I", load(room, "r0=2\nexit", prog_type=BPF_PROG_TYPE_XDP)))
    room.map_delete(jumps, bytes(4))
    assert room.map_lookup(jumps, bytes(4)) is None


# programs that work on maps -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs():
    return nk.compile(map_programs.PROGRAMS, name="maps.c")


def loaded(room, program) -> tuple[int, dict[str, int]]:
    maps = {name: room.map_create(spec) for name, spec in program.map_specs.items()}
    return room.prog_load(program.code, maps), maps


@a_compiler()
@pytest.mark.parametrize(("kind", "key"), [("hash", b"\7\0"), ("lru", b"\7\0"), ("array", bytes(4))])
def test_a_program_counts_where_python_looks(room, programs, kind, key):
    prog, maps = loaded(room, programs[f"count_{kind}"])
    for _ in range(3):
        assert room.prog_test_run(prog, PACKET).code == nk.Verdict.NEXT
    assert struct.unpack("<II", room.map_lookup(maps[kind], key))[1] == 3


@a_compiler()
def test_a_per_cpu_map_has_a_value_for_each_cpu_there_may_be(room, programs):
    prog, maps = loaded(room, programs["count_cpu_array"])
    room.prog_test_run(prog, PACKET, repeat=5)
    cells = struct.unpack(f"<{room.possible_cpus}Q", room.map_lookup(maps["cpu_array"], bytes(4)))
    assert sum(cells) == 5


@a_compiler()
def test_a_ring_buffer_brings_each_record_once_and_then_has_room_again(room, programs):
    """More than fits, so that the data goes round; 170 records of 24 bytes fill 4096."""
    prog, maps = loaded(room, programs["tell"])
    assert room.ringbuf_read(maps["events"]) == []
    for _ in range(3):
        for repeat, codes in ((100, nk.Verdict.NEXT), (100, nk.Verdict.DROP)):
            assert room.prog_test_run(prog, PACKET, repeat=repeat).code == codes
        records = room.ringbuf_read(maps["events"])
        assert len(records) == 170
        assert {struct.unpack("<IIHH", record)[1:3] for record in records} == {(len(PACKET), 7 << 8)}
    assert room.ringbuf_read(maps["events"]) == []


@a_compiler()
def test_a_ring_buffer_larger_than_a_round_trip(room):
    text = """
#include "netkit_edu.h"
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 19); } big SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
    count SEC(".maps");
SEC("tc") int fill(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u64 *n = bpf_map_lookup_elem(&count, &zero), *one;

    one = n ? bpf_ringbuf_reserve(&big, 2000, 0) : 0;
    if (!one)
        return NETKIT_DROP;
    one[0] = ++*n;
    if (*n % 3)
        bpf_ringbuf_submit(one, 0);
    else
        bpf_ringbuf_discard(one, 0);
    return NETKIT_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
    prog, maps = loaded(room, nk.compile(text)["fill"])
    room.prog_test_run(prog, PACKET, repeat=200)
    records = [struct.unpack_from("<Q", record)[0] for record in room.ringbuf_read(maps["big"])]
    assert records == [n for n in range(1, 201) if n % 3]


@a_compiler()
def test_a_tail_call_goes_on_as_the_program_that_is_put_there(room, programs):
    jump, maps = loaded(room, programs["jump"])
    assert room.prog_test_run(jump, PACKET).code == nk.Verdict.DROP
    arrive, _ = loaded(room, programs["arrive"])
    room.map_update(maps["jumps"], struct.pack("<I", 1), struct.pack("<I", arrive))
    assert room.prog_test_run(jump, PACKET).code == nk.Verdict.PASS
    with refused("EINVAL"):
        room.prog_load(programs["jump"].code, maps, prog_type=BPF_PROG_TYPE_XDP)

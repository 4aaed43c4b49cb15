"""Programs through the door: loaded with their C lines, refused in the verifier's words, run once, counted."""

from __future__ import annotations

import re
import struct

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError
from netkit_edu.linux import bpfattr, bpfprogs
from netkit_edu.linux.btfload import types_of
from netkit_edu.program import isa
from netkit_edu.program.btf import Btf
from netkit_edu.program.object import MapSpec, ProgramCode, Relocation
from netkit_edu.program.verification import Verification
from netkit_edu.uapi import BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP
from tests.linux.bpf_room import Room, load
from tests.requires import a_compiler

PACKET = bytes(12) + b"\x88\xb5" + bytes(50)
TEXT = """
#include "netkit_edu.h"
volatile const __u32 LIMIT = 3;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); }
    seen SEC(".maps");
static __attribute__((noinline)) int sub(struct __sk_buff *skb)
{
    return skb->mark < LIMIT ? NETKIT_PASS : NETKIT_DROP;
}
SEC("netkit/peer") int good(struct __sk_buff *skb)
{
    __u32 key = skb->mark;
    __u64 one = 1, *count = bpf_map_lookup_elem(&seen, &key);

    if (count)
        ++*count;
    else
        bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
    skb->mark++;
    return sub(skb);
}
SEC("netkit/peer") int unchecked(struct __sk_buff *skb)
{
    __u32 key = skb->mark;
    __u64 *count = bpf_map_lookup_elem(&seen, &key);

    ++*count;
    return NETKIT_PASS;
}
SEC("netkit/peer") int too_far(struct __sk_buff *skb)
{
    char *data = (void *)(long)skb->data;

    return data[14];
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def programs():
    return nk.compile(TEXT, name="prog.c")


def loaded(room, program) -> tuple[int, dict[str, int]]:
    maps = {name: room.map_create(spec) for name, spec in program.map_specs.items()}
    return room.prog_load(program.code, maps), maps


@a_compiler()
def test_a_program_runs_in_the_kernel_as_it_does_here(room, programs):
    prog, maps = loaded(room, programs["good"].bind(LIMIT=5))
    here = programs["good"].bind(LIMIT=5)
    for mark in (0, 3, 4, 9):
        ran, ours = room.prog_test_run(prog, PACKET, ctx=struct.pack("<8xI", mark)), here.run(PACKET, mark=mark)
        assert (ran.code, ran.packet, struct.unpack_from("<I", ran.ctx, 8)[0]) == (ours.code, ours.packet, ours.mark)
    assert {struct.unpack("<I", key)[0] for key in room.map_keys(maps["seen"])} == {0, 3, 4, 9}


@a_compiler()
def test_two_loads_are_two_programs(room, programs):
    one, two = loaded(room, programs["good"])[0], loaded(room, programs["good"])[0]
    assert one != two
    assert room.prog_info(one)[1:4] == room.prog_info(two)[1:4]
    assert room.prog_info(one)[:3] == (one, BPF_PROG_TYPE_SCHED_CLS, "good")


def test_runs_are_counted_while_that_is_asked_for(room):
    prog = load(room)
    room.prog_test_run(prog, PACKET, repeat=3)
    room.run_stats(True)
    room.prog_test_run(prog, PACKET, repeat=5)
    room.run_stats(True)
    room.run_stats(False)
    room.prog_test_run(prog, PACKET, repeat=7)
    counted = room.prog_info(prog)
    assert counted.run_cnt == 5 and counted.run_time_ns > 0 and counted.verified == 2


def test_a_packet_that_no_program_could_get_is_refused(room):
    prog = load(room)
    short = bytes(12) + b"\x08\0" + bytes(4)  # an IPv4 header that is cut off, which Ubuntu's 6.14.0-37 takes
    checked = [(short, b"")] if not room.kernel.startswith("6.14.") else []
    for packet, ctx in ((bytes(13), b""), (PACKET, b"\1"), *checked):
        with pytest.raises(KernelError, match="^EINVAL"):
            room.prog_test_run(prog, packet, ctx=ctx)
    with pytest.raises(KernelError, match="^EBADF"):
        room.prog_test_run(99_999_999, PACKET)


def test_a_program_of_another_type_is_one(room):
    assert room.prog_info(load(room, "r0 = 2\nexit", prog_type=BPF_PROG_TYPE_XDP)).type == BPF_PROG_TYPE_XDP


# the verifier ---------------------------------------------------------------------------------------------------------


@a_compiler()
def test_a_refusal_quotes_verifier_and_line(room, programs):
    with pytest.raises(KernelError) as refusal:
        loaded(room, programs["unchecked"])
    said = refusal.value.answer
    assert refusal.value.name == "EACCES" and isinstance(said, Verification) and not said.ok
    assert said.message == "R0 invalid mem access 'map_value_or_null'"
    assert said.line.text.strip() == "++*count;" and said.line.file == "prog.c"
    assert refusal.value.extack.startswith(f"{said.message} (line {said.line.line}: ++*count;)")
    assert "; ++*count;" in said.log and room.kernel in said.kernel


@a_compiler()
def test_verifying_leaves_nothing_behind(room, programs):
    before = open_files(room)
    for name, ok in (("good", True), ("unchecked", False), ("too_far", False)):
        said = room.prog_verify(programs[name].code, programs[name].map_specs)
        assert said.ok == ok and said.program == name
    assert "too_far" in repr(said) and "invalid access to packet, off=14 size=1" in said.message
    assert re.search(r"return data\[14\];( @ prog.c:\d+)?$", said.log, re.M)
    assert open_files(room) == before + len(room._map_types)
    assert not room._refused_types


def open_files(room) -> int:
    """Count the descriptors that the door has open."""
    batch = room.door.batch()
    fd = batch.call("openat", -100, b"/proc/self/fd\0", 0o2200000, 0)
    buffer = batch.room(1 << 16)
    got = batch.call("getdents64", fd, buffer, 1 << 16)
    data = batch.read(buffer, got, 1 << 16)
    batch.call("close", fd)
    batch.run()
    count, at = 0, 0
    while at < len(data.value):
        at += struct.unpack_from("<H", data.value, at + 16)[0]
        count += 1
    return count


@a_compiler()
def test_a_map_may_be_called_as_it_likes(room):
    text = TEXT.replace("seen", "program")
    one = nk.compile(text)["unchecked"]
    assert room.prog_verify(one.code, one.map_specs).message == "R0 invalid mem access 'map_value_or_null'"


@a_compiler()
def test_level_two_tells_what_was_known_at_each_instruction(room, programs):
    brief, long = (room.prog_verify(programs["good"].code, programs["good"].map_specs, level=n) for n in (1, 2))
    assert brief.ok and long.ok and brief.processed == long.processed > 20
    assert "R1=ctx()" in long.log and "R1=ctx()" not in brief.log


def test_a_long_log_comes_whole(room):
    text = "r0 = 0\n" + "r0 += 1\n" * 3000 + "exit"
    code = ProgramCode("long", "tc", isa.assemble(text), license="GPL")
    said = room.prog_verify(code, {}, level=2)
    assert said.ok and len(said.log) > 1 << 16
    assert "3000: (07) r0 += 1" in said.log and "\n5: (07)" in said.log
    wrong = room.prog_verify(
        ProgramCode("long", "tc", isa.assemble(text.replace("exit", "r0 = r9\nexit"))), {}, level=2
    )
    assert (wrong.insn, wrong.message) == (3001, "R9 !read_ok")


LOOP = "r1 = *(u32 *)(r1 +0)\nagain:\nr1 += 1\nif r1 != 0 goto again\nr0 = 0\nexit"


@pytest.mark.door
def test_a_program_that_takes_a_million_instructions_to_look_at_is_too_large():
    room = Room()
    code = ProgramCode("loop", "tc", isa.assemble(LOOP), license="GPL")
    said = room.prog_verify(code, {}, level=2)
    assert (said.message, said.processed) == ("BPF program is too large. Processed 1000001 insn", 1_000_001)
    with pytest.raises(KernelError, match="^E2BIG: BPF program is too large"):
        room.prog_load(code, {})
    room.close()


def test_a_verifier_that_takes_too_long_is_stopped_and_the_door_stays_open(room, monkeypatch):
    monkeypatch.setattr(bpfprogs, "VERIFY_S", 0.02)
    code = ProgramCode("loop", "tc", isa.assemble(LOOP), license="GPL")
    for call in (lambda: room.prog_load(code, {}), lambda: room.prog_verify(code, {})):
        with pytest.raises(KernelError, match="^EAGAIN: the verifier was not through with 'loop'"):
            call()
    monkeypatch.undo()
    assert load(room)


def test_a_program_that_is_no_program(room):
    for insns, errno in (((), "E2BIG"), (isa.assemble("r0 = r1 \n call 9999\n exit"), "EINVAL")):
        with pytest.raises(KernelError) as refusal:
            room.prog_load(ProgramCode("none", "tc", insns), {})
        assert refusal.value.name == errno


def test_a_map_that_is_not_given_is_no_map(room):
    insns = isa.assemble("r1 = 0 ll\nr0 = 0\nexit")
    with pytest.raises(KernelError, match="is not pointing to valid bpf_map") as refusal:
        room.prog_load(ProgramCode("lost", "tc", insns, (Relocation(0, "seen"),)), {})
    assert refusal.value.name == "EBADF"


def test_types_that_the_kernel_refuses_do_not_keep_a_program_out(room):
    broken = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 24, 24, 5)
    broken += struct.pack("<III", 1, 12 << 24, 2) + struct.pack("<III", 0, 2 << 24, 77) + b"\0odd\0"
    code = ProgramCode("odd", "tc", isa.assemble("r0 = 3\nexit"), functions={0: "odd"}, btf=Btf.parse(broken))
    assert Btf.parse(types_of(code).btf).find("odd", 12)
    prog = room.prog_load(code, {})
    assert room.prog_test_run(prog, PACKET).code == 3
    assert room.prog_verify(code, {}).ok
    spec = MapSpec("odd", BPF_MAP_TYPE_HASH, 4, 4, 1, key_type=2, value_type=2, btf=Btf.parse(broken))
    room.map_update(room.map_create(spec), bytes(4), bytes(4))


def test_the_kernel_is_told_a_maps_types(room, programs):
    number, maps = loaded(room, programs["good"])
    for name in ("seen", ".rodata"):
        batch = room.door.batch()
        told = bpfattr.info(batch, room._map(maps[name]).fd, 88)
        batch.run()
        btf_id, key, value = struct.unpack_from("<III", told.value, 64)
        spec = programs["good"].map_specs[name]
        assert btf_id and (key, value) == (spec.key_type, spec.value_type)


GOLDEN = {  # programs of the vectors, by their titles
    "pkt read without bounds check": "r2 = *(u32 *)(r1 +76)\nr0 = *(u8 *)(r2 +0)\nexit",
    "unreachable insn": "r0 = 0\nexit\nr0 = 1\nexit",
    "R0 not set at exit": "exit",
    "uninit reg": "r0 = r3\nexit",
    "stack too deep -520": "*(u64 *)(r10 -520) = 0\nr0 = 0\nexit",
    "stack misaligned": "*(u64 *)(r10 -9) = 0\nr0 = 0\nexit",
    "write to R10": "r10 = 0\nexit",
    "jump out of range": "r0 = 0\ngoto +10\nexit",
    "fallthrough no exit": "r0 = 0\nr0 = 1",
    "ptr multiply": "r1 *= 2\nr0 = 0\nexit",
    "xor ptr": "r1 ^= r1\nr0 = 0\nexit",
    "ctx write read-only field (len)": "*(u32 *)(r1 +0) = 5\nr0 = 0\nexit",
    "ctx read remote_ip4": "r0 = *(u32 *)(r1 +92)\nexit",
    "unknown helper id": "call 9999\nexit",
    "div by zero imm": "r0 = 1\nr0 /= 0\nexit",
    "shift too big": "r0 = 1\nr0 <<= 64\nexit",
    "null deref: scalar as ptr": "r1 = 0\nr0 = *(u32 *)(r1 +0)\nexit",
    "bpf_redirect missing arg r2": "r1 = 1\ncall 23\nexit",
    "ptr vs scalar store partial": "*(u32 *)(r10 -8) = r1\nr0 = 0\nexit",
}


@pytest.mark.vectors
@pytest.mark.parametrize("title", GOLDEN)
def test_a_wrong_program_is_refused_in_the_words_of_the_vectors(room, title):
    from tests.requires import SHARED_DATA

    release = ".".join(room.kernel.split(".")[:2])
    file = SHARED_DATA / f"verifier-{release}.txt"
    if not file.exists():
        pytest.skip(f"no verifier messages of Linux {release}")
    part = file.read_text().split(f"## {title} -> ")[1].split("\n## ")[0].splitlines()
    log = [line.removeprefix("    | ") for line in part[1:]]
    said = room.prog_verify(ProgramCode("golden", "tc", isa.assemble(GOLDEN[title]), license="GPL"), {})
    assert KernelError(said.errno).name == part[0]
    assert "; ".join(line for line in log if not re.match(r"\d+: |processed ", line)) == said.message


# the lab's own words --------------------------------------------------------------------------------------------------


def test_without_a_verifier_verify_says_where_one_is(programs):
    for call in (lambda: programs["good"].verify(), lambda: programs["good"].verify(nk.Lab("sim"))):
        with pytest.raises(nk.UsageError, match=r"nk\.Lab\('vm'\)"):
            call()


@pytest.mark.vm
def test_a_program_that_is_refused_leaves_no_map_behind(programs):
    with nk.Lab("vm") as lab:
        before = len(lab.kernel_calls._maps)
        for _ in range(2):
            with pytest.raises(KernelError, match="^EACCES: R0 invalid mem access"):
                lab.load(programs["unchecked"])
        assert len(lab.kernel_calls._maps) == before


@pytest.mark.vm
def test_a_labs_kernel_gives_its_verdict(programs):
    with nk.Lab("vm") as lab:
        assert programs["good"].verify(lab)
        said = programs["unchecked"].verify(lab, level=2)
        assert said.errno and said.line.text.strip() == "++*count;" and "(vm)" in repr(said)
        with pytest.raises(nk.UsageError, match="level"):
            programs["good"].verify(lab, level=3)


def test_an_array_of_one_entry_holds_what_it_was_given(room):
    spec = MapSpec(".data", BPF_MAP_TYPE_ARRAY, 4, 4, 1, initial=b"\7\0\0\0")
    number = room.map_create(spec)
    insns = isa.assemble("r1 = 0 ll\nr0 = *(u32 *)(r1 +0)\nexit")
    prog = room.prog_load(ProgramCode("p", "tc", insns, (Relocation(0, ".data", 0),)), {".data": number})
    assert room.prog_test_run(prog, PACKET).code == 7

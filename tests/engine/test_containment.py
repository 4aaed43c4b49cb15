"""Whatever instructions come in: a return value, a `ProgramFault`, or an `ObjectError` at loading; in bounded time."""

from __future__ import annotations

import os
import random
import time
import tracemalloc

import pytest

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.interpreter import load
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.errors import ObjectError, ProgramFault
from netkit_edu.program.isa import assemble, decode, encode
from netkit_edu.program.object import MapSpec, ProgramCode
from tests.engine.asm import program
from tests.oracle.generator import MAPS, Generator

MUTATIONS = int(os.environ.get("NETKIT_EDU_MUTATIONS", "3000"))
BUDGET = 5000


def outcome(code: ProgramCode, used: dict, budget: int = BUDGET) -> str:
    try:
        executable = load(code, used, budget=budget)
    except ObjectError:
        return "refused"
    try:
        executable.run(SkBuff(bytes(range(80))), World())
    except ProgramFault as fault:
        assert 0 <= fault.pc < len(code.insns) and fault.reason
        return "fault"
    return "returned"


def mutated(raw: bytes, r: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(r.randint(1, 16)):
        out[r.randrange(len(out))] = r.choice((r.randrange(256), out[r.randrange(len(out))], 0, 0xFF))
    return bytes(out)


def test_mutated_programs_stay_inside():
    seen = {"refused": 0, "fault": 0, "returned": 0}
    used = {spec.name: maps.create(spec) for spec in MAPS}
    r = random.Random(7)
    for number in range(MUTATIONS):
        if number % 10 == 0:
            original = Generator(number).program()
            raw = encode(original.insns)
        code = ProgramCode("mutant", "tc", decode(mutated(raw, r)), original.relocations)
        started = time.perf_counter()
        seen[outcome(code, used)] += 1
        assert time.perf_counter() - started < 1
    assert all(seen.values()), seen


def test_random_bytes_stay_inside():
    r = random.Random(11)
    for _ in range(1000):
        code = ProgramCode("noise", "tc", decode(r.randbytes(8 * r.randint(1, 60))))
        assert outcome(code, {}) in ("refused", "fault", "returned")


def test_mutants_that_validate_run_into_nothing_else_when_stepped():
    used = {spec.name: maps.create(spec) for spec in MAPS}
    r = random.Random(13)
    for number in range(200):
        original = Generator(number).program()
        code = ProgramCode("mutant", "tc", decode(mutated(encode(original.insns), r)), original.relocations)
        try:
            executable = load(code, used, budget=BUDGET)
        except ObjectError:
            continue
        results = []
        for run in (executable.run, lambda skb, world, ready=executable: list(ready.step(skb, world))[-1].returned):
            for m in used.values():
                if m.spec.type == uapi.BPF_MAP_TYPE_HASH:
                    m._values.clear()
                elif not m.spec.readonly:
                    for value in m._values.values():
                        value[:] = bytes(len(value))
            try:
                results.append(run(SkBuff(bytes(range(80))), World()))
            except ProgramFault as fault:
                results.append(str(fault))
        assert results[0] == results[1]


GREEDY = {
    "lookups": """
r6 = r1
*(u64 *)(r10 -16) = 0
r7 = 0
*(u32 *)(r10 -4) = r7
r7 += 1
r1 = map[fd:0]
r2 = r10
r2 += -4
r3 = r10
r3 += -16
r4 = 0
call bpf_map_update_elem#2
r1 = map[fd:0]
r2 = r10
r2 += -4
call bpf_map_lookup_elem#1
goto -16
""",
    "replacements": """
*(u64 *)(r10 -16) = 0
*(u32 *)(r10 -4) = 0
r1 = map[fd:0]
r2 = r10
r2 += -4
r3 = r10
r3 += -16
r4 = 0
call bpf_map_update_elem#2
r1 = map[fd:0]
r2 = r10
r2 += -4
call bpf_map_lookup_elem#1
goto -14
""",
    "prints": """
r1 = 0x64393939393925 ll
*(u64 *)(r10 -8) = r1
r1 = r10
r1 += -8
r2 = 8
r3 = 1
call bpf_trace_printk#6
goto -6
""",
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_program_that_asks_for_memory_without_end_gets_100_bytes_for_an_instruction(name):
    used = {"m": maps.create(MapSpec("m", uapi.BPF_MAP_TYPE_HASH, 4, 8, 1 << 20))}
    executable = load(program(GREEDY[name], "m"), used, budget=200_000)  # a fifth of the default
    tracemalloc.start()
    try:
        with pytest.raises(ProgramFault, match="200000 instructions ran"):
            executable.run(SkBuff(bytes(64)), World())
        assert tracemalloc.get_traced_memory()[1] < 100 * 200_000
    finally:
        tracemalloc.stop()


def test_helpers_copy_a_bounded_number_of_bytes_in_one_run():
    used = {"m": maps.create(MapSpec("m", uapi.BPF_MAP_TYPE_ARRAY, 4, 1 << 20, 3))}
    text = """
*(u32 *)(r10 -4) = 0
r1 = map[fd:0]
r2 = r10
r2 += -4
call bpf_map_lookup_elem#1
r6 = r0
r1 = map[fd:0]
r2 = r10
r2 += -4
r3 = r6
r4 = 0
call bpf_map_update_elem#2
goto -8
"""
    started = time.perf_counter()
    with pytest.raises(ProgramFault, match="helpers were to copy more than 32 MiB"):
        load(program(text, "m"), used).run(SkBuff(bytes(64)), World())
    assert time.perf_counter() - started < 5


def test_an_endless_loop_ends_within_the_budget_in_seconds():
    started = time.perf_counter()
    code = ProgramCode("loop", "tc", assemble("goto -1"))
    assert outcome(code, {}, budget=1_000_000) == "fault"
    assert time.perf_counter() - started < 5

"""Tail calls: one program goes on as another. tests/oracle compares whole chains of them with the kernel's."""

from __future__ import annotations

import pytest

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.interpreter import Executable
from netkit_edu.engine.maps import ProgArrayMap
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError, ProgramFault
from netkit_edu.program.object import MapSpec
from tests.engine.asm import executable
from tests.engine.test_maps import refused

JUMP = "r2 = map[fd:0]\nr3 = {}\ncall bpf_tail_call#12\n"
PACKET = bytes(60)


def programs(entries: int = 4) -> ProgArrayMap:
    return maps.create(MapSpec("jumps", uapi.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, entries))


def jump(jumps: ProgArrayMap, index: int, otherwise: str = "r0 = 99\nexit", **more) -> Executable:
    return executable(JUMP.format(index) + otherwise, {"jumps": jumps, **more})


def test_a_tail_call_goes_on_in_the_other_program_and_does_not_return():
    jumps = programs()
    jumps.set(1, executable("r0 = *(u32 *)(r1 +0)\nexit"))
    assert jump(jumps, 1).run(SkBuff(PACKET)) == 60


@pytest.mark.parametrize("index", [0, 3, 4, -1])
def test_where_there_is_no_program_the_next_instruction_follows(index):
    assert jump(programs(), index).run(SkBuff(PACKET)) == 99


def test_only_the_low_32_bits_of_the_index_count():
    jumps = programs()
    jumps.set(2, executable("r0 = 5\nexit"))
    text = "r2 = map[fd:0]\nr3 = 0x700000002 ll\ncall bpf_tail_call#12\nr0 = 99\nexit"
    assert executable(text, {"jumps": jumps}).run(SkBuff(PACKET)) == 5


def test_a_program_that_calls_itself_goes_round_33_times():
    jumps = programs()
    text = "r6 = r1\nr7 = *(u32 *)(r1 +8)\nr7 += 1\n*(u32 *)(r1 +8) = r7\n" + JUMP.format(0) + "r0 = 99\nexit"
    once = executable(text, {"jumps": jumps})
    jumps.set(0, once)
    skb = SkBuff(PACKET)
    assert once.run(skb) == 99
    assert skb.mark == 1 + 33


def test_the_budget_is_for_all_of_them_together():
    jumps = programs()
    looping = executable(
        "r7 = 30\nr7 += -1\nif r7 != 0x0 goto -2\n" + JUMP.format(0) + "r0 = 0\nexit", {"jumps": jumps}
    )
    looping.budget = 500
    jumps.set(0, looping)
    with pytest.raises(ProgramFault, match="500 instructions ran"):
        looping.run(SkBuff(PACKET))


def test_each_program_has_maps_of_its_own_and_a_fresh_stack():
    def data(name: str, byte: int):
        return maps.create(MapSpec(name, uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 1, initial=bytes([byte])))

    jumps, theirs, ours = programs(), data("theirs", 7), data("ours", 1)
    text = "r2 = *(u64 *)(r10 -8)\nr1 = map[fd:0][0]+0\nr0 = *(u64 *)(r1 +0)\nr0 += r2\nexit"
    jumps.set(0, executable(text, {"theirs": theirs}))
    text = "*(u64 *)(r10 -8) = 400\nr6 = map[fd:1][0]+0\n*(u64 *)(r6 +0) = 2\n" + JUMP.format(0) + "r0 = 99\nexit"
    assert executable(text, {"jumps": jumps, "ours": ours}).run(SkBuff(PACKET)) == 7
    assert (theirs.lookup(bytes(4))[0], ours.lookup(bytes(4))[0]) == (7, 2)


def test_a_tail_call_out_of_a_local_function_returns_to_its_caller():
    jumps = programs()
    jumps.set(0, executable("r0 = 5\nexit"))
    text = "r6 = 30\ncall pc+2\nr0 += r6\nexit\n" + JUMP.format(0) + "r0 = 99\nexit"
    assert executable(text, {"jumps": jumps}).run(SkBuff(PACKET)) == 35


def test_stepping_says_which_program_an_instruction_is_of():
    jumps = programs()
    target = executable("r0 = 5\nexit")
    jumps.set(0, target)
    states = list(jump(jumps, 0).step(SkBuff(PACKET)))
    assert [state.pc for state in states] == [0, 2, 3, 0, 1]
    assert [state.insn for state in states[3:]] == list(target.code.insns)
    assert states[2].next_pc == 0 and states[-1].returned == 5


def test_a_fault_after_a_tail_call_names_the_other_programs_instruction():
    jumps = programs()
    jumps.set(0, executable("r0 = 0\nr0 = *(u8 *)(r0 +0)\nexit"))
    with pytest.raises(ProgramFault) as caught:
        jump(jumps, 0).run(SkBuff(PACKET))
    assert caught.value.pc == 1


def test_what_is_no_prog_array_cannot_be_jumped_into():
    array = maps.create(MapSpec("numbers", uapi.BPF_MAP_TYPE_ARRAY, 4, 4, 1))
    with pytest.raises(ProgramFault, match="map numbers .type 2. is no prog array"):
        executable(JUMP.format(0) + "r0 = 0\nexit", {"numbers": array}).run(SkBuff(PACKET))


def test_user_space_stores_a_programs_number():
    target = executable("r0 = 5\nexit")

    def resolve(number: int) -> Executable:
        if number != 17:
            raise KernelError("EBADF")
        return target

    jumps = maps.create(MapSpec("jumps", uapi.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 2), resolve=resolve)
    jumps.update(bytes(4), (17).to_bytes(4, "little"))
    assert jumps.lookup(bytes(4)) == (17).to_bytes(4, "little")
    assert jump(jumps, 0).run(SkBuff(PACKET)) == 5
    with refused("EBADF"):
        jumps.update(bytes(4), (18).to_bytes(4, "little"))
    jumps.delete(bytes(4))
    assert jump(jumps, 0).run(SkBuff(PACKET)) == 99
    with refused("ENOENT"):
        jumps.delete(bytes(4))
    with refused("E2BIG"):
        jumps.set(2, target)

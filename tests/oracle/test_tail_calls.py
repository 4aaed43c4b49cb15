"""Tail calls against the kernel's: which program is gone on in, how often, and where from."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import replace

import pytest

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.interpreter import load
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.programs import skb_for_run
from tests.engine.asm import program
from tests.oracle.kernel import KernelMap, KernelProgram, sk_buff
from tests.oracle.test_helpers import PACKET

pytestmark = pytest.mark.kernel

JUMPS = MapSpec("jumps", uapi.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 5)
COUNT = "r6 = r1\nr7 = *(u32 *)(r6 +8)\nr7 += 1\n*(u32 *)(r6 +8) = r7\nr1 = r6\n"
JUMP = "r2 = map[fd:0]\nr3 = {}\ncall bpf_tail_call#12\n"
FROM_CB = "r4 = *(u32 *)(r6 +{})\nr2 = map[fd:0]\nr3 = r4\ncall bpf_tail_call#12\n"


def tail_calls(texts: list[str | ProgramCode], *, mark: int = 0, cb=(0, 0, 0, 0, 0)) -> list[tuple[int, int]]:
    """Run the first of some programs, with the others at 0, 1, 2, … of its prog array; return (code, mark) of both."""
    codes = [code if isinstance(code, ProgramCode) else program(code, "jumps") for code in texts]
    jumps = maps.create(JUMPS)
    ours = [load(code, {"jumps": jumps}) for code in codes]
    with ExitStack() as stack:
        there = stack.enter_context(KernelMap(JUMPS))
        theirs = [stack.enter_context(KernelProgram(code, {"jumps": there})) for code in codes]
        for index in range(len(codes) - 1):
            jumps.set(index, ours[index + 1])
            there.update(index.to_bytes(4, "little"), theirs[index + 1].fd.to_bytes(4, "little"))
        ran = theirs[0].run(PACKET, sk_buff(mark=mark, cb=cb))
        for index in range(len(codes) - 1):
            there.delete(index.to_bytes(4, "little"))  # or the programs would hold each other for ever
    skb = skb_for_run(PACKET, mark=mark, cb=cb)
    return [(ours[0].run(skb), skb.mark), (ran.code, ran.field(8))]


@pytest.mark.parametrize("target", range(-1, 6))
def test_a_tail_call_goes_where_the_kernels_goes(target):
    here, there = tail_calls([COUNT + JUMP.format(target) + "r0 = 99\nexit", "r0 = *(u32 *)(r1 +8)\nexit"])
    assert here == there


def test_a_program_calls_itself_as_often_as_in_the_kernel():
    text = COUNT + JUMP.format(0) + "r0 = 99\nexit"
    here, there = tail_calls([text, text])
    assert here == there == (99, 34)


def test_calls_that_find_no_program_do_not_count():
    text = COUNT + "".join("r1 = r6\n" + JUMP.format(index) for index in (3, 9, 0)) + "r0 = 99\nexit"
    here, there = tail_calls([text, text])
    assert here == there


def with_function(text: str, start: int) -> ProgramCode:
    return replace(program(text, "jumps"), functions={0: "main", start: "local"})


def test_a_tail_call_out_of_a_local_function_comes_back_to_its_caller():
    local = "r6 = r1\ncall pc+3\nr0 += 30\n*(u32 *)(r6 +32) = r0\nexit\n" + COUNT + JUMP.format(0) + "r0 = 99\nexit"
    here, there = tail_calls([with_function(local, 5), "r0 = 5\nexit"])
    assert here == there == (35, 1)


def test_local_functions_share_the_count():
    twice = "r6 = r1\ncall pc+4\nr1 = r6\ncall pc+2\nr0 += 1000\nexit\n" + COUNT + JUMP.format(0) + "r0 = 99\nexit"
    here, there = tail_calls([with_function(twice, 6), COUNT + JUMP.format(0) + "r0 = 5\nexit"])
    assert here == there


def test_any_chain_of_programs_goes_as_in_the_kernel():
    r = random.Random(5)
    for _ in range(60):
        texts = []
        for _ in range(5):
            body = COUNT + f"r8 = *(u32 *)(r6 +8)\nr8 *= {r.randrange(3, 99)}\n*(u32 *)(r6 +8) = r8\n"
            for _ in range(r.randint(1, 3)):
                body += "r1 = r6\n" + (
                    JUMP.format(r.randrange(6)) if r.random() < 0.5 else FROM_CB.format(48 + 4 * r.randrange(5))
                )
            texts.append(body + f"r0 = {r.randrange(100)}\nexit")
        here, there = tail_calls(texts, mark=r.getrandbits(32), cb=tuple(r.randrange(6) for _ in range(5)))
        assert here == there, texts

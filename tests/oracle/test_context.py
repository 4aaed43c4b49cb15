"""struct __sk_buff against the kernel: every access at every offset in every size, and what it shows or changes."""

from __future__ import annotations

import pytest

from netkit_edu.engine.interpreter import load
from netkit_edu.errors import ProgramFault
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn, ProgramCode
from netkit_edu.programs import skb_for_run
from tests.oracle.kernel import KernelProgram, Refused, sk_buff

pytestmark = pytest.mark.kernel

PACKET = b"\x02" + bytes(range(1, 12)) + b"\x88\xb5" + bytes(50)
FIELDS = {
    "mark": 0x81828384,
    "priority": 0x91929394,
    "cb": (0x81A2A3A4, 2, 3, 4, 0xF1F2F3F4),
    "tstamp": 0x8765432187654321,
}
POINTERS = (*range(76, 84), *range(140, 144), *range(168, 176))  # data, data_end, data_meta, sk
EXIT = Insn(op.JMP | op.EXIT, 0, 0, 0, 0)
ZERO = Insn(op.ALU64 | op.MOV, 0, 0, 0, 0)


def outcomes(insns: list[Insn], look) -> tuple:
    """What both machines make of a program: ``look(code, skb or Ran)``, or the first clause of the refusal."""
    code = ProgramCode("access", "tc", tuple(insns))
    skb = skb_for_run(PACKET, wire_len=len(PACKET), **FIELDS)
    try:
        here = look(load(code, {}).run(skb), skb.mark, skb.priority, tuple(skb.cb), skb.tstamp)
    except ProgramFault as fault:
        here = fault.reason.split(":")[0]
    try:
        with KernelProgram(code, {}) as oracle:
            ran = oracle.run(PACKET, sk_buff(**FIELDS))
            cb = tuple(ran.field(48 + 4 * i) for i in range(5))
            there = look(ran.code, ran.field(8), ran.field(32), cb, ran.field(152, 8))
    except Refused as refusal:
        there = next((line for line in refusal.log.splitlines() if line.startswith("invalid")), refusal.log)
    return here, there


@pytest.mark.parametrize("size", [op.B, op.H, op.W, op.DW], ids=["1", "2", "4", "8"])
def test_a_load_shows_the_kernels_value_or_its_refusal(size):
    prepare = [Insn(op.ALU64 | op.MOV, 2, 0, 0, 0x7BCDEF12)]  # into queue_mapping, tc_index and tc_classid, too wide
    prepare += [Insn(op.STX | op.MEM | op.W, 1, 2, offset, 0) for offset in (12, 44, 72)]
    for offset in range(200):
        for mode in (op.MEM, op.MEMSX):
            if mode == op.MEMSX and (size == op.DW or offset in POINTERS):
                continue  # not an instruction; and a sign-extended pointer is the verifier's business alone
            access = Insn(op.LDX | mode | size, 0, 1, offset, 0)
            hide = [ZERO] if offset in POINTERS else []
            here, there = outcomes([*prepare, access, *hide, EXIT], lambda code, *_: code)
            assert here == there, f"load of {op.SIZE_BYTES[size]} at {offset}"


@pytest.mark.parametrize("size", [op.B, op.H, op.W, op.DW], ids=["1", "2", "4", "8"])
def test_a_store_changes_what_the_kernel_changes_or_is_refused_alike(size):
    for offset in range(200):
        for store in (Insn(op.STX | op.MEM | size, 1, 2, offset, 0), Insn(op.ST | op.MEM | size, 1, 0, offset, -5)):
            number = Insn(op.ALU64 | op.MOV, 2, 0, 0, -77)
            here, there = outcomes([number, store, ZERO, EXIT], lambda *seen: seen)
            assert here == there, f"store of {op.SIZE_BYTES[size]} at {offset}"


@pytest.mark.parametrize("value", [0, 1, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, -1, -65536])
@pytest.mark.parametrize("by", ["register", "constant"])
def test_queue_mapping_takes_the_numbers_that_the_kernel_takes(value, by):
    first = Insn(op.ST | op.MEM | op.W, 1, 0, 12, 0x77)
    number = Insn(op.ALU64 | op.MOV, 2, 0, 0, value)
    store = (
        Insn(op.STX | op.MEM | op.W, 1, 2, 12, 0) if by == "register" else Insn(op.ST | op.MEM | op.W, 1, 0, 12, value)
    )
    load_back = Insn(op.LDX | op.MEM | op.W, 0, 1, 12, 0)
    here, there = outcomes([first, number, store, load_back, EXIT], lambda code, *_: code)
    assert here == there

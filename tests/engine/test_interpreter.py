"""The interpreter by itself: arithmetic against an independent model, calls, budget, faults, and step as run."""

from __future__ import annotations

import ctypes
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.engine.interpreter import load
from netkit_edu.engine.memory import CLOBBER
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.errors import ObjectError, ProgramFault
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn, ProgramCode, SourceLine
from tests.engine.asm import executable, program

EXIT = Insn(op.JMP | op.EXIT, 0, 0, 0, 0)
EDGES = (
    0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 1 << 63,
    (1 << 63) - 1, (1 << 64) - 1, (1 << 64) - 2, 0x123456789ABCDEF0,
)  # fmt: skip
u64 = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1))


def r0_of(insns: list[Insn], **registers: int) -> int:
    """Run instructions with some registers set; return all 64 bits of r0."""
    executable = load(ProgramCode("t", "tc", (*insns, EXIT)), {})
    m = executable.machine(SkBuff(bytes(64)))
    for name, value in registers.items():
        m.registers[int(name[1:])] = value
    return executable.execute(m)


def c_int(bits: int, signed: bool):
    return {(32, False): ctypes.c_uint32, (64, False): ctypes.c_uint64, (32, True): ctypes.c_int32,
            (64, True): ctypes.c_int64, (8, True): ctypes.c_int8, (16, True): ctypes.c_int16}[bits, signed]  # fmt: skip


def model(kind: int, off: int, bits: int, dst: int, src: int) -> int:
    """What RFC 9669 table 5 says, in fixed-width C integers."""
    u, s = c_int(bits, False), c_int(bits, True)
    a, b = u(dst).value, u(src).value
    plain = {
        op.ADD: operator.add, op.SUB: operator.sub, op.MUL: operator.mul, op.OR: operator.or_, op.AND: operator.and_,
        op.XOR: operator.xor,
    }  # fmt: skip
    if kind in plain:
        return u(plain[kind](a, b)).value
    if kind in (op.LSH, op.RSH, op.ARSH):
        count = b % bits
        return u({op.LSH: a << count, op.RSH: a >> count, op.ARSH: s(a).value >> count}[kind]).value
    if kind == op.MOV:
        return u(c_int(off, True)(b).value if off else b).value
    if kind == op.NEG:
        return u(-a).value
    quotient, rest = (0, a) if b == 0 else divmod(a, b)
    if off and b:
        x, y = s(a).value, s(b).value
        quotient = int(abs(x) // abs(y)) * (-1 if (x < 0) != (y < 0) else 1)
        rest = x - quotient * y
    return u(quotient if kind == op.DIV else rest).value


OPERATIONS = [(kind, 0) for kind in range(op.ADD, op.END, 0x10)]
OPERATIONS += [(op.DIV, 1), (op.MOD, 1), (op.MOV, 8), (op.MOV, 16)]
BOTH_WIDTHS = [(cls, *operation) for cls in (op.ALU, op.ALU64) for operation in OPERATIONS] + [(op.ALU64, op.MOV, 32)]


@pytest.mark.parametrize(("cls", "kind", "off"), BOTH_WIDTHS, ids=lambda x: f"{x:#04x}")
def test_arithmetic_is_that_of_fixed_width_integers(cls, kind, off):
    one_operand = kind == op.NEG
    insn = Insn(cls | kind | (0 if one_operand else op.X), 0, 0 if one_operand else 2, off, 0)
    ready = load(ProgramCode("t", "tc", (insn, EXIT)), {})

    @settings(max_examples=150, deadline=None)
    @given(u64, u64)
    def same(dst, src):
        m = ready.machine(SkBuff(bytes(64)))
        m.registers[0], m.registers[2] = dst, src
        assert ready.execute(m) == model(kind, off, 64 if cls == op.ALU64 else 32, dst, src)

    same()


IMMEDIATE = st.sampled_from([op.ADD, op.AND, op.OR, op.XOR, op.MUL, op.DIV, op.MOD, op.MOV])


@settings(max_examples=300, deadline=None)
@given(u64, st.integers(-(1 << 31), (1 << 31) - 1), IMMEDIATE)
def test_an_immediate_is_sign_extended(dst, imm, kind):
    assert r0_of([Insn(op.ALU64 | kind, 0, 0, 0, imm)], r0=dst) == model(kind, 0, 64, dst, imm & (1 << 64) - 1)
    assert r0_of([Insn(op.ALU | kind, 0, 0, 0, imm)], r0=dst) == model(kind, 0, 32, dst, imm & 0xFFFFFFFF)


@settings(max_examples=200, deadline=None)
@given(u64, st.sampled_from([16, 32, 64]))
def test_byte_swaps(value, bits):
    low = (value & (1 << bits) - 1).to_bytes(bits // 8, "little")
    swapped, same = int.from_bytes(low, "big"), int.from_bytes(low, "little")
    assert r0_of([Insn(op.ALU64 | op.END, 0, 0, 0, bits)], r0=value) == swapped
    assert r0_of([Insn(op.ALU | op.END | op.X, 0, 0, 0, bits)], r0=value) == swapped
    assert r0_of([Insn(op.ALU | op.END, 0, 0, 0, bits)], r0=value) == same


COMPARISONS = {
    op.JEQ: (operator.eq, False), op.JNE: (operator.ne, False), op.JGT: (operator.gt, False),
    op.JGE: (operator.ge, False), op.JLT: (operator.lt, False), op.JLE: (operator.le, False),
    op.JSGT: (operator.gt, True), op.JSGE: (operator.ge, True), op.JSLT: (operator.lt, True),
    op.JSLE: (operator.le, True), op.JSET: (lambda a, b: a & b != 0, False),
}  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(u64, u64, st.sampled_from(sorted(COMPARISONS)), st.sampled_from([op.JMP, op.JMP32]))
def test_conditional_jumps(dst, src, kind, cls):
    compare, signed = COMPARISONS[kind]
    number = c_int(64 if cls == op.JMP else 32, signed)
    taken = r0_of(
        [Insn(cls | kind | op.X, 1, 2, 1, 0), Insn(op.ALU64 | op.MOV, 0, 0, 0, 1)], r0=0, r1=dst, r2=src
    )  # fmt: skip
    assert (taken == 0) == compare(number(dst).value, number(src).value)


def run(text: str, packet: bytes = bytes(64), **options) -> int:
    return executable(text, **options).run(SkBuff(packet))


def test_the_result_is_the_low_32_bits_as_a_signed_number():
    assert run("r0 = 0x1ffffffff ll\nexit") == -1
    assert run("r0 = 0x7fffffff ll\nexit") == 0x7FFFFFFF


def test_a_local_call_has_its_own_stack_and_gives_r6_to_r9_back():
    text = """
r6 = 6
*(u64 *)(r10 -8) = 1
r1 = 40
call pc+4
r0 += r6
r1 = *(u64 *)(r10 -8)
r0 += r1
exit
r6 = 100
*(u64 *)(r10 -8) = 77
r0 = r1
exit
"""
    assert run(text) == 40 + 6 + 1


def test_a_function_reaches_its_callers_stack_through_a_pointer():
    assert run("r1 = r10\nr1 += -8\ncall pc+2\nr0 = *(u64 *)(r10 -8)\nexit\n*(u64 *)(r1 +0) = 9\nr0 = 0\nexit") == 9


def test_the_stack_of_a_function_that_returned_is_gone():
    with pytest.raises(ProgramFault, match="no address of anything"):
        run("call pc+2\nr0 = *(u64 *)(r0 -8)\nexit\nr0 = r10\nexit")


def test_eight_frames_are_allowed_and_nine_are_too_many():
    nested = "call pc+1\nexit\n" * 7 + "r0 = 5\nexit"
    assert run(nested) == 5
    with pytest.raises(ProgramFault, match="call stack of 9 frames is too deep"):
        run("call pc+1\nexit\n" * 8 + "r0 = 5\nexit")


def test_registers_that_a_call_may_change_are_not_quietly_kept():
    assert r0_of([Insn(op.JMP | op.CALL, 0, 0, 0, 5), Insn(op.ALU64 | op.MOV | op.X, 0, 3, 0, 0)], r3=7) == CLOBBER
    with pytest.raises(ProgramFault, match="r1 to r5 do not survive a call"):
        run("call bpf_ktime_get_ns#5\nr0 = *(u32 *)(r1 +0)\nexit")


def test_the_budget_ends_a_loop_without_end():
    with pytest.raises(ProgramFault, match="1000 instructions ran and the program has not ended") as caught:
        run("r0 = 0\ngoto -2\nexit", budget=1000)
    assert caught.value.pc in (0, 1)


def test_the_budget_allows_exactly_its_number_of_instructions():
    assert run("r0 = 1\nr0 = 2\nexit", budget=3) == 2
    with pytest.raises(ProgramFault):
        run("r0 = 1\nr0 = 2\nexit", budget=2)


def test_a_fault_names_the_instruction_and_its_c_line():
    code = program("r0 = 0\nr0 = *(u32 *)(r0 +4)\nexit")
    line = SourceLine("cell", 7, 3, "\treturn *count;")
    code = ProgramCode("t", "tc", code.insns, lines=(None, line, None))
    with pytest.raises(ProgramFault, match=r"null pointer .*instruction 1, line 7: return \*count;") as caught:
        load(code, {}).run(SkBuff(bytes(64)))
    assert (caught.value.pc, caught.value.source, caught.value.address) == (1, line, 4)


def test_a_helper_that_is_not_here_is_named():
    with pytest.raises(ProgramFault, match=r"does not have helper bpf_sk_assign \(124\)"):
        run("r1 = 1\nr2 = 0\ncall bpf_sk_assign#124\nexit")
    with pytest.raises(ProgramFault, match="invalid func unknown#9999"):
        run("call 9999\nexit")


def test_an_unreached_call_of_an_absent_helper_does_no_harm():
    assert run("r0 = 3\ngoto +1\ncall bpf_sk_assign#124\nexit") == 3


def test_what_no_kernel_takes_is_not_loaded():
    with pytest.raises(ObjectError):
        load(ProgramCode("t", "tc", (Insn(0xFF, 0, 0, 0, 0), EXIT)), {})
    with pytest.raises(ObjectError, match="'counts', which was not given"):
        load(program("r1 = map[fd:0]\nr0 = 0\nexit", "counts"), {})
    with pytest.raises(ObjectError, match="no relocation says which"):
        load(ProgramCode("t", "tc", (Insn(op.LDDW, 1, 1, 0, 3), Insn(0, 0, 0, 0, 0), EXIT)), {})


STEPPED = """
r6 = r1
*(u64 *)(r10 -8) = 17
r1 = 5
call pc+3
r2 = *(u32 *)(r6 +0)
r0 += r2
exit
*(u64 *)(r10 -8) = 99
r0 = r1
r0 <<= 1
exit
"""


def test_step_shows_what_run_does():
    ready = executable(STEPPED)
    states = list(ready.step(SkBuff(bytes(64))))
    assert states[-1].returned == ready.run(SkBuff(bytes(64))) == 74
    assert [state.pc for state in states] == [0, 1, 2, 3, 7, 8, 9, 10, 4, 5, 6]
    assert [state.depth for state in states] == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert all(before.after == after.before for before, after in zip(states, states[1:], strict=False))
    assert all(before.next_pc == after.pc for before, after in zip(states, states[1:], strict=False))
    assert states[-1].next_pc is None


def test_a_step_shows_registers_memory_and_stack():
    states = list(executable(STEPPED).step(SkBuff(bytes(64))))
    store, call, inner, read = states[1], states[3], states[4], states[8]
    (touch,) = store.touched
    assert (touch.write, touch.region, touch.offset, touch.data) == (True, "stack", 504, (17).to_bytes(8, "little"))
    assert store.stack[504:] == (17).to_bytes(8, "little")
    assert store.changed == ()
    assert call.changed == (10,)
    assert inner.calls == (4,) and inner.stack[504] == 99 and inner.touched[0].region == "stack of call 1"
    assert read.touched[0].region == "context" and read.changed == (2,)


def test_step_raises_the_same_fault_after_the_states_before_it():
    ready = executable("r0 = 0\nr1 = *(u8 *)(r0 +0)\nexit")
    states = []
    with pytest.raises(ProgramFault) as stepped:
        states.extend(ready.step(SkBuff(bytes(64))))
    with pytest.raises(ProgramFault) as ran:
        ready.run(SkBuff(bytes(64)))
    assert str(stepped.value) == str(ran.value)
    steps = ready.step(SkBuff(bytes(64)))
    assert next(steps).pc == 0


def test_runs_share_nothing_but_maps():
    ready = executable("r0 = *(u64 *)(r10 -8)\n*(u64 *)(r10 -8) = 5\nexit")
    assert [ready.run(SkBuff(bytes(64))) for _ in range(2)] == [0, 0]


def test_two_fresh_worlds_are_the_same_world():
    ready = executable("call bpf_get_prandom_u32#7\nr6 = r0\ncall bpf_ktime_get_ns#5\nr0 ^= r6\nexit")
    assert ready.run(SkBuff(bytes(64)), World()) == ready.run(SkBuff(bytes(64)), World())
    world = World()
    assert ready.run(SkBuff(bytes(64)), world) != ready.run(SkBuff(bytes(64)), world)


def test_the_legacy_packet_load_ends_the_program_past_the_packet():
    text = "r6 = r1\nr0 = 1\nr0 = *(u16 *)skb[{}]\nexit"
    assert run(text.format(12), bytes(12) + b"\x08\x06" + bytes(50)) == 0x0806
    assert run(text.format(63)) == 0

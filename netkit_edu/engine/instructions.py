"""What each instruction does. Read it beside RFC 9669.

An instruction is decoded once, by the function of its class, into a small ``execute(r, m)`` that changes the registers
``r`` (eleven unsigned 64-bit numbers) and the machine ``m`` around them, and returns the slot of the next instruction;
`EXIT` when the program is over, `SWITCH` when the next one belongs to another program: `Machine` says which.

It does what the RFC says and refuses nothing that only a verifier would: shift counts are masked, division by zero
yields zero. What would do harm without a verifier (wild memory accesses, calls, endless loops) is a `ProgramFault`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from netkit_edu.engine import helpers
from netkit_edu.engine.machine import CLOBBERED_REGISTERS, MAX_TAIL_CALLS, Machine
from netkit_edu.engine.memory import CLOBBER, U64, Fault
from netkit_edu.errors import ObjectError
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn

U32 = (1 << 32) - 1

TAIL_CALL = op.HELPER_NUMBERS["bpf_tail_call"]

Execute = Callable[[list[int], Machine], int]


def signed(value: int, bits: int) -> int:
    """Return the number that the low ``bits`` of ``value`` mean in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


# --- 4.1 arithmetic instructions, 4.2 byte swap instructions ------------------------------------------------------


def _arithmetic(bits: int) -> dict[tuple[int, int], Callable[[int, int], int]]:
    """(operation, offset) -> what it makes of dst and src, unsigned numbers of ``bits``; the caller cuts the result."""
    count = bits - 1  # mask of a shift count

    def sdiv(dst: int, src: int) -> int:
        dst, src = signed(dst, bits), signed(src, bits)
        if src == 0:
            return 0
        quotient = abs(dst) // abs(src)  # truncated toward zero, unlike Python's //
        return quotient if (dst < 0) == (src < 0) else -quotient

    return {
        (op.ADD, 0): operator.add,
        (op.SUB, 0): operator.sub,
        (op.MUL, 0): operator.mul,
        (op.DIV, 0): lambda dst, src: dst // src if src else 0,
        (op.DIV, 1): sdiv,
        (op.OR, 0): operator.or_,
        (op.AND, 0): operator.and_,
        (op.LSH, 0): lambda dst, src: dst << (src & count),
        (op.RSH, 0): lambda dst, src: dst >> (src & count),
        (op.NEG, 0): lambda dst, src: -dst,
        (op.MOD, 0): lambda dst, src: dst % src if src else dst,
        (op.MOD, 1): lambda dst, src: signed(dst, bits) - sdiv(dst, src) * signed(src, bits),
        (op.XOR, 0): operator.xor,
        (op.MOV, 0): lambda dst, src: src,
        (op.MOV, 8): lambda dst, src: signed(src, 8),
        (op.MOV, 16): lambda dst, src: signed(src, 16),
        (op.MOV, 32): lambda dst, src: signed(src, 32),
        (op.ARSH, 0): lambda dst, src: signed(dst, bits) >> (src & count),
    }


ARITHMETIC = {op.ALU: _arithmetic(32), op.ALU64: _arithmetic(64)}


def _alu(insn: Insn, pc: int) -> Execute:
    if insn.opcode & 0xF0 == op.END:
        return _swap(insn, pc)
    operation = ARITHMETIC[insn.opcode & 7][insn.opcode & 0xF0, insn.off]
    mask = U64 if insn.opcode & 7 == op.ALU64 else U32
    dst, src, after = insn.dst, insn.src, pc + 1
    value = insn.imm & mask  # sign-extended to 64 bits

    def with_register(r, m):
        r[dst] = operation(r[dst] & mask, r[src] & mask) & mask
        return after

    def with_immediate(r, m):
        r[dst] = operation(r[dst] & mask, value) & mask
        return after

    return with_register if insn.opcode & op.X else with_immediate


def _swap(insn: Insn, pc: int) -> Execute:
    dst, size, after = insn.dst, insn.imm // 8, pc + 1
    mask = (1 << insn.imm) - 1
    swaps = insn.opcode & 7 == op.ALU64 or insn.opcode & op.X  # bswap, and "to big-endian" on a little-endian machine

    def execute(r, m):
        value = r[dst] & mask
        r[dst] = int.from_bytes(value.to_bytes(size, "little"), "big") if swaps else value
        return after

    return execute


# --- 4.3 jump instructions ------------------------------------------------------------------------------------------


def _conditions(bits: int) -> dict[int, Callable[[int, int], bool]]:
    top = 1 << (bits - 1)  # adding it, modulo 2**bits, maps signed order to unsigned order: so does flipping that bit
    return {
        op.JEQ: operator.eq,
        op.JNE: operator.ne,
        op.JGT: operator.gt,
        op.JGE: operator.ge,
        op.JLT: operator.lt,
        op.JLE: operator.le,
        op.JSET: lambda dst, src: dst & src != 0,
        op.JSGT: lambda dst, src: dst ^ top > src ^ top,
        op.JSGE: lambda dst, src: dst ^ top >= src ^ top,
        op.JSLT: lambda dst, src: dst ^ top < src ^ top,
        op.JSLE: lambda dst, src: dst ^ top <= src ^ top,
    }


CONDITIONS = {op.JMP: _conditions(64), op.JMP32: _conditions(32)}


def _jump(insn: Insn, pc: int) -> Execute:
    kind = insn.opcode & 0xF0
    if kind == op.JA:
        return _goto(pc + 1 + (insn.off if insn.opcode & 7 == op.JMP else insn.imm))
    if kind == op.CALL:
        return _call(insn, pc)
    if kind == op.EXIT:
        return lambda r, m: m.leave()
    condition = CONDITIONS[insn.opcode & 7][kind]
    mask = U64 if insn.opcode & 7 == op.JMP else U32
    dst, src, after, target = insn.dst, insn.src, pc + 1, pc + 1 + insn.off
    value = insn.imm & mask

    def with_register(r, m):
        return target if condition(r[dst] & mask, r[src] & mask) else after

    def with_immediate(r, m):
        return target if condition(r[dst] & mask, value) else after

    return with_register if insn.opcode & op.X else with_immediate


def _goto(target: int) -> Execute:
    return lambda r, m: target


def _call(insn: Insn, pc: int) -> Execute:
    after = pc + 1
    if insn.src == op.CALL_LOCAL:
        target = after + insn.imm

        def call_local(r, m):
            m.enter(after)
            return target

        return call_local

    if insn.src == op.CALL_HELPER and insn.imm == TAIL_CALL:
        return _tail_call(after)

    helper = helpers.find(insn.imm, kfunc=insn.src == op.CALL_KFUNC)
    last = 1 + helper.arguments

    def call_helper(r, m):
        r[0] = helper.function(m, *r[1:last]) & U64
        r[1:6] = CLOBBERED_REGISTERS
        return after

    def call_helper_that_moves(r, m):
        call_helper(r, m)
        m.packet_moved(helper.name)  # also where it failed: the verifier cannot know
        return after

    return call_helper_that_moves if helper.moves_packet else call_helper


def _tail_call(after: int) -> Execute:
    """bpf_tail_call: go on in another program and never come back; where there is none, in the next instruction."""

    def execute(r, m):
        helpers.skb_of(m, r[1])
        program = helpers.program_at(m, r[2], r[3] & U32)
        m.packet_moved("bpf_tail_call")  # by what the other program calls; without one, for Linux 6.12 all the same
        if program is not None and m.tail_calls < MAX_TAIL_CALLS:
            return m.tail_call(program)
        r[:6] = [CLOBBER] * 6
        return after

    return execute


# --- 5 load and store instructions ----------------------------------------------------------------------------------


def _load(insn: Insn, pc: int) -> Execute:
    dst, src, off, after = insn.dst, insn.src, insn.off, pc + 1
    size = op.SIZE_BYTES[insn.opcode & 0x18]

    def load(r, m):
        r[dst] = m.memory.load(r[src] + off & U64, size)
        return after

    def load_signed(r, m):
        r[dst] = signed(m.memory.load(r[src] + off & U64, size), 8 * size) & U64
        return after

    return load_signed if insn.opcode & 0xE0 == op.MEMSX else load


def _store(insn: Insn, pc: int) -> Execute:
    dst, src, off, value, after = insn.dst, insn.src, insn.off, insn.imm, pc + 1
    size = op.SIZE_BYTES[insn.opcode & 0x18]
    if insn.opcode & 0xE0 == op.ATOMIC:
        return _atomic(insn, size, after)

    def store_register(r, m):
        m.memory.store(r[dst] + off & U64, size, r[src])
        return after

    def store_immediate(r, m):
        m.memory.store(r[dst] + off & U64, size, value)
        return after

    return store_register if insn.opcode & 7 == op.STX else store_immediate


ATOMIC = {op.ADD: operator.add, op.OR: operator.or_, op.AND: operator.and_, op.XOR: operator.xor}


def _atomic(insn: Insn, size: int, after: int) -> Execute:
    dst, src, off = insn.dst, insn.src, insn.off
    mask = (1 << 8 * size) - 1
    fetch = insn.imm & op.FETCH

    def exchange(r, m):
        r[src] = m.memory.modify(r[dst] + off & U64, size, lambda old: r[src])
        return after

    def compare_and_exchange(r, m):
        r[0] = m.memory.modify(r[dst] + off & U64, size, lambda old: r[src] if old == r[0] & mask else old)
        return after

    operation = ATOMIC.get(insn.imm & ~op.FETCH)

    def modify(r, m):
        old = m.memory.modify(r[dst] + off & U64, size, lambda old: operation(old, r[src]))
        if fetch:
            r[src] = old
        return after

    return {op.XCHG: exchange, op.CMPXCHG: compare_and_exchange}.get(insn.imm, modify)


def _packet_load(insn: Insn, pc: int) -> Execute:
    """5.5, the legacy packet access: r0 = big-endian packet bytes, and past the packet's end the program returns 0."""
    src, imm, after = insn.src, insn.imm, pc + 1
    indirect = insn.opcode & 0xE0 == op.IND
    size = op.SIZE_BYTES[insn.opcode & 0x18]

    def execute(r, m):
        offset = signed(imm + (r[src] if indirect else 0), 32)
        data = helpers.packet_bytes(helpers.skb_of(m, r[6]), offset, size)
        r[1:6] = CLOBBERED_REGISTERS
        r[0] = 0 if data is None else int.from_bytes(data, "big")
        return m.over() if data is None else after

    return execute


# --- the whole program ---------------------------------------------------------------------------------------------


def decode(insns: tuple[Insn, ...], wide_values: Mapping[int, int]) -> list[Execute]:
    """Return the ``execute`` of each slot; ``wide_values`` is what relocated wide loads load, by slot."""
    slots: list[Execute] = []
    for pc, insn in enumerate(insns):
        if pc and insns[pc - 1].opcode == op.LDDW and slots[-1] is not _second_half:
            slots.append(_second_half)
        elif insn.opcode == op.LDDW:
            slots.append(_wide_load(insn, insns[pc + 1], pc, wide_values.get(pc)))
        else:
            slots.append(_DECODERS[insn.opcode & 7](insn, pc))
    return slots


def _second_half(r, m):
    raise Fault("a jump into the middle of a 64-bit load")


def _wide_load(insn: Insn, second: Insn, pc: int, value: int | None) -> Execute:
    """5.4: the one instruction of two slots; map references were resolved to ``value`` by a relocation."""
    if value is None:
        if insn.src != op.LDDW_VALUE:
            raise ObjectError(
                f"instruction {pc}: a 64-bit load refers to a map or a function, and no relocation says which"
            )
        value = (second.imm & U32) << 32 | insn.imm & U32
    dst, after = insn.dst, pc + 2

    def execute(r, m):
        r[dst] = value
        return after

    return execute


_DECODERS = {
    op.LD: _packet_load, op.LDX: _load, op.ST: _store, op.STX: _store,
    op.ALU: _alu, op.JMP: _jump, op.JMP32: _jump, op.ALU64: _alu,
}  # fmt: skip

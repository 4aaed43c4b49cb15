"""Instructions as text, the way the kernel's verifier log prints them (kernel/bpf/disasm.c, Linux 6.12).

Two deviations, both so that the text says all there is: a 64-bit load that refers to a map or a function prints what
bpftool prints (``map[fd:3]``, ``map[fd:3][0]+8``, ``subprog[+5]``), and what is no valid instruction prints as
``.slot``, its 64 bits in hexadecimal.
"""

from __future__ import annotations

from collections.abc import Sequence

from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn
from netkit_edu.program.validator import complaint

ALU_SIGNS = {
    op.ADD: "+=", op.SUB: "-=", op.MUL: "*=", op.DIV: "/=", op.OR: "|=", op.AND: "&=", op.LSH: "<<=", op.RSH: ">>=",
    op.MOD: "%=", op.XOR: "^=", op.MOV: "=", op.ARSH: "s>>=",
}  # fmt: skip
CONDITION_SIGNS = {
    op.JEQ: "==", op.JGT: ">", op.JGE: ">=", op.JSET: "&", op.JNE: "!=", op.JSGT: "s>", op.JSGE: "s>=",
    op.JLT: "<", op.JLE: "<=", op.JSLT: "s<", op.JSLE: "s<=",
}  # fmt: skip
ATOMIC_NAMES = {op.ADD: "add", op.OR: "or", op.AND: "and", op.XOR: "xor"}
BITS = {op.B: 8, op.H: 16, op.W: 32, op.DW: 64}


def disassemble(insns: Sequence[Insn]) -> list[str]:
    """Return one text for each slot; the second slot of a 64-bit load is the empty string. Never raises for slots."""
    out: list[str] = []
    while len(out) < len(insns):
        pc = len(out)
        insn = insns[pc]
        second = insns[pc + 1] if pc + 1 < len(insns) else None
        if complaint(insn, second):
            out.append(_slot(insn))
        elif insn.opcode == op.LDDW:
            out += [_lddw(insn, second), ""]
        else:
            out.append(_PRINTERS[insn.opcode & 7](insn))
    return out


def _slot(insn: Insn) -> str:
    opcode, dst, src, off, imm = insn
    return f".slot 0x{(imm & 0xFFFFFFFF) << 32 | (off & 0xFFFF) << 16 | src << 12 | dst << 8 | opcode:016x}"


def _lddw(insn: Insn, second: Insn) -> str:
    low, high = insn.imm, second.imm
    value = (high & 0xFFFFFFFF) << 32 | low & 0xFFFFFFFF
    text = {
        op.LDDW_VALUE: f"0x{value:x}",
        op.LDDW_MAP_FD: f"map[fd:{low}]",
        op.LDDW_MAP_VALUE: f"map[fd:{low}][0]+{high}",
        op.LDDW_VARIABLE: f"variable[{low}]+{high}",
        op.LDDW_CODE: f"subprog[{low:+d}]",
        op.LDDW_MAP_INDEX: f"map[idx:{low}]",
        op.LDDW_MAP_INDEX_VALUE: f"map[idx:{low}][0]+{high}",
    }[insn.src]
    return f"r{insn.dst} = {text}"


def _alu(insn: Insn) -> str:
    opcode, dst, src, off, imm = insn
    letter = "r" if opcode & 7 == op.ALU64 else "w"
    kind = opcode & 0xF0
    if kind == op.END:
        order = "bswap" if opcode & 7 == op.ALU64 else "be" if opcode & op.X else "le"
        return f"r{dst} = {order}{imm} r{dst}"
    if kind == op.NEG:
        return f"{letter}{dst} = -{letter}{dst}"
    sign = ALU_SIGNS[kind]
    if off and kind in (op.DIV, op.MOD):
        sign = "s" + sign
    if not opcode & op.X:
        return f"{letter}{dst} {sign} {imm}"
    extend = f"(s{off})" if kind == op.MOV and off else ""
    return f"{letter}{dst} {sign} {extend}{letter}{src}"


def _jump(insn: Insn) -> str:
    opcode, dst, src, off, imm = insn
    kind = opcode & 0xF0
    if kind == op.EXIT:
        return "exit"
    if kind == op.CALL:
        return _call(insn)
    if kind == op.JA:
        return f"goto pc{off:+d}" if opcode & 7 == op.JMP else f"gotol pc{imm:+d}"
    letter = "r" if opcode & 7 == op.JMP else "w"
    operand = f"{letter}{src}" if opcode & op.X else f"0x{imm & 0xFFFFFFFF:x}"
    return f"if {letter}{dst} {CONDITION_SIGNS[kind]} {operand} goto pc{off:+d}"


def _call(insn: Insn) -> str:
    if insn.src == op.CALL_LOCAL:
        return f"call pc{insn.imm:+d}"
    if insn.src == op.CALL_KFUNC:
        module = f"@{insn.off}" if insn.off else ""
        return f"call kernel-function#{insn.imm}{module}"
    return f"call {op.HELPER_NAMES.get(insn.imm, 'unknown')}#{insn.imm}"


def _place(insn: Insn, base: int, kind: str = "u") -> str:
    return f"({kind}{BITS[insn.opcode & 0x18]} *)(r{base} {insn.off:+d})"


def _ldx(insn: Insn) -> str:
    kind = "s" if insn.opcode & 0xE0 == op.MEMSX else "u"
    return f"r{insn.dst} = *{_place(insn, insn.src, kind)}"


def _ld(insn: Insn) -> str:
    index = f"r{insn.src} + {insn.imm}" if insn.opcode & 0xE0 == op.IND else f"{insn.imm}"
    return f"r0 = *(u{BITS[insn.opcode & 0x18]} *)skb[{index}]"


def _st(insn: Insn) -> str:
    return f"*{_place(insn, insn.dst)} = {insn.imm}"


def _stx(insn: Insn) -> str:
    place = _place(insn, insn.dst)
    if insn.opcode & 0xE0 == op.MEM:
        return f"*{place} = r{insn.src}"
    if not insn.imm & op.FETCH:
        return f"lock *{place} {ALU_SIGNS[insn.imm]} r{insn.src}"
    wide = "64" if insn.opcode & 0x18 == op.DW else ""
    if insn.imm == op.CMPXCHG:
        return f"r0 = atomic{wide}_cmpxchg({place}, r0, r{insn.src})"
    name = "xchg" if insn.imm == op.XCHG else f"fetch_{ATOMIC_NAMES[insn.imm & 0xF0]}"
    return f"r{insn.src} = atomic{wide}_{name}({place}, r{insn.src})"


_PRINTERS = {
    op.LD: _ld, op.LDX: _ldx, op.ST: _st, op.STX: _stx, op.ALU: _alu, op.ALU64: _alu, op.JMP: _jump, op.JMP32: _jump,
}  # fmt: skip

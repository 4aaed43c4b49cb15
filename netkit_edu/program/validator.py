"""What any kernel refuses without running a program: unknown opcodes, reserved fields, jumps to nowhere.

Mirrors ``bpf_opcode_in_insntable`` (kernel/bpf/core.c) and the static part of kernel/bpf/verifier.c
(``check_subprogs``, ``resolve_pseudo_ldimm64``, the field checks of ``do_check``; Linux 6.12), in the kernel's words.
What RFC 9669 defines and only the verifier dislikes stays allowed: immediate shifts beyond the width, division by an
immediate zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from netkit_edu.errors import ObjectError
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn

READ_ONLY = "frame pointer is read only"
MAX_INSNS = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h

_ATOMIC_OPS = {o | f for o in (op.ADD, op.OR, op.AND, op.XOR) for f in (0, op.FETCH)} | {op.XCHG, op.CMPXCHG}
_CONDITIONS = {
    op.JEQ, op.JNE, op.JGT, op.JGE, op.JLT, op.JLE, op.JSET, op.JSGT, op.JSGE, op.JSLT, op.JSLE,
}  # fmt: skip


def validate(insns: Sequence[Insn], *, entries: Sequence[int] = ()) -> None:
    """Refuse instructions no kernel would load, whatever they compute.

    Args:
        insns: the slots of one program and the subprograms behind it.
        entries: slots where a subprogram starts, beyond those that the code itself calls.

    Raises:
        ObjectError: with the kernel's words where it has some, and the slot.
    """
    if not insns:
        raise ObjectError("the program has no instructions")
    if len(insns) > MAX_INSNS:
        raise ObjectError(f"BPF program is too large: {len(insns)} instructions, the limit is {MAX_INSNS}")
    seconds = _check_fields(insns)
    starts = _subprograms(insns, seconds, entries)
    for start, end in zip(starts, [*starts[1:], len(insns)], strict=True):
        _check_jumps(insns, start, end, seconds)


def complaint(insn: Insn, second: Insn | None = None) -> str:
    """Return why ``insn`` by itself is not valid, in the kernel's words, or "" if it is.

    ``second`` is the slot behind it, which a 64-bit load needs.
    """
    check = _CHECKS.get(insn.opcode)
    if check is None:
        return f"unknown opcode {insn.opcode:02x}"
    wide = insn.opcode == op.LDDW
    why = _check_lddw(insn, second) if wide else check(insn)
    if why and why != READ_ONLY:
        return why
    if insn.src >= op.REGISTERS and not wide:
        return f"R{insn.src} is invalid"
    return f"R{insn.dst} is invalid" if insn.dst >= op.REGISTERS else why


def _check_fields(insns: Sequence[Insn]) -> set[int]:
    """Check each instruction by itself; return the slots that are the second half of a 64-bit load."""
    seconds: set[int] = set()
    pc = 0
    while pc < len(insns):
        insn = insns[pc]
        why = complaint(insn, insns[pc + 1] if pc + 1 < len(insns) else None)
        if why:
            raise ObjectError(f"{why} (insn {pc})")
        pc += 1
        if insn.opcode == op.LDDW:
            seconds.add(pc)
            pc += 1
    return seconds


def _subprograms(insns: Sequence[Insn], seconds: set[int], entries: Sequence[int]) -> list[int]:
    starts = {0, *entries}
    for pc, insn in enumerate(insns):
        if pc in seconds:
            continue
        if (insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_LOCAL) or (
            insn.opcode == op.LDDW and insn.src == op.LDDW_CODE
        ):
            target = pc + insn.imm + 1
            if not 0 <= target < len(insns) or target in seconds:
                raise ObjectError(f"call to invalid destination (insn {pc}, to {target})")
            starts.add(target)
    return sorted(starts)


def _check_jumps(insns: Sequence[Insn], start: int, end: int, seconds: set[int]) -> None:
    for pc in range(start, end):
        if pc in seconds:
            continue
        insn = insns[pc]
        distance = jump_distance(insn)
        if distance is None:
            continue
        target = pc + distance + 1
        if not start <= target < end:
            raise ObjectError(f"jump out of range from insn {pc} to {target}")
        if target in seconds:
            raise ObjectError(f"jump into the middle of ldimm64 insn {target} (insn {pc})")
    last = insns[end - 1]
    if end - 1 in seconds or last.opcode not in (op.JMP | op.EXIT, op.JMP | op.JA, op.JMP32 | op.JA):
        raise ObjectError(f"last insn is not an exit or jmp (insn {end - 1})")


def jump_distance(insn: Insn) -> int | None:
    """Return how many slots a jump skips, None if ``insn`` is no jump (calls and exit are none)."""
    cls = insn.opcode & 7
    if cls not in (op.JMP, op.JMP32):
        return None
    kind = insn.opcode & 0xF0
    if kind in (op.CALL, op.EXIT):
        return None
    return insn.imm if insn.opcode == op.JMP32 | op.JA else insn.off


def _check_alu(insn: Insn) -> str:
    by_register = insn.opcode & op.X
    kind = insn.opcode & 0xF0
    if insn.off not in ((0, 1) if kind in (op.DIV, op.MOD) else (0,)) or (insn.imm if by_register else insn.src):
        return "BPF_ALU uses reserved fields"
    return _check_write(insn)


def _check_mov(insn: Insn) -> str:
    if insn.opcode & op.X:
        widths = (0, 8, 16, 32) if insn.opcode & 7 == op.ALU64 else (0, 8, 16)
        bad = insn.imm or insn.off not in widths
    else:
        bad = insn.src or insn.off
    return "BPF_MOV uses reserved fields" if bad else _check_write(insn)


def _check_neg(insn: Insn) -> str:
    return "BPF_NEG uses reserved fields" if insn.src or insn.off or insn.imm else _check_write(insn)


def _check_end(insn: Insn) -> str:
    if insn.src or insn.off or insn.imm not in (16, 32, 64):
        return "BPF_END uses reserved fields"
    return _check_write(insn)


def _check_write(insn: Insn) -> str:
    return READ_ONLY if insn.dst == op.FRAME_POINTER else ""


def _check_ldx(insn: Insn) -> str:
    return "BPF_LDX uses reserved fields" if insn.imm else _check_write(insn)


def _check_st(insn: Insn) -> str:
    return "BPF_ST uses reserved fields" if insn.src else ""


def _check_stx(insn: Insn) -> str:
    return "BPF_STX uses reserved fields" if insn.imm else ""


def _check_atomic(insn: Insn) -> str:
    if insn.imm not in _ATOMIC_OPS:
        return f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFFFFFF:02x}"
    writes_source = insn.imm & op.FETCH and insn.imm != op.CMPXCHG
    return READ_ONLY if writes_source and insn.src == op.FRAME_POINTER else ""


def _check_packet_load(insn: Insn) -> str:
    absolute = insn.opcode & 0xE0 == op.ABS
    return "BPF_LD_[ABS|IND] uses reserved fields" if insn.dst or insn.off or (absolute and insn.src) else ""


def _check_lddw(insn: Insn, second: Insn | None) -> str:
    if second is None or second.opcode or second.dst or second.src or second.off:
        return "invalid bpf_ld_imm64 insn"
    if insn.off:
        return "BPF_LD_IMM64 uses reserved fields"
    only_low_half = (op.LDDW_MAP_FD, op.LDDW_MAP_INDEX, op.LDDW_CODE)
    if insn.src > op.LDDW_MAP_INDEX_VALUE or (insn.src in only_low_half and second.imm):
        return "unrecognized bpf_ld_imm64 insn"
    return _check_write(insn)


def _check_call(insn: Insn) -> str:
    bad = insn.dst or insn.src > op.CALL_KFUNC or (insn.off and insn.src != op.CALL_KFUNC)
    return "BPF_CALL uses reserved fields" if bad else ""


def _check_exit(insn: Insn) -> str:
    return "BPF_EXIT uses reserved fields" if insn.dst or insn.src or insn.off or insn.imm else ""


def _check_ja(insn: Insn) -> str:
    unused = insn.imm if insn.opcode & 7 == op.JMP else insn.off
    return "BPF_JA uses reserved fields" if insn.dst or insn.src or unused else ""


def _check_condition(insn: Insn) -> str:
    unused = insn.imm if insn.opcode & op.X else insn.src
    return "BPF_JMP/JMP32 uses reserved fields" if unused else ""


def _table():
    checks = {op.LDDW: _check_lddw, op.JMP | op.CALL: _check_call, op.JMP | op.EXIT: _check_exit}
    binary = (op.ADD, op.SUB, op.MUL, op.DIV, op.OR, op.AND, op.LSH, op.RSH, op.MOD, op.XOR, op.ARSH)
    for cls in (op.ALU, op.ALU64):
        checks |= {cls | kind | source: _check_alu for kind in binary for source in (op.K, op.X)}
        checks |= {cls | op.MOV | source: _check_mov for source in (op.K, op.X)}
        checks[cls | op.NEG] = _check_neg
    checks |= {code: _check_end for code in (op.ALU | op.END, op.ALU | op.END | op.X, op.ALU64 | op.END)}
    for cls in (op.JMP, op.JMP32):
        checks |= {cls | kind | source: _check_condition for kind in _CONDITIONS for source in (op.K, op.X)}
        checks[cls | op.JA] = _check_ja
    for size in (op.B, op.H, op.W, op.DW):
        checks |= {op.LDX | op.MEM | size: _check_ldx, op.ST | op.MEM | size: _check_st}
        checks[op.STX | op.MEM | size] = _check_stx
    for size in (op.B, op.H, op.W):
        checks[op.LDX | op.MEMSX | size] = _check_ldx
        checks |= {op.LD | mode | size: _check_packet_load for mode in (op.ABS, op.IND)}
    checks |= {op.STX | op.ATOMIC | size: _check_atomic for size in (op.W, op.DW)}
    return checks


_CHECKS = _table()

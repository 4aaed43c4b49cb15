"""Reads the test vectors of bpf_conformance: a program in the uBPF assembler dialect, its memory, its result.

How to use it::

    for path in vector_paths():
        vector = load_vector(path)      # raises ObjectError or AssemblyError where the vector expects a refusal
        vector.insns                    # tuple[Insn, ...], local calls resolved, not yet run
        vector.mem                      # bytes: r1 = its address, r2 = its length (both 0 if there is none)
        vector.result                   # the expected r0 as an unsigned 64-bit number, None for a refusal vector
        vector.error                    # the text of an `-- error` section, "" otherwise

A vector with `-- error` describes a program that is to be refused. ``load_vector`` returns it only if its text can be
read and `isa.validate` takes it; such a test is ``with pytest.raises((ObjectError, AssemblyError)): load_vector(p)``.
The vectors themselves are not part of this project; `vector_paths` is empty where they are not on the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from netkit_edu.errors import AssemblyError
from netkit_edu.program import opcodes as op
from netkit_edu.program.isa import decode, validate
from netkit_edu.program.object import Insn
from tests.requires import SHARED_DATA

CALLX = op.JMP | op.CALL | op.X  # a call through a register: not in RFC 9669

_SIZES = {"b": op.B, "h": op.H, "w": op.W, "dw": op.DW}
_ALU = {
    "add": op.ADD, "sub": op.SUB, "mul": op.MUL, "div": op.DIV, "or": op.OR, "and": op.AND, "lsh": op.LSH,
    "rsh": op.RSH, "mod": op.MOD, "xor": op.XOR, "mov": op.MOV, "arsh": op.ARSH, "sdiv": op.DIV, "smod": op.MOD,
}  # fmt: skip
_JUMPS = {
    "jeq": op.JEQ, "jgt": op.JGT, "jge": op.JGE, "jset": op.JSET, "jne": op.JNE, "jsgt": op.JSGT, "jsge": op.JSGE,
    "jlt": op.JLT, "jle": op.JLE, "jslt": op.JSLT, "jsle": op.JSLE,
}  # fmt: skip
_ATOMICS = {"add": op.ADD, "or": op.OR, "and": op.AND, "xor": op.XOR, "xchg": op.XCHG, "cmpxchg": op.CMPXCHG}
_PLACE = re.compile(r"\[\s*%r(\d+)\s*([-+]\s*\w+)?\s*\]")


@dataclass(frozen=True)
class Vector:
    """One vector; ``mem`` is the program's input memory."""

    name: str
    insns: tuple[Insn, ...]
    mem: bytes
    result: int | None
    error: str


def vector_paths() -> list[Path]:
    """Return every vector on this disk, sorted by name."""
    return sorted((SHARED_DATA / "bpf_conformance").glob("*.data"))


def load_vector(path: Path) -> Vector:
    """Read one `.data` file; `AssemblyError` or `ObjectError` if its program is refused."""
    sections = _sections(path.read_text())
    if "raw" in sections:
        words = [int(word, 16) for word in " ".join(sections["raw"]).split()]
        insns = decode(b"".join(word.to_bytes(8, "little") for word in words))
    else:
        insns = parse(sections["asm"])
    error = "\n".join(sections.get("error", [])).strip()
    if error:
        validate(insns)
    result = " ".join(sections.get("result", [])).split()
    return Vector(
        name=path.stem,
        insns=insns,
        mem=bytes.fromhex("".join(sections.get("mem", [])).replace(" ", "")),
        result=int(result[0], 0) & (1 << 64) - 1 if result else None,
        error=error,
    )


def parse(lines: list[str]) -> tuple[Insn, ...]:
    """Return the instructions of assembler text in the vectors' dialect."""
    insns: list[Insn] = []
    labels: dict[str, int] = {}
    waiting: list[tuple[int, str, str]] = []
    for line in lines:
        line = line.split("#")[0].strip()
        if label := re.fullmatch(r"(\w+):", line):
            labels[label[1]] = len(insns)
        elif line:
            name, _, rest = line.partition(" ")
            operands = [part.strip() for part in rest.split(",") if part.strip()]
            insns += _statement(name, operands, len(insns), waiting, line)
    labels.setdefault("exit", max((pc for pc, i in enumerate(insns) if i.opcode == op.JMP | op.EXIT), default=0))
    for pc, label, field in waiting:
        if label not in labels:
            raise AssemblyError(f"there is no label {label}")
        insns[pc] = insns[pc]._replace(**{field: labels[label] - pc - 1})
    return tuple(insns)


def _sections(text: str) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("-- "):
            current = out.setdefault(line[3:].strip(), [])
        elif not line.startswith("#"):
            current.append(line)
    return out


def _statement(name: str, args: list[str], pc: int, waiting: list, line: str) -> list[Insn]:
    if name == "exit":
        return [Insn(op.JMP | op.EXIT, 0, 0, 0, 0)]
    if name == "lddw":
        value = int(args[1], 0) & (1 << 64) - 1
        return [Insn(op.LDDW, _register(args[0]), 0, 0, _signed(value)), Insn(0, 0, 0, 0, _signed(value >> 32))]
    if name == "call":
        return [_call(args[0], pc, waiting)]
    if name == "lock":
        return [_atomic(line)]
    if name in ("ja", "ja32"):
        far = name == "ja32"
        return [_jump(Insn(op.JMP32 if far else op.JMP, 0, 0, 0, 0), args[0], pc, waiting, "imm" if far else "off")]
    if match := re.fullmatch(r"(ldx|stx|st)(s?)(dw|w|h|b)", name):
        return [_memory(match[1], _SIZES[match[3]], bool(match[2]), args)]
    if match := re.fullmatch(r"(be|le|swap|bswap)(16|32|64)", name):
        opcode = {"le": op.ALU, "be": op.ALU | op.X}.get(match[1], op.ALU64) | op.END
        return [Insn(opcode, _register(args[0]), 0, 0, int(match[2]))]
    if match := re.fullmatch(r"movsx(8|16|32)(32|64)", name):
        cls = op.ALU if match[2] == "32" else op.ALU64
        return [Insn(cls | op.MOV | op.X, _register(args[0]), _register(args[1]), int(match[1]), 0)]
    stem, narrow = (name[:-2], True) if name.endswith("32") else (name, False)
    if stem == "neg":
        return [Insn((op.ALU if narrow else op.ALU64) | op.NEG, _register(args[0]), 0, 0, 0)]
    if stem in _ALU:
        cls = op.ALU if narrow else op.ALU64
        return [_operand(cls | _ALU[stem], args, off=int(stem in ("sdiv", "smod")))]
    if stem in _JUMPS:
        cls = op.JMP32 if narrow else op.JMP
        return [_jump(_operand(cls | _JUMPS[stem], args), args[2], pc, waiting, "off")]
    raise AssemblyError(f"no instruction {name}")


def _operand(opcode: int, args: list[str], off: int = 0) -> Insn:
    if args[1].startswith("%"):
        return Insn(opcode | op.X, _register(args[0]), _register(args[1]), off, 0)
    return Insn(opcode, _register(args[0]), 0, off, _immediate(args[1]))


def _jump(insn: Insn, target: str, pc: int, waiting: list, field: str) -> Insn:
    if re.match(r"[-+]?\d", target):
        return insn._replace(**{field: int(target, 0)})
    waiting.append((pc, target, field))
    return insn


def _call(target: str, pc: int, waiting: list) -> Insn:
    if target.startswith("local "):
        return _jump(Insn(op.JMP | op.CALL, 0, op.CALL_LOCAL, 0, 0), target.split()[1], pc, waiting, "imm")
    if target.startswith("%"):
        return Insn(CALLX, _register(target), 0, 0, 0)
    return Insn(op.JMP | op.CALL, 0, 0, 0, int(target, 0))


def _atomic(line: str) -> Insn:
    match = re.fullmatch(r"lock (fetch )?(\w+?)(32)? (\[.*\]), (%r\d+)", line)
    if match is None or match[2] not in _ATOMICS:
        raise AssemblyError(f"no atomic instruction: {line}")
    base, off = _place(match[4])
    kind = _ATOMICS[match[2]] | (op.FETCH if match[1] else 0)
    return Insn(op.STX | op.ATOMIC | (op.W if match[3] else op.DW), base, _register(match[5]), off, kind)


def _memory(kind: str, size: int, signed: bool, args: list[str]) -> Insn:
    if kind == "ldx":
        base, off = _place(args[1])
        return Insn(op.LDX | (op.MEMSX if signed else op.MEM) | size, _register(args[0]), base, off, 0)
    base, off = _place(args[0])
    if kind == "stx":
        return Insn(op.STX | op.MEM | size, base, _register(args[1]), off, 0)
    return Insn(op.ST | op.MEM | size, base, 0, off, _immediate(args[1]))


def _place(text: str) -> tuple[int, int]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise AssemblyError(f"no memory operand: {text}")
    off = int((match[2] or "0").replace(" ", ""), 0)
    if not -(1 << 15) <= off < 1 << 15:
        raise AssemblyError(f"offset {off} does not fit 16 bits")
    return int(match[1]), off


def _register(text: str) -> int:
    match = re.fullmatch(r"%r(\d+)", text)
    if match is None or int(match[1]) >= op.REGISTERS:
        raise AssemblyError(f"no register: {text}")
    return int(match[1])


def _immediate(text: str) -> int:
    value = int(text, 0)
    if not -(1 << 31) <= value < 1 << 32:
        raise AssemblyError(f"immediate {text} does not fit 32 bits")
    return _signed(value)


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (value >> 31 << 32)

"""eBPF assembler: text in the kernel's verifier log style -> instructions.

Reads whatever `disassemble` prints, a verifier log's ``12: (b7) r0 = 0`` included, and for writing by hand also labels
(``again:`` ... ``goto again``, ``call helper_function``), helpers by name or number, and ``;`` or ``//`` comments.
A number in hexadecimal makes ``r1 = 0x5`` a 64-bit load of two slots, as in the kernel's text; ``r1 = 5`` is one slot.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from netkit_edu.errors import AssemblyError
from netkit_edu.program import opcodes as op
from netkit_edu.program.disassembler import ALU_SIGNS, ATOMIC_NAMES, BITS, CONDITION_SIGNS
from netkit_edu.program.object import Insn

_ALU = {sign: kind for kind, sign in ALU_SIGNS.items()} | {"s/=": op.DIV, "s%=": op.MOD}
_CONDITIONS = {sign: kind for kind, sign in CONDITION_SIGNS.items()}
_ATOMIC_SIGNS = {ALU_SIGNS[kind]: kind for kind in ATOMIC_NAMES}
_ATOMIC_CALLS = {f"fetch_{name}": kind | op.FETCH for kind, name in ATOMIC_NAMES.items()} | {
    "xchg": op.XCHG,
    "cmpxchg": op.CMPXCHG,
}
_SIZES = {bits: size for size, bits in BITS.items()}

# patterns are matched against a line without any space that does not part two words
_NUMBER = r"[-+]?(?:0x[0-9a-f]+|\d+)"
_PLACE = r"\((?P<kind>[us])(?P<bits>8|16|32|64)\*\)\(r(?P<base>\d+)(?P<off>[-+](?:0x[0-9a-f]+|\d+))?\)"
_TARGET = r"(?: ?pc)?(?P<target>[-+]\d+| [a-z_.$][\w.$]*)"
_SPACES = re.compile(r"\s*([^\w\s.$])\s*|\s+")
_LABEL = re.compile(r"([a-z_.$][\w.$]*):\s*", re.I)
_LOG_PREFIX = re.compile(r"\d+:\s*(\([0-9a-f]{2}\)\s*)?", re.I)
_COMMENT = re.compile(r";.*|//.*|^\s*#.*")

Parsed = list[Insn]
Rule = Callable[["_Program", re.Match], Parsed]
_RULES: list[tuple[re.Pattern, Rule]] = []


def assemble(text: str) -> tuple[Insn, ...]:
    """Return the instructions of eBPF assembler ``text``, one statement a line.

    Raises `AssemblyError` naming the line: unknown statement, register beyond r10, number that does not fit, label
    that is not defined or defined twice.
    """
    program = _Program()
    for number, line in enumerate(text.splitlines(), 1):
        program.number, program.line = number, line.strip()
        program.read(_COMMENT.sub("", line).strip())
    return program.finish()


class _Program:
    """What has been read so far: slots, labels, and the jumps that wait for a label."""

    def __init__(self):
        self.insns: list[Insn] = []
        self.labels: dict[str, int] = {}
        self.waiting: list[tuple[int, str, str, int, str]] = []
        self.number, self.line = 0, ""

    def read(self, line: str) -> None:
        line = _LOG_PREFIX.sub("", line, count=1) if _LOG_PREFIX.match(line) else line
        while label := _LABEL.match(line):
            if label[1] in self.labels:
                raise self.error(f"label {label[1]} is defined twice")
            self.labels[label[1]] = len(self.insns)
            line = line[label.end() :]
        line = _SPACES.sub(lambda match: match[1] or " ", line)
        if not line:
            return
        for pattern, rule in _RULES:
            if match := pattern.fullmatch(line):
                self.insns += rule(self, match)
                return
        raise self.error("this is no eBPF statement")

    def finish(self) -> tuple[Insn, ...]:
        for slot, label, field, number, line in self.waiting:
            self.number, self.line = number, line
            if label not in self.labels:
                raise self.error(f"there is no label {label}")
            distance = self.labels[label] - slot - 1
            self.insns[slot] = self.insns[slot]._replace(**{field: self.fit(distance, 16 if field == "off" else 32)})
        return tuple(self.insns)

    def error(self, why: str) -> AssemblyError:
        return AssemblyError(f"line {self.number}: {why}: {self.line}")

    def register(self, text: str) -> int:
        number = int(text)
        if number >= op.REGISTERS:
            raise self.error(f"R{number} is invalid, the registers are r0 to r10")
        return number

    def fit(self, value: int, bits: int, *, unsigned: bool = False) -> int:
        """Return ``value`` as a signed field of ``bits``; ``unsigned`` allows the upper half as well."""
        limit = 1 << bits - 1
        if not -limit <= value < (2 * limit if unsigned else limit):
            raise self.error(f"{value} does not fit {bits} bits")
        return value - 2 * limit if value >= limit else value

    def distance(self, text: str, field: str) -> int:
        """Return a relative target; a label is noted, to be filled in at the end."""
        if text[0] in "+-":
            return self.fit(int(text), 16 if field == "off" else 32)
        self.waiting.append((len(self.insns), text.strip(), field, self.number, self.line))
        return 0

    def place(self, match: re.Match) -> tuple[int, int, int]:
        """Return (size bits of the opcode, base register, offset) of ``*(u32 *)(r1 +4)``."""
        return _SIZES[int(match["bits"])], self.register(match["base"]), self.fit(_number(match["off"] or "0"), 16)


def _rule(pattern: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        _RULES.append((re.compile(pattern, re.I), rule))
        return rule

    return add


def _number(text: str) -> int:
    digits = text.lstrip("+-").lower()
    value = int(digits, 16 if digits.startswith("0x") else 10)
    return -value if text[0] == "-" else value


@_rule(r"exit")
def _exit(program: _Program, match: re.Match) -> Parsed:
    return [Insn(op.JMP | op.EXIT, 0, 0, 0, 0)]


@_rule(rf"(?P<far>goto|gotol){_TARGET}")
def _goto(program: _Program, match: re.Match) -> Parsed:
    if match["far"].lower() == "gotol":
        return [Insn(op.JMP32 | op.JA, 0, 0, 0, program.distance(match["target"], "imm"))]
    return [Insn(op.JMP | op.JA, 0, 0, program.distance(match["target"], "off"), 0)]


@_rule(rf"if (?P<letter>[rw])(?P<dst>\d+)(?P<sign> ?s?[<>]=?|[=!]=|&)(?P<operand>[rw]\d+|{_NUMBER}) goto{_TARGET}")
def _condition(program: _Program, match: re.Match) -> Parsed:
    opcode = (op.JMP if match["letter"] in "rR" else op.JMP32) | _CONDITIONS[match["sign"].strip().lower()]
    dst, src, imm = program.register(match["dst"]), 0, 0
    if match["operand"][0] in "rRwW":
        if match["operand"][0] != match["letter"]:
            raise program.error("both operands of a comparison have the same width, r or w")
        opcode, src = opcode | op.X, program.register(match["operand"][1:])
    else:
        imm = program.fit(_number(match["operand"]), 32, unsigned=True)
    return [Insn(opcode, dst, src, program.distance(match["target"], "off"), imm)]


@_rule(rf"call(?: ?pc(?P<relative>[-+]\d+)| kernel-function#(?P<kfunc>-?\d+)(?:@(?P<module>{_NUMBER}))?)")
def _call_far(program: _Program, match: re.Match) -> Parsed:
    if match["relative"]:
        return [Insn(op.JMP | op.CALL, 0, op.CALL_LOCAL, 0, program.distance(match["relative"], "imm"))]
    module = program.fit(_number(match["module"] or "0"), 16)
    return [Insn(op.JMP | op.CALL, 0, op.CALL_KFUNC, module, program.fit(int(match["kfunc"]), 32))]


@_rule(r"call (?:(?P<name>[a-z_.$][\w.$]*)(?:#(?P<known>-?\d+))?|(?P<number>\d+))|call(?P<negative>-\d+)")
def _call(program: _Program, match: re.Match) -> Parsed:
    number = match["known"] or match["number"] or match["negative"]
    if number is None:
        number = op.HELPER_NUMBERS.get(match["name"])
    if number is None:
        return [Insn(op.JMP | op.CALL, 0, op.CALL_LOCAL, 0, program.distance(match["name"], "imm"))]
    return [Insn(op.JMP | op.CALL, 0, op.CALL_HELPER, 0, program.fit(int(number), 32))]


@_rule(rf"r(?P<dst>\d+)=\*{_PLACE}")
def _load(program: _Program, match: re.Match) -> Parsed:
    size, base, off = program.place(match)
    mode = op.MEMSX if match["kind"] in "sS" else op.MEM
    if mode == op.MEMSX and size == op.DW:
        raise program.error("64 bits leave nothing to extend the sign to")
    return [Insn(op.LDX | mode | size, program.register(match["dst"]), base, off, 0)]


@_rule(rf"\*{_PLACE}=(?P<value>r\d+|{_NUMBER})")
def _store(program: _Program, match: re.Match) -> Parsed:
    size, base, off = program.place(match)
    if match["value"][0] in "rR":
        return [Insn(op.STX | op.MEM | size, base, program.register(match["value"][1:]), off, 0)]
    return [Insn(op.ST | op.MEM | size, base, 0, off, program.fit(_number(match["value"]), 32))]


@_rule(rf"lock ?\*{_PLACE}(?P<sign>[-+|&^]=)r(?P<src>\d+)")
def _atomic(program: _Program, match: re.Match) -> Parsed:
    kind = _ATOMIC_SIGNS.get(match["sign"])
    if kind is None:
        raise program.error("the atomic operations are += |= &= ^=")
    return _atomic_insn(program, match, kind)


@_rule(rf"r(?P<to>\d+)=atomic(?P<wide>64)?_(?P<name>\w+)\({_PLACE},(?:(?P<expected>r0),)?r(?P<src>\d+)\)")
def _atomic_fetch(program: _Program, match: re.Match) -> Parsed:
    kind = _ATOMIC_CALLS.get(match["name"].lower())
    exchange = kind == op.CMPXCHG
    if kind is None or exchange != bool(match["expected"]):
        raise program.error(
            "the atomic calls are fetch_add, fetch_or, fetch_and, fetch_xor, xchg, cmpxchg(place, r0, rN)"
        )
    if int(match["to"]) != (0 if exchange else int(match["src"])):
        raise program.error("the old value goes to " + ("r0" if exchange else f"r{match['src']}"))
    if bool(match["wide"]) != (match["bits"] == "64"):
        raise program.error("atomic64_ goes with u64, atomic_ with u32")
    return _atomic_insn(program, match, kind)


def _atomic_insn(program: _Program, match: re.Match, kind: int) -> Parsed:
    size, base, off = program.place(match)
    if size not in (op.W, op.DW):
        raise program.error("atomic operations have 32 or 64 bits")
    return [Insn(op.STX | op.ATOMIC | size, base, program.register(match["src"]), off, kind)]


@_rule(rf"r0=\*\(u(?P<bits>8|16|32)\*\)skb\[(?:r(?P<src>\d+)\+)?(?P<imm>{_NUMBER})\]")
def _packet_load(program: _Program, match: re.Match) -> Parsed:
    mode, src = (op.IND, program.register(match["src"])) if match["src"] else (op.ABS, 0)
    return [Insn(op.LD | mode | _SIZES[int(match["bits"])], 0, src, 0, program.fit(_number(match["imm"]), 32))]


@_rule(
    rf"r(?P<dst>\d+)=(?P<kind>map\[fd:|map\[idx:|variable\[)(?P<low>{_NUMBER})\](?:(?:\[0\])?\+(?P<high>{_NUMBER}))?"
)
def _load_map(program: _Program, match: re.Match) -> Parsed:
    plain, inside = {
        "map[fd:": (op.LDDW_MAP_FD, op.LDDW_MAP_VALUE),
        "map[idx:": (op.LDDW_MAP_INDEX, op.LDDW_MAP_INDEX_VALUE),
        "variable[": (op.LDDW_VARIABLE, op.LDDW_VARIABLE),
    }[match["kind"].lower()]
    kind = plain if match["high"] is None else inside
    low, high = _number(match["low"]), _number(match["high"] or "0")
    return _wide(program, match["dst"], kind, program.fit(low, 32), program.fit(high, 32))


@_rule(r"r(?P<dst>\d+)=subprog\[(?P<target>[-+]\d+|[a-z_.$][\w.$]*)\]")
def _load_code(program: _Program, match: re.Match) -> Parsed:
    return _wide(program, match["dst"], op.LDDW_CODE, program.distance(match["target"], "imm"), 0)


@_rule(rf"r(?P<dst>\d+)=(?P<value>-?0x[0-9a-f]+|{_NUMBER} ll)")
def _load_value(program: _Program, match: re.Match) -> Parsed:
    value = program.fit(_number(match["value"].split()[0]), 64, unsigned=True)
    low = value & 0xFFFFFFFF
    return _wide(program, match["dst"], op.LDDW_VALUE, low - (low >> 31 << 32), value >> 32)


def _wide(program: _Program, dst: str, kind: int, low: int, high: int) -> Parsed:
    return [Insn(op.LDDW, program.register(dst), kind, 0, low), Insn(0, 0, 0, 0, high)]


@_rule(r"r(?P<dst>\d+)=(?P<order>be|le|bswap)(?P<bits>16|32|64) r(?P<src>\d+)")
def _swap(program: _Program, match: re.Match) -> Parsed:
    if match["src"] != match["dst"]:
        raise program.error("a byte swap works on one register")
    opcode = {"le": op.ALU, "be": op.ALU | op.X, "bswap": op.ALU64}[match["order"].lower()] | op.END
    return [Insn(opcode, program.register(match["dst"]), 0, 0, int(match["bits"]))]


@_rule(r"(?P<letter>[rw])(?P<dst>\d+)=-(?P=letter)(?P=dst)")
def _negate(program: _Program, match: re.Match) -> Parsed:
    cls = op.ALU64 if match["letter"] in "rR" else op.ALU
    return [Insn(cls | op.NEG, program.register(match["dst"]), 0, 0, 0)]


@_rule(r"(?P<letter>[rw])(?P<dst>\d+)=\(s(?P<bits>8|16|32)\)(?P<source>[rw])(?P<src>\d+)")
def _move_signed(program: _Program, match: re.Match) -> Parsed:
    wide = match["letter"] in "rR"
    if match["letter"] != match["source"] or (match["bits"] == "32" and not wide):
        raise program.error("a sign extension is r1 = (s8|s16|s32)r2 or w1 = (s8|s16)w2")
    opcode = (op.ALU64 if wide else op.ALU) | op.MOV | op.X
    return [Insn(opcode, program.register(match["dst"]), program.register(match["src"]), int(match["bits"]), 0)]


@_rule(rf"(?P<letter>[rw])(?P<dst>\d+)(?P<sign>=|[-+*/|&%^]=|<<=|>>=| s[/%]=| s>>=)(?P<operand>[rw]\d+|{_NUMBER})")
def _alu(program: _Program, match: re.Match) -> Parsed:
    wide = match["letter"] in "rR"
    sign = match["sign"].strip().lower()
    opcode, off = (op.ALU64 if wide else op.ALU) | _ALU[sign], int(sign in ("s/=", "s%="))
    dst = program.register(match["dst"])
    if match["operand"][0] not in "rRwW":
        return [Insn(opcode, dst, 0, off, program.fit(_number(match["operand"]), 32, unsigned=not wide))]
    if match["operand"][0] != match["letter"]:
        raise program.error("both registers have the same width, r or w")
    return [Insn(opcode | op.X, dst, program.register(match["operand"][1:]), off, 0)]


@_rule(r"\.slot 0x(?P<bits>[0-9a-f]{1,16})")
def _slot(program: _Program, match: re.Match) -> Parsed:
    bits = int(match["bits"], 16)
    off, imm = program.fit(bits >> 16 & 0xFFFF, 16, unsigned=True), program.fit(bits >> 32, 32, unsigned=True)
    return [Insn(bits & 0xFF, bits >> 8 & 15, bits >> 12 & 15, off, imm)]

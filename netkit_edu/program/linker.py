"""From sections of code to programs: each with the subprograms it calls behind it, calls and references resolved.

Follows ``bpf_object__relocate_calls`` and ``bpf_program__record_reloc`` of libbpf (src/libbpf.c 1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netkit_edu.errors import ObjectError
from netkit_edu.program import elffile as e
from netkit_edu.program import opcodes as op
from netkit_edu.program.isa import decode, validate
from netkit_edu.program.object import Insn, MapSpec, ProgramCode, Relocation, SourceLine

MAX_SLOTS = 1 << 17  # of all programs of an object together
SUBPROGRAMS = ".text"

_CALL = op.JMP | op.CALL


@dataclass(frozen=True)
class _Function:
    name: str
    section: int
    start: int  # slots
    count: int


@dataclass
class _Code:
    """A section of code: its slots, its relocations and lines by slot."""

    name: str
    insns: tuple[Insn, ...]
    relocations: dict[int, tuple[int, e.Symbol]]
    lines: dict[int, SourceLine]


@dataclass
class _Draft:
    """A program that is being put together."""

    insns: list[Insn] = field(default_factory=list)
    lines: list[SourceLine | None] = field(default_factory=list)
    relocations: list[Relocation] = field(default_factory=list)
    functions: dict[int, str] = field(default_factory=dict)
    starts: dict[_Function, int] = field(default_factory=dict)
    calls: list[tuple[int, _Function]] = field(default_factory=list)


class Linker:
    """Puts the programs of one object together.

    Args:
        elf: the object file.
        maps: every map by name, data sections included.
        places: section -> offset -> name of the map there; None for a data section, which is one map.
        lines: section name -> offset in bytes -> C line.
        license: the object's license string.
    """

    def __init__(
        self,
        elf: e.ElfFile,
        maps: Mapping[str, MapSpec],
        places: Mapping[int, Mapping[int, str] | None],
        lines: Mapping[str, Mapping[int, SourceLine]],
        license: str,
    ):
        self.elf, self.maps, self.places, self.license = elf, maps, places, license
        self.code: dict[int, _Code] = {}
        for section in elf.sections:
            if section.is_code and section.size:
                self.code[section.index] = _Code(
                    section.name,
                    decode(section.data),
                    _by_slot(section.name, elf.relocations(section)),
                    {offset // 8: line for offset, line in lines.get(section.name, {}).items()},
                )
        if sum(len(code.insns) for code in self.code.values()) > MAX_SLOTS:
            raise ObjectError(f"the object has more than {MAX_SLOTS} instructions")
        self.functions = dict(self._functions())

    def programs(self) -> dict[str, ProgramCode]:
        """Return every function outside .text as a program of its own."""
        found: dict[str, ProgramCode] = {}
        left = MAX_SLOTS
        for function, binding in self.functions.values():
            section = self.code[function.section].name
            if section == SUBPROGRAMS:
                continue
            if binding == e.STB_LOCAL:
                raise ObjectError(f"program {function.name} is static: take away `static`, or its SEC({section})")
            draft = self._link(function, left)
            left -= len(draft.insns)
            found[function.name] = ProgramCode(
                function.name,
                section.removeprefix("?"),
                tuple(draft.insns),
                tuple(draft.relocations),
                tuple(draft.lines),
                draft.functions,
                self.license,
            )
        return found

    def _functions(self):
        """Yield (section, slot) -> (function, binding) of every function in the symbol table that has instructions."""
        for symbol in self.elf.symbols:
            if symbol.kind != e.STT_FUNC or symbol.section not in self.code or not symbol.size:
                continue
            size = 8 * len(self.code[symbol.section].insns)
            if symbol.value % 8 or symbol.size % 8 or symbol.value + symbol.size > size:
                raise ObjectError(f"function {symbol.name} lies outside of section {self.code[symbol.section].name}")
            function = _Function(symbol.name, symbol.section, symbol.value // 8, symbol.size // 8)
            yield (symbol.section, function.start), (function, symbol.binding)

    def _link(self, function: _Function, limit: int) -> _Draft:
        """Return a program's own code followed by what it calls, in the order of the first calls."""
        draft = _Draft()
        waiting = [function]
        while waiting:
            one = waiting.pop(0)
            if one not in draft.starts:
                if len(draft.insns) + one.count > limit:
                    raise ObjectError(f"the programs have more than {MAX_SLOTS} instructions together")
                waiting += self._append(draft, one)
        for slot, target in draft.calls:
            draft.insns[slot] = draft.insns[slot]._replace(imm=draft.starts[target] - slot - 1)
        try:
            validate(draft.insns, entries=draft.functions)
        except ObjectError as error:
            raise ObjectError(f"program {function.name}: {error}") from None
        return draft

    def _append(self, draft: _Draft, function: _Function) -> list[_Function]:
        """Copy one function behind the draft; return the functions it refers to."""
        code = self.code[function.section]
        base = len(draft.insns)
        draft.starts[function] = base
        draft.functions[base] = function.name
        draft.insns += code.insns[function.start : function.start + function.count]
        called: list[_Function] = []
        line = None
        slot = base
        while slot < len(draft.insns):
            here = function.start + slot - base
            line = code.lines.get(here, line)
            insn = draft.insns[slot]
            wide = insn.opcode == op.LDDW and slot + 1 < len(draft.insns)
            draft.lines += [line, line] if wide else [line]
            if insn.opcode == _CALL and insn.src == op.CALL_LOCAL:
                called.append(self._callee(function, code, here, insn, line))
                draft.calls.append((slot, called[-1]))
            elif wide and (here in code.relocations or insn.src):
                called += self._reference(draft, slot, code, here, insn)
            elif here in code.relocations:
                self._refuse_relocation(code, here, line)
            slot += 2 if wide else 1
        return called

    def _callee(self, caller: _Function, code: _Code, here: int, insn: Insn, line: SourceLine | None) -> _Function:
        if here in code.relocations:
            kind, symbol = code.relocations[here]
            _refuse_extern(symbol, line)
            if kind != e.R_BPF_64_32:
                raise ObjectError(f"{code.name}, instruction {here}: relocation {kind} on a call")
            section, slot = symbol.section, symbol.value // 8 + insn.imm + 1
        else:
            section, slot = caller.section, here + insn.imm + 1
        target = self.functions.get((section, slot))
        if target is None:
            raise ObjectError(f"{code.name}, instruction {here}: call to invalid destination")
        if self.code[section].name != SUBPROGRAMS:
            raise ObjectError(f"{caller.name} calls {target[0].name}, which is a program of its own: take away its SEC")
        return target[0]

    def _reference(self, draft: _Draft, slot: int, code: _Code, here: int, insn: Insn) -> list[_Function]:
        """Resolve a wide load of a map, of an address inside a data section, or of a subprogram's address."""
        if here not in code.relocations:
            raise ObjectError(f"{code.name}, instruction {here}: a reference to a map without a relocation")
        kind, symbol = code.relocations[here]
        _refuse_extern(symbol, draft.lines[slot])
        if kind != e.R_BPF_64_64:
            raise ObjectError(f"{code.name}, instruction {here}: relocation {kind} on a wide load")
        offset = symbol.value + insn.imm
        if symbol.section in self.code:
            target = self.functions.get((symbol.section, offset // 8))
            if target is None or self.code[symbol.section].name != SUBPROGRAMS:
                raise ObjectError(f"{code.name}, instruction {here}: the address of {symbol.name} is no subprogram's")
            draft.insns[slot] = insn._replace(src=op.LDDW_CODE, imm=0)
            draft.calls.append((slot, target[0]))
            return [target[0]]
        if symbol.section not in self.places:
            raise ObjectError(
                f"{code.name}, instruction {here}: {symbol.name or 'a symbol'} is neither map nor variable"
            )
        places = self.places[symbol.section]
        if places is not None:
            if offset not in places:
                raise ObjectError(f"{code.name}, instruction {here}: no map begins at offset {offset} of .maps")
            draft.relocations.append(Relocation(slot, places[offset]))
            draft.insns[slot] = insn._replace(src=op.LDDW_MAP_FD, imm=0)
            draft.insns[slot + 1] = draft.insns[slot + 1]._replace(imm=0)
            return []
        name = self.elf.sections[symbol.section].name
        if not 0 <= offset < self.maps[name].value_size:
            raise ObjectError(f"{code.name}, instruction {here}: offset {offset} lies outside of {name}")
        draft.relocations.append(Relocation(slot, name, offset))
        draft.insns[slot] = insn._replace(src=op.LDDW_MAP_VALUE, imm=0)
        draft.insns[slot + 1] = draft.insns[slot + 1]._replace(imm=offset)
        return []

    def _refuse_relocation(self, code: _Code, here: int, line: SourceLine | None) -> None:
        kind, symbol = code.relocations[here]
        _refuse_extern(symbol, line)
        raise ObjectError(f"{code.name}, instruction {here}: relocation {kind} on an instruction that takes none")


def _by_slot(name: str, relocations: dict[int, tuple[int, e.Symbol]]) -> dict[int, tuple[int, e.Symbol]]:
    if any(offset % 8 for offset in relocations):
        raise ObjectError(f"section {name} has a relocation between two instructions")
    return {offset // 8: what for offset, what in relocations.items()}


def _refuse_extern(symbol: e.Symbol, line: SourceLine | None) -> None:
    if symbol.section == e.SHN_UNDEF:
        used = f" (used in line {line.line})" if line is not None else ""
        raise ObjectError(
            f"{symbol.name or 'a symbol'} is declared but defined nowhere{used}: "
            "give it a body or a value; kernel functions and variables (extern, __ksym) are not supported"
        )

"""What a compiled eBPF object is, as plain data: programs, maps, variables, lines.

`compiler.py` makes the bytes, `elf.py` and `btf.py` read them into these records; the engine and every backend take
them from here. Nothing in this file runs anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from netkit_edu.program.btf import Btf


class Insn(NamedTuple):
    """One 8-byte slot of eBPF code (RFC 9669, section 3). A wide load takes two slots, as in the kernel's numbering.

    ``imm`` and ``off`` are signed; ``opcode``, ``dst`` and ``src`` are unsigned.
    """

    opcode: int
    dst: int
    src: int
    off: int
    imm: int


class SourceLine(NamedTuple):
    """The C line an instruction comes from; ``line`` and ``column`` count from 1, ``text`` is the line itself."""

    file: str
    line: int
    column: int
    text: str


class Relocation(NamedTuple):
    """A wide load at slot ``insn`` that wants a map's handle (``offset`` None) or an address inside its only value."""

    insn: int
    map: str
    offset: int | None = None


@dataclass(frozen=True)
class MapSpec:
    """How a map is to be created (bpf(2), BPF_MAP_CREATE). Sizes in bytes, ``max_entries`` in entries.

    ``initial`` fills the only value of a .data/.rodata/.bss map; ``readonly`` marks .rodata.
    ``key_type`` and ``value_type`` are type ids in ``btf``, 0 where none is known.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type: int = 0
    value_type: int = 0
    initial: bytes | None = None
    readonly: bool = False
    btf: Btf | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Variable:
    """A global C variable: ``size`` bytes at ``offset`` in the value of ``map``; ``const`` if `bind` may fill it."""

    name: str
    map: str
    offset: int
    size: int
    type: int = 0
    const: bool = False


@dataclass(frozen=True)
class ProgramCode:
    """One program ready to load: its own code followed by the subprograms it calls, local calls resolved.

    ``lines`` has one entry for each slot, None where no C line is known; ``functions`` maps a start slot to a name.
    ``btf`` holds the types of its object, None where there are none.
    """

    name: str
    section: str
    insns: tuple[Insn, ...]
    relocations: tuple[Relocation, ...] = ()
    lines: tuple[SourceLine | None, ...] = ()
    functions: Mapping[int, str] = field(default_factory=dict)
    license: str = ""
    btf: Btf | None = field(default=None, compare=False, repr=False)

    @property
    def instructions(self) -> int:
        """How many instructions these are: a wide load takes two slots, the second with opcode 0, and counts once."""
        return sum(insn.opcode != 0 for insn in self.insns)


@dataclass(frozen=True)
class Object:
    """A whole compiled object. ``elf`` keeps the bytes it was read from, ``source`` the C text if compiled here."""

    programs: Mapping[str, ProgramCode]
    maps: Mapping[str, MapSpec]
    variables: Mapping[str, Variable] = field(default_factory=dict)
    license: str = ""
    btf: Btf | None = None
    elf: bytes = b""
    source: str = ""

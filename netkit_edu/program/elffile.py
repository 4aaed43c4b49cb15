"""The container: sections, symbols and relocations of a 64-bit little-endian relocatable ELF file (ELF-64 format 1.5).

Only what an eBPF object has. No section may overlap another, so that a broken file cannot make us read its bytes again
and again. Everything that is wrong is an `ObjectError`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from netkit_edu.errors import ObjectError
from netkit_edu.program.btf import string_at

EM_BPF = 247
ET_REL = 1

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 1, 2, 3, 4, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 0x1, 0x2, 0x4, 0x800

STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3
SHN_UNDEF = 0

R_BPF_64_64, R_BPF_64_32 = 1, 10

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")


@dataclass(frozen=True)
class Section:
    """One section; ``data`` is empty for .bss (SHT_NOBITS), ``size`` its bytes in any case."""

    index: int
    name: str
    type: int
    flags: int
    size: int
    link: int
    info: int
    data: bytes

    @property
    def is_code(self) -> bool:
        """Whether it holds instructions."""
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR)


class Symbol(NamedTuple):
    """One symbol: ``value`` is its offset in section ``section``, in bytes."""

    name: str
    kind: int
    binding: int
    section: int
    value: int
    size: int


class ElfFile:
    """The sections and symbols of one object file."""

    def __init__(self, data: bytes):
        if data[:4] != b"\x7fELF":
            raise ObjectError("this is no ELF file: it does not begin with \\x7fELF")
        if len(data) < _HEADER.size:
            raise ObjectError("the ELF file ends within its header")
        ident, kind, machine, _, _, _, offset, _, _, _, _, entry_size, count, names = _HEADER.unpack_from(data)
        if ident[4:6] != b"\x02\x01":
            raise ObjectError("the ELF file is not 64-bit little-endian: compile with --target=bpf or bpfel")
        if machine != EM_BPF or kind != ET_REL:
            raise ObjectError(
                f"the ELF file is no eBPF object (machine {machine}, type {kind}): --target=bpf -c makes one"
            )
        if entry_size != _SECTION.size or offset + count * entry_size > len(data):
            raise ObjectError("the ELF file's table of sections lies outside of it")
        headers = [_SECTION.unpack_from(data, offset + n * entry_size) for n in range(count)]
        self.sections = _sections(data, headers, names)
        self.symbols = self._symbols()

    def named(self, name: str) -> Section | None:
        """Return the first section called ``name``."""
        return next((section for section in self.sections if section.name == name), None)

    def relocations(self, target: Section) -> dict[int, tuple[int, Symbol]]:
        """Return the relocations of a section: offset in bytes -> (type, symbol)."""
        found: dict[int, tuple[int, Symbol]] = {}
        for section in self.sections:
            if section.info != target.index or section.type not in (SHT_REL, SHT_RELA):
                continue
            if section.type == SHT_RELA:
                raise ObjectError(f"section {section.name} has relocations with addends (RELA), which eBPF has not")
            for offset, info in _REL.iter_unpack(_whole(section, _REL.size)):
                found[offset] = info & 0xFFFFFFFF, self._symbol(info >> 32, section.name)
        return found

    def _symbol(self, index: int, where: str) -> Symbol:
        if index >= len(self.symbols):
            raise ObjectError(f"section {where} refers to symbol {index}, and there are {len(self.symbols)}")
        return self.symbols[index]

    def _symbols(self) -> list[Symbol]:
        table = next((section for section in self.sections if section.type == SHT_SYMTAB), None)
        if table is None:
            raise ObjectError("the ELF file has no symbols: was it stripped?")
        if table.link >= len(self.sections):
            raise ObjectError("the ELF file's symbols have no names")
        names = self.sections[table.link].data
        return [
            Symbol(string_at(names, name), info & 15, info >> 4, section, value, size)
            for name, info, _, section, value, size in _SYMBOL.iter_unpack(_whole(table, _SYMBOL.size))
        ]


def _sections(data: bytes, headers: list[tuple], names: int) -> list[Section]:
    if names >= len(headers):
        raise ObjectError("the ELF file's sections have no names")
    if sum(header[5] for header in headers if header[1] not in (0, SHT_NOBITS)) > len(data):
        raise ObjectError("the ELF file's sections are larger than the file: it is cut off or broken")
    contents = []
    for _, kind, _, _, offset, size, *_ in headers:
        stored = kind not in (0, SHT_NOBITS)
        if stored and offset + size > len(data):
            raise ObjectError("a section of the ELF file lies outside of it: it is cut off or broken")
        contents.append(data[offset : offset + size] if stored else b"")
    return [
        Section(n, string_at(contents[names], name), kind, flags, size, link, info, contents[n])
        for n, (name, kind, flags, _, _, size, link, info, _, _) in enumerate(headers)
    ]


def _whole(section: Section, entry: int) -> bytes:
    if len(section.data) % entry:
        raise ObjectError(f"section {section.name} does not hold whole entries of {entry} bytes")
    return section.data

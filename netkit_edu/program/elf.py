"""Object file -> `Object`: programs with the subprograms they call, maps, variables, a C line for each instruction.

Follows libbpf (src/libbpf.c 1.5) in what an object may contain: functions in .text are subprograms, those in other code
sections are programs; ``.maps`` holds BTF-defined maps; .data*, .rodata* and .bss* become array maps of one entry,
called like their section. Whatever is broken, or uses what is not supported here, raises `ObjectError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from netkit_edu.errors import ObjectError
from netkit_edu.program import btf as b
from netkit_edu.program import elffile as e
from netkit_edu.program.btf import Btf
from netkit_edu.program.lineinfo import read_lines
from netkit_edu.program.linker import Linker
from netkit_edu.program.object import MapSpec, Object, Variable

MAX_OBJECT = 4 << 20  # bytes
MAX_DATA = 4 << 20  # bytes of one data section
BPF_MAP_TYPE_ARRAY = 2
BPF_F_RDONLY_PROG = 1 << 7
_MAP_NUMBERS = ("type", "key_size", "value_size", "max_entries", "map_flags")


def read_object(data: bytes, source: str = "", *, name: str = "cell") -> Object:
    """Read a compiled eBPF object.

    Args:
        data: the ELF file, at most 4 MB, as ``clang --target=bpf -g -c`` makes it.
        source: the C text it was compiled from, if known; lines are quoted from it.
        name: what line information calls that text.

    Raises:
        ObjectError: one sentence on what is broken, or not supported.
    """
    if len(data) > MAX_OBJECT:
        raise ObjectError(f"the object has {len(data)} bytes, the limit is {MAX_OBJECT >> 20} MB")
    elf = e.ElfFile(bytes(data))
    if elf.named("maps") is not None:
        raise ObjectError('SEC("maps") with struct bpf_map_def is not supported: define maps in SEC(".maps")')
    btf = Btf.parse(section.data) if (section := elf.named(".BTF")) else None
    lines = {}
    if btf is not None and (section := elf.named(".BTF.ext")):
        lines, core = read_lines(section.data, btf, source, name)
        if core:
            raise ObjectError(
                "the object asks for CO-RE relocations (preserve_access_index): fields of the running kernel's "
                "structures cannot be reached here"
            )
    license_section = elf.named("license")
    license = license_section.data.split(b"\0")[0].decode("utf-8", "replace")[:128] if license_section else ""
    maps, places = _maps(elf, btf)
    variables = {}
    for section in _data_sections(elf):
        spec, found = _data_map(elf, section, btf)
        if spec.name in maps:
            raise ObjectError(f"two maps are called {spec.name}")
        maps[spec.name], places[section.index] = spec, None
        variables |= found
    programs = Linker(elf, maps, places, lines, license).programs()
    if btf is not None:
        _place_all(elf, btf)
        programs = {name: replace(code, btf=btf) for name, code in programs.items()}
        maps = {name: replace(spec, btf=btf) for name, spec in maps.items()}
    return Object(programs, maps, variables, license, btf, bytes(data), source)


def _place_all(elf: e.ElfFile, btf: Btf) -> None:
    """Fill in where the variables of each data section lie: the kernel takes no BTF that leaves it open."""
    places: dict[int, dict[str, tuple[int, int]]] = {}
    for symbol in elf.symbols:
        if symbol.kind == e.STT_OBJECT:
            places.setdefault(symbol.section, {})[symbol.name] = (symbol.value, symbol.size)
    for section in elf.sections:
        if section.size and section.index in places:
            btf.place(section.name, section.size, places[section.index])


def _maps(elf: e.ElfFile, btf: Btf | None) -> tuple[dict[str, MapSpec], dict[int, dict[int, str] | None]]:
    """Return the maps of section .maps, and where each lies: section -> offset -> name."""
    section = elf.named(".maps")
    if section is None:
        return {}, {}
    if btf is None:
        raise ObjectError("maps in .maps are described by BTF, and this object has none: compile with -g")
    found = btf.find(".maps", b.DATASEC)
    described = {btf[var.type].name: btf[var.type].type for var in btf[found].placed} if found else {}
    maps: dict[str, MapSpec] = {}
    places: dict[int, str] = {}
    for symbol in elf.symbols:
        if symbol.section != section.index or symbol.kind != e.STT_OBJECT:
            continue
        if symbol.name not in described:
            raise ObjectError(f"map {symbol.name} has no type information")
        maps[symbol.name] = _map_spec(btf, symbol.name, described[symbol.name])
        places[symbol.value] = symbol.name
    return maps, {section.index: places}


def _map_spec(btf: Btf, name: str, type_id: int) -> MapSpec:
    """Read one map definition: its parameters are the types of its members (libbpf, parse_btf_map_def)."""
    definition = btf[btf.resolve(type_id)]
    if definition.kind != b.STRUCT:
        raise ObjectError(f"map {name} is not defined by a struct")
    numbers = dict.fromkeys(_MAP_NUMBERS, 0)
    types = {"key": 0, "value": 0}
    for member in definition.members:
        pointer = btf[btf.resolve(member.type)]
        if member.name in numbers:
            numbers[member.name] = _parameter(btf, pointer, f"{name}.{member.name}")
        elif member.name in types:
            if pointer.kind != b.PTR:
                raise ObjectError(f"map {name}: {member.name} is declared with __type({member.name}, ...)")
            types[member.name] = pointer.type
            size = btf.size(pointer.type)
            if numbers[f"{member.name}_size"] not in (0, size):
                raise ObjectError(f"map {name}: {member.name}_size is not the size of its {member.name} type")
            numbers[f"{member.name}_size"] = size
    if max(numbers["key_size"], numbers["value_size"]) > MAX_DATA:
        raise ObjectError(f"map {name}: a key or value of more than {MAX_DATA >> 20} MB")
    return MapSpec(
        name,
        numbers["type"],
        numbers["key_size"],
        numbers["value_size"],
        numbers["max_entries"],
        numbers["map_flags"],
        types["key"],
        types["value"],
    )


def _parameter(btf: Btf, pointer: b.Type, where: str) -> int:
    """Return the number that ``__uint(name, number)`` hides in the length of an array type."""
    array = btf[btf.resolve(pointer.type)] if pointer.kind == b.PTR else pointer
    if pointer.kind != b.PTR or array.kind != b.ARRAY:
        raise ObjectError(f"map {where} is declared with __uint({where.rpartition('.')[2]}, ...)")
    return array.count


def _data_sections(elf: e.ElfFile) -> Iterator[e.Section]:
    for section in elf.sections:
        stem = "." + section.name.split(".")[1] if section.name.startswith(".") else ""
        if stem in (".data", ".rodata", ".bss") and section.flags & e.SHF_ALLOC and section.size:
            if section.type not in (e.SHT_PROGBITS, e.SHT_NOBITS):
                raise ObjectError(f"section {section.name} has the wrong type for variables")
            yield section


def _data_map(elf: e.ElfFile, section: e.Section, btf: Btf | None) -> tuple[MapSpec, dict[str, Variable]]:
    """Return the map of a data section and the variables in it."""
    if section.size > MAX_DATA:
        raise ObjectError(f"section {section.name} has {section.size} bytes, the limit is {MAX_DATA >> 20} MB")
    if elf.relocations(section):
        raise ObjectError(
            f"section {section.name} holds addresses of other variables or functions, which is not supported"
        )
    readonly = section.name.startswith(".rodata")
    variables = {}
    for symbol in elf.symbols:
        if symbol.section != section.index or symbol.kind != e.STT_OBJECT or not symbol.name:
            continue
        if symbol.value + symbol.size > section.size:
            raise ObjectError(f"variable {symbol.name} lies outside of section {section.name}")
        found = btf.find(symbol.name, b.VAR) if btf is not None else 0
        type_id = btf[found].type if found else 0
        settable = readonly and (not type_id or {b.VOLATILE, b.CONST} <= btf.qualifiers(type_id))
        variables[symbol.name] = Variable(symbol.name, section.name, symbol.value, symbol.size, type_id, settable)
    value_type = btf.find(section.name, b.DATASEC) if btf is not None else 0
    spec = MapSpec(
        section.name, BPF_MAP_TYPE_ARRAY, 4, section.size, 1, BPF_F_RDONLY_PROG if readonly else 0, 0, value_type,
        initial=section.data if section.type == e.SHT_PROGBITS else bytes(section.size), readonly=readonly,
    )  # fmt: skip
    return spec, variables

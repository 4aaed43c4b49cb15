"""BTF: the types of an object (kernel Documentation/bpf/btf.rst, Linux 6.12), and values of those types as bytes.

    btf = Btf.parse(section)
    btf.decode(type_id, b"...")  -> int, bool, float, bytes (char arrays), list (arrays), dict (structs and unions)
    btf.encode(type_id, value)   -> bytes

Type 0 is void. Names are looked up with `find`; `spell` prints a type the way C writes it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from netkit_edu.errors import ObjectError

MAX_BTF = 1 << 20  # bytes; a cell's has a few thousand
MAX_NAME = 1024  # bytes of a name in the string table
MAX_DEPTH = 32  # types behind a type, as MAX_RESOLVE_DEPTH in kernel/bpf/btf.c

(INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT,
 DECL_TAG, TYPE_TAG, ENUM64) = range(1, 20)  # fmt: skip

_QUALIFIERS = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")


class Member(NamedTuple):
    """A member of a struct or union: ``offset`` in bits from its start, ``bits`` its width if it is a bit-field."""

    name: str
    type: int
    offset: int
    bits: int


class Placed(NamedTuple):
    """A variable in a data section: its VAR type, offset and size in bytes (0 in clang's output until placed)."""

    type: int
    offset: int
    size: int


@dataclass
class Type:
    """One BTF type. ``size`` is in bytes, ``type`` the id of the type behind; which of them counts, ``kind`` says."""

    kind: int
    name: str = ""
    size: int = 0
    type: int = 0
    members: tuple[Member, ...] = ()
    values: dict[str, int] = field(default_factory=dict)
    params: tuple[tuple[str, int], ...] = ()
    placed: tuple[Placed, ...] = ()
    count: int = 0
    bits: int = 0
    signed: bool = False
    is_bool: bool = False


class Btf:
    """All types of one object, in the order of their ids."""

    def __init__(self, types: list[Type], strings: bytes, raw: bytes):
        self.types = types
        self.raw = raw
        self._strings = strings
        self._ids: dict[tuple[int, str], int] = {}
        for number, one in enumerate(types):
            self._ids.setdefault((one.kind, one.name), number)

    @classmethod
    def parse(cls, raw: bytes) -> Btf:
        """Read a ``.BTF`` section. Raises `ObjectError` if it is broken or beyond 1 MB."""
        if len(raw) > MAX_BTF:
            raise ObjectError(f"BTF: {len(raw)} bytes of type information, the limit is {MAX_BTF >> 20} MB")
        try:
            magic, version, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(raw)
        except struct.error:
            raise ObjectError("BTF: the type information is shorter than its header") from None
        if magic != 0xEB9F or version != 1:
            raise ObjectError("BTF: this is no type information of version 1")
        types = _part(raw, header + type_off, type_len)
        strings = _part(raw, header + str_off, str_len)
        return cls(_Reader(types, strings).read(), strings, raw)

    def __getitem__(self, type_id: int) -> Type:
        if not 0 <= type_id < len(self.types):
            raise ObjectError(f"BTF: there is no type {type_id}")
        return self.types[type_id]

    def string(self, offset: int, limit: int = MAX_NAME) -> str:
        """Return the text at ``offset`` of the string table, cut after ``limit`` bytes."""
        return string_at(self._strings, offset, limit)

    def find(self, name: str, *kinds: int) -> int:
        """Return the id of the first type called ``name`` of one of ``kinds``, 0 if there is none."""
        return next((self._ids[kind, name] for kind in kinds if (kind, name) in self._ids), 0)

    def resolve(self, type_id: int) -> int:
        """Return the id behind typedefs and qualifiers."""
        for _ in range(MAX_DEPTH):
            one = self[type_id]
            if one.kind not in _QUALIFIERS:
                return type_id
            type_id = one.type
        raise ObjectError("BTF: a type refers to itself")

    def qualifiers(self, type_id: int) -> set[int]:
        """Return the kinds passed on the way to the plain type, through arrays too (``volatile const int a[2]``)."""
        passed: set[int] = set()
        for _ in range(MAX_DEPTH):
            one = self[type_id]
            if one.kind not in _QUALIFIERS and one.kind != ARRAY:
                return passed
            passed.add(one.kind)
            type_id = one.type
        raise ObjectError("BTF: a type refers to itself")

    def size(self, type_id: int) -> int:
        """Return the bytes a value of the type takes; `ObjectError` for a type without a size."""
        factor = 1
        for _ in range(MAX_DEPTH):
            one = self[self.resolve(type_id)]
            if one.kind == ARRAY:
                factor, type_id = factor * one.count, one.type
            elif one.kind == VAR:
                type_id = one.type
            elif one.kind == PTR:
                return 8 * factor
            elif one.kind in (INT, STRUCT, UNION, ENUM, ENUM64, FLOAT, DATASEC):
                return one.size * factor
            else:
                raise ObjectError(f"BTF: a value of type {self.spell(type_id)} has no size")
        raise ObjectError("BTF: a type refers to itself")

    def spell(self, type_id: int, depth: int = 0) -> str:
        """Return the type as C writes it, for example ``struct key``, ``__u32``, ``char[16]``, ``struct iphdr *``."""
        one = self[type_id]
        if depth > MAX_DEPTH:
            return "..."
        if one.kind == 0:
            return "void"
        if one.kind == PTR:
            target = self.spell(one.type, depth + 1)
            return f"{target}*" if target.endswith("*") else f"{target} *"
        if one.kind == ARRAY:
            return f"{self.spell(one.type, depth + 1)}[{one.count}]"
        if one.kind in (VOLATILE, CONST, RESTRICT):
            word = {VOLATILE: "volatile", CONST: "const", RESTRICT: "restrict"}[one.kind]
            return f"{word} {self.spell(one.type, depth + 1)}"
        if one.kind in (VAR, TYPE_TAG):
            return self.spell(one.type, depth + 1)
        if one.kind == FUNC_PROTO:
            return f"{self.spell(one.type, depth + 1)} (function)"
        word = {STRUCT: "struct ", UNION: "union ", ENUM: "enum ", ENUM64: "enum ", FWD: "struct "}.get(one.kind, "")
        return word + (one.name or "{...}")

    def decode(self, type_id: int, data: bytes):
        """Return the bytes of a value of this type as a Python value; see the head of this file.

        Raises `ObjectError` if the number of bytes is not the type's size, or the type has no value.
        """
        from netkit_edu.program.values import decode

        return decode(self, type_id, data)

    def encode(self, type_id: int, value) -> bytes:
        """Return a Python value as the bytes of this type: missing members are zero, enum values may be names.

        Raises `UsageError` if the value does not fit the type, `ObjectError` if the type has no value.
        """
        from netkit_edu.program.values import encode

        return encode(self, type_id, value)

    def place(self, section: str, size: int, places: dict[str, tuple[int, int]]) -> int:
        """Fill in what clang leaves open in a data section: its size, and (offset, size) of variables by name.

        Returns the section's type id, 0 if BTF does not know it.
        """
        found = self.find(section, DATASEC)
        if found:
            one = self.types[found]
            one.size = size
            one.placed = tuple(
                Placed(var.type, *places.get(self[var.type].name, (var.offset, var.size))) for var in one.placed
            )
        return found


class _Reader:
    """Reads the type section once, front to back."""

    def __init__(self, data: bytes, strings: bytes):
        self.data, self.strings, self.at = data, strings, 0

    def read(self) -> list[Type]:
        types = [Type(0, "void")]
        try:
            while self.at < len(self.data):
                types.append(self._one())
        except struct.error:
            raise ObjectError(f"BTF: type {len(types)} is cut off") from None
        return types

    def _unpack(self, layout: struct.Struct) -> tuple:
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return values

    def _one(self) -> Type:
        name_off, info, size_or_type = self._unpack(_TYPE)
        kind, vlen, flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        name = string_at(self.strings, name_off)
        if kind in (STRUCT, UNION):
            return Type(kind, name, size=size_or_type, members=tuple(self._members(vlen, flag)))
        if kind == INT:
            (bits,) = self._unpack(_WORD)
            return Type(kind, name, size=size_or_type, bits=bits & 0xFF, signed=bool(bits >> 24 & 1),
                        is_bool=bool(bits >> 26 & 1))  # fmt: skip
        if kind == ARRAY:
            element, _, count = self._unpack(_TYPE)
            return Type(kind, type=element, count=count)
        if kind in (ENUM, ENUM64):
            values = dict(self._values(kind, vlen, flag))
            signed = flag or min(values.values(), default=0) < 0
            return Type(kind, name, size=size_or_type, values=values, signed=signed)
        if kind == FUNC_PROTO:
            pairs = [self._unpack(_PAIR) for _ in range(vlen)]
            params = tuple((string_at(self.strings, off), one) for off, one in pairs)
            return Type(kind, type=size_or_type, params=params)
        if kind == DATASEC:
            return Type(kind, name, size=size_or_type, placed=tuple(Placed(*self._unpack(_TYPE)) for _ in range(vlen)))
        if kind == FLOAT:
            return Type(kind, name, size=size_or_type)
        if kind in (VAR, DECL_TAG):
            self._unpack(_WORD)
        elif kind not in (PTR, FWD, FUNC, *_QUALIFIERS):
            raise ObjectError(f"BTF: kind {kind} of a type is not known here")
        return Type(kind, name, type=size_or_type)

    def _members(self, count: int, has_bits: bool):
        for _ in range(count):
            off, one, place = self._unpack(_TYPE)
            bits = place >> 24 if has_bits else 0
            yield Member(string_at(self.strings, off), one, place & 0xFFFFFF if has_bits else place, bits)

    def _values(self, kind: int, count: int, signed: bool):
        for _ in range(count):
            if kind == ENUM:
                off, value = self._unpack(_PAIR)
                value -= value >> 31 << 32  # clang 14 does not say that an enum is signed
            else:
                off, low, high = self._unpack(_TYPE)
                value = high << 32 | low
                value -= (value >> 63 << 64) if signed else 0
            yield string_at(self.strings, off), value


_WORD = struct.Struct("<I")
_PAIR = struct.Struct("<II")


def string_at(table: bytes, offset: int, limit: int = MAX_NAME) -> str:
    """Return the text that begins at ``offset`` of a string table, at most ``limit`` bytes of it.

    Raises `ObjectError` if it begins outside the table.
    """
    if offset == 0:
        return ""
    if offset >= len(table):
        raise ObjectError(f"a name at offset {offset} lies outside the string table")
    end = table.find(b"\0", offset, offset + limit)
    return str(table[offset : end if end >= 0 else offset + limit], "utf-8", "replace")


def _part(raw: bytes, start: int, length: int) -> bytes:
    if start + length > len(raw):
        raise ObjectError("BTF: a part of the type information lies outside of it")
    return raw[start : start + length]

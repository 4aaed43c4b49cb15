"""The running kernel's own types (/sys/kernel/btf/vmlinux): where a field lies, which number a function has.

A kernel has some 150 000 types, of which a handful is asked for: they are found by name, and read only then.
(Documentation/bpf/btf.rst, Linux 6.12)
"""

from __future__ import annotations

import struct

from netkit_edu.errors import ObjectError
from netkit_edu.program.btf import ENUM, FUNC, STRUCT, UNION, VAR

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_EXTRA = {1: 4, 3: 12, 14: 4, 17: 4}  # bytes behind the head of INT, ARRAY, VAR, DECL_TAG
_EACH = {STRUCT: 12, UNION: 12, ENUM: 8, 13: 8, 15: 12, 19: 12}  # bytes of each member


class KernelBtf:
    """Types by name.

    Args:
        raw: the whole file.

    Raises:
        ObjectError: it is no BTF.
    """

    def __init__(self, raw: bytes):
        magic, _, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(raw)
        if magic != 0xEB9F:
            raise ObjectError("this is no type information")
        self._types = raw[header + type_off : header + type_off + type_len]
        self._strings = raw[header + str_off : header + str_off + str_len]
        self._at = [0]
        self._by_name: dict[tuple[int, int], int] = {}
        self._index()

    def _index(self) -> None:
        types, unpack, at, places, names = self._types, _TYPE.unpack_from, 0, self._at, self._by_name
        extra, each = _EXTRA.get, _EACH.get
        wanted = {STRUCT, ENUM, FUNC, VAR}
        while at < len(types):
            name, info, _ = unpack(types, at)
            kind = info >> 24 & 0x1F
            if name and kind in wanted:
                names.setdefault((kind, name), len(places))
            places.append(at)
            at += 12 + extra(kind, 0) + (each(kind, 0) * (info & 0xFFFF))

    def _find(self, kind: int, name: str) -> int:
        start = 0
        raw = b"\0" + name.encode() + b"\0"
        while (at := self._strings.find(raw, start)) >= 0:
            if (kind, at + 1) in self._by_name:
                return self._by_name[kind, at + 1]
            start = at + 1
        return 0

    def _text(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def function(self, name: str) -> int:
        """Return a function's type id, 0 if the kernel tells of none."""
        return self._find(FUNC, name)

    def variable(self, name: str) -> int:
        """Return a variable's type id, 0 if the kernel tells of none."""
        return self._find(VAR, name)

    def enum(self, name: str) -> dict[int, str]:
        """Return the names of an enum's values; {} if there is no such enum."""
        number = self._find(ENUM, name)
        if not number:
            return {}
        at = self._at[number]
        _, info, _ = _TYPE.unpack_from(self._types, at)
        pairs = struct.iter_unpack("<Ii", self._types[at + 12 : at + 12 + 8 * (info & 0xFFFF)])
        return {value: self._text(name) for name, value in pairs}

    def offset(self, struct_name: str, path: str) -> int:
        """Return the bytes from a struct's start to a field, such as "nd_net.net"; unnamed unions are looked through.

        Raises:
            ObjectError: this kernel's struct has no such field.
        """
        number = self._find(STRUCT, struct_name)
        total = 0
        for field in path.split("."):
            found = self._member(number, field) if number else None
            if found is None:
                raise ObjectError(f"this kernel's struct {struct_name} has no field {path}")
            number, bits = found
            total += bits // 8
        return total

    def _member(self, number: int, field: str) -> tuple[int, int] | None:
        """Return the type behind a member's qualifiers, and its place in bits."""
        at = self._at[number]
        _, info, behind = _TYPE.unpack_from(self._types, at)
        kind = info >> 24 & 0x1F
        if kind in (8, 9, 10, 11, 18):
            return self._member(behind, field)
        if kind not in (STRUCT, UNION):
            return None
        flag = info >> 31
        for n in range(info & 0xFFFF):
            name, one, place = _TYPE.unpack_from(self._types, at + 12 + 12 * n)
            bits = place & 0xFFFFFF if flag else place
            if name:
                if self._text(name) == field:
                    return one, bits
            elif (inner := self._member(one, field)) is not None:
                return inner[0], inner[1] + bits
        return None

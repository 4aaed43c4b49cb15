"""The running kernel's own types (/sys/kernel/btf/vmlinux): where a field lies, which number a function has.

A kernel has some 150 000 types, of which a handful is asked for: where each lies is counted once, and nothing is read
but what is asked for. A name is looked for among the texts, and its place there among the types.
(Documentation/bpf/btf.rst, Linux 6.12)
"""

from __future__ import annotations

import bisect
import struct
import sys
from array import array

from netkit_edu.errors import ObjectError
from netkit_edu.program.btf import ENUM, FUNC, STRUCT, UNION, VAR

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_HEAD, _WORD = 3, 4  # words of a type's head; bytes
_EXTRA = {1: 1, 3: 3, 14: 1, 17: 1}  # words behind the head of INT, ARRAY, VAR, DECL_TAG
_EACH = {STRUCT: 3, UNION: 3, ENUM: 2, 13: 2, 15: 3, 19: 3}  # words of each member


class _Lengths(dict):
    """How many words a type takes, by the second word of its head: kind and number of members."""

    def __missing__(self, info: int) -> int:
        kind = info >> 24 & 0x1F
        self[info] = _HEAD + _EXTRA.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)
        return self[info]


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
        self._at = self._places()

    def _places(self) -> array:
        """Return at which byte each type lies, by its number; void, which is number 0, lies nowhere."""
        words = array("I", self._types[: len(self._types) & -_WORD])
        if sys.byteorder == "big":
            words.byteswap()
        places, lengths, at, end = array("I", [0]), _Lengths(), 0, len(words)
        add = places.append
        while at < end - 1:
            add(at * _WORD)
            at += lengths[words[at + 1]]
        return places

    def _find(self, kind: int, name: str) -> int:
        start = 0
        raw = b"\0" + name.encode() + b"\0"
        while (at := self._strings.find(raw, start)) >= 0:
            if number := self._named(kind, at + 1):
                return number
            start = at + 1
        return 0

    def _named(self, kind: int, name: int) -> int:
        """Return the first type of a kind whose head begins with this name, 0 for none."""
        wanted, at = name.to_bytes(_WORD, "little"), -1
        while (at := self._types.find(wanted, at + 1)) >= 0:
            number = bisect.bisect_left(self._at, at, 1)
            if number < len(self._at) and self._at[number] == at:
                if self._types[at + 7] & 0x1F == kind:
                    return number
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

"""What the kernel is told of a program's types: BTF as BPF_BTF_LOAD takes it, its functions and its C lines.

clang leaves open where variables lie in data sections, which libbpf fills in before it loads (btf_fixup_datasec,
src/libbpf.c 1.5), and so is it done here. With functions and lines the verifier's log quotes the C text, and fexit
programs can be attached. A program without types of its own gets the least that will do.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from netkit_edu.program import btf as b
from netkit_edu.program.btf import Btf
from netkit_edu.program.object import ProgramCode

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_EACH = {b.STRUCT: 12, b.UNION: 12, b.ENUM: 8, b.FUNC_PROTO: 8, b.DATASEC: 12, b.ENUM64: 12}  # bytes of a member
_MORE = {b.INT: 4, b.ARRAY: 12, b.VAR: 4, b.DECL_TAG: 4}  # bytes behind a type's head
FUNCTION_LEN, LINE_LEN = 8, 16  # bytes of struct bpf_func_info and bpf_line_info
MAX_COLUMN = (1 << 10) - 1


class Types(NamedTuple):
    """BTF as the kernel takes it; arrays of struct bpf_func_info and bpf_line_info; the main function's type id."""

    btf: bytes
    functions: bytes
    lines: bytes
    main: int


def types_of(code: ProgramCode, *, own: bool = True) -> Types:
    """Return what the kernel is told of a program.

    Args:
        own: use the types of its object; else only say that its functions return an int, which every kernel takes.
    """
    names = code.functions or {0: code.name}
    types, strings, ids = b"", b"\0", {}
    if own and code.btf is not None:
        ids = {name: code.btf.find(name, b.FUNC) for name in names.values()}
        types, strings = _sections(code.btf)
    texts = _Texts(strings)
    if not ids or not all(ids.values()):
        texts = _Texts(b"\0")
        types, ids = _least(texts, list(names.values()))
    functions = b"".join(struct.pack("<II", slot, ids[name]) for slot, name in sorted(names.items()))
    lines = _lines(code, texts, set(names))
    return Types(_whole(types, texts.table), functions, lines, ids[names[min(names)]])


def kernel_btf(btf: Btf) -> bytes:
    """Return an object's BTF as the kernel takes it."""
    return _whole(*_sections(btf))


def _whole(types: bytes, strings: bytes) -> bytes:
    return _HEADER.pack(0xEB9F, 1, 0, _HEADER.size, 0, len(types), len(types), len(strings)) + types + strings


def _sections(btf: Btf) -> tuple[bytes, bytes]:
    """Return types and strings, with sizes and places of variables filled in, in the order in which they lie."""
    _, _, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(btf.raw)
    types = bytearray(btf.raw[header + type_off : header + type_off + type_len])
    at, number = 0, 0
    while at < len(types):
        number += 1
        _, info, _ = _TYPE.unpack_from(types, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        if kind == b.DATASEC:
            one = btf[number]
            struct.pack_into("<I", types, at + 8, one.size)
            for n, var in enumerate(sorted(one.placed, key=lambda var: var.offset)):
                _TYPE.pack_into(types, at + _TYPE.size + n * _TYPE.size, *var)
        at += _TYPE.size + _MORE.get(kind, 0) + _EACH.get(kind, 0) * count
    return bytes(types), btf.raw[header + str_off : header + str_off + str_len]


class _Texts:
    """A string table that grows."""

    def __init__(self, table: bytes):
        self._table = table
        self._new = bytearray()
        self._known: dict[str, int] = {"": 0}

    @property
    def table(self) -> bytes:
        return self._table + bytes(self._new)

    def offset(self, text: str) -> int:
        """Return where a text stands, putting it behind the others if it is new."""
        if text not in self._known:
            raw = text.replace("\0", " ").encode()
            found = self._table.find(b"\0" + raw + b"\0")
            if found < 0:
                found = len(self._table) + len(self._new) - 1
                self._new += raw + b"\0"
            self._known[text] = found + 1
        return self._known[text]


def _least(texts: _Texts, names: list[str]) -> tuple[bytes, dict[str, int]]:
    """Return types that say: these are functions of the program's own that take the packet and return an int."""
    int_, ctx, arg = texts.offset("int"), texts.offset("__sk_buff"), texts.offset("skb")
    types = _TYPE.pack(int_, b.INT << 24, 4) + struct.pack("<I", 1 << 24 | 32)  # 1
    types += _TYPE.pack(ctx, b.STRUCT << 24, 4) + _TYPE.pack(0, b.PTR << 24, 2)  # 2, 3
    types += _TYPE.pack(0, b.FUNC_PROTO << 24 | 1, 1) + struct.pack("<II", arg, 3)  # 4
    for name in names:
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
        plain = plain if plain[:1].isalpha() or plain[:1] == "_" else f"_{plain}"
        types += _TYPE.pack(texts.offset(plain[:127] or "_"), b.FUNC << 24, 4)  # static: verified where it is called
    return types, {name: 5 + n for n, name in enumerate(names)}


def _lines(code: ProgramCode, texts: _Texts, starts: set[int]) -> bytes:
    """Return where each C line begins; the kernel wants one for the first instruction of every function."""
    known = [line for line in code.lines if line is not None]
    if not known:
        return b""
    out, last = [], None
    for slot, line in enumerate(code.lines):
        line = line or last or known[0]
        if (slot in starts or line != last) and code.insns[slot].opcode:
            place = line.line << 10 | min(line.column, MAX_COLUMN)
            out.append(struct.pack("<4I", slot, texts.offset(line.file), texts.offset(line.text), place))
            last = line
    return b"".join(out)

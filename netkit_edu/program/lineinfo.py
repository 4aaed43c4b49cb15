"""BTF.ext: which C line each instruction comes from (kernel Documentation/bpf/btf.rst, Linux 6.12)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netkit_edu.errors import ObjectError
from netkit_edu.program.btf import Btf
from netkit_edu.program.object import SourceLine

MAX_LINE = 512  # bytes of a C line that are kept
CELL = "<stdin>"  # what the compiler calls the learner's text
ROOT = "/netkit-edu/"  # where the compiler saw our headers

_HEADER = struct.Struct("<HBBIIIII")
_INFO = struct.Struct("<II")


class LineInfo(NamedTuple):
    """What `.BTF.ext` says: section name -> offset in bytes -> C line; whether CO-RE relocations are asked for."""

    lines: dict[str, dict[int, SourceLine]]
    core_relocations: bool


def read_lines(raw: bytes, btf: Btf, source: str, name: str) -> LineInfo:
    """Read a ``.BTF.ext`` section.

    Args:
        raw: the section.
        btf: the object's types; its string table holds file names and lines.
        source: the learner's text, for lines that come from it.
        name: what to call that text.

    Raises:
        ObjectError: the section is broken.
    """
    try:
        magic, version, _, header, _, _, line_off, line_len = _HEADER.unpack_from(raw)
        core_len = struct.unpack_from("<I", raw, 28)[0] if header >= 32 else 0
    except struct.error:
        raise ObjectError("BTF.ext: the line information is shorter than its header") from None
    if magic != 0xEB9F or version != 1:
        raise ObjectError("BTF.ext: this is no line information of version 1")
    start = header + line_off
    if start + line_len > len(raw):
        raise ObjectError("BTF.ext: the line information lies outside of its section")
    texts = _Texts(btf, source, name)
    return LineInfo(dict(_sections(raw[start : start + line_len], btf, texts)) if line_len else {}, core_len > 4)


def _sections(data: bytes, btf: Btf, texts: _Texts):
    try:
        (size,) = struct.unpack_from("<I", data)
        if size < 16:
            raise ObjectError(f"BTF.ext: entries of {size} bytes are too short")
        at = 4
        while at < len(data):
            name_off, count = _INFO.unpack_from(data, at)
            at += _INFO.size
            if at + count * size > len(data):
                raise ObjectError("BTF.ext: the line information is cut off")
            entries = [struct.unpack_from("<IIII", data, at + n * size) for n in range(count)]
            at += count * size
            yield btf.string(name_off), _spread(entries, texts)
    except struct.error:
        raise ObjectError("BTF.ext: the line information is cut off") from None


def _spread(entries: list[tuple], texts: _Texts) -> dict[int, SourceLine]:
    """Entries with line 0 (clang 14 makes them) belong to the line before."""
    lines: dict[int, SourceLine] = {}
    last = None
    for offset, file_off, line_off, place in entries:
        if place >> 10:
            last = texts.line(file_off, line_off, place >> 10, place & 0x3FF)
        if last is not None:
            lines[offset] = last
    return lines


class _Texts:
    """Looks up C lines, each once."""

    def __init__(self, btf: Btf, source: str, name: str):
        self.btf, self.name = btf, name
        self.own = source.splitlines()
        self.files: dict[int, str] = {}
        self.known: dict[tuple, SourceLine] = {}

    def line(self, file_off: int, line_off: int, line: int, column: int) -> SourceLine:
        key = file_off, line_off, line, column
        if key not in self.known:
            if file_off not in self.files:
                self.files[file_off] = self._file(self.btf.string(file_off))
            file = self.files[file_off]
            own = file == self.name and line <= len(self.own)
            text = self.own[line - 1] if own else self.btf.string(line_off, MAX_LINE)
            self.known[key] = SourceLine(file, line, column, text[:MAX_LINE])
        return self.known[key]

    def _file(self, path: str) -> str:
        if path.endswith(CELL):
            return self.name
        plain = "/" + path.lstrip("/")
        return plain.removeprefix(ROOT).removeprefix("include/") if plain.startswith(ROOT) else path

"""The format language of bpf_trace_printk: what it takes, what it refuses, how long the text is.

Mirrors ``bpf_bprintf_prepare`` (kernel/bpf/helpers.c) and the number formats of lib/vsprintf.c, Linux 6.12.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from netkit_edu.engine.memory import Fault, Memory

MAX_TEXT = 1024  # bytes of MAX_TRACE_PRINTK_BUF, the terminating zero included
_MAX_STRING = 512  # bytes of one %s
_SPEC = re.compile(
    r"%(?P<flags>[0+\- ]*)(?P<width>[1-9][0-9]*)?(?P<kind>s|p[ku]s|p[iI][46]|p[KxsSB]?|c|l{0,2}[diuxX]|%)"
)
_PRINTABLE = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\n\v\f\r")


def bstr_printf(fmt: bytes, args: Sequence[int], memory: Memory) -> tuple[int, str] | None:
    """Format a text as bpf_trace_printk does.

    Args:
        fmt: the format with its terminating zero byte.
        args: the arguments, unsigned 64-bit numbers.
        memory: where %s, %pI4 and %pI6 read.

    Returns:
        The length the whole text has, and the text cut to what fits the kernel's buffer; None for a format it refuses:
        no zero byte, an unknown conversion, more conversions than arguments, a byte that is not printable ASCII.
    """
    end = fmt.find(b"\0")
    if end < 0 or not _PRINTABLE.issuperset(fmt[:end]):
        return None
    text, left = fmt[:end].decode("ascii"), list(args)
    length, pieces, at = 0, [], 0
    while (percent := text.find("%", at)) >= 0:
        spec = _SPEC.match(text, percent)
        if spec is None or (spec["kind"] == "%" and spec.end() != percent + 2):
            return None
        pieces.append(text[at:percent])
        at = spec.end()
        if spec["kind"] == "%":
            pieces.append("%")
            continue
        if not left or not _ends_well(spec["kind"], text[at : at + 1]):
            return None
        width = int(spec["width"] or 0)
        piece = _format(spec["kind"], spec["flags"], min(width, MAX_TEXT), left.pop(0), memory)
        length += max(0, width - len(piece))
        pieces.append(piece)
    pieces.append(text[at:])
    whole = "".join(pieces)
    return length + len(whole), whole[: MAX_TEXT - 1]


def _ends_well(kind: str, following: str) -> bool:
    """A plain pointer or a string ends at a space, a punctuation mark or the end of the format."""
    if kind not in ("p", "s", "pks", "pus"):
        return True
    return not following or not following.isalnum()


def _format(kind: str, flags: str, width: int, value: int, memory: Memory) -> str:
    if kind.startswith("p") and kind[1:2] in ("i", "I"):
        return _address(kind, value, memory)
    if kind in ("s", "pks", "pus"):
        text = _string(value, memory)
        return text.ljust(width) if "-" in flags else text.rjust(width)
    if kind == "c":
        return chr(value & 0xFF)
    if kind.startswith("p"):
        return f"{value:016x}"
    bits = 64 if "l" in kind else 32
    value &= (1 << bits) - 1
    if kind[-1] in "di" and value >> (bits - 1):
        value -= 1 << bits
    return _number(value, kind[-1], flags, width)


def _number(value: int, letter: str, flags: str, width: int) -> str:
    digits = f"{abs(value):{letter if letter in 'xX' else 'd'}}"
    sign = (
        "-" if value < 0 else "+" if "+" in flags and letter in "di" else " " if " " in flags and letter in "di" else ""
    )
    if "-" in flags:
        return (sign + digits).ljust(width)
    if "0" in flags:
        return sign + digits.rjust(width - len(sign), "0")
    return (sign + digits).rjust(width)


def _string(address: int, memory: Memory) -> str:
    """Return the zero-terminated string at an address; the kernel reads without faulting, and finds nothing instead."""
    try:
        return memory.string(address, _MAX_STRING).decode("latin-1")
    except Fault:
        return ""


def _address(kind: str, pointer: int, memory: Memory) -> str:
    size = 4 if kind[2] == "4" else 16
    try:
        raw = memory.read(pointer, size)
    except Fault:
        raw = bytes(size)
    if size == 4:
        return ".".join(f"{byte:03d}" if kind[1] == "i" else str(byte) for byte in raw)
    return raw.hex() if kind[1] == "i" else ":".join(raw[i : i + 2].hex() for i in range(0, 16, 2))

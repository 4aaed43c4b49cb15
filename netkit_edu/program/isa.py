"""The eBPF instruction set of RFC 9669, in one place: decode, encode, disassemble, assemble, validate.

    decode(bytes) -> instructions           encode(instructions) -> bytes
    disassemble(instructions) -> lines      assemble(text) -> instructions
    validate(instructions)                  raises ObjectError for what no kernel would take

Instructions are `program.object.Insn` records, one for each 8-byte slot; a 64-bit load fills two. The text is that of
the kernel's verifier log (kernel/bpf/disasm.c, Linux 6.12), and ``assemble`` reads it back to the same instructions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from netkit_edu.errors import ObjectError
from netkit_edu.program.assembler import assemble
from netkit_edu.program.disassembler import disassemble
from netkit_edu.program.object import Insn
from netkit_edu.program.validator import validate

__all__ = ["Insn", "assemble", "decode", "disassemble", "encode", "validate"]

_SLOT = struct.Struct("<BBhi")


def decode(code: bytes) -> tuple[Insn, ...]:
    """Return the instructions that little-endian eBPF ``code`` holds, one for each 8 bytes (RFC 9669, section 3).

    Raises `ObjectError` if the length is not a multiple of 8. Unknown opcodes are decoded too: `validate` refuses them.
    """
    if len(code) % 8:
        raise ObjectError(f"eBPF code comes in slots of 8 bytes, and {len(code)} bytes are not whole slots")
    return tuple(
        Insn(opcode, registers & 15, registers >> 4, off, imm)
        for opcode, registers, off, imm in _SLOT.iter_unpack(code)
    )


def encode(insns: Iterable[Insn]) -> bytes:
    """Return the bytes of ``insns``, little-endian. Raises `ObjectError` if a field does not fit its bits."""
    out = bytearray()
    for pc, (opcode, dst, src, off, imm) in enumerate(insns):
        if not (0 <= dst <= 15 and 0 <= src <= 15):
            raise ObjectError(f"instruction {pc}: a register field has 4 bits, and r{dst}, r{src} do not fit")
        try:
            out += _SLOT.pack(opcode, dst | src << 4, off, imm)
        except struct.error:
            raise ObjectError(
                f"instruction {pc}: opcode {opcode} (8 bits), off {off} (signed 16 bits) or imm {imm} "
                "(signed 32 bits) does not fit its field"
            ) from None
    return bytes(out)

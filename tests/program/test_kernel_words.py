"""The texts and refusals of this room beside those of the machine's own kernel."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import struct

import pytest

from netkit_edu.program import opcodes as op
from netkit_edu.program.check import GPL_HELPERS
from netkit_edu.program.isa import Insn, assemble, disassemble, encode
from netkit_edu.program.validator import _CHECKS, complaint
from tests.oracle.kernel import PROG_LOAD, SCHED_CLS, bpf

pytestmark = pytest.mark.kernel

SETUP = tuple(Insn(op.ALU64 | op.MOV, register, 0, 0, register) for register in range(10))
EXIT = Insn(op.JMP | op.EXIT, 0, 0, 0, 0)
ROUNDS = 64  # instructions tried of each opcode
NUMBERS = [0, 0, 0, 1, -1, 16, 32, 64, 0x40, 0x41, 0xA1, 0xE1, 0xF1, 4711]


def verifier_log(insns, license: str = "GPL") -> tuple[bool, str]:
    """Load a program; return whether the kernel took it, and what its verifier said."""
    code = ctypes.create_string_buffer(encode(insns))
    text, log = ctypes.create_string_buffer(license.encode()), ctypes.create_string_buffer(1 << 16)
    attr = struct.pack(
        "<IIQQIIQII16sII", SCHED_CLS, len(insns), ctypes.addressof(code), ctypes.addressof(text), 2, len(log),
        ctypes.addressof(log), 0, 0, b"words", 0, 0,
    )  # fmt: skip
    taken = False
    with contextlib.suppress(OSError):
        os.close(bpf(PROG_LOAD, attr))
        taken = True
    return taken, log.value.decode(errors="replace")


def instructions() -> list[Insn]:
    """Return instructions of every opcode but the wide load, with fields that are valid and fields that are not."""
    chance = random.Random(9669)
    plain, odd = [0, 0, 0, 1, 2, 9], [0, 2, 9, 10, 11]
    return [
        Insn(
            opcode,
            chance.choice((plain, odd)[number % 2]),
            chance.choice((plain, odd)[number % 2]),
            chance.choice([0, 0, 0, 1, 8, 16, 32, -8]),
            chance.choice(NUMBERS),
        )
        for opcode in range(256)
        if opcode != op.LDDW
        for number in range(ROUNDS)
    ]


def test_what_is_refused_here_the_kernel_refuses_and_mostly_in_the_same_words():
    same = other = 0
    for insn in instructions():
        why = complaint(insn)
        taken, log = verifier_log([*SETUP, insn, EXIT])
        assert not (why and taken), f"{insn}: {why}"
        if why:
            same += why in log
            other += why not in log
        else:
            assert not re.search(r"unknown opcode|uses reserved fields|R1[1-5] is invalid", log), f"{insn}: {log}"
    assert same > 3 * other


def test_every_valid_instruction_prints_as_the_kernel_prints_it():
    compared = set()
    for insn in instructions():
        if complaint(insn) or insn.opcode == op.JMP | op.CALL and insn.src == op.CALL_KFUNC:
            continue
        _, log = verifier_log([*SETUP, insn, EXIT])
        printed = re.search(r"^10: \(..\) (.*?)(?:\s+; .*|\s+\d+: R\d.*)?$", log, re.M)
        if printed:
            assert disassemble([insn]) == [printed[1]]
            compared.add(insn.opcode)
    jumps_elsewhere = {op.JMP | op.JA, op.JMP32 | op.JA}
    assert len(compared | jumps_elsewhere) > 0.9 * len(_CHECKS)


@pytest.mark.parametrize(
    "text", ["goto pc+0", "gotol pc+0", "if r1 > 0x5 goto pc+1\nr2 = 1", "call pc+1\nexit\nr0 = 0"]
)
def test_jumps_print_as_the_kernel_prints_them(text):
    insns = [*SETUP, *assemble(text), EXIT]
    taken, log = verifier_log(insns)
    printed = {int(n): said for n, said in re.findall(r"^(\d+): \(..\) (.*?)(?:\s+; .*)?$", log, re.M)}
    assert taken and printed.get(10) == disassemble(insns)[10]


def test_the_helpers_that_need_a_license_are_the_kernels():
    restricted = set()
    for number in op.HELPER_NAMES:
        _, log = verifier_log([Insn(op.JMP | op.CALL, 0, 0, 0, number), EXIT], license="")
        if "cannot call GPL-restricted function from non-GPL compatible program" in log:
            restricted.add(number)
    names = {op.HELPER_NAMES[number] for number in restricted ^ GPL_HELPERS}
    assert not names

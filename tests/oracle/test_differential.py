"""The interpreter against BPF_PROG_TEST_RUN: random programs, and the course's own C."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netkit_edu.engine import instructions
from netkit_edu.program import opcodes as op
from netkit_edu.program.compiler import compile_c, find_compiler
from netkit_edu.program.validator import _CHECKS as VALID_OPCODES
from tests.oracle.differential import TwoMachines, random_runs
from tests.oracle.generator import Generator

pytestmark = pytest.mark.kernel

RUNS = int(os.environ.get("NETKIT_EDU_RUNS", "1000"))
PROGRAMS = sorted((Path(__file__).resolve().parents[2] / "bpf").glob("*.bpf.c"))
FAULTY = {"no_bounds_check"}  # the kernel refuses what this one is there to show


def test_random_programs_leave_behind_what_they_leave_in_the_kernel():
    tally = random_runs(RUNS, seed=20)
    assert tally.runs >= RUNS
    assert tally.mismatches == []
    assert tally.refused == []


def test_the_generator_uses_every_opcode():
    used = {insn.opcode for seed in range(300) for insn in Generator(seed).program().insns}
    assert VALID_OPCODES.keys() - used == set()


def test_the_comparison_notices_a_machine_that_computes_wrongly(monkeypatch):
    wrong = dict(instructions.ARITHMETIC[op.ALU64]) | {(op.ARSH, 0): lambda dst, src: dst >> (src & 63)}
    monkeypatch.setitem(instructions.ARITHMETIC, op.ALU64, wrong)
    assert random_runs(200, seed=20).mismatches


def ipv4(protocol: int, payload: bytes, destination: bytes = b"\xc0\x00\x02\x02") -> bytes:
    length = (20 + len(payload)).to_bytes(2, "big")
    header = b"\x45\0" + length + bytes([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 1, 2]) + destination
    return bytes(12) + b"\x08\x00" + header + payload


PACKETS = (
    ipv4(17, bytes.fromhex("9c40003500140000") + b"what is dns?"),
    ipv4(17, bytes.fromhex("9c4000070014beef") + b"discard this"),
    ipv4(6, bytes.fromhex("9c4001bb000000010000000050020000dead0000")),
    ipv4(1, bytes.fromhex("0800f7ff00000000")),
    ipv4(17, bytes(1200), b"\x08\x08\x08\x08"),
    ipv4(17, b""),
    b"\xff" * 12 + b"\x08\x06" + bytes(28),
    bytes(12) + b"\x86\xdd" + bytes(60),
    bytes(12) + b"\x88\xb5",
)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name.removesuffix(".bpf.c"))
def test_the_courses_programs_behave_as_in_the_kernel(path):
    if find_compiler() is None:
        pytest.skip("no C compiler for BPF on this machine")
    compiled = compile_c(path.read_text(), name=path.name)
    for name, code in compiled.programs.items():
        if name in FAULTY:
            continue
        used = {relocation.map for relocation in code.relocations}
        with TwoMachines(code, [compiled.maps[name] for name in sorted(used)]) as machines:
            for packet in PACKETS * 2:
                assert machines.differences(packet, mark=7, priority=3) == []

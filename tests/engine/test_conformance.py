"""The reference interpreter against the public bpf_conformance vectors: r0 of every program is the expected one."""

from __future__ import annotations

import pytest

from netkit_edu.engine.interpreter import Executable, load
from netkit_edu.engine.machine import Machine
from netkit_edu.engine.memory import PACKET, Bytes, Memory, address_of
from netkit_edu.errors import ObjectError
from netkit_edu.program.object import ProgramCode
from tests.conformance_asm import load_vector, vector_paths
from tests.requires import require

# Not RFC 9669, so not run: a call through a register, and helper 5 as a way to end the program.
NOT_RFC_9669 = ("callx", "call_unwind_fail")


def run_on_memory(executable: Executable, memory: bytes) -> int:
    """Run a program whose r1 is the address of its input and r2 its length; return all 64 bits of r0."""
    m = Machine(Memory({PACKET: Bytes(PACKET, "memory", bytearray(memory))}), executable)
    if memory:
        m.registers[1], m.registers[2] = address_of(PACKET), len(memory)
    return executable.execute(m)


@pytest.mark.vectors
def test_vectors_are_there():
    require("vectors")
    assert len(vector_paths()) >= 100


@pytest.mark.parametrize("path", vector_paths(), ids=lambda path: path.stem)
def test_vector_returns_the_expected_r0(path):
    vector = load_vector(path)
    code = ProgramCode(path.stem, "tc", vector.insns)
    if path.stem == "callx":
        with pytest.raises(ObjectError, match="unknown opcode 8d"):
            load(code, {})
    elif path.stem not in NOT_RFC_9669:
        assert run_on_memory(load(code, {}), vector.mem) == vector.result

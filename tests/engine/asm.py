"""Small programs for tests, from assembler text in which ``map[fd:0]`` is the first of the maps named beside it."""

from __future__ import annotations

from netkit_edu.engine.interpreter import Executable, load
from netkit_edu.engine.maps import Map
from netkit_edu.program import opcodes as op
from netkit_edu.program.isa import assemble
from netkit_edu.program.object import ProgramCode, Relocation


def program(text: str, *maps: str) -> ProgramCode:
    """Assemble a program whose references to map descriptors 0, 1, … are relocations to ``maps``."""
    insns, relocations = list(assemble(text)), []
    for slot, insn in enumerate(insns):
        if insn.opcode == op.LDDW and insn.src in (op.LDDW_MAP_FD, op.LDDW_MAP_VALUE):
            offset = insns[slot + 1].imm if insn.src == op.LDDW_MAP_VALUE else None
            relocations.append(Relocation(slot, maps[insn.imm], offset))
            insns[slot] = insn._replace(src=0, imm=0)
            insns[slot + 1] = insns[slot + 1]._replace(imm=0)
    return ProgramCode("test", "tc", tuple(insns), tuple(relocations))


def executable(text: str, maps: dict[str, Map] | None = None, **options) -> Executable:
    """Assemble a program and make it ready to run; ``map[fd:0]`` is the first of ``maps``."""
    maps = maps or {}
    return load(program(text, *maps), maps, **options)

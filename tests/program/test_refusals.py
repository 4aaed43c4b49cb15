"""What the verifier of Linux 6.12 said of a dozen programs: each log is read as it was meant, and is still said."""

from __future__ import annotations

import re

import pytest

import netkit_edu as nk
from netkit_edu.program.object import ProgramCode
from netkit_edu.program.verification import read_log
from tests.program.refusals import SAID


@pytest.mark.parametrize("name", SAID)
def test_the_point_of_a_log_is_what_a_verdict_finds(name):
    said = SAID[name]
    instructions = re.findall(r"^(\d+): \([0-9a-f]{2}\) ", said.log, re.M)
    code = ProgramCode("prog", "netkit/peer", b"")
    found = read_log(code, "6.12", said.log, 13 if said.words else 0)
    assert found.ok == (not said.words)
    assert found.message.split("; ")[0] == said.words.split("; ")[0]
    assert not said.words or found.insn == int(instructions[-1])


def bare(words: str) -> str:
    """Words without registers and slots, which are another compiler's choice."""
    return re.sub(r"\d+", "", words)


@pytest.mark.vm
def test_a_kernel_still_says_so():
    with nk.Lab("vm") as lab:
        if not lab.kernel.startswith(("6.12.", "6.18.")):
            pytest.skip(f"the words are those of Linux 6.12, not of {lab.kernel}")
        for name, said in SAID.items():
            verdict = nk.compile('#include "netkit_edu.h"\n\n' + said.text)["prog"].verify(lab)
            assert verdict.ok == (not said.words), name
            if said.words:
                assert verdict.line.line == said.line, name
                assert bare(verdict.message).startswith(bare(said.words.partition(",")[0])), name

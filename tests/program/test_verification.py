"""Reading a verifier's log: what is wrong, at which instruction, on which C line."""

from __future__ import annotations

import re

import pytest

from netkit_edu.program import isa
from netkit_edu.program.object import ProgramCode, SourceLine
from netkit_edu.program.verification import read_log
from netkit_edu.uapi import errno_number
from tests.requires import SHARED_DATA, require

LOG = """0: R1=ctx() R10=fp0
; __s32 *v = bpf_map_lookup_elem(&verdict, &z); @ cell:5
0: (18) r1 = 0xffff888108f24000       ; R1=map_ptr(map=verdict,ks=4,vs=4)
; return *v; @ cell:6
2: (61) r0 = *(u32 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
LINES = (SourceLine("cell", 5, 1, "first"), SourceLine("cell", 5, 1, "first"), SourceLine("cell", 6, 9, "  return *v;"))
CODE = ProgramCode("f", "tc", isa.assemble("r1 = 5 ll\nr0 = *(u32 *)(r0 +0)"), lines=LINES)


def test_a_refusal_names_instruction_and_line():
    said = read_log(CODE, "Linux 6.12", LOG, errno_number("EACCES"))
    assert not said and (said.insn, said.processed, said.line) == (2, 7, LINES[2])
    assert said.message == "R0 invalid mem access 'map_value_or_null'"
    assert repr(said).splitlines() == [
        "Linux 6.12 refuses 'f' (EACCES): R0 invalid mem access 'map_value_or_null'",
        "    6 |   return *v;",
        "      2: (61) r0 = *(u32 *)(r0 +0)",
    ]


def test_what_is_accepted_has_nothing_to_complain_of():
    said = read_log(CODE, "Linux 6.12", "processed 3 insns (limit 1000000) max_states_per_insn 0\n")
    assert said and (said.message, said.insn, said.line, said.processed) == ("", None, None, 3)
    assert repr(said) == "Linux 6.12 accepts 'f': 3 instructions looked at"


@pytest.mark.parametrize("log", ["", "\n", "processed", "12: (", "x" * 5000, "; @ :\n0: (95) exit\n"])
def test_any_text_is_a_log(log):
    assert read_log(CODE, "Linux", log, 13).errno == 13


def vectors(name: str):
    """Yield (errno, log) of each program that a kernel refused with words; of a log the file has the last lines."""
    for part in re.split(r"^## ", (SHARED_DATA / name).read_text(), flags=re.M)[1:]:
        head, *lines = part.splitlines()
        log = [line.removeprefix("    | ") for line in lines if line.startswith("    | ")]
        if log:
            yield head.rpartition(" -> ")[2], log


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["verifier-6.12.txt", "verifier-6.18.txt"])
def test_the_words_of_real_logs_are_found(name):
    require("vectors")
    seen = 0
    for errno, log in vectors(name):
        said = read_log(CODE, name, "\n".join(log), errno_number(errno))
        wrong = [line for line in log if not re.match(r"\d+: |processed |(cur|old) state:", line)]
        assert all(line in said.message for line in wrong), log
        assert said.message and said.processed == int(log[-1].split()[1]), log
        if at := [line for line in log if re.match(r"\d+: \(", line)]:
            assert said.insn == int(at[-1].split(":")[0])
        seen += 1
    assert seen > 60

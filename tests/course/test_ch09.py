"""Chapter 09's exercises: that each misunderstanding is caught and named, and that what they are made of is real."""

from __future__ import annotations

import random
import re
from functools import partial

import pytest

import netkit_edu as nk
from netkit_edu.course import ch09, check
from netkit_edu.course.exercise import Miss, Misses
from netkit_edu.course.refusals import SAID
from netkit_edu.program.verification import read_log

SEEDS = (1, 2, 3)
MODELS = {"09.read-line": ch09._read_line, "09.who-freed": ch09._who_freed, "09.complaint": ch09._complaint}
SLIPS = [(name, slip) for name, exercise in ch09.EXERCISES.items() for slip in exercise.slips]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MODELS)
def test_the_solutions_pass(name, seed):
    names: dict = {}
    exec(ch09.EXERCISES[name].solution, names)
    found = check(name, names[name.partition(".")[2].replace("-", "_")], seed=seed)
    assert found.passed, found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "slip"), SLIPS, ids=[f"{name}-{slip.flag}" for name, slip in SLIPS])
def test_each_misunderstanding_is_caught_and_named(name, slip, seed):
    exercise = ch09.EXERCISES[name]
    wrong = partial(MODELS[name], **{slip.flag: True})
    cases = list(exercise.cases(random.Random(seed)))
    misses = Misses([Miss(case, exercise.expected(case), wrong(case)) for case in cases])
    assert misses
    assert exercise.diagnose(misses) == slip.words


LINE = re.compile(r"\s*(.+)-(\d+)\s+\[(\d+)\] (\S{4,5})\s+[\d.]+: (\S+) <-\S+")
CONTEXT = {"s": "softirq", "h": "hardirq", "H": "hardirq"}


def test_lines_are_read_as_the_kernels_document_says():
    for case in ch09.ReadLine().cases(random.Random(4)):
        task, pid, cpu, flags, function = LINE.fullmatch(case.text).groups()
        assert ch09.ReadLine().expected(case) == (task, int(pid), int(cpu), CONTEXT.get(flags[2], "process"), function)


def test_losses_are_read_as_a_pattern_reads_them():
    pattern = re.compile(r" kfree_skb: .*location=(\S+?)\+\S+ (?:\[\w+\] )?reason: (\w+)")
    for case in ch09.WhoFreed().cases(random.Random(4)):
        text = "\n".join(event.text for event in case)
        assert ch09.WhoFreed().expected(case) == pattern.findall(text)


@pytest.mark.parametrize("name", SAID)
def test_the_point_of_a_log_is_what_a_verdict_finds(name):
    said = SAID[name]
    instructions = re.findall(r"^(\d+): \([0-9a-f]{2}\) ", said.log, re.M)
    code = nk.program.object.ProgramCode("prog", "netkit/peer", b"")
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
        for name, said in SAID.items():
            verdict = nk.compile('#include "netkit_edu.h"\n\n' + said.text)["prog"].verify(lab)
            assert verdict.ok == (not said.words), name
            if said.words:
                assert verdict.line.line == said.line, name
                assert bare(verdict.message).startswith(bare(said.words.partition(",")[0])), name


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("09.read-line", lambda line: line.split(), "Return five things"),
        ("09.read-line", lambda line: ("init", "1", "[000]", "process", "ip_rcv"), "are numbers"),
        ("09.read-line", lambda line: ("init", 1, 0, "s", "ip_rcv"), "one of three words"),
        ("09.read-line", lambda line: ("init", 1, 0, "process", "ip_rcv:"), "name only"),
        ("09.who-freed", lambda text: None, "Return a list"),
        ("09.who-freed", lambda text: ["ip_rcv"], "is a pair"),
        ("09.complaint", lambda log: "R0 invalid mem access", "Return a pair"),
        ("09.complaint", lambda log: ("cell:4", "R0"), "is a number"),
    ],
)
def test_an_answer_of_the_wrong_kind_is_told_what_is_wanted(name, answer, words):
    found = check(name, answer, seed=1)
    assert not found.passed
    assert words in found.thought


def over_lines(text, sentence=0):
    lines = text.splitlines()
    places = [line for line in lines if line.startswith(";")]
    last = max((n for n, line in enumerate(lines) if re.match(r"\d+: \(", line)), default=0)
    return int(places[-1].rpartition(":")[2]), lines[last + 1 :][sentence]


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("09.who-freed", lambda text: [(x.split("location=")[1], "") for x in text.splitlines()], "ask first"),
        ("09.who-freed", lambda text: [(x.split()[7], "") for x in text.splitlines() if "reason:" in x], "by counting"),
        ("09.complaint", over_lines, "That program was accepted"),
        ("09.complaint", lambda log: over_lines(log) if "@ cell:" in log else None, "the name of the program's text"),
    ],
)
def test_an_answer_that_stops_or_leaves_some_out_is_told_why(name, answer, words):
    found = [check(name, answer, seed=seed).thought for seed in range(12)]
    assert any(words in thought for thought in found), found

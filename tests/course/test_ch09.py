"""Chapter 09's exercises: that each misunderstanding is caught and named, and that what they are made of is real."""

from __future__ import annotations

import json
import random
from functools import partial

import pytest

import netkit_edu as nk
from netkit_edu.course import carriers, ch09, check, recordings, repair
from netkit_edu.course.exercise import Miss, Misses
from netkit_edu.uapi import Context
from tests.requires import ROOT, a_compiler

SEEDS = (1, 2, 3)
MODELS = {"09.whose-time": carriers.model, "09.repair": repair.model}
SLIPS = [(name, slip) for name, exercise in ch09.EXERCISES.items() for slip in exercise.slips]
HEADER = '#include "netkit_edu.h"\n\n'


def compiled(text: str):
    """Return the program of a %%bpf cell's text."""
    return nk.compile(HEADER + text.partition("\n")[2])["count_sizes"]


def as_given() -> str:
    """Return the program that a learner is given to repair."""
    notebook = json.loads((ROOT / "notebooks" / "09-real-kernel.ipynb").read_text(encoding="utf-8"))
    return "".join(next(cell for cell in notebook["cells"] if cell["id"] == "repair")["source"])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_solution_passes(seed):
    names: dict = {}
    exec(ch09.EXERCISES["09.whose-time"].solution, names)
    found = check("09.whose-time", names["whose_time"], seed=seed)
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


# whose-time ---------------------------------------------------------------------------------------------------------


def test_what_is_right_follows_from_the_packets_as_from_their_moments():
    for case in carriers.WhoseTime().cases(random.Random(4)):
        assert carriers.model(case) == carriers.WhoseTime().expected(case)


def test_moments_come_in_the_order_and_the_words_of_a_real_trace():
    """One packet's moments in a case are those of a packet that a kernel was seen to carry."""

    def story(moments):
        return sorted((m.what, m.context, m.softirq) for m in moments if m.skb)

    for pod, carrier in (("near", "curl"), ("far", "bystander")):
        real = recordings.load("09.moments").value[pod]
        packet = carriers.Packet("curl", carrier, 2, real[0].skb)
        first = [m for m in real if m.skb == real[0].skb]
        assert story(first[: len(list(packet.moments())) - 1]) == story(packet.moments())


def test_the_recorded_packets_were_received_on_the_time_of_who_was_there():
    names: dict = {}
    exec(ch09.EXERCISES["09.whose-time"].solution, names)
    traces = recordings.load("09.moments").value
    near, far = names["whose_time"](traces["near"]), names["whose_time"](traces["far"])
    assert near == {("netkit-edu", "netkit-edu"): 10}
    assert {sender for sender, _ in far} == {"netkit-edu"} and ("netkit-edu", "netkit-edu") not in far
    assert sum(far.values()) == 10
    assert all(moment.context is Context.SOFTIRQ for moment in traces["far"] if moment.task != "netkit-edu")


# repair -------------------------------------------------------------------------------------------------------------

GIVEN, FIRST = "(void *)(eth + 1) > data_end", "(void *)(ip + 1) > data_end"
USE = "\tseen->bucket[n] += 1;"
SECOND, THIRD = "\tif (!seen)\n\t\treturn NETKIT_NEXT;\n", "\tif (n > 7)\n\t\tn = 7;\n"


def stages() -> list[str]:
    """Return the program as it is given, and with one, two and all three of its faults repaired."""
    texts = [as_given(), as_given().replace(GIVEN, FIRST)]
    texts.append(texts[-1].replace(USE, SECOND + USE))
    return [*texts, texts[-1].replace(USE, THIRD + USE)]


@a_compiler()
@pytest.mark.parametrize("seed", SEEDS)
def test_the_check_names_one_fault_after_the_other(seed):
    said = [check("09.repair", compiled(text), seed=seed) for text in stages()]
    assert [found.passed for found in said] == [False, False, False, True]
    assert [found.thought for found in said[:-1]] == [repair.TOO_FAR, repair.NO_ADDRESS, repair.TOO_HIGH]
    assert check("09.repair", compiled(ch09.EXERCISES["09.repair"].solution), seed=seed).passed


@a_compiler()
@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ((USE, USE.replace("[n]", "[n & 7]")), "wrapped"),
        ((USE, "\tif (n > 7)\n\t\treturn NETKIT_NEXT;\n" + USE), "left_out"),
        ((USE, THIRD.replace("7", "6") + USE), "one_less"),
        ((FIRST + " ||", "(void *)(ip + 1) > data_end)\n\t\treturn NETKIT_DROP;\n\tif ("), "drops_short"),
        ((FIRST + " || eth->h_proto != bpf_htons(ETH_P_IP)", FIRST), "any_ethertype"),
    ],
)
def test_what_a_program_counts_wrongly_is_named(changed, flag):
    text = stages()[2 if changed[0] == USE else 3].replace(*changed)
    words = next(slip.words for slip in repair.Repair.slips if slip.flag == flag)
    assert check("09.repair", compiled(text), seed=1).thought == words


@pytest.mark.vm
@a_compiler()
def test_a_kernels_verifier_names_the_three_one_after_the_other_and_takes_a_mask_for_right():
    with nk.Lab("vm") as lab:
        said = [compiled(text).verify(lab) for text in stages()]
        assert [verdict.ok for verdict in said] == [False, False, False, True]
        assert "invalid access to packet" in said[0].message
        assert "map_value_or_null" in said[1].message
        assert "invalid access to map value" in said[2].message
        assert compiled(stages()[2].replace("[n]", "[n & 7]")).verify(lab)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("09.whose-time", lambda moments: [], "Return a dictionary"),
        ("09.whose-time", lambda moments: {"curl": 3}, "a pair of names"),
        ("09.whose-time", lambda moments: {m.skb: {}[m.skb] for m in moments}, "came from"),
        ("09.whose-time", lambda moments: {(None, m.task): 7 for m in moments}, "came from"),
    ],
)
def test_an_answer_of_the_wrong_kind_is_told_what_is_wanted(name, answer, words):
    found = check(name, answer, seed=1)
    assert not found.passed
    assert words in found.thought

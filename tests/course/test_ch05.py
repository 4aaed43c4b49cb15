"""Chapter 05's exercises: the lab is the oracle, and each misunderstanding is caught and named."""

from __future__ import annotations

import random
from functools import partial

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch05 import (
    Chain,
    DiagnoseCounters,
    FateOfChain,
    Traffic,
    TwoGuards,
    _diagnosis_model,
    _fate_model,
    say,
)
from tests.requires import a_compiler

SEEDS = (1, 2)
needs_compiler = a_compiler()


def solved(kind) -> object:
    """Return what the text of a Python solution defines."""
    names = {"nk": nk}
    exec(kind.solution, names)
    return names[kind.id.partition(".")[2]]


def fate_with(codes, policy, **slips) -> str:
    return _fate_model(Chain(tuple(codes), policy), **slips)


def diagnose_with(pod, host, **slips) -> tuple:
    return _diagnosis_model(Traffic(0, 0, 0, pod, host), **slips)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [FateOfChain, DiagnoseCounters])
def test_the_solution_agrees_with_the_lab(kind, seed):
    found = check(kind.id, solved(kind), seed=seed)
    assert found.passed, found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_of_a_chain_agrees_with_the_lab(seed):
    for case in FateOfChain().cases(random.Random(seed)):
        assert _fate_model(case) == case.happened, str(case)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in FateOfChain.slips])
def test_a_misunderstanding_of_chains_is_caught_and_named(flag, seed):
    found = check("05.fate", partial(fate_with, **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(s.words for s in FateOfChain.slips if s.flag == flag)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in DiagnoseCounters.slips])
def test_a_misreading_of_counters_is_caught_and_named(flag, seed):
    found = check("05.diagnose", partial(diagnose_with, **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(s.words for s in DiagnoseCounters.slips if s.flag == flag)


def test_answers_of_another_shape_are_told_which_is_wanted():
    assert "three words" in check("05.fate", lambda codes, policy: True).thought
    assert "three numbers" in check("05.diagnose", lambda pod, host: 3).thought
    assert "any number" in check("05.fate", lambda codes, policy: {0: "delivered"}[codes[0]]).thought
    assert "dictionaries" in check("05.diagnose", lambda pod, host: (pod.tx_packets, 0, 0)).thought


def test_which_of_the_three_numbers_is_wrong_is_said_at_least():
    found = check("05.diagnose", lambda pod, host: (host["rx_packets"], pod["tx_dropped"], 0), seed=1)
    assert "packets redirected;" in found.thought


@pytest.mark.parametrize("exercise", ["05.fate", "05.diagnose"])
def test_an_untouched_stub_is_not_yet(exercise):
    assert check(exercise, lambda one, other: ...).headline.startswith("not yet")


def test_a_kind_of_fate_is_as_good_as_its_word():
    def fate(codes, policy):
        return nk.FateKind(fate_with(codes, policy))

    assert check("05.fate", fate).passed


@pytest.mark.parametrize("code", [-1, 0, 1, 2, 7, -2, 2**31 - 1])
def test_say_returns_its_code(code):
    assert say(code).run(nk.to_bytes(bytes(14), ethernet=True)).code == code


def guards(*changes: tuple[str, str]):
    """Compile the solution of the two guards with pieces of its text changed."""
    text = TwoGuards.solution.partition("\n")[2]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return nk.compile(text)


@needs_compiler
def test_two_guards_pass():
    assert check("05.two-guards", guards()).passed


@needs_compiler
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("NETKIT_NEXT", "NETKIT_PASS")], "PASS ends the chain at once"),
        ([("skb->mark = 1", "return NETKIT_DROP")], "label only marks"),
        ([("return NETKIT_DROP", "return 1")], "XDP"),
        ([("mark == 1", "mark == 2")], "ICMP gets through"),
        ([("> data_end", "< data")], "behind the packet's end"),
        ([("eth->h_proto == bpf_htons(ETH_P_IP) && ", "")], "never asks whether this is IPv4"),
        ([("ip->protocol == IPPROTO_ICMP", "ip->ihl")], "more than the ICMP packets"),
    ],
)
def test_guards_that_go_wrong_are_told_why(changes, words):
    found = check("05.two-guards", guards(*changes), seed=1)
    assert not found.passed
    assert words in found.thought


@needs_compiler
def test_guards_work_in_a_real_chain():
    both = guards()
    with nk.Lab("sim") as lab:
        pod = lab.pod("pod", device="netkit")
        for program in (both["label"], both["enforce"], say(-1)):
            pod.pair.attach(program, at="peer")
        assert [ran.verdict for ran in pod.ping(lab.outside).verdicts] == [-1, 2]
        udp = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53)
        assert [ran.verdict for ran in pod.send(udp).verdicts] == [-1, -1, -1]


def test_an_answer_without_both_guards_is_told_so():
    assert "label and enforce" in check("05.two-guards", say(0)).headline

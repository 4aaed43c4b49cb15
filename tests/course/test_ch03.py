"""Chapter 03's exercises: solutions pass, and each misunderstanding, written out in C, is caught and named."""

from __future__ import annotations

import random

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch03 import NO_DROP, CountPorts, DropDns, Stream, TtlGuard
from netkit_edu.course.slips import NO_ADDRESS, TOO_FAR, XDP_WORDS
from netkit_edu.packet import fields
from netkit_edu.uapi import ETH_P_IPV6
from tests.oracle.differential import TwoMachines
from tests.requires import a_compiler

SEEDS = (1, 2, 3)
EXERCISES = {kind.id: kind() for kind in (TtlGuard, DropDns, CountPorts)}
BOUNDS = "\tif (data + sizeof(*eth) + sizeof(*ip) > data_end)\n"

needs_compiler = a_compiler()


def program(exercise: str, *changes: tuple[str, str]) -> nk.Program:
    """Compile an exercise's solution with pieces of its text changed."""
    text = EXERCISES[exercise].solution.partition("\n")[2]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return next(iter(nk.compile(text).values()))


def slip(exercise: str, flag: str) -> str:
    return next(s.words for s in EXERCISES[exercise].slips if s.flag == flag)


@needs_compiler
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_passes(exercise, seed):
    found = check(exercise, program(exercise), seed=seed)
    assert found.passed, found


WRONG = [
    ("03.ttl-guard", "any_ethertype", [("eth->h_proto == bpf_htons(ETH_P_IP) && ", "")]),
    ("03.ttl-guard", "drops_short", [(BOUNDS + "\t\treturn NETKIT_PASS", BOUNDS + "\t\treturn NETKIT_DROP")]),
    ("03.ttl-guard", "zero_only", [("<= 1", "< 1")]),
    ("03.ttl-guard", "one_only", [("<= 1", "== 1")]),
    ("03.ttl-guard", "two_as_well", [("<= 1", "<= 2")]),
    ("03.ttl-guard", "any_ttl", [("<= 1", "<= bpf_htons(1)")]),
    (
        "03.ttl-guard",
        "inverted",
        [("eth->h_proto == bpf_htons(ETH_P_IP) && ip->ttl <= 1", "eth->h_proto != bpf_htons(ETH_P_IP) || ip->ttl > 1")],
    ),  # fmt: skip
    ("03.drop-dns", "host_order", [("bpf_htons(53)", "53")]),
    ("03.drop-dns", "fixed_header", [("ip->ihl * 4", "20")]),
    ("03.drop-dns", "any_protocol", [(" || ip->protocol != IPPROTO_UDP", "")]),
    ("03.drop-dns", "source", [("udp->dest", "udp->source")]),
    (
        "03.drop-dns",
        "both_ports",
        [("udp->dest == bpf_htons(53)", "udp->dest == bpf_htons(53) || udp->source == bpf_htons(53)")],
    ),
    ("03.drop-dns", "any_ethertype", [("eth->h_proto != bpf_htons(ETH_P_IP) || ", "")]),
    ("03.drop-dns", "drops_short_ip", [(BOUNDS + "\t\treturn NETKIT_PASS", BOUNDS + "\t\treturn NETKIT_DROP")]),
    ("03.count-ports", "network_order", [("bpf_ntohs(udp->dest)", "udp->dest")]),
    ("03.count-ports", "starts_at_zero", [("one = 1", "one = 0")]),
    ("03.count-ports", "stays_at_one", [("*count += 1", "*count = 1")]),
    ("03.count-ports", "any_protocol", [(" || ip->protocol != IPPROTO_UDP", "")]),
    ("03.count-ports", "fixed_header", [("ip->ihl * 4", "20")]),
    ("03.count-ports", "source", [("udp->dest", "udp->source")]),
    ("03.count-ports", "any_ethertype", [("eth->h_proto != bpf_htons(ETH_P_IP) || ", "")]),
]


@needs_compiler
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("exercise", "flag", "changes"), WRONG, ids=[f"{e}-{f}" for e, f, _ in WRONG])
def test_a_misunderstanding_is_caught_and_named(exercise, flag, changes, seed):
    found = check(exercise, program(exercise, *changes), seed=seed)
    assert not found.passed
    assert found.thought == slip(exercise, flag)


@needs_compiler
@pytest.mark.parametrize("exercise", ["03.ttl-guard", "03.drop-dns"])
def test_a_stub_that_passes_everything_is_told_nothing_false(exercise):
    stub = nk.compile('SEC("netkit/peer") int stub(struct __sk_buff *skb) { return NETKIT_PASS; }')["stub"]
    assert check(exercise, stub, seed=1).thought == NO_DROP


@needs_compiler
def test_a_counter_that_puts_nothing_into_its_map_is_told_so():
    text = "\telse\n\t\tbpf_map_update_elem(&ports, &port, &one, BPF_ANY);\n"
    assert "put into the map" in check("03.count-ports", program("03.count-ports", (text, "")), seed=1).thought


@needs_compiler
def test_a_null_pointer_is_not_taken_for_a_read_behind_the_packet():
    found = check("03.count-ports", program("03.count-ports", ("if (count)", "if (1)")), seed=1)
    assert found.thought == NO_ADDRESS


@needs_compiler
def test_two_misunderstandings_at_once_are_both_named():
    found = check("03.drop-dns", program("03.drop-dns", ("bpf_htons(53)", "53"), ("ip->ihl * 4", "20")), seed=1)
    assert slip("03.drop-dns", "host_order") in found.thought
    assert slip("03.drop-dns", "fixed_header") in found.thought


@needs_compiler
@pytest.mark.parametrize("exercise", ["03.ttl-guard", "03.drop-dns", "03.count-ports"])
def test_a_missing_bounds_check_is_a_fault_that_is_explained(exercise):
    found = check(exercise, program(exercise, ("> data_end", "< data")), seed=1)
    assert not found.passed
    assert found.thought == TOO_FAR


@needs_compiler
@pytest.mark.parametrize("exercise", ["03.ttl-guard", "03.drop-dns"])
def test_the_codes_of_xdp_are_recognised(exercise):
    found = check(exercise, program(exercise, ("NETKIT_PASS", "2"), ("NETKIT_DROP", "1")), seed=1)
    assert found.thought == XDP_WORDS


@needs_compiler
@pytest.mark.parametrize("exercise", ["03.ttl-guard", "03.drop-dns"])
def test_a_program_that_does_the_opposite_is_told_so(exercise):
    swapped = [("NETKIT_PASS", "NETKIT_X"), ("NETKIT_DROP", "NETKIT_PASS"), ("NETKIT_X", "NETKIT_DROP")]
    assert "the other way round" in check(exercise, program(exercise, *swapped), seed=1).thought


@needs_compiler
@pytest.mark.parametrize("exercise", ["03.ttl-guard", "03.drop-dns"])
def test_next_counts_as_pass(exercise):
    assert check(exercise, program(exercise, ("NETKIT_PASS", "NETKIT_NEXT")), seed=1).passed


@needs_compiler
def test_a_counter_that_drops_is_told_to_only_count():
    found = check("03.count-ports", program("03.count-ports", ("NETKIT_NEXT", "NETKIT_DROP")), seed=1)
    assert "only count" in found.thought


@needs_compiler
def test_a_counter_without_its_map_is_told_which_to_have():
    other = program("03.count-ports", ("ports", "table"), ("count_table", "count_ports"))
    assert "ports" in check("03.count-ports", other).headline


@pytest.mark.parametrize("kind", [TtlGuard, DropDns])
def test_the_oracle_agrees_with_scapy_on_whole_packets(kind):
    exercise = kind()
    for case in exercise.cases(random.Random(4)):
        if case.keep is not None:
            continue
        read = fields(case.bytes, ethernet=True)
        if kind is TtlGuard:
            drop = "IP.ttl" in read and read["IP.ttl"] <= 1
        else:
            drop = "IP.ttl" in read and read.get("UDP.dport") == 53
        assert (exercise.expected(case).name == "DROP") == drop, str(case)


@pytest.mark.parametrize("exercise", EXERCISES)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_check_has_cases_enough_and_traps_among_them(exercise, seed):
    kind = EXERCISES[exercise]
    cases = list(kind.cases(random.Random(seed)))
    assert len(cases) >= 32
    for slipped in kind.slips:
        assert any(kind.model(case, **{slipped.flag: True}) != kind.expected(case) for case in cases), slipped.flag


@pytest.mark.kernel
@needs_compiler
@pytest.mark.parametrize("exercise", EXERCISES)
def test_linux_takes_the_solution_and_answers_the_same(exercise):
    solved = program(exercise)
    with TwoMachines(solved.code, solved.map_specs.values()) as machines:
        for case in EXERCISES[exercise].cases(random.Random(1)):
            for frame in case.frames if isinstance(case, Stream) else [case]:
                if not frame.is_ip or frame.has(34):  # BPF_PROG_TEST_RUN refuses IPv4 without a whole header
                    assert frame.datagram.ethertype == ETH_P_IPV6 or machines.differences(frame.bytes) == []

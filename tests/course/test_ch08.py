"""Chapter 08's exercises, what a redirect saves and loses, and that each misunderstanding is caught and named."""

from __future__ import annotations

import random
from functools import partial

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch08 import Inward, Leave
from netkit_edu.course.fate import FateOfRedirect, Redirect, _fate_model, calling, happened
from netkit_edu.course.ways import crossed_host
from netkit_edu.journey import HopKind
from tests.requires import a_compiler

SEEDS = (1, 2)
needs_compiler = a_compiler()


@pytest.fixture
def lab():
    with nk.Lab("sim") as lab:
        yield lab


def dns(lab) -> nk.IP:
    return nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi"


def past_the_stack(lab, device: str) -> nk.Journey:
    """Send a packet from a pod of this kind whose host end redirects it to the card and its neighbour."""
    pod = lab.pod("pod", device=device)
    program = calling("redirect_neigh", lab.nic.ifindex)
    if device == "veth":
        pod.pair.primary.attach_tcx(program, "ingress")
    else:
        pod.pair.attach(program, at="peer")
    return pod.send(dns(lab))


def test_a_redirect_from_netkit_saves_stack_backlog_and_softirq(lab):
    by_host, routed = lab.host.send(dns(lab)), lab.pod("routed", device="netkit").send(dns(lab))
    redirected = past_the_stack(lab, "netkit")
    assert redirected.fate.delivered
    assert crossed_host(routed) and not crossed_host(redirected)
    assert [j.machines[0].backlogs for j in (by_host, routed, redirected)] == [0, 1, 0]
    assert [j.machines[0].softirq_hops > 0 for j in (by_host, routed, redirected)] == [False, True, False]
    assert [j.machines[0].hooks for j in (by_host, routed, redirected)] == [3, 8, 3]


def test_on_veth_the_same_program_comes_behind_the_backlog(lab):
    redirected = past_the_stack(lab, "veth")
    assert redirected.fate.delivered and not crossed_host(redirected)
    assert redirected.machines[0].backlogs == 1
    assert redirected.machines[0].softirq_hops


def test_a_redirected_packet_keeps_its_socket_and_the_senders_context(lab):
    redirected = past_the_stack(lab, "netkit")
    here = redirected.hops[: next(n for n, hop in enumerate(redirected.hops) if hop.kind is HopKind.WIRE)]
    assert [(hop.node, hop.device) for hop in here if hop.function == "sock_wfree"] == [("host", "eth0")]
    assert {str(hop.context) for hop in here} == {"process"}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_of_redirects_agrees_with_the_lab(seed):
    for case in FateOfRedirect().cases(random.Random(seed)):
        assert _fate_model(case) == happened(case), str(case)


def fate_with(hook, helper, target, ttl, **slips) -> str:
    return _fate_model(Redirect(hook, helper, target, ttl), **slips)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_solution_agrees_with_the_lab(seed):
    names = {"nk": nk}
    exec(FateOfRedirect.solution, names)
    found = check("08.fate", names["fate"], seed=seed)
    assert found.passed, found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in FateOfRedirect.slips])
def test_a_misunderstanding_of_redirects_is_caught_and_named(flag, seed):
    found = check("08.fate", partial(fate_with, **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(s.words for s in FateOfRedirect.slips if s.flag == flag)


def test_an_untouched_stub_is_not_yet_and_other_words_are_told_which_are_wanted():
    assert check("08.fate", lambda hook, helper, target, ttl: ...).headline.startswith("not yet")
    assert "three words" in check("08.fate", lambda hook, helper, target, ttl: "gone").thought


def test_of_many_misunderstandings_one_is_named():
    found = check("08.fate", lambda hook, helper, target, ttl: "delivered", seed=1)
    assert found.thought.startswith("To begin with: ")


def program(kind, *changes: tuple[str, str]) -> nk.Program:
    """Compile an exercise's solution with pieces of its text changed."""
    text = kind.solution.partition("\n")[2]
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return next(iter(nk.compile(text).values()))


@needs_compiler
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [Leave, Inward])
def test_the_programs_pass(kind, seed):
    found = check(kind.id, program(kind), seed=seed)
    assert found.passed, found


LEAVE_COPY = ("eth->h_source[i] = NIC_MAC[i];\n\t\teth->h_dest[i] = OUTSIDE_MAC[i];", "")


@needs_compiler
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([LEAVE_COPY], "they are zero"),
        ([("h_source[i]", "h_tmp[i]"), ("h_dest[i]", "h_source[i]"), ("h_tmp[i]", "h_dest[i]")], "wrong way round"),
        ([("i < 6", "i < 5")], "Six bytes"),
        ([("bpf_redirect(NIC, 0)", "NETKIT_REDIRECT")], "names no target"),
        ([("bpf_redirect(NIC, 0)", "bpf_redirect_neigh(NIC, 0, 0, 0)")], "asks the host's routes"),
        ([("bpf_redirect(NIC, 0)", "NETKIT_PASS")], "Nothing has left so far"),
        ([(" || eth->h_proto != bpf_htons(ETH_P_IP)", "")], "never asks whether this is IPv4"),
        ([("(void *)(ip + 1) > data_end || ", "")], "behind the packet's end"),
        ([("bpf_htonl(0xc0000201)", "0")], "the host's own address"),
        ([("bpf_htonl(0x0a000000)", "0x0a000000")], "in network byte order"),
        ([("bpf_htonl(", "(")], "the wrong way round"),
        ([("bpf_redirect(NIC, 0)", "bpf_redirect_peer(NIC, 0)")], "at tcx ingress only"),
        ([("return NETKIT_PASS", "return NETKIT_DROP")], "not NETKIT_DROP"),
        ([("0xffff0000", "0xff000000")], "/16: only the first two bytes"),
        ([("ip->daddr == bpf_htonl(0xc0000201)", "(ip->daddr & 0xffffff) == 0x0200c0")], "Only 192.0.2.1 itself"),
    ],
)
def test_a_program_that_leaves_wrongly_is_told_why(changes, words):
    found = check("08.leave", program(Leave, *changes), seed=1)
    assert not found.passed
    assert words in found.thought


@needs_compiler
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("bpf_redirect_peer(*ifindex, 0)", "bpf_redirect(*ifindex, 0)")], "into the backlog"),
        ([("bpf_redirect_peer(*ifindex, 0)", "bpf_redirect_neigh(*ifindex, 0, 0, 0)")], "into the backlog"),
        ([("return TCX_PASS", "return TCX_DROP")], "not yours to drop"),
        ([("ifindex, 0)", "ifindex, 1)")], "flags that are not 0"),
        ([("ip->daddr", "ip->saddr")], "the key is the destination"),
        ([("bpf_htons(ETH_P_IP)", "ETH_P_IP")], "the ethertype"),
        ([("bpf_redirect_peer(*ifindex, 0)", "bpf_redirect_peer(key, 0)")], "from the map's value"),
        ([("key = ip->daddr", "key = bpf_ntohl(ip->daddr)")], "as it stands in the packet"),
        ([("key = ip->daddr", "key = ip->daddr & 0xffff")], "all four bytes"),
        ([(" || eth->h_proto != bpf_htons(ETH_P_IP)", "")], "never asks whether this is IPv4"),
        ([("(void *)(ip + 1) > data_end || ", "")], "behind the packet's end"),
        ([("if (!ifindex)\n\t\treturn TCX_PASS;\n", "")], "gives NULL"),
    ],
)
def test_a_program_that_goes_inward_wrongly_is_told_why(changes, words):
    found = check("08.inward", program(Inward, *changes), seed=1)
    assert not found.passed
    assert words in found.thought


def test_what_is_no_program_is_told_so():
    assert "%%bpf" in check("08.leave", 7).headline
    assert "%%bpf" in check("08.inward", 7).headline
    assert "map pods" in check("08.inward", calling("redirect_peer", 3)).headline

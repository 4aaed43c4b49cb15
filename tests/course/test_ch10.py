"""Chapter 10's exercises, and the claims that it measures: on Linux in instructions, in the simulator in steps."""

from __future__ import annotations

import random
from functools import partial

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch00 import always
from netkit_edu.course.ch10 import PerPacket, Room, Says, _per_packet, _room, _says
from netkit_edu.course.fate import calling

SEEDS = (1, 2)
KINDS = {PerPacket: _per_packet, Room: _room, Says: _says}
CASES = [(kind, slip.flag) for kind in KINDS for slip in kind.slips]
PACKET = nk.IP(dst="198.51.100.2") / nk.UDP(dport=53) / bytes(64)


def answer(kind, **slips):
    """Return a function that answers with these misunderstandings."""
    case_of = {
        PerPacket: lambda readings, n: _case(kind, pairs=tuple(readings), n=n),
        Room: lambda way, limit, program: _case(kind, way=way, limit=limit, program=program),
        Says: lambda a, b, spread, unit, same_setup, line_rate: _case(
            kind, a=a, b=b, spread=spread, unit=unit, same_setup=same_setup, line_rate=line_rate
        ),
    }[kind]
    names = kind.arguments
    return lambda *given: KINDS[kind](case_of(**dict(zip(names, given, strict=True))), **slips)


def _case(kind, **fields):
    return type(next(iter(kind().cases(random.Random(0)))))(**fields)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_without_slips_is_the_oracle(kind, seed):
    exercise = kind()
    for case in exercise.cases(random.Random(seed)):
        assert KINDS[kind](case) == exercise.expected(case), str(case)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_solution_passes(kind, seed):
    names = {"nk": nk}
    exec(kind.solution, names)
    found = check(kind.id, names[kind.solution.partition("def ")[2].partition("(")[0]], seed=seed)
    assert found.passed, found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("kind", "flag"), CASES)
def test_a_misunderstanding_is_caught_and_named(kind, flag, seed):
    found = check(kind.id, answer(kind, **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(slip.words for slip in kind.slips if slip.flag == flag)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untouched_stub_is_not_yet(kind):
    stub = eval(f"lambda {', '.join(kind.arguments)}: ...")
    assert check(kind.id, stub).headline.startswith("not yet")


def test_a_fraction_and_another_word_are_told_what_is_wanted():
    assert "whole number" in check("10.per-packet", lambda readings, n: _median(readings, n), seed=1).thought
    assert "one number" in check("10.per-packet", lambda readings, n: "much", seed=1).thought
    assert "one whole number" in check("10.room", lambda way, limit, program: [], seed=1).thought
    found = check("10.says", lambda a, b, spread, unit, same_setup, line_rate: "slower", seed=1)
    assert "four texts" in found.thought


def _median(readings, n):
    spent = sorted(after - before for before, after in readings[1:])
    return spent[len(spent) // 2] / n


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda readings, n: sum(b - a for a, b in readings) / len(readings) / n, "That is the mean"),
        (lambda readings, n: float("nan"), "one number"),
    ],
)
def test_a_figure_that_is_not_whole_is_told_what_else_is_wrong(wrong, words):
    assert words in check("10.per-packet", wrong, seed=1).thought


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda way, limit, program: (limit - way) / program, "cut off, do not round"),
        (lambda way, limit, program: (limit - way) // program, "A hook takes 63"),
        (lambda way, limit, program: min(62, (limit - way) // program), "room for none"),
        (lambda way, limit, program: 63, "A hook takes 63"),
    ],
)
def test_a_budget_with_several_mistakes_is_told_the_most_visible(wrong, words):
    assert words in check("10.room", wrong, seed=1).thought


def test_of_many_misunderstandings_one_is_named():
    found = check("10.says", lambda a, b, spread, unit, same_setup, line_rate: "faster", seed=1)
    assert found.thought.startswith("To begin with: ")


def test_a_segment_of_many_packets_takes_the_steps_of_one_on_the_sending_machine():
    with nk.Lab("sim") as lab:
        pods = [lab.pod(kind, device=kind) for kind in ("veth", "netkit")]
        pods[1].pair.attach(calling("redirect_neigh", lab.nic.ifindex), at="peer")
        for pod in pods:
            costs = []
            for packets in (1, 10):
                segment = nk.IP(dst=lab.outside.ip) / nk.TCP(dport=80, flags="A") / bytes(1400 * packets)
                sent = pod.send(segment, via="packet", gso_size=1400)
                costs.append(sent.machines[0]._replace(hops=0, softirq_hops=0))
            assert costs[0] == costs[1]


# on Linux -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linux():
    with nk.Lab("vm") as lab:
        yield lab


@pytest.fixture(scope="module")
def card(linux):
    card = linux.dummy("card")
    card.addr("198.51.100.1/24").up()
    linux.host.neigh("198.51.100.2", "02:00:00:00:00:02", dev=card)
    return card


@pytest.fixture(scope="module")
def pods(linux):
    return {kind: linux.pod(kind, device=kind) for kind in ("veth", "netkit")}


def past(pod, program):
    if pod.pair.primary.kind == "netkit":
        return pod.pair.attach(program, at="peer")
    return pod.pair.primary.attach_tcx(program, "ingress")


@pytest.fixture(scope="module")
def way_out(linux, card, pods):
    costs = {"host": linux.measure(linux.host, PACKET)}
    for kind, pod in pods.items():
        costs[kind] = linux.measure(pod, PACKET)
        for helper in ("redirect", "redirect_neigh"):
            with past(pod, calling(helper, card.ifindex)):
                costs[f"{kind} {helper}"] = linux.measure(pod, PACKET)
    return nk.Costs(costs, base="host")


@pytest.mark.vm
def test_linux_without_a_program_netkit_costs_what_veth_costs(way_out):
    assert way_out["netkit"].median == pytest.approx(way_out["veth"].median, rel=0.03)


@pytest.mark.vm
def test_linux_a_redirect_from_netkit_is_the_cheapest_way_out_of_a_pod(way_out):
    order = ["host", "netkit redirect", "netkit redirect_neigh", "veth redirect_neigh", "veth"]
    assert sorted(order, key=lambda name: way_out[name].median) == order
    assert way_out.over("netkit redirect_neigh") < 0.65 * way_out.over("veth")
    assert way_out.over("netkit redirect") < 0.35 * way_out.over("veth")


@pytest.mark.vm
def test_linux_the_counts_repeat_within_two_thousandths(way_out):
    assert way_out.spread < 0.002


@pytest.mark.vm
def test_linux_the_earlier_a_packet_is_dropped_the_cheaper_it_is(linux, card, pods):
    pod, drop = pods["netkit"], always(2)
    costs = [linux.measure(pod, PACKET).median]
    with card.attach_tcx(drop, "egress"):
        costs.append(linux.measure(pod, PACKET).median)
    with pod.pair.primary.attach_tcx(drop, "ingress"):
        costs.append(linux.measure(pod, PACKET).median)
    with pod.pair.attach(drop, at="peer"):
        costs.append(linux.measure(pod, PACKET).median)
    pod.pair.set_policy(peer_policy="drop")
    costs.append(linux.measure(pod, PACKET).median)
    pod.pair.set_policy(peer_policy="pass")
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)


@pytest.mark.vm
def test_linux_tcp_from_netkit_costs_what_the_host_pays_only_in_large_segments():
    with nk.Lab("vm") as lab:
        far = lab.node("far")
        cable = lab.pair("cable", primary_in=lab.host, peer_in=far, kind="veth")
        here, there = cable.primary.addr("203.0.113.1/24").up(), cable.peer.addr("203.0.113.2/24").up()
        lab.host.neigh("203.0.113.2", there.mac, dev=here)
        far.neigh("203.0.113.1", here.mac, dev=there)
        far.route("default", via="203.0.113.1")
        pod = lab.pod("pod", device="netkit")
        small = nk.IP(dst=far.ip) / nk.UDP(dport=7) / bytes(64)
        back = calling("redirect_peer", pod.pair.ifindex)
        measures = (
            partial(lab.measure_stream, receiver=far, runs=3),
            partial(lab.measure_stream, receiver=far, gso=False, runs=3),
            partial(lab.measure, packet=small, replies=True),
        )
        host = [measure(lab.host).median for measure in measures]
        with past(pod, calling("redirect_neigh", here.ifindex)), here.attach_tcx(back, "ingress"):
            redirected = [measure(pod).median for measure in measures]
        large, split, reply = (b / a - 1 for a, b in zip(host, redirected, strict=True))
        assert 0 < large < 0.05
        assert 0.06 < split < 0.25
        assert 0.04 < reply < 0.3

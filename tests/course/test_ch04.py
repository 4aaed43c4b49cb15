"""Chapter 04: what it shows of a pair, and the exercises' oracles against the simulator."""

from __future__ import annotations

import random

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch00 import always
from netkit_edu.course.ch04 import ACTIONS, Operations, Order, Refusal, Try, _order_model, _refusal_model, tried
from netkit_edu.course.datagrams import Datagram

SEEDS = (1, 2, 3)


def solved(kind) -> object:
    """Return what the text of a Python solution defines."""
    names = {"nk": nk}
    exec(kind.solution, names)
    return names[kind.id.partition(".")[2]]


@pytest.mark.parametrize("at", ["primary", "peer"])
def test_each_hook_takes_63_programs(at):
    with nk.Lab("sim") as lab:
        pair = lab.pod("pod", device="netkit").pair
        for _ in range(63):
            pair.attach(lab.load(always(-1)), at=at)
        with pytest.raises(nk.KernelError) as refusal:
            pair.attach(lab.load(always(-1)), at=at)
        assert refusal.value.name == "ERANGE"
        assert len(pair.chain(at).entries) == 63


@pytest.mark.parametrize(("device", "fate"), [("netkit", "delivered"), ("veth", "dropped")])
def test_only_veth_looks_at_the_receivers_mtu(device, fate):
    with nk.Lab("sim") as lab:
        pod = lab.pod("pod", device=device)
        pod.listen(udp=7)
        pod.pair.primary.set(mtu=9000)
        packet = Datagram(src="0.0.0.0", dst=pod.ip, dport=7, payload=bytes(5000))
        assert lab.host.send(packet.ip).fate.kind == fate


def test_without_a_program_netkit_costs_what_veth_costs():
    with nk.Lab("sim") as lab:
        pods = [lab.pod(kind, device=kind) for kind in ("veth", "netkit")]
        counts = [pod.send(Datagram(src=pod.ip, dst=pod.gateway).ip).counts for pod in pods]
        assert len({(c.lookups, c.queues, c.backlogs, c.drivers) for c in counts}) == 1


def test_a_look_at_an_empty_list_hides_its_revision():
    with nk.Lab("sim") as lab:
        pair = lab.pod("pod", device="netkit").pair
        pair.attach(always(0), at="peer").detach()
        assert pair.revision("peer") == 1
        with pytest.raises(nk.KernelError) as refusal:
            pair.attach(always(0), at="peer", expected_revision=1)
        assert refusal.value.name == "ESTALE"
        pair.attach(always(0), at="peer", expected_revision=3)


def test_a_tcx_program_of_the_pod_runs_before_the_hosts_and_spares_nothing():
    with nk.Lab("sim") as lab:
        pod = lab.pod("pod", device="netkit")
        pod.pair.attach(always(2), at="peer")
        pod.device.attach_tcx(lab.load(always(0)), "egress")
        journey = pod.send(Datagram(src=pod.ip, dst=lab.outside.ip).ip)
        assert [ran.verdict for ran in journey.verdicts] == [0, 2]
        assert not journey.fate.delivered


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [Refusal, Order])
def test_the_solution_agrees_with_the_lab(kind, seed):
    found = check(kind.id, solved(kind), seed=seed)
    assert found.passed, found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_models_agree_with_the_lab(seed):
    for case in Refusal().cases(random.Random(seed)):
        assert _refusal_model(case) == case.said, str(case)
    for case in Order().cases(random.Random(seed)):
        assert _order_model(case) == list(case.left), str(case)


@pytest.mark.parametrize("seed", range(8))
def test_each_action_is_tried_on_what_one_does_not_see_and_on_what_is_no_netkit(seed):
    cases = list(Refusal().cases(random.Random(seed)))
    assert len(cases) == 44
    assert {case.action for case in cases if not case.visible} == set(ACTIONS)
    assert {case.action for case in cases if case.device == "veth"} == set(ACTIONS) - {"set_policy", "set_mode"}


def test_an_answer_that_stops_where_the_kernel_refuses_is_told_to_ask_first():
    def naive(operations):
        chain = []
        for what, name, *_ in operations:
            chain.remove(name) if what == "detach" else chain.append(name)
        return chain

    assert check("04.order", naive, seed=1).thought.startswith("Python stops")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in Refusal.slips])
def test_a_misunderstanding_of_authority_is_caught_and_named(flag, seed):
    found = check("04.refusal", lambda *asked: _refusal_model(Try(*asked), **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(s.words for s in Refusal.slips if s.flag == flag)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in Order.slips])
def test_a_misunderstanding_of_order_is_caught_and_named(flag, seed):
    found = check("04.order", lambda ops: _order_model(Operations(tuple(ops)), **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(s.words for s in Order.slips if s.flag == flag)


def test_answers_of_another_shape_are_told_which_is_wanted():
    assert "Return text" in check("04.refusal", lambda inside, primary_in, device, action: True).thought
    assert "Return a list" in check("04.order", lambda operations: 3).thought
    assert check("04.order", lambda operations: ...).headline.startswith("not yet")


def test_an_answer_with_several_misunderstandings_is_told_about_the_first():
    found = check("04.refusal", lambda inside, primary_in, device, action: "EACCES" if inside == "pod" else "", seed=5)
    assert found.thought in {slip.words for slip in Refusal.slips}
    assert dict(found.rows)["expected"].startswith(("E", '""'))
    found = check("04.order", lambda operations: [name for what, name, *_ in operations if what == "attach"], seed=5)
    assert "EEXIST" in found.thought


@pytest.mark.parametrize("inside", ["host", "pod"])
def test_a_device_of_another_namespace_is_unknown_rather_than_forbidden(inside):
    elsewhere = {"host": "pod", "pod": "host"}[inside]
    assert tried(Try(inside, elsewhere, "primary", "attach at peer")) == "ENODEV"
    assert tried(Try(inside, inside, "peer", "delete")) == "ENODEV"

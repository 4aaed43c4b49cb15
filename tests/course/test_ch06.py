"""Chapter 06: what a bring-up leaks, and the exercises' oracles against the simulator."""

from __future__ import annotations

import random
from functools import partial

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch00 import always
from netkit_edu.course.ch06 import BringUp, Leaks, Steps, _leaks_model, played
from netkit_edu.course.datagrams import Datagram

SEEDS = (1, 2)
NAIVE = ("addresses", "host up", "pod up", "route", "attach guard")


def solved(kind) -> object:
    """Return what the text of a Python solution defines."""
    names = {"nk": nk}
    exec(kind.solution, names)
    return names[kind.id.partition(".")[2].replace("-", "_")]


def test_the_same_bring_up_leaks_with_pass_and_not_with_drop():
    assert played(NAIVE) == (1, 3)
    assert played(("peer_policy drop", *NAIVE)) == (0, 3)
    assert played(("policy drop", *NAIVE)) == (1, 0)
    assert played(("policy drop", "peer_policy drop", *NAIVE)) == (0, 0)


def test_the_kernels_own_default_leaks_for_as_long_as_the_pause_lasts():
    with nk.Lab("sim") as lab:
        pod = lab.pod("pod", device="netkit")
        pod.send(Datagram(src=pod.ip, dst=lab.outside.ip, dport=9).ip, repeat=100)
        pod.pair.attach(always(2), at="peer")
        pod.send(Datagram(src=pod.ip, dst=lab.outside.ip, dport=9).ip, repeat=100)
        assert len(lab.outside.received) == 100


@pytest.mark.parametrize(("policy", "arrived"), [("pass", 1), ("drop", 0)])
def test_a_raw_frame_leaks_before_there_is_a_route(policy, arrived):
    with nk.Lab("sim") as lab:
        pod = lab.node("pod")
        pair = lab.pair("pod", peer_in=pod, peer_policy=policy)
        pair.primary.up()
        pair.peer.up()
        packet = Datagram(src="10.0.9.2", dst=lab.outside.ip, dport=9).ip
        lab.outside.listen(udp=9)
        assert pod.send(packet).sender_error == "ENETUNREACH"
        pod.send(packet, via="packet", dev=pair.peer)
        assert len(lab.outside.received) == arrived


@pytest.mark.parametrize("at", ["peer", "primary"])
def test_a_program_that_says_next_opens_a_closed_pair_and_its_going_closes_it(at):
    with nk.Lab("sim") as lab:
        pod = lab.pod("pod", device="netkit", policy="drop", peer_policy="drop")
        pod.listen(udp=7)
        packet = Datagram(src=pod.ip, dst=lab.outside.ip, dport=9) if at == "peer" else Datagram(dst=pod.ip, dport=7)
        sender = pod if at == "peer" else lab.outside
        packet = packet if at == "peer" else Datagram(src=lab.outside.ip, dst=pod.ip, dport=7)
        watcher = pod.pair.attach(always(-1), at=at)
        assert sender.send(packet.ip).fate.delivered
        watcher.detach()
        assert sender.send(packet.ip).fate.reason == "policy DROP"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [Leaks, BringUp])
def test_the_solution_passes(kind, seed):
    found = check(kind.id, solved(kind), seed=seed)
    assert found.passed, found


@pytest.mark.parametrize("seed", range(4))
def test_the_model_of_leaks_agrees_with_the_lab(seed):
    for case in Leaks().cases(random.Random(seed)):
        assert _leaks_model(case) == case.leaked, str(case)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flag", [slip.flag for slip in Leaks.slips])
def test_a_misunderstanding_of_leaks_is_caught_and_named(flag, seed):
    found = check("06.leaks", lambda steps: _leaks_model(Steps(tuple(steps)), **{flag: True}), seed=seed)
    assert not found.passed
    assert found.thought == next(s.words for s in Leaks.slips if s.flag == flag)


def test_leaks_that_are_no_pair_are_told_so():
    assert "Return two numbers" in check("06.leaks", lambda steps: 3).thought
    assert check("06.leaks", lambda steps: ...).headline.startswith("not yet")


def bring_up(lab, guard, *, policies=("drop", "drop"), hooks=("peer", "primary"), early=True, up=True, link=False):
    """Bring a pod up in a way that the options can spoil."""
    shop = lab.node("shop")
    pair = lab.pair("shop", peer_in=shop, policy=policies[0], peer_policy=policies[1])
    for at in hooks if early else ():
        pair.attach(guard, at=at, link=link)
    pair.primary.addr("10.0.9.1/24")
    pair.peer.addr("10.0.9.2/24")
    if up:
        pair.primary.up()
        pair.peer.up()
        shop.route("default", via="10.0.9.1")
    for at in () if early else hooks:
        pair.attach(guard, at=at, link=link)


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_closed_policies_make_the_order_of_the_rest_free(early, link):
    found = check("06.bring-up", partial(bring_up, early=early, link=link))
    assert found.passed, found


def test_a_pod_that_the_lab_brings_up_is_taken_too():
    def answer(lab, guard):
        shop = lab.pod("shop", device="netkit", policy="drop", peer_policy="drop")
        for at in ("peer", "primary"):
            shop.pair.attach(guard, at=at)

    found = check("06.bring-up", answer)
    assert found.passed, found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("wrong", "thought"),
    [
        ({"policies": ("pass", "pass"), "early": False}, "From that step on the pair is open"),
        ({"policies": ("pass", "drop"), "early": False}, "Out of the pod nothing leaks"),
        ({"policies": ("drop", "pass"), "early": False}, "Into the pod nothing leaks"),
        ({"policies": ("pass", "pass")}, "The bring-up is tight"),
        ({"policies": ("pass", "pass"), "hooks": ("peer",)}, "Out of the pod nothing leaks"),
        ({"hooks": ("peer",)}, "At the end the pod is to work"),
        ({"up": False}, "At the end the pod is to work"),
    ],
)
def test_a_bring_up_that_leaks_is_told_where(wrong, thought, seed):
    found = check("06.bring-up", partial(bring_up, **wrong), seed=seed)
    assert not found.passed
    assert thought in found.thought, found


def test_a_refusal_that_the_answer_brought_about_itself_is_shown():
    def answer(lab, guard):
        shop = lab.pod("shop", device="veth")
        shop.pair.attach(guard, at="peer")

    assert "ENXIO" in dict(check("06.bring-up", answer).rows)["yours"]

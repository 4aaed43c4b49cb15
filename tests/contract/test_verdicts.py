"""What each return code and each default policy does, and in which order programs run (drivers/net/netkit.c, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.journey import FateKind
from netkit_edu.uapi import Policy, Verdict
from tests.contract.conftest import DROPPED, got, sent

DROPPING = [1, 2, 3, 4, 5, 6, 8, 9, 100, -2]


@pytest.mark.parametrize("code", [Verdict.NEXT, Verdict.PASS])
def test_next_and_pass_deliver(way, programs, moved, code):
    """G7"""
    att = way.pair.attach(programs["gate"], at=way.at)
    att.maps["verdict"][0] = code
    count = moved(way.tx, way.rx)
    journey = way.send(recverr=True)
    assert journey.fate.delivered and journey.sender_error is None
    assert count() == [sent(), got()]
    assert [(run.program, run.verdict) for run in journey.verdicts] == [("gate", code)]


@pytest.mark.parametrize("code", DROPPING)
def test_drop_and_every_unknown_code_drop(way, programs, moved, code):
    """G7"""
    att = way.pair.attach(programs["gate"], at=way.at)
    att.maps["verdict"][0] = code
    count = moved(way.tx, way.rx)
    journey = way.send(recverr=True)
    assert journey.fate.kind is FateKind.DROPPED and journey.sender_error == "ENOBUFS"
    assert count() == [DROPPED, {}]
    assert [run.verdict for run in journey.verdicts] == [code]


def test_redirect_without_a_target_is_lost_and_counts_as_sent(way, programs, moved):
    """G7"""
    way.pair.attach(programs["redirect"], at=way.at)
    count = moved(way.tx, way.rx)
    journey = way.send(recverr=True)
    assert journey.fate.kind is FateKind.LOST and journey.sender_error is None
    assert count() == [sent(), {}]


@pytest.mark.parametrize("first", ["three", "pass", "drop", "redirect"])
def test_any_answer_but_next_ends_the_chain(way, programs, first):
    """G8"""
    way.pair.attach(programs[first], at=way.at)
    record = way.pair.attach(programs["record"], at=way.at)
    journey = way.send()
    assert [run.program for run in journey.verdicts] == [first]
    assert record.maps["seen"][0]["runs"] == 0


def test_next_goes_on_to_the_next_program_in_the_order_of_attachment(way, programs):
    for name in ("next", "record", "set_marks", "drop"):
        way.pair.attach(programs[name], at=way.at)
    assert [entry.name for entry in way.pair.chain(way.at).entries] == ["next", "record", "set_marks", "drop"]
    assert [run.program for run in way.send().verdicts] == ["next", "record", "set_marks", "drop"]


def test_next_at_the_chains_end_passes_even_with_policy_drop(way, programs):
    """G9"""
    way.pair.set_policy(**{way.policy: "drop"})
    for name in ("next", "record"):
        way.pair.attach(programs[name], at=way.at)
    assert way.send().fate.delivered


def test_policy_drop_drops_where_no_program_is_attached(way, moved):
    """G9"""
    way.pair.set_policy(**{way.policy: "drop"})
    count = moved(way.tx, way.rx)
    journey = way.send(recverr=True)
    assert journey.fate.kind is FateKind.DROPPED and journey.verdicts == ()
    assert journey.sender_error == "ENOBUFS"
    assert count() == [DROPPED, {}]


def test_policy_pass_delivers_where_no_program_is_attached(way):
    """G9"""
    way.pair.set_policy(**{way.policy: "pass"})
    assert way.send().fate.delivered


def test_the_policy_governs_again_when_the_last_program_is_gone(way, programs):
    """G9"""
    way.pair.set_policy(**{way.policy: "drop"})
    with way.pair.attach(programs["next"], at=way.at):
        assert way.send().fate.delivered
    assert way.send().fate.kind is FateKind.DROPPED


def test_each_policy_governs_its_own_direction_only(way):
    other = {"policy": "peer_policy", "peer_policy": "policy"}[way.policy]
    way.pair.set_policy(**{other: "drop"})
    assert way.send().fate.delivered
    way.pair.set_policy(**{other: "pass", way.policy: "drop"})
    assert not way.send().fate.delivered


def test_policies_given_at_creation_are_in_force_from_the_first_packet(lab):
    pod = lab.pod("shut", device="netkit", policy="drop", peer_policy="drop")
    assert (pod.pair.policy, pod.pair.peer_policy) == (Policy.DROP, Policy.DROP)
    assert not lab.host.ping(pod).fate.delivered
    assert not pod.ping(lab.host).fate.delivered


def test_a_program_at_one_hook_does_not_run_for_the_other_direction(way, programs):
    other = {"primary": "peer", "peer": "primary"}[way.at]
    way.pair.attach(programs["drop"], at=other)
    journey = way.send()
    assert journey.fate.delivered and journey.verdicts == ()


def test_a_verdict_in_a_map_changes_while_packets_flow(way, programs):
    att = way.pair.attach(programs["gate"], at=way.at)
    fates = []
    for code in (Verdict.PASS, Verdict.DROP, Verdict.NEXT):
        att.maps["verdict"][0] = code
        fates.append(way.send().fate.delivered)
    assert fates == [True, False, True]


def test_two_loads_of_one_program_are_two_programs_with_maps_of_their_own(lab, way, programs):
    one, two = lab.load(programs["record"]), lab.load(programs["record"])
    assert one.id != two.id
    way.pair.attach(one, at=way.at)
    way.send()
    assert (one.maps["seen"][0]["runs"], two.maps["seen"][0]["runs"]) == (1, 0)


def test_programs_may_share_a_map(lab, way, programs):
    one = lab.load(programs["record"])
    two = lab.load(programs["record"], maps={"seen": one.maps["seen"]})
    for loaded in (one, two):
        way.pair.attach(loaded, at=way.at)
    way.send()
    assert one.maps["seen"][0]["runs"] == two.maps["seen"][0]["runs"] == 2

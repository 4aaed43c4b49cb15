from __future__ import annotations

import random

import pytest

from netkit_edu.course import check
from netkit_edu.course.ch00 import Answered, Guarded, OneWay, ReadFate


def read_fate(sending, receiving):
    if "rx_packets" in receiving:
        return "crossed"
    return "vanished" if "tx_packets" in sending else "dropped"


@pytest.mark.parametrize("seed", range(3))
def test_a_right_reader_passes(seed):
    assert check("00.read-fate", read_fate, seed=seed).passed


def test_counting_as_sent_is_not_arriving():
    found = check("00.read-fate", lambda sending, receiving: "crossed" if "tx_packets" in sending else "dropped")
    assert not found.passed
    assert "Only the other end" in found.thought


def test_the_third_case_is_hinted_at():
    found = check("00.read-fate", lambda sending, receiving: "crossed" if receiving else "dropped")
    assert "REDIRECT" in found.thought


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (lambda sending, receiving: "crossed" if receiving["rx_packets"] else "dropped", "is not there at all"),
        (lambda sending, receiving: None, "one of the three words"),
        (lambda sending, receiving: "crossed" if receiving else "dropped" if "tx_packets" in sending else "vanished",
         "freed the packet"),
        (lambda sending, receiving: "dropped" if receiving else "crossed", "receiving end first"),
    ],
)  # fmt: skip
def test_other_slips_are_named(answer, thought):
    assert thought in check("00.read-fate", answer, seed=1).thought


@pytest.mark.parametrize(
    ("code", "sending", "receiving"),
    [
        (0, {"tx_packets": 1, "tx_bytes": 42}, {"rx_packets": 1, "rx_bytes": 42}),
        (2, {"tx_dropped": 1}, {}),
        (7, {"tx_packets": 1, "tx_bytes": 42}, {}),
    ],
)
def test_the_learner_sees_what_moved_at_both_ends(code, sending, receiving):
    counters = ReadFate().counters(Answered(code, b"", 53))
    assert counters == (sending, receiving)


def test_every_generated_code_is_tried():
    codes = {case.code for case in ReadFate().cases(random.Random(1))}
    assert {-1, 0, 2, 7} < codes


def test_one_policy_for_each_direction():
    assert check("00.one-way", ("pass", "drop")).passed


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (("drop", "pass"), "wrong way round"),
        (("drop", "drop"), "one drop was enough"),
        (("pass", "pass"), "still gets out"),
    ],
)
def test_a_wrong_pair_of_policies_is_named(answer, thought):
    found = check("00.one-way", answer)
    assert not found.passed and thought in found.thought


@pytest.mark.parametrize("answer", ["pass", ("forward", "drop"), (0, 2), 3])
def test_what_are_no_two_policies_is_told(answer):
    assert '"pass" or "drop"' in check("00.one-way", answer).headline


def test_packets_go_both_ways():
    assert {case.outwards for case in OneWay().cases(random.Random(1))} == {True, False}
    assert "pod to host" in str(Guarded(True, b""))

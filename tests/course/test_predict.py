from __future__ import annotations

import pytest

from netkit_edu.course import predict
from netkit_edu.errors import UsageError
from netkit_edu.journey import Fate, FateKind, Journey


def test_nothing_runs_before_the_commitment():
    ran = []
    prediction = predict("Which?", ["a", "b"], run=lambda: ran.append(1) or "a")
    assert not ran and prediction.outcome is None
    assert prediction.commit("a").right
    assert ran == [1]


def test_the_run_decides_and_the_first_commitment_stands():
    prediction = predict("Which?", ["a", "b"], run=lambda: ("b", "a picture"))
    outcome = prediction.commit("a")
    assert (outcome.right, outcome.answer, outcome.shown) == (False, "b", "a picture")
    assert prediction.commit("b") is outcome


def test_a_journey_answers_with_its_fate():
    journey = Journey(b"", (), Fate(FateKind.DROPPED))
    outcome = predict("Fate?", ["delivered", "dropped"], run=lambda: journey).commit("dropped")
    assert outcome.right and outcome.shown is journey


def test_options_may_be_numbers_and_are_chosen_by_value_before_position():
    assert predict("How many?", [2, 1], run=lambda: 2).commit(2).right
    assert predict("How many?", ["two", "one"], run=lambda: "one").commit(2).right


def test_whoever_chose_an_option_gets_its_sentence():
    options = {"a": "because of x", "b": ""}
    assert predict("Which?", options, run=lambda: "b").commit("a").explanation == "because of x"


def test_a_choice_that_is_no_option_runs_nothing():
    prediction = predict("Which?", ["a", "b"], run=lambda: pytest.fail("ran"))
    with pytest.raises(UsageError, match="choose one of"):
        prediction.commit("c")


def test_options_must_differ():
    with pytest.raises(UsageError, match="two or more different"):
        predict("Which?", ["a", "a"], run=str)


def test_strict_runs_at_once_and_refuses_an_answer_that_is_no_option(strict):
    predict("Which?", ["a", "b"], run=lambda: "a")
    with pytest.raises(UsageError, match="none of the options"):
        predict("Which?", ["a", "b"], run=lambda: "c")


def test_the_text_form_lists_the_options_by_number():
    prediction = predict("Which?", ["a", "b"], run=lambda: "b")
    assert "2. b" in repr(prediction)
    prediction.commit("a")
    assert "Not this time" in repr(prediction)

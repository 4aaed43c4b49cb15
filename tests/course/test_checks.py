from __future__ import annotations

import pytest

from netkit_edu.course import check, checks, hint, progress, solution
from netkit_edu.course.catalogue import parse
from netkit_edu.course.exercise import CASES, FunctionExercise, ProgramExercise
from netkit_edu.errors import CourseError

LIST = """
[[chapter]]
number = "05"
slug = "verdicts"
title = "t"
afterwards = "a"
[[exercise]]
id = "05.even"
chapter = "05"
title = "Even numbers"
cell = "c"
hints = ["think of `%`", "half of it is whole"]
"""


class Even(FunctionExercise):
    id = "05.even"
    arguments = ("n",)
    solution = "def even(n):\n    return n % 2 == 0\n"

    def cases(self, rng):
        return [rng.randrange(1000) for _ in range(CASES)]

    def expected(self, case):
        return case % 2 == 0

    def got(self, answer, case):
        return answer(case)

    def diagnose(self, misses):
        return "These are odd ones." if all(m.case % 2 for m in misses) else ""


@pytest.fixture(autouse=True)
def one_exercise(monkeypatch):
    course = parse(LIST)
    monkeypatch.setattr(checks, "load", lambda: course)
    monkeypatch.setattr(checks, "find", lambda identifier: Even())


def test_a_right_answer_passes_on_at_least_32_cases():
    found = check("05.even", lambda n: n % 2 == 0)
    assert found.passed
    assert CASES >= 32 and f"all {CASES}" in found.headline


def test_a_wrong_answer_shows_the_first_failing_case_and_a_thought():
    found = check("05.even", lambda n: True, seed=1)
    assert not found.passed
    assert "seed=1" in found.headline
    assert [name for name, _ in found.rows] == ["case", "expected", "yours"]
    assert found.thought == "These are odd ones."
    assert 'nk.hint("05.even")' in found.next_step


def test_the_same_seed_gives_the_same_first_failure():
    assert check("05.even", lambda n: True, seed=7).rows == check("05.even", lambda n: True, seed=7).rows


@pytest.mark.parametrize("stub", [..., None, (..., 1), lambda n: ...])
def test_a_stub_is_not_yet_and_no_attempt(stub):
    found = check("05.even", stub)
    assert not found.passed
    assert found.headline.startswith("not yet")
    assert "attempt" not in repr(found) and progress_of("05.even") == 0


def progress_of(exercise):
    from netkit_edu.course.progress import attempts

    return attempts(exercise)


def test_an_answer_of_the_wrong_kind_is_told_what_is_wanted():
    assert "a function of (n)" in check("05.even", 5).headline
    assert "yours takes ()" in check("05.even", lambda: 1).headline


def test_what_an_answer_raises_is_its_result():
    found = check("05.even", lambda n: 1 // 0)
    assert dict(found.rows)["yours"].startswith("raised ZeroDivisionError")


def test_strict_raises_on_stub_and_on_wrong_and_not_on_right(strict):
    for answer in (..., lambda n: True, 3):
        with pytest.raises(checks.NotSolved):
            check("05.even", answer)
    assert check("05.even", lambda n: n % 2 == 0).passed


def test_hints_come_in_steps_and_the_last_one_stays():
    assert [hint("05.even").text for _ in range(3)] == ["think of `%`", "half of it is whole", "half of it is whole"]
    assert "nk.solution" in check("05.even", lambda n: True).next_step


def test_a_solution_asks_for_an_attempt_first():
    assert "return n % 2" not in repr(solution("05.even"))
    assert "return n % 2" in repr(solution("05.even", anyway=True))
    check("05.even", lambda n: True)
    assert "return n % 2" in repr(solution("05.even"))


def test_an_unknown_exercise_is_refused_by_name():
    for ask in (hint, solution, lambda e: check(e, 1)):
        with pytest.raises(CourseError, match="no exercise '05.odd'"):
            ask("05.odd")


def test_html_escapes_what_the_learner_wrote():
    assert "<script>" not in check("05.even", lambda n: "<script>")._repr_html_()


def test_a_program_exercise_takes_only_what_runs():
    assert "%%bpf" in ProgramExercise().wants("text")


def test_progress_counts_what_was_passed(one_exercise):
    check("05.even", lambda n: True)
    assert [row[-1] for row in progress(parse(LIST)).rows] == ["tried"]
    check("05.even", lambda n: n % 2 == 0)
    check("05.even", lambda n: True)
    table = progress(parse(LIST))
    assert table.solved == 1
    assert "[✓]" in repr(table) and "solved" in table._repr_html_()


def test_a_cell_that_failed_is_not_yet():
    from netkit_edu.programs import BrokenProgram

    found = check("05.even", BrokenProgram("even", ValueError("expected ';'")))
    assert found.headline.startswith("not yet") and progress_of("05.even") == 0

from __future__ import annotations

import pytest

from netkit_edu.course import catalogue
from netkit_edu.course.exercise import find
from netkit_edu.errors import CourseError

CHAPTER = '[[chapter]]\nnumber = "05"\nslug = "verdicts"\ntitle = "t"\nafterwards = "a"\n'
EXERCISE = '[[exercise]]\nid = "05.x"\nchapter = "05"\ntitle = "t"\ncell = "c"\nhints = ["one", "two"]\n'
CLAIM = '[[claim]]\nid = "C1"\ntext = "t"\nchapters = ["05"]\n'


def test_the_courses_own_list_has_thirteen_chapters_and_twenty_one_claims():
    course = catalogue.load()
    assert list(course.chapters) == [f"{n:02}" for n in range(13)]
    assert list(course.claims) == [f"C{n}" for n in range(1, 22)]


def test_every_exercise_has_a_class_with_a_solution():
    for entry in catalogue.load().exercises.values():
        exercise = find(entry.id)
        assert exercise.id == entry.id
        assert exercise.solution.strip()


def test_every_class_is_listed():
    listed = catalogue.load().exercises
    for number in {entry.chapter for entry in listed.values()}:
        module = __import__(f"netkit_edu.course.ch{number}", fromlist=["EXERCISES"])
        assert set(module.EXERCISES) == {e for e in listed if e.startswith(number)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[chapter]\n", "not TOML"),
        ("[[lesson]]\n", "should not have: lesson"),
        (CHAPTER + CHAPTER, "twice"),
        (CHAPTER + 'color = "red"\n', "unknown keys: color"),
        (CHAPTER.replace('title = "t"\n', ""), "lacks: title"),
        (CHAPTER + 'minutes = "ten"\n', "should be of type int"),
        (CHAPTER + 'needs = "clang"\n', "a list of texts"),
        (CHAPTER + 'backends = ["cloud"]\n', "unknown backends: cloud"),
        (EXERCISE, "not listed"),
        (CHAPTER + EXERCISE.replace('id = "05.x"', 'id = "06.x"'), "should be called 05."),
        (CHAPTER + EXERCISE.replace('["one", "two"]', '["one"]'), "two or more steps"),
        (CHAPTER + CLAIM.replace('["05"]', '["13"]'), "not listed: 13"),
        (CHAPTER + CLAIM + 'cells = ["nowhere"]\n', "is not a place"),
        (CHAPTER + CLAIM + 'linux = ["test_x"]\n', "is not a test"),
    ],
)
def test_what_does_not_hold_together_is_refused_by_name(text, message):
    with pytest.raises(CourseError, match=message):
        catalogue.parse(text)


def test_an_unknown_exercise_names_those_of_its_chapter():
    course = catalogue.parse(CHAPTER + EXERCISE)
    with pytest.raises(CourseError, match="there are 05.x"):
        course.exercise("05.y")


def test_a_claim_is_open_until_it_has_cell_simulator_and_linux():
    course = catalogue.parse(CHAPTER + CLAIM + 'cells = ["05-verdicts#c"]\n')
    assert course.claims["C1"].missing == ("simulator", "linux")

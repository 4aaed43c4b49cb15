"""``course.toml`` read and checked: chapters, exercises, claims.

The file is the only list of what the course has. Whatever does not hold together in it is a `CourseError` that names
the entry and what to do; tests hold the list against the notebooks, the exercises' code and the test suite.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import resources
from typing import TypeVar

from netkit_edu.errors import CourseError

Record = TypeVar("Record")


@dataclass(frozen=True)
class Chapter:
    """One notebook, ``notebooks/<number>-<slug>.ipynb``. ``minutes`` is 0 while the chapter is not written.

    ``afterwards`` completes "a learner can"; ``needs`` names what beside this package it takes, empty for nothing.
    """

    number: str
    slug: str
    title: str
    afterwards: str
    minutes: int = 0
    needs: tuple[str, ...] = ()
    backends: tuple[str, ...] = ("sim",)

    @property
    def name(self) -> str:
        """The notebook's name without its ending, for example ``"01-two-stacks"``."""
        return f"{self.number}-{self.slug}"

    @property
    def written(self) -> bool:
        """True if the notebook exists."""
        return self.minutes > 0


@dataclass(frozen=True)
class ExerciseEntry:
    """An exercise as listed; its checker and solution are in ``chNN.py``. ``cell`` is the cell to fill in."""

    id: str
    chapter: str
    title: str
    cell: str
    hints: tuple[str, ...]
    misconceptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One claim of the article in our words, and where it runs.

    ``finer`` is what Linux measurably does where the claim simplifies. ``cells`` are places "01-two-stacks#cell-id";
    ``simulator`` and ``linux`` are tests as pytest names them. A claim is open until it has all three.
    """

    id: str
    text: str
    chapters: tuple[str, ...]
    finer: str = ""
    cells: tuple[str, ...] = ()
    simulator: tuple[str, ...] = ()
    linux: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What the claim still lacks: any of "cell", "simulator", "linux"."""
        have = {"cell": self.cells, "simulator": self.simulator, "linux": self.linux}
        return tuple(name for name, places in have.items() if not places)


@dataclass(frozen=True)
class Catalogue:
    """The whole list, each part keyed by number or id, in the order of the file."""

    chapters: Mapping[str, Chapter]
    exercises: Mapping[str, ExerciseEntry]
    claims: Mapping[str, Claim]

    def exercise(self, identifier: str) -> ExerciseEntry:
        """Return one exercise; `CourseError` names those of the same chapter if there is none of that id."""
        if identifier in self.exercises:
            return self.exercises[identifier]
        chapter = str(identifier)[:2]
        near = [e for e in self.exercises if e.startswith(chapter)] or list(self.exercises)
        raise CourseError(f"there is no exercise {identifier!r}; there are {', '.join(near)}")


@cache
def load() -> Catalogue:
    """Return the course's own catalogue, read once."""
    return parse(resources.files(__package__).joinpath("course.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Catalogue:
    """Read the text of a ``course.toml`` and check that it holds together; `CourseError` otherwise."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"course.toml is not TOML: {error}") from None
    if unknown := set(data) - {"chapter", "exercise", "claim"}:
        raise CourseError(f"course.toml has tables it should not have: {', '.join(sorted(unknown))}")
    catalogue = Catalogue(
        chapters=_table(data, "chapter", Chapter, "number"),
        exercises=_table(data, "exercise", ExerciseEntry, "id"),
        claims=_table(data, "claim", Claim, "id"),
    )
    _check_chapters(catalogue)
    _check_exercises(catalogue)
    _check_claims(catalogue)
    return catalogue


def _table(data: Mapping, table: str, record: type[Record], key: str) -> dict[str, Record]:
    """Make the records of one table, keyed by their field ``key``."""
    found: dict[str, Record] = {}
    for position, entry in enumerate(data.get(table, []), 1):
        where = f"{table} {entry.get(key, f'number {position}')!r}"
        made = _record(entry, record, where)
        if entry[key] in found:
            raise CourseError(f"{where} is in course.toml twice")
        found[entry[key]] = made
    return found


def _record(entry: Mapping, record: type[Record], where: str) -> Record:
    known = {f.name: f for f in fields(record)}
    if unknown := set(entry) - set(known):
        raise CourseError(f"{where} has unknown keys: {', '.join(sorted(unknown))}; possible are {', '.join(known)}")
    required = {name for name, f in known.items() if f.default is MISSING}
    if absent := required - set(entry):
        raise CourseError(f"{where} lacks: {', '.join(sorted(absent))}")
    values = {}
    for name, value in entry.items():
        wanted = {"str": str, "int": int}.get(known[name].type, list)
        if not isinstance(value, wanted) or (wanted is list and not all(isinstance(v, str) for v in value)):
            kind = "a list of texts" if wanted is list else f"of type {wanted.__name__}"
            raise CourseError(f"{where}: {name} should be {kind}, not {value!r}")
        values[name] = tuple(value) if wanted is list else value
    return record(**values)


def _check_chapters(catalogue: Catalogue) -> None:
    for chapter in catalogue.chapters.values():
        if not re.fullmatch(r"\d\d", chapter.number):
            raise CourseError(f"chapter {chapter.number!r}: the number should be two digits")
        if unknown := set(chapter.backends) - {"sim", "vm", "host"}:
            raise CourseError(f"chapter {chapter.number!r} names unknown backends: {', '.join(sorted(unknown))}")


def _check_exercises(catalogue: Catalogue) -> None:
    for exercise in catalogue.exercises.values():
        if exercise.chapter not in catalogue.chapters:
            raise CourseError(f"exercise {exercise.id!r} is of chapter {exercise.chapter!r}, which is not listed")
        if not re.fullmatch(rf"{exercise.chapter}\.[a-z0-9-]+", exercise.id):
            raise CourseError(f"exercise {exercise.id!r} should be called {exercise.chapter}.some-words")
        if len(exercise.hints) < 2:
            raise CourseError(f"exercise {exercise.id!r} needs hints in two or more steps")


def _check_claims(catalogue: Catalogue) -> None:
    names = {chapter.name for chapter in catalogue.chapters.values()}
    for claim in catalogue.claims.values():
        if unknown := set(claim.chapters) - set(catalogue.chapters):
            raise CourseError(f"claim {claim.id} names chapters that are not listed: {', '.join(sorted(unknown))}")
        for place in claim.cells:
            notebook, _, cell = place.partition("#")
            if notebook not in names or not cell:
                raise CourseError(f"claim {claim.id}: {place!r} is not a place such as '01-two-stacks#cell-id'")
        for test in (*claim.simulator, *claim.linux):
            if not re.fullmatch(r"tests/[\w/]+\.py::test_\w+", test):
                raise CourseError(f"claim {claim.id}: {test!r} is not a test such as 'tests/sim/test_x.py::test_y'")

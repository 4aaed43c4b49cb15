"""What an exercise is: generated cases, an oracle, a way to ask the learner's answer, a solution.

Each chapter's module ``chNN.py`` has one class for each exercise and lists them in ``EXERCISES``. Titles and hints are
in ``course.toml``. The oracle is plain Python over the case's own fields: it never looks at the answer under test.
"""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from netkit_edu.errors import CourseError

CASES = 40  # generated cases of one check; never below 32


class Miss(NamedTuple):
    """One case where the answer is wrong."""

    case: object
    expected: object
    got: object


class Misses(list):
    """The wrong cases in order, as `Miss`; ``every`` has all cases, right ones included, in the same form."""

    def __init__(self, every: Sequence[Miss]):
        super().__init__(m for m in every if isinstance(m.got, Raised) or m.got != m.expected)
        self.every = tuple(every)


class Exercise:
    """One exercise. Subclasses set ``id`` and ``solution`` and override the methods below.

    ``solution`` is the whole text of the cell that solves it, as a learner would write it.
    """

    id = ""
    solution = ""

    def wants(self, answer: object) -> str:
        """Return "" if the answer is of the kind asked for, else one sentence on what is wanted."""
        return ""

    def cases(self, rng: random.Random) -> Iterable[object]:
        """Return the generated cases, `CASES` of them unless there is a reason."""
        raise NotImplementedError

    def expected(self, case: object) -> object:
        """Return what is right for the case, computed from the case alone."""
        raise NotImplementedError

    def prepare(self, answer: object) -> object:
        """Return what `got` is to be called with in the answer's place, made once a check: a lab, for example."""
        return answer

    def got(self, answer: object, case: object) -> object:
        """Return what the learner's answer makes of the case. What it raises is shown as its result."""
        raise NotImplementedError

    def show(self, case: object) -> str:
        """Return the case as the learner should see it when it is the one that fails."""
        return str(case)

    def diagnose(self, misses: Misses) -> str:
        """Return a sentence that names the misunderstanding these misses look like, or ""."""
        return ""

    def misses(self, answer: object, rng: random.Random) -> tuple[int, Misses]:
        """Try the answer on every case; return how many there were, and the misses in order."""
        cases = list(self.cases(rng))
        ready = _try(self.prepare, answer)
        every = [
            Miss(case, self.expected(case), ready if isinstance(ready, Raised) else _try(self.got, ready, case))
            for case in cases
        ]
        return len(every), Misses(every)


class FunctionExercise(Exercise):
    """An exercise answered by a Python function; ``arguments`` names what it is called with, for messages."""

    arguments: tuple[str, ...] = ()

    def wants(self, answer: object) -> str:
        """Refuse what cannot be called with the arguments of this exercise."""
        call = f"a function of ({', '.join(self.arguments)})"
        if not callable(answer):
            return f"give {call}, not {answer!r}: the function itself, without calling it"
        try:
            inspect.signature(answer).bind(*self.arguments)
        except TypeError:
            return f"give {call}; yours takes {inspect.signature(answer)}"
        except ValueError:  # a builtin without a signature
            pass
        return ""


class ProgramExercise(Exercise):
    """An exercise answered by an eBPF program; a case has ``bytes`` (from Ethernet on) and fields for the oracle."""

    def wants(self, answer: object) -> str:
        """Refuse what is no program."""
        if not callable(getattr(answer, "run", None)):
            return f"give the program that your %%bpf cell made, not {answer!r}"
        return ""

    def got(self, answer: object, case: object) -> object:
        """Run the program on the case's bytes; return its verdict."""
        return answer.run(case.bytes).verdict


class Raised:
    """What the answer raised, shown in the place of a result."""

    def __init__(self, error: Exception):
        self.error = error

    def __str__(self) -> str:
        return f"raised {type(self.error).__name__}: {self.error}"


def _try(function: Callable, *arguments: object) -> object:
    """Call, and return what it raises instead of raising: a learner's code may fail in any way."""
    try:
        return function(*arguments)
    except Exception as error:
        return Raised(error)


def find(identifier: str) -> Exercise:
    """Return the exercise of this id from its chapter's module; `CourseError` if the module does not have it."""
    module = importlib.import_module(f"netkit_edu.course.ch{identifier.partition('.')[0]}")
    try:
        return module.EXERCISES[identifier]
    except KeyError:
        raise CourseError(f"{module.__name__} has no exercise {identifier!r}") from None


def collect(*kinds: type[Exercise]) -> dict[str, Exercise]:
    """Return the table a chapter's module exports as ``EXERCISES``."""
    return {kind.id: kind() for kind in kinds}

"""``check``, ``hint``, ``solution``: what a learner calls about an exercise.

A check never raises in a learner's notebook: it says what it found. With NETKIT_EDU_STRICT=1 it raises unless the
answer is right, which is how the course is tested.
"""

from __future__ import annotations

import html
import random
from dataclasses import dataclass

from netkit_edu.course import progress
from netkit_edu.course.catalogue import load
from netkit_edu.course.exercise import Exercise, Miss, find
from netkit_edu.course.present import is_strict
from netkit_edu.programs import BrokenProgram

NOT_YET = "not yet. Replace the ... in the cell above, run it, then run this one again."


class NotSolved(AssertionError):
    """Raised by a strict check whose exercise is not solved."""


@dataclass(frozen=True)
class Checked:
    """What a check found: ``passed``, and the words and lines to show. Prints as text, in a notebook as HTML."""

    exercise: str
    passed: bool
    headline: str
    rows: tuple[tuple[str, str], ...] = ()
    thought: str = ""
    next_step: str = ""

    @property
    def mark(self) -> str:
        """A sign for the state; the headline says it in words."""
        return "✓" if self.passed else "✗" if self.rows else "…"

    def __repr__(self) -> str:
        wide = max((len(name) for name, _ in self.rows), default=0)
        lines = [f"{self.mark} {self.exercise}: {self.headline}"]
        lines += [f"    {name:<{wide}}  {value}" for name, value in self.rows]
        lines += [f"  {text}" for text in (self.thought, self.next_step) if text]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th scope='row' style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'><code style='white-space:pre-wrap'>{html.escape(value)}</code></td></tr>"
            for name, value in self.rows
        )
        table = f"<table>{cells}</table>" if cells else ""
        texts = "".join(f"<p>{_inline(text)}</p>" for text in (self.thought, self.next_step) if text)
        return f"<p><strong>{self.mark} {self.exercise}</strong>: {html.escape(self.headline)}</p>{table}{texts}"


def check(exercise: str, answer: object, *, seed: int | None = None) -> Checked:
    """Try an answer on 32 or more generated cases and say what was found. Make it the last line of a cell.

    Args:
        exercise: its id, for example ``"05.drop-dns"``.
        answer: what the exercise asks for: a program, a function, a value. ``...`` and None are "not yet".
        seed: repeats the cases of an earlier check; new cases each time if None.

    Raises:
        CourseError: there is no such exercise.
        NotSolved: not solved, with NETKIT_EDU_STRICT=1 only.
    """
    load().exercise(exercise)
    found = _examine(find(exercise), answer, seed)
    if is_strict() and not found.passed:
        raise NotSolved(repr(found))
    return found


def _examine(exercise: Exercise, answer: object, seed: int | None) -> Checked:
    if not_yet := _not_yet(answer):
        return Checked(exercise.id, False, not_yet, next_step=_offer(exercise.id))
    if wanted := exercise.wants(answer):
        return Checked(exercise.id, False, wanted, next_step=_offer(exercise.id))
    seed = random.randrange(1 << 32) if seed is None else seed
    count, misses = exercise.misses(answer, random.Random(seed))
    if misses and all(miss.got is ... for miss in misses):
        return Checked(exercise.id, False, NOT_YET, next_step=_offer(exercise.id))
    passed = not misses
    progress.record(exercise.id, passed)
    if passed:
        return Checked(exercise.id, True, f"right on all {count} generated cases.")
    return Checked(
        exercise.id,
        False,
        f"wrong on {len(misses)} of {count} generated cases. The first of them (seed={seed}):",
        rows=_rows(exercise, misses[0]),
        thought=exercise.diagnose(misses),
        next_step=_offer(exercise.id),
    )


def _rows(exercise: Exercise, miss: Miss) -> tuple[tuple[str, str], ...]:
    return (("case", exercise.show(miss.case)), ("expected", _word(miss.expected)), ("yours", _word(miss.got)))


def _word(value: object) -> str:
    name = getattr(value, "name", None)
    return f"{name} ({int(value)})" if isinstance(value, int) and isinstance(name, str) else str(value)


def _not_yet(answer: object) -> str:
    """Return what to say of an answer that is still the stub, "" of any other."""
    parts = answer if isinstance(answer, (tuple, list)) else [answer]
    if any(part is ... or part is None for part in parts):
        return NOT_YET
    if isinstance(answer, BrokenProgram):
        return "not yet: the cell above did not give a program. Correct it, run it, then run this one again."
    return ""


def _offer(exercise: str) -> str:
    left = len(load().exercise(exercise).hints) - progress.hints_seen(exercise)
    if left > 0:
        return f'nk.hint("{exercise}") gives the next hint ({left} left).'
    return f'nk.solution("{exercise}") shows a solution.'


@dataclass(frozen=True)
class Text:
    """Something to read: a title, a text, and code if any. Prints as text, in a notebook as HTML."""

    title: str
    text: str = ""
    code: str = ""

    def __repr__(self) -> str:
        return "\n".join(part for part in (self.title, self.text, self.code.strip()) if part)

    def _repr_html_(self) -> str:
        code = f"<pre><code>{html.escape(self.code.strip())}</code></pre>" if self.code else ""
        return f"<p><strong>{html.escape(self.title)}</strong> {_inline(self.text)}</p>{code}"


def hint(exercise: str) -> Text:
    """Return the next hint of an exercise; each call goes one step further, and the last one stays.

    Raises:
        CourseError: there is no such exercise.
    """
    hints = load().exercise(exercise).hints
    step = min(progress.hints_seen(exercise), len(hints) - 1)
    progress.record_hint(exercise, step + 1)
    return Text(f"{exercise}, hint {step + 1} of {len(hints)}:", hints[step])


def solution(exercise: str, *, anyway: bool = False) -> Text:
    """Return a solution, once the exercise has been tried.

    Args:
        exercise: its id.
        anyway: show it without an attempt.

    Raises:
        CourseError: there is no such exercise.
    """
    entry = load().exercise(exercise)
    if not (anyway or progress.attempts(exercise)):
        return Text(
            f"{exercise}:",
            "try it first: one check of an answer of your own, and this shows a solution. "
            f'`nk.solution("{exercise}", anyway=True)` shows it now.',
        )
    return Text(f"{exercise} ({entry.title}), a solution:", code=find(exercise).solution)


def _inline(text: str) -> str:
    """Escape, and make `code` of what stands between backticks."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))

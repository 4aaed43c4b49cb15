"""Exercises of chapter 10: from readings to a figure, a budget for a chain, and what a figure lets one say."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised, collect
from netkit_edu.course.slips import Slip, begin_with, explain

# per-packet ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Readings:
    """Pairs of clock readings in ns around batches of ``n`` packets."""

    pairs: tuple[tuple[int, int], ...]
    n: int

    def __str__(self) -> str:
        return f"per_packet({list(self.pairs)}, {self.n})"


class PerPacket(FunctionExercise):
    """From readings of the clock to instructions per packet."""

    id = "10.per-packet"
    arguments = ("readings", "n")
    slips = (
        Slip("mean", "That is the mean: one batch with a timer's tick in it moves it. Take the median."),
        Slip("least", "That is the cheapest batch. What usually happens is the median."),
        Slip("warm_up", "The first batch is among them: it only warms up. Begin with `readings[1:]`."),
        Slip("whole_batch", "That is the cost of a batch: `n` packets share it."),
        Slip("from_the_start", "Each batch has a reading before and one after: only what lies between them counts."),
        Slip("cut_off", "`//` and `int` cut off what is behind the point. `round` gives the nearest whole number."),
        Slip("backwards", "The first of a pair is the earlier reading: the time between is the second less the first."),
    )
    solution = """\
def per_packet(readings, n):
    spent = sorted(after - before for before, after in readings[1:])
    return round(spent[len(spent) // 2] / n)
"""

    def cases(self, rng: random.Random) -> Iterable[Readings]:
        """Yield odd numbers of batches behind the first, one or two of them with a tick, in any order."""
        return [self._case(rng) for _ in range(CASES)]

    def _case(self, rng: random.Random) -> Readings:
        n, usual = rng.choice((16, 32, 64)), rng.randrange(4000, 9000)
        spent = [usual * n + rng.randrange(n) for _ in range(rng.choice((5, 7, 9)))]
        for _ in range(rng.choice((1, 2))):
            spent[rng.randrange(len(spent))] += rng.randrange(40, 90) * 1000
        now, pairs = rng.randrange(10**9), []
        for each in [usual * n * 3, *spent]:
            now += rng.randrange(1000, 9000)
            pairs.append((now, now + each))
            now += each
        return Readings(tuple(pairs), n)

    def expected(self, case: Readings) -> int:
        """Return the median of the batches behind the first."""
        return _per_packet(case)

    def got(self, answer: object, case: Readings) -> object:
        """Ask the learner's function."""
        return answer(list(case.pairs), case.n)

    def diagnose(self, misses: Misses) -> str:
        """Name the misunderstandings that give every result."""
        if any(not isinstance(miss.got, Raised) and not _is_number(miss.got) for miss in misses):
            return "Return one number: the instructions that a packet takes."
        known = explain(misses, self.slips, _per_packet)
        if known or any(isinstance(one.got, Raised) for one in misses.every):
            return known
        whole = Misses([one._replace(got=round(one.got)) for one in misses.every])
        if not whole:
            return "Nearly: a whole number is wanted, as `round` gives it."
        return explain(whole, self.slips, _per_packet) or begin_with(whole, self.slips, _per_packet)


def _per_packet(case: Readings, *, mean=False, least=False, warm_up=False, whole_batch=False, from_the_start=False,
                cut_off=False, backwards=False) -> int:  # fmt: skip
    """Return what someone with these misunderstandings computes; without any, what is right."""
    pairs = case.pairs if warm_up else case.pairs[1:]
    spent = [
        (after - (pairs[0][0] if from_the_start else before)) * (-1 if backwards else 1) for before, after in pairs
    ]
    figure = min(spent) if least else statistics.fmean(spent) if mean else statistics.median(spent)
    figure /= 1 if whole_batch else case.n
    return int(figure) if cut_off else round(figure)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# room ---------------------------------------------------------------------------------------------------------------

HOOK = 63  # programs that one hook takes


@dataclass(frozen=True)
class Budget:
    """What a way costs, what it must stay below, and what one more program costs: instructions."""

    way: int
    limit: int
    program: int

    def __str__(self) -> str:
        return f"room({self.way}, {self.limit}, {self.program})"


class Room(FunctionExercise):
    """How many programs a chain may have before the gain is spent."""

    id = "10.room"
    arguments = ("way", "limit", "program")
    no_end = Slip("no_end", f"A hook takes {HOOK} programs, and the one that redirects is one of them.")
    below_zero = Slip("below_zero", "The way may cost more than the limit by itself. Then there is room for none: 0.")
    rounded = Slip("rounded", "A program that does not fit whole does not fit: cut off, do not round.")
    slips = (
        Slip("equal", "Less than the limit, not as much: where it comes out even, the last one is too many."),
        rounded,
        below_zero,
        no_end,
        Slip("all_63", f"The hook takes {HOOK} programs, but the redirecting one needs a place as well."),
        Slip("limit_alone", "The way itself costs something: only what is left of the limit can be spent on programs."),
    )
    solution = f"""\
def room(way, limit, program):
    left = limit - way - 1
    return min(max(left // program, 0), {HOOK} - 1)
"""

    def cases(self, rng: random.Random) -> Iterable[Budget]:
        """Yield budgets that come out even, that do not, that are spent already, and that outlast the hook."""
        made = []
        for n in range(CASES):
            way, program, fits = rng.randrange(4000, 9000), rng.randrange(20, 200), rng.randrange(1, 50)
            limit = (
                way + fits * program,
                way + fits * program + rng.randrange(1, program),
                way - rng.randrange(program, 3000),
                way + rng.randrange(70, 120) * program,
                way + fits * program + program - 1,
            )[n % 5]
            made.append(Budget(way, limit, program))
        rng.shuffle(made)
        return made

    def expected(self, case: Budget) -> int:
        """Try one more until the limit or the hook's end is reached."""
        fits = 0
        while fits < HOOK - 1 and case.way + (fits + 1) * case.program < case.limit:
            fits += 1
        return fits

    def got(self, answer: object, case: Budget) -> object:
        """Ask the learner's function."""
        return answer(case.way, case.limit, case.program)

    def diagnose(self, misses: Misses) -> str:
        """Name the misunderstandings that give every result."""
        if any(not isinstance(miss.got, Raised) and not _is_number(miss.got) for miss in misses):
            return "Return one whole number: how many programs there is room for."
        if known := explain(misses, self.slips, _room):
            return known
        results = [one.got for one in misses.every if not isinstance(one.got, Raised)]
        for slip, seen in (
            (self.rounded, any(not float(got).is_integer() for got in results)),
            (self.no_end, any(got >= HOOK for got in results)),
            (self.below_zero, any(got < 0 for got in results)),
        ):
            if seen:
                return f"To begin with: {slip.words}"
        return begin_with(misses, self.slips, _room)


def _room(case: Budget, *, equal=False, rounded=False, below_zero=False, no_end=False, all_63=False,
          limit_alone=False) -> int:  # fmt: skip
    """Return what someone with these misunderstandings computes; without any, what is right."""
    left = case.limit - (0 if limit_alone else case.way)
    if rounded:
        fits = round(left / case.program)
    else:
        fits = (left if equal else left - 1) // case.program
    if not below_zero:
        fits = max(fits, 0)
    return fits if no_end else min(fits, HOOK if all_63 else HOOK - 1)


# says ---------------------------------------------------------------------------------------------------------------

NOTHING, NO_DIFFERENCE, FEWER, FASTER = "nothing", "no difference", "fewer instructions", "faster"
INSTRUCTIONS, RATES = "instructions", ("Gbit/s", "requests/s")


@dataclass(frozen=True)
class Pair:
    """Two measurements of two paths, and how they were made."""

    a: float
    b: float
    spread: float
    unit: str
    same_setup: bool
    line_rate: bool

    def __str__(self) -> str:
        return f"says({self.a}, {self.b}, {self.spread}, {self.unit!r}, {self.same_setup}, {self.line_rate})"


class Says(FunctionExercise):
    """What two figures let one say."""

    id = "10.says"
    arguments = ("a", "b", "spread", "unit", "same_setup", "line_rate")
    slips = (
        Slip("any_setup", "Where more differs than the path, no figure says which of the differences it was: nothing."),
        Slip("any_line", "At the cable's own rate, every path looks alike or is cut off alike: that says nothing."),
        Slip("line_for_all", "A line rate limits what goes over the line in a time. Instructions are counted anyway."),
        Slip("exact", "Two figures that lie within the spread may be the same: that is no difference."),
        Slip("a_larger", "Either may be the larger, not `a` always: look for which, then compare with the spread."),
        Slip("b_larger", "Either may be the larger, not `b` always: look for which, then compare with the spread."),
        Slip("of_the_larger", "The spread is a fraction of the smaller one: compare with `smaller * (1 + spread)`."),
        Slip("counts_are_speed", "Fewer instructions are not yet faster: a cache miss can outweigh hundreds."),
        Slip("rates_are_counts", "A throughput was measured in time, not in instructions: there the word is faster."),
        Slip("at_the_edge", "Exactly `smaller * (1 + spread)` still lies within the spread: at most, not less than."),
    )
    solution = """\
def says(a, b, spread, unit, same_setup, line_rate):
    counted = unit == "instructions"
    if not same_setup or (line_rate and not counted):
        return "nothing"
    if max(a, b) <= min(a, b) * (1 + spread):
        return "no difference"
    return "fewer instructions" if counted else "faster"
"""

    def cases(self, rng: random.Random) -> Iterable[Pair]:
        """Yield every combination of unit, set-up and line rate, with figures inside, outside and at the spread."""
        made = []
        for n, unit in itertools.product(range(CASES // 3), (INSTRUCTIONS, *RATES)):
            spread = rng.choice((0.25, 0.5, 0.125))  # sums of powers of two: the edge is exact
            small = rng.randrange(500, 1000) * 8
            factor = (1 + spread, 1 + spread / 4, 1 + 1.1 * spread, 1 + 3 * spread, 1.0)[n % 5]
            figures = [small, int(small * factor)]
            rng.shuffle(figures)
            made.append(Pair(*figures, spread, unit, rng.random() < 0.75, rng.random() < 0.35))
        made += [Pair(1000, 2000, 0.25, INSTRUCTIONS, True, True), Pair(1000, 2000, 0.25, RATES[0], True, True)]
        made += [Pair(2000, 1000, 0.25, unit, True, False) for unit in (INSTRUCTIONS, RATES[1])]
        made += [Pair(1000, 1250, 0.25, unit, True, False) for unit in (INSTRUCTIONS, RATES[0])]
        made += [Pair(8000, 4000, 0.25, unit, False, False) for unit in (INSTRUCTIONS, RATES[1])]
        made += [Pair(*figures, 0.25, RATES[0], True, False) for figures in ((1000, 1300), (1300, 1000))]
        rng.shuffle(made)
        return made

    def expected(self, case: Pair) -> str:
        """Ask for set-up, line and spread, in this order."""
        return _says(case)

    def got(self, answer: object, case: Pair) -> object:
        """Ask the learner's function."""
        return answer(case.a, case.b, case.spread, case.unit, case.same_setup, case.line_rate)

    def diagnose(self, misses: Misses) -> str:
        """Name a word that was not asked for, or the misunderstandings that give every wrong one."""
        words = (NOTHING, NO_DIFFERENCE, FEWER, FASTER)
        if any(not isinstance(miss.got, Raised) and miss.got not in words for miss in misses):
            return f"Return one of four texts: {', '.join(repr(word) for word in words)}."
        return explain(misses, self.slips, _says) or begin_with(misses, self.slips, _says)


def _says(case: Pair, *, any_setup=False, any_line=False, line_for_all=False, exact=False, a_larger=False,
          b_larger=False, of_the_larger=False, counts_are_speed=False, rates_are_counts=False,
          at_the_edge=False) -> str:  # fmt: skip
    """Return what someone with these misunderstandings says; without any, what is right."""
    counted = case.unit == INSTRUCTIONS
    limited = case.line_rate and not any_line and (line_for_all or not counted)
    if limited or not (case.same_setup or any_setup):
        return NOTHING
    small, large = (case.b, case.a) if a_larger else (case.a, case.b) if b_larger else sorted((case.a, case.b))
    spread = 0 if exact else case.spread
    bound = small + spread * max(small, large) if of_the_larger else small * (1 + spread)
    if large < bound or (large == bound and not at_the_edge):
        return NO_DIFFERENCE
    if counted:
        return FASTER if counts_are_speed else FEWER
    return FEWER if rates_are_counts else FASTER


EXERCISES = collect(PerPacket, Room, Says)

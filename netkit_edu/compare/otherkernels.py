"""Differences that the table of kernels explains, where Linux is another than the course's (netkit_edu.kernels)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from netkit_edu.compare.judge import Difference
from netkit_edu.compare.scenario import Scenario
from netkit_edu.compare.surprises import Surprise
from netkit_edu.kernels import COURSE, Row, kernel_differences

NOTHING = Scenario({}, {}, [])
_FIELDS = ("error", "extack")


@functools.cache
def surprises(release: str) -> tuple[Surprise, ...]:
    """Return what a kernel does otherwise by the rows of the table, as far as a scenario can show it."""
    return tuple(
        Surprise(row.what, f"KERNELS.md: {row.where}", fits, NOTHING)
        for row in kernel_differences(release)
        if (fits := _COUNTED.get(row.key) or (_attributes(row) if row.key == "attributes" else _answers(row, release)))
    )


def _attributes(row: Row):
    """An attribute that the course's kernel does not tell of a device."""
    known = {f"info.{name}" for name in row.on(COURSE)}

    def fits(scenario: Scenario, difference: Difference, found: Sequence[Difference]) -> bool:
        return difference.field.startswith("info.") and difference.field not in known and difference.left is None

    return fits


def _pings(scenario: Scenario, difference: Difference, found: Sequence[Difference]) -> bool:
    """A ping socket's request is counted twice."""
    *_, counter = difference.field.split(".")
    return counter in ("IcmpOutEchos", "IcmpOutMsgs") and (difference.right or 0) > (difference.left or 0)


def _uncounted(scenario: Scenario, difference: Difference, found: Sequence[Difference]) -> bool:
    """A device does not count what a redirect to a neighbour could not give it."""
    return difference.field.endswith(".tx_dropped") and (difference.right or 0) < (difference.left or 0)


_COUNTED = {"ping-counts": _pings, "neigh-down": _uncounted}


def _answers(row: Row, release: str):
    """A call that is accepted or refused, or refused in other words: errno and words are both as the row has them."""
    ours, theirs = row.on(COURSE), row.on(release)
    if not all(value is None or isinstance(value, tuple) for value in (ours, theirs)):
        return None
    pairs = set(zip(_FIELDS, ours or (None, None), theirs or (None, None), strict=True))

    def fits(scenario: Scenario, difference: Difference, found: Sequence[Difference]) -> bool:
        of_step = {one[1:] for one in found if one.step == difference.step and one.field in _FIELDS}
        return difference[1:] in of_step and of_step == {pair for pair in pairs if pair[1] != pair[2]}

    return fits

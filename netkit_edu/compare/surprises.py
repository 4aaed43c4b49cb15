"""Differences that are explained: what Linux does that a simulator need not, and rows that differ by kernel version.

Each is told by a test of its own kind: the backend it is seen on, and what the difference looks like. A difference
that one of these explains is counted apart, and does not make a comparison fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netkit_edu.compare.judge import Difference
from netkit_edu.compare.scenario import Scenario


@dataclass(frozen=True)
class Surprise:
    """One explained difference.

    Attributes:
        name: what to call it.
        why: what happens, and where in the kernel.
        fits: whether it explains a difference of a scenario.
        ends: whether what follows it in the same scenario follows from it.
    """

    name: str
    why: str
    fits: Callable[[Scenario, Difference], bool]
    ends: bool = False


SURPRISES: tuple[Surprise, ...] = ()


def explain(
    scenario: Scenario, found: Sequence[Difference], known: Sequence[Surprise] = SURPRISES
) -> tuple[list[Difference], list[str]]:
    """Sort differences out: return those that nothing explains, and the names of what explains the others."""
    open_, names = [], []
    for difference in found:
        fitting = next((surprise for surprise in known if surprise.fits(scenario, difference)), None)
        if fitting is None:
            open_.append(difference)
            continue
        names.append(fitting.name)
        if fitting.ends:
            break
    return open_, names

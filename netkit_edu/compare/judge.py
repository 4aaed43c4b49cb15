"""Two outcomes side by side: what differs, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from netkit_edu.compare.run import Outcome


class Difference(NamedTuple):
    """One field of one step's outcome: its path in dots, and what either machine says. Step -1 is the network."""

    step: int
    field: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"step {self.step} {self.field}: {self.left!r} | {self.right!r}"


def differences(left: Sequence[Outcome], right: Sequence[Outcome]) -> list[Difference]:
    """Return everything that differs, in the order of the steps; a step that one side has not taken is a difference."""
    found = []
    for n in range(max(len(left), len(right))):
        one, two = (side[n] if n < len(side) else {"taken": False} for side in (left, right))
        found += [Difference(n - 1, path, x, y) for path, x, y in _unequal(one, two, "")]
    return found


def _unequal(one: Any, two: Any, path: str):
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted({*one, *two}):
            yield from _unequal(one.get(key), two.get(key), f"{path}.{key}" if path else key)
    elif one != two:
        yield path, one, two

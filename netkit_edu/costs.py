"""What a path costs, in instructions: single figures with their spread, and several of them side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from netkit_edu.errors import UsageError


class Cost(NamedTuple):
    """How many instructions a thing takes: the median of several runs, and the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, runs: Iterable[float]) -> Cost:
        """Return the cost that these runs amount to.

        Raises:
            UsageError: there are none.
        """
        runs = sorted(runs)
        if not runs:
            raise UsageError("a cost needs at least one run")
        return cls(statistics.median(runs), runs[0], runs[-1])

    @property
    def spread(self) -> float:
        """How far the runs lie apart, as a fraction of the lowest: 0.002 is 0.2 %."""
        return (self.high - self.low) / self.low if self.low else 0.0

    def __repr__(self) -> str:
        return f"{grouped(self.median)} instructions (spread {percent(self.spread)})"


@dataclass(frozen=True)
class Costs(Mapping[str, Cost]):
    """Costs by name, in order; shows as bars in a notebook, as a table elsewhere.

    Args:
        rows: name -> `Cost`.
        unit: what one figure counts, for example "instructions per packet".
        base: the name of the row that the others are held against, "" for none.
        title: what is measured, in one line.
    """

    rows: Mapping[str, Cost] = field(default_factory=dict)
    unit: str = "instructions per packet"
    base: str = ""
    title: str = ""

    def __post_init__(self):
        bad = [name for name, cost in self.rows.items() if not isinstance(name, str) or not isinstance(cost, Cost)]
        if bad:
            raise UsageError(f"costs are a dict of names and what lab.measure gave; wrong: {bad[0]!r}")
        if self.base and self.base not in self.rows:
            raise UsageError(f"base is one of {', '.join(map(repr, self.rows))}, not {self.base!r}")

    def over(self, name: str, base: str = "") -> float:
        """Return by how many instructions one row lies over another: over ``base`` if none is named."""
        return self[name].median - self[base or self.base or name].median

    def share(self, name: str, base: str = "") -> float:
        """Return how many times what another row costs one costs: 1.2 is a fifth more; against ``base`` by default."""
        return self[name].median / self[base or self.base or name].median

    @property
    def spread(self) -> float:
        """The largest spread of any row, as a fraction."""
        return max((cost.spread for cost in self.rows.values()), default=0.0)

    @classmethod
    def across(cls, tables: Sequence[Costs]) -> Costs:
        """Return one table of several equal ones: each row the median of theirs, its spread how far those lie apart.

        Raises:
            UsageError: there are none, or their rows differ.
        """
        if not tables or any(list(table) != list(tables[0]) for table in tables):
            raise UsageError("tables are put together that have the same rows")
        rows = {name: Cost.of(table[name].median for table in tables) for name in tables[0]}
        return replace(tables[0], rows=rows)

    def __getitem__(self, name: str) -> Cost:
        if name not in self.rows:
            raise KeyError(f"no {name!r}; there are {', '.join(map(repr, self.rows))}")
        return self.rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        wide = max((len(name) for name in self.rows), default=0)
        lines = [f"{self.title}: {self.unit}" if self.title else self.unit]
        for name, cost in self.rows.items():
            over = f"{signed(self.over(name)):>12}" if self.base and name != self.base else " " * 12
            lines.append(f"  {name:<{wide}} {grouped(cost.median):>12}{over}   spread {percent(cost.spread)}")
        return "\n".join(lines)


def closest(value: float, options: Mapping[str, float]) -> str:
    """Return the option whose number a value is nearest to, by ratio: 3 is nearer to 6 than to 1.

    Args:
        value: what was measured, 0 or more.
        options: what each option stands for, above 0.

    Raises:
        UsageError: there are none, or one stands for no such number.
    """
    if not options or min(options.values()) <= 0:
        raise UsageError(f"options stand for numbers above 0, not {dict(options)}")
    return min(options, key=lambda name: abs(math.log(max(value, 1e-9) / options[name])))


def grouped(value: float) -> str:
    """Return a number without decimals, its digits in groups of three: "1 048 576"."""
    return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


def signed(value: float) -> str:
    """Return a difference with its sign: "+728"."""
    return ("+" if value >= 0 else "\N{MINUS SIGN}") + grouped(abs(value))


def percent(fraction: float) -> str:
    """Return a fraction as percent, two decimals."""
    return f"{fraction:.2%}".replace("%", "\N{NO-BREAK SPACE}%")

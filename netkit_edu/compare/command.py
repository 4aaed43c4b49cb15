"""``python -m netkit_edu compare``: what it takes, and what it prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from netkit_edu.errors import UsageError

EVERY = 50  # scenarios between two lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell a parser what the command takes; ``run`` is what it does then."""
    parser.description = "Execute random scenarios on two backends, and show the smallest on which they disagree."
    parser.add_argument("--random", type=int, default=300, metavar="N", help="how many scenarios (300)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="begin with scenario K of the seed")
    parser.add_argument("--backend", default="vm", help="the backend under test (vm)")
    parser.add_argument("--against", default="sim", help="what to compare it with (sim)")
    parser.add_argument("--hops", action="store_true", help="compare the functions that packets go through, too")
    parser.add_argument("--stop-after", type=int, default=1, metavar="N", help="disagreements to look for (1)")
    parser.add_argument("--scenario", metavar="JSON", help="one scenario: its JSON, or a file that holds it")
    parser.add_argument("--features", action="store_true", help="list the features covered, and how often")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Compare; returns 0 if nothing unexplained was found, else 1."""
    from netkit_edu.compare.campaign import Comparison, report

    comparison = Comparison(given.against, given.backend, hops=given.hops)
    try:
        if given.scenario:
            return _one(comparison, given)
        numbers = range(given.first, given.first + given.random)
        tally = comparison.run(given.seed, numbers, _progress, given.stop_after)
    finally:
        comparison.close()
    if given.features:
        print("\n".join(f"{n:6}  {name}" for name, n in sorted(tally.features.items())))
    print(report(tally, given.against, given.backend))
    return 1 if tally.disagreements else 0


def _progress(tally) -> None:
    if tally.disagreements and tally.disagreements[-1].found_in == tally.last:
        print(f"a disagreement in {tally.last}", file=sys.stderr, flush=True)
    if tally.scenarios % EVERY == 0:
        print(
            f"{tally.scenarios} scenarios, {tally.steps} steps, {len(tally.features)} features, "
            f"{sum(tally.explained.values())} explained, {len(tally.disagreements)} disagreements, "
            f"{tally.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def _one(comparison, given: argparse.Namespace) -> int:
    from netkit_edu.compare.campaign import features, show
    from netkit_edu.compare.run import Endless

    scenario = _read(given.scenario)
    try:
        seen = comparison.look(scenario)
    except Endless as error:
        raise UsageError(f"this scenario never ends: {error}") from error
    print(scenario)
    for n, outcomes in enumerate(zip(seen.left, seen.right, strict=False)):
        print(f"\n{n - 1}:")
        for name, outcome in zip((given.against, given.backend), outcomes, strict=True):
            print(f"  {name:8} {outcome}")
    if not seen.found:
        print(f"\nthey agree; features: {', '.join(sorted(set(features(scenario, seen.left))))}")
        return 0
    print("\n" + show(seen, given.against, given.backend))
    return 1


def _read(given: str):
    from netkit_edu.compare.scenario import Scenario

    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text(encoding="utf-8")
        return Scenario.from_json(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--scenario takes the JSON that a disagreement ends with, or a file of it: {error}"
        ) from error

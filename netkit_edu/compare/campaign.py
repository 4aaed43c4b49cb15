"""Many scenarios on two machines, and a report: how many, what they covered, and the smallest that disagrees."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from netkit_edu.compare import generator, otherkernels, surprises
from netkit_edu.compare.judge import Difference, differences
from netkit_edu.compare.machine import Machine
from netkit_edu.compare.run import Endless, Outcome, execute
from netkit_edu.compare.scenario import Scenario, describe
from netkit_edu.compare.shrink import shrink
from netkit_edu.errors import DoorError

RENEW = 200  # scenarios that one lab executes before it makes room for a fresh one


@dataclass
class Disagreement:
    """One scenario on which the machines differ, as small as it gets, and how they do."""

    scenario: Scenario
    found: list[Difference]
    found_in: str = ""
    left: list[Outcome] = field(default_factory=list)
    right: list[Outcome] = field(default_factory=list)


@dataclass
class Tally:
    """What was done so far."""

    scenarios: int = 0
    steps: int = 0
    endless: int = 0
    features: Counter = field(default_factory=Counter)
    explained: Counter = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)
    seconds: float = 0.0
    last: str = ""


class Comparison:
    """Two machines that take the same scenarios.

    Args:
        left: a backend by name; it goes first, and says which scenarios never end.
        right: the other one.
        hops: compare the functions that packets go through, too.
        known: differences that are explained.
    """

    def __init__(self, left: str = "sim", right: str = "sim", *, hops: bool = False, known=surprises.SURPRISES):
        self.left, self.right = Machine(left), Machine(right)
        self.hops = hops
        self.known = known
        self.tally = Tally()

    def execute(self, scenario: Scenario, machine: Machine) -> list[Outcome]:
        """Take a scenario's steps on one of the machines; one that breaks down is an outcome, too."""
        if machine.scenarios >= RENEW:
            machine.restart()
        try:
            return execute(scenario, machine, with_hops=self.hops)
        except DoorError as error:
            machine.restart()
            return [{"broken": f"{type(error).__name__}: {error}".splitlines()[0]}]

    def look(self, scenario: Scenario) -> Disagreement:
        """Execute a scenario on both, and tell what nothing explains."""
        try:
            left, right = (self.execute(scenario, machine) for machine in (self.left, self.right))
        except Endless:  # in the middle: what it has left would be found with the next
            for machine in (self.left, self.right):
                machine.restart()
            raise
        known = (*self.known, *otherkernels.surprises(self.right.lab.kernel))
        found, names = surprises.explain(scenario, differences(left, right), known)
        self.tally.explained.update(set(names))
        return Disagreement(scenario, found, scenario.name, left, right)

    def take(self, scenario: Scenario) -> Disagreement | None:
        """Execute, count, and return a disagreement if there is one, shrunk if it is the first of its kind."""
        self.tally.last = scenario.name
        try:
            seen = self.look(scenario)
        except Endless:
            self.tally.endless += 1
            return None
        self.tally.scenarios += 1
        self.tally.steps += len(scenario.steps)
        self.tally.features.update(set(features(scenario, seen.left)))
        if not seen.found:
            return None
        kinds = {kind_of(one) for one in self.tally.disagreements}
        smallest = seen if kind_of(seen) in kinds else self.shrunk(seen)
        self.tally.disagreements.append(smallest)
        return smallest

    def shrunk(self, seen: Disagreement) -> Disagreement:
        """Return the smallest scenario that differs in the same way on fresh machines; as it is if none does."""
        for machine in (self.left, self.right):
            machine.restart()
        wanted = kind_of(seen)
        found = seen

        def disagrees(candidate: Scenario) -> bool:
            nonlocal found
            try:
                now = self.look(candidate)
            except Endless:
                return False
            if same := bool(now.found) and kind_of(now) == wanted:
                found = now
            return same

        explained = self.tally.explained.copy()
        shrink(seen.scenario, disagrees)
        self.tally.explained = explained
        found.found_in = seen.scenario.name
        return found

    def run(self, seed: int, numbers: Iterable[int], progress: Callable[[Tally], None] | None = None,
            stop_after: int = 1) -> Tally:  # fmt: skip
        """Take scenarios ``numbers`` of ``seed``, up to so many disagreements of different kinds."""
        begun = time.monotonic()
        for number in numbers:
            self.take(generator.scenario(seed, number))
            self.tally.seconds = time.monotonic() - begun
            if progress is not None:
                progress(self.tally)
            if len(self.tally.disagreements) >= stop_after:
                break
        return self.tally

    def close(self) -> None:
        """Free both machines."""
        self.left.close()
        self.right.close()


def kind_of(seen: Disagreement) -> tuple[str, str]:
    """Return in which kind of step and in which field a scenario disagrees first."""
    first, steps = seen.found[0], seen.scenario.steps
    step = steps[first.step]["do"] if 0 <= first.step < len(steps) else ""
    return step, first.field.partition(".")[0]


def features(scenario: Scenario, outcomes: list[Outcome]) -> Iterator[str]:
    """Yield what a scenario exercises: devices, options, program's doings, steps with their flags, and answers."""
    for name, options in scenario.topology.items():
        yield f"device {name}"
        yield from (f"{name} {key}={value}" for key, value in options.items())
    for does in scenario.programs.values():
        yield f"verdict {does.get('verdict', -1)}"
        yield from (f"program sets {key}" for key in does.keys() - {"verdict", "redirect", "nexthop"})
        if "redirect" in does:
            helper, target, flags = does["redirect"]
            yield f"{helper} to {target}"
            yield f"{helper} flags {flags:#x}"
    for step, outcome in zip(scenario.steps, outcomes[1:], strict=False):
        what = step["do"]
        yield f"{what} {outcome.get('error', 'ok')}"
        yield from (f"{what} {key}={step[key]}" for key in ("flags", "via", "mac", "to", "ethertype") if key in step)
        if "fate" in outcome:
            yield f"fate {outcome['fate']}"
            yield f"sender told {outcome['sender']}"


def report(tally: Tally, left: str, right: str) -> str:
    """Return the campaign in words."""
    rate = tally.scenarios / tally.seconds if tally.seconds else 0
    lines = [
        f"{tally.scenarios} scenarios, {tally.steps} steps on {left} and {right} in {tally.seconds:.0f} s"
        f" ({rate:.1f}/s); {len(tally.features)} features covered",
    ]
    if tally.endless:
        lines.append(f"{tally.endless} more in which a packet goes round for ever were left out")
    lines += [f"explained: {name} in {n} scenarios" for name, n in sorted(tally.explained.items())]
    lines.append(f"{len(tally.disagreements)} unexplained disagreements")
    for one in tally.disagreements:
        lines += ["", show(one, left, right)]
    return "\n".join(lines)


def show(one: Disagreement, left: str, right: str) -> str:
    """Return a disagreement in words: the scenario, what differs, and the scenario once more to be executed again."""
    lines = [f"Found in {one.found_in}. The smallest scenario that shows it:", "", str(one.scenario), ""]
    last = None
    for difference in one.found:
        if difference.step != last:
            lines.append(_where(one.scenario, difference.step))
            last = difference.step
        lines.append(f"  {difference.field}")
        lines += [f"    {name:8} {value!r}" for name, value in ((left, difference.left), (right, difference.right))]
    return "\n".join([*lines, "", f"again: --scenario '{one.scenario.to_json()}'"])


def _where(scenario: Scenario, step: int) -> str:
    if step < 0:
        return "the network as it is built"
    if step >= len(scenario.steps):
        return "what the stacks have counted in the end"
    return f"step {step}: {describe(scenario.steps[step])}"

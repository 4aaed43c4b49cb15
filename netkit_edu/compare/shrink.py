"""The smallest scenario that still shows a disagreement: leave out what is not needed, then say less of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netkit_edu.compare.scenario import PROGRAMS, Scenario

MOST_TRIES = 200


def shrink(scenario: Scenario, disagrees: Callable[[Scenario], bool], tries: int = MOST_TRIES) -> Scenario:
    """Return a scenario from which nothing can be left out without the disagreement going away.

    Args:
        scenario: one for which ``disagrees`` is true.
        disagrees: executes a scenario on both sides, and tells whether they still disagree in the same way.
        tries: stop after that many executions, with the smallest found so far.
    """
    left = tries

    def holds(candidate: Scenario) -> bool:
        nonlocal left
        left -= 1
        return disagrees(candidate)

    smallest = scenario.copy()
    progress = True
    while progress and left > 0:
        progress = False
        for candidate in _smaller(smallest):
            if left <= 0:
                break
            if holds(candidate):
                smallest, progress = candidate, True
                break
    return smallest


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios that are simpler in one respect, the boldest first."""
    steps = scenario.steps
    size = len(steps) // 2
    while size:
        for start in range(0, len(steps), size):
            yield _with(scenario, steps=steps[:start] + steps[start + size :])
        size //= 2
    for name in [*scenario.topology][1:]:
        yield _with(scenario, topology={key: value for key, value in scenario.topology.items() if key != name})
    for name in scenario.programs:
        if not any(name in step.values() for step in steps):
            yield _with(scenario, programs={key: value for key, value in scenario.programs.items() if key != name})
    yield from _told_less(scenario)


def _told_less(scenario: Scenario) -> Iterator[Scenario]:
    for what in ("topology", "programs"):
        for name, options in getattr(scenario, what).items():
            for option in options:
                less = scenario.copy()
                del getattr(less, what)[name][option]
                yield less
    for n, step in enumerate(scenario.steps):
        for option in step:
            if option not in _NEEDED:
                less = scenario.copy()
                del less.steps[n][option]
                yield less
    yield from _plainer(scenario)


_NEEDED = {"do", "hook", "prog", "link", "device", "value", "cmd", "kind"}


def _plainer(scenario: Scenario) -> Iterator[Scenario]:
    """Plainer values, each only where it is plainer than what stands there."""
    for name, does in scenario.programs.items():
        for option, plain in (("verdict", 0), ("verdict", 2)):
            if does.get(option, -1) not in (-1, 0, 2):
                simpler = scenario.copy()
                simpler.programs[name][option] = plain
                yield simpler
    for n, step in enumerate(scenario.steps):
        if step["do"] == "attach" and "link" in step:
            simpler = scenario.copy()
            del simpler.steps[n]["link"]
            yield simpler
        if step.get("via") == "packet" and step["do"] == "send":
            simpler = scenario.copy()
            simpler.steps[n] = {k: v for k, v in step.items() if k not in ("via", "mac", "ethertype", "tag", "cut")}
            yield simpler
    renamed = _in_order(scenario)
    if renamed.to_json() != scenario.to_json():
        yield renamed


def _in_order(scenario: Scenario) -> Scenario:
    """The same with its programs called p0, p1, … in their order."""
    names = {old: new for old, new in zip(scenario.programs, PROGRAMS, strict=False)}
    rename = lambda value: names.get(value, value) if isinstance(value, str) else value  # noqa: E731
    return _with(
        scenario,
        programs={names[old]: does for old, does in scenario.programs.items()},
        steps=[{key: rename(value) for key, value in step.items()} for step in scenario.steps],
    )


def _with(scenario: Scenario, **changed) -> Scenario:
    given = {"topology": scenario.topology, "programs": scenario.programs, "steps": scenario.steps} | changed
    return Scenario(**given, name=scenario.name).copy()

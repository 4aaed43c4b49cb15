"""Differences that are explained: what Linux does that a simulator need not, and rows that differ by kernel version.

Each is told by a test of its own: what the difference looks like. A difference that one of these explains is counted
apart, and does not make a comparison fail. Each brings a scenario that shows it, so that it is noticed when it is gone.
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
        fits: whether it explains a difference, given the scenario and all differences that it showed.
        shows: a scenario on which the simulator and Linux differ in this way and in no other.
        ends: whether what follows it in the same scenario follows from it.
    """

    name: str
    why: str
    fits: Callable[[Scenario, Difference, Sequence[Difference]], bool]
    shows: Scenario
    ends: bool = False


def _copy_on_the_cable(scenario: Scenario, difference: Difference, found: Sequence[Difference]) -> bool:
    cloned = any(
        program.get("redirect", [""])[:2] == ["clone_redirect", "nic"] for program in scenario.programs.values()
    )
    return cloned and difference.field == "fate" and {difference.left, difference.right} == {"dropped", "lost"}


SURPRISES: tuple[Surprise, ...] = (
    Surprise(
        "a copy on the cable ends before the packet itself",
        "Where packet and copy both perish, the first to end tells the fate. A lab's card on Linux is an end of a veth "
        "pair, and the other end takes the copy in its turn, in the same softirq (drivers/net/veth.c:veth_xmit); in "
        "the simulator it is on its way while the host goes on.",
        _copy_on_the_cable,
        Scenario(
            {"a": {}},
            {"p0": {"verdict": 7}, "p1": {"redirect": ["clone_redirect", "nic", 0]}},
            [
                {"do": "attach", "hook": "peer", "prog": "p1"},
                {"do": "attach", "hook": "primary", "prog": "p0"},
                {"do": "send", "device": "a.peer", "to": "stranger"},
            ],
        ),
    ),
)


def explain(
    scenario: Scenario, found: Sequence[Difference], known: Sequence[Surprise] = SURPRISES
) -> tuple[list[Difference], list[str]]:
    """Sort differences out: return those that nothing explains, and the names of what explains the others."""
    open_, names = [], []
    for difference in found:
        fitting = next((surprise for surprise in known if surprise.fits(scenario, difference, found)), None)
        if fitting is None:
            open_.append(difference)
            continue
        names.append(fitting.name)
        if fitting.ends:
            break
    return open_, names

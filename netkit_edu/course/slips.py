"""Slips: misunderstandings that a wrong answer may come from, and how one is recognised.

An exercise's model describes a program with known slips by the fields its cases were made from, so that an answer
which agrees with it on every case can be told what it does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netkit_edu.course.exercise import Misses, Raised
from netkit_edu.engine.memory import STALE_POINTER
from netkit_edu.errors import ProgramFault

TOO_FAR = (
    "It reads behind the packet's end. Before each read, compare the address behind the last byte you need "
    "with `data_end`, and return where it lies beyond. The verifier of Linux refuses a program without that check."
)
NO_ADDRESS = (
    "A lookup that finds nothing gives NULL, and there is nothing to read or write at NULL: test the pointer first. "
    "The verifier of Linux refuses a program without that test."
)
XDP_WORDS = "1 and 2 are XDP's codes: XDP_DROP is 1 and XDP_PASS is 2. Here 2 is NETKIT_DROP, and 1 drops as well."


@dataclass(frozen=True)
class Slip:
    """One misunderstanding: ``flag`` names it to the exercise's model, ``words`` tell the learner."""

    flag: str
    words: str


NO_ETHERTYPE = Slip("any_ethertype", "It never asks whether this is IPv4: compare `eth->h_proto` first.")


def explain(misses: Misses, slips: Sequence[Slip], model: Callable[..., object]) -> str:
    """Return the words of the fewest slips (at most two) that give every result, right ones included, or "".

    ``model(case, **flags)`` is what a program with these slips returns.
    """
    for count in (1, 2):
        for chosen in itertools.combinations(slips, count):
            flags = {slip.flag: True for slip in chosen}
            if all(model(one.case, **flags) == one.got for one in misses.every):
                return " ".join(slip.words for slip in chosen)
    return ""


def begin_with(misses: Misses, slips: Sequence[Slip], model: Callable[..., object]) -> str:
    """Return the words of the slip that by itself gives the first wrong result, which is shown, or else most of them.

    For an answer with more slips than `explain` combines. "" where no slip gives any of them.
    """
    given = {slip: [model(miss.case, **{slip.flag: True}) == miss.got for miss in misses] for slip in slips}
    best = max(slips, key=lambda slip: (given[slip][0], sum(given[slip])))
    return f"To begin with: {best.words}" if any(given[best]) else ""


def of_fault(raised: Raised) -> str:
    """Return what to do about the fault that stopped a program, "" of one that says it itself."""
    if not isinstance(raised.error, ProgramFault):
        return ""
    said = str(raised.error)
    if STALE_POINTER in said:
        return ""
    return NO_ADDRESS if "null pointer" in said else TOO_FAR if "at packet+" in said else ""


def of_stop(misses: Misses) -> str:
    """Return what to do about the first fault among wrong results, "" where there is none or it says it itself."""
    raised = next((miss.got for miss in misses if isinstance(miss.got, Raised)), None)
    words = of_fault(raised) if raised else ""
    return words if not words or misses[0].got is raised else f"Another frame stops the program. {words}"

"""The simulator beside Linux in a virtual machine: random scenarios, and not one disagreement that nothing explains."""

from __future__ import annotations

import os

import pytest

from netkit_edu.compare import surprises
from netkit_edu.compare.campaign import Comparison, report
from tests.requires import a_compiler

pytestmark = [pytest.mark.vm, a_compiler()]
SCENARIOS = int(os.environ.get("NETKIT_EDU_COMPARE", "30"))


@pytest.fixture(scope="module")
def comparison():
    comparison = Comparison("sim", "vm")
    yield comparison
    comparison.close()


def test_simulator_and_linux_agree_on_random_scenarios(comparison):
    tally = comparison.run(1, range(SCENARIOS))
    assert tally.scenarios + tally.endless == SCENARIOS, report(tally, "sim", "vm")
    assert not tally.disagreements, report(tally, "sim", "vm")


@pytest.mark.parametrize("surprise", surprises.SURPRISES, ids=lambda surprise: surprise.name)
def test_an_explained_difference_is_still_there(comparison, surprise):
    """Each comes with a scenario that shows it: one that Linux has stopped to show is to be taken out."""
    seen = comparison.look(surprise.shows)
    assert not seen.found
    assert comparison.tally.explained[surprise.name]

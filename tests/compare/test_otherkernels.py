"""What the table of kernels explains in a comparison, and what it does not."""

from __future__ import annotations

import pytest

from netkit_edu.compare import otherkernels
from netkit_edu.compare.judge import Difference
from netkit_edu.compare.scenario import Scenario
from netkit_edu.compare.surprises import explain

NOWHERE = Scenario({}, {}, [])
FIXED = "cannot be changed after device creation"


def left_open(release: str, *found: Difference) -> list[Difference]:
    return explain(NOWHERE, found, otherkernels.surprises(release))[0]


@pytest.mark.parametrize("release", ["6.12", "6.12.117+deb12-cloud-amd64"])
def test_on_the_courses_kernel_nothing_is_explained_so(release):
    assert otherkernels.surprises(release) == ()


def test_what_a_row_says_of_that_kernel_is_explained_and_not_of_another():
    found = Difference(3, "error", None, "EACCES"), Difference(3, "extack", None, f"netkit link headroom {FIXED}")
    assert not left_open("7.3.4", *found)
    assert left_open("6.12.107", *found) == [*found]


def test_half_of_a_row_or_another_steps_half_explains_nothing():
    errno, words = (
        Difference(3, "error", None, "EACCES"),
        Difference(3, "extack", None, f"netkit link headroom {FIXED}"),
    )
    assert left_open("7.3.4", errno) == [errno]
    assert left_open("7.3.4", errno, words._replace(step=4)) == [errno, words._replace(step=4)]
    assert left_open("7.3.4", errno._replace(right="EPERM"), words) != []


def test_attributes_that_the_course_does_not_know_are_explained_and_values_of_those_it_knows_are_not():
    newer, known = Difference(0, "info.headroom", None, 0), Difference(0, "info.policy", 0, 2)
    assert left_open("7.3.4", newer, known) == [known]

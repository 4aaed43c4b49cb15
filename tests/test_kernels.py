"""The table of kernels: its shape, what is told of a kernel, and the page for readers."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

import netkit_edu as nk
from netkit_edu import kernels
from netkit_edu.kernels import COURSE, MEASURED, ROWS, RUN, version
from netkit_edu.vm.kernel import LEAST
from tests.requires import ROOT


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_begins_with_netkit_and_each_step_brings_another_value(row):
    assert version(row.steps[0].since) == LEAST
    for one, two in pairwise(row.steps):
        assert version(one.since) < version(two.since) and one.value != two.value


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_step_was_measured_or_says_where_it_was_read(row):
    for step in row.steps:
        measured = [release for release in RUN if row.step(release) is step]
        assert bool(measured) != step.read, (row.key, step.since)
        assert step.source or not step.read


def test_a_row_says_something_of_another_kernel():
    assert all(any(row.on(release) != row.on(COURSE) for release in (*RUN, "6.7")) for row in ROWS.values())


def test_releases_are_compared_by_their_numbers():
    assert version("6.12.117+deb12-cloud-amd64") == (6, 12, 117) > version("6.12.9") > version("6.8.0-51-generic")
    assert version("6.8.0-151-generic") == (6, 8, 0, 151)
    assert [*RUN] == sorted(RUN, key=version) and {*MEASURED} < {*RUN}
    assert version("") == ()


def test_the_simulators_kernel_stands_for_the_courses():
    lab = nk.Lab("sim")
    assert not nk.kernel_differences(lab) and "does what" in repr(nk.kernel_differences(lab))
    assert "differs" not in repr(lab)


@pytest.mark.parametrize("release", [r for r in (*RUN, "6.8.0-31-generic") if r != COURSE])
def test_of_another_kernel_one_line_says_that_it_differs_and_one_each_how(release):
    found = nk.kernel_differences(release)
    assert kernels.note(release) and "\n" not in kernels.note(release)
    assert len(repr(found).splitlines()) == 1 + len(found) > 1


def test_of_a_kernel_newer_than_any_that_was_measured_that_is_said():
    assert "more may differ" in repr(nk.kernel_differences("99.1"))
    assert "more may differ" not in repr(nk.kernel_differences(MEASURED[-1]))


def test_functions_that_journeys_do_not_show_are_named():
    lab = SimpleNamespace(kernel="6.12", kernel_calls=SimpleNamespace(unseen=("netkit_xmit",)))
    assert repr(nk.kernel_differences(lab)).splitlines()[1:] == ["  functions that journeys do not show: netkit_xmit"]


def test_the_page_holds_the_table():
    page = (ROOT / "KERNELS.md").read_text(encoding="utf-8")
    assert kernels.table() in page, "write it anew: python -m netkit_edu.kernels"
    assert all(release in page for release in RUN)

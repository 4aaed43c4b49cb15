"""The virtual machine's kernel beside the table of kernels, row by row: the course's column, or another kernel's."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.kernels import ROWS
from tests.contract.kernel_probes import ON_LINUX, PROBES

pytestmark = pytest.mark.vm


def test_every_function_that_a_journey_shows_is_there():
    with nk.Lab("vm") as lab:
        assert lab.kernel_calls.unseen == ()


@pytest.mark.parametrize("key", [*PROBES, *ON_LINUX])
def test_the_machines_kernel_does_what_its_row_says(key):
    with nk.Lab("vm") as lab:
        row = ROWS[key]
        assert (PROBES | ON_LINUX)[key](lab) == row.on(lab.kernel), row.what

"""What kernels do in different ways: every row of netkit_edu.kernels, measured and beside the table.

The other files here take from the table what they expect; a row that says something else than the kernel fails there
too, and what differs without a row fails there alone.
"""

from __future__ import annotations

import pytest

from netkit_edu.kernels import ROWS
from tests.contract.kernel_probes import ON_LINUX, PROBES


def test_every_row_is_measured():
    assert ROWS.keys() == PROBES.keys() | ON_LINUX.keys() and not PROBES.keys() & ON_LINUX.keys()


@pytest.mark.parametrize("key", PROBES)
def test_this_kernel_does_what_its_row_says(lab, key):
    row = ROWS[key]
    assert PROBES[key](lab) == row.on(lab.kernel), row.what

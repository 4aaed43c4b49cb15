"""Broken objects and instructions of any kind end in `ObjectError`, soon, and in little memory.

`tests.program.mutations` does the long run; ``NETKIT_EDU_FUZZ`` sets the number of cases here.
"""

from __future__ import annotations

import os

import pytest

from tests.program.compiled import need_compiler
from tests.program.mutations import CASES, campaign

COUNT = int(os.environ.get("NETKIT_EDU_FUZZ", "1000"))


@pytest.mark.parametrize("name", CASES)
def test_broken_input_ends_in_the_documented_exception(name):
    need_compiler()
    figures = campaign(name, COUNT)
    assert figures["taken"] + figures["refused"] == COUNT
    assert figures["refused"] > COUNT // 100

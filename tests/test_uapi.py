"""The kernel's words against Python's own on Linux, and what stands in for them elsewhere."""

from __future__ import annotations

import errno
import sys

import pytest

from netkit_edu import uapi


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux's; another system has others")
def test_error_numbers_are_linuxs():
    assert {e.name: int(e) for e in uapi.Errno} == {e.name: getattr(errno, e.name) for e in uapi.Errno}


def test_a_name_and_its_number_lead_to_each_other():
    assert all(uapi.errno_number(uapi.errno_name(e)) == e for e in uapi.Errno)


def test_every_hint_belongs_to_an_errno():
    assert all(name in uapi.Errno.__members__ for name in uapi._HINTS)


def test_an_unknown_name_is_refused_and_an_unknown_number_is_said_as_it_is():
    with pytest.raises(ValueError, match="'EWHAT' is not the name of an errno"):
        uapi.errno_number("EWHAT")
    assert uapi.errno_name(4711) == "errno 4711"

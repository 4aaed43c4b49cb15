from __future__ import annotations

import pytest

from netkit_edu.course import NotRefused, refused, set_presenter
from netkit_edu.errors import KernelError


@pytest.fixture(autouse=True)
def shown():
    seen = []
    set_presenter(seen.append)
    yield seen
    set_presenter(None)


def test_an_expected_refusal_is_shown_and_the_cell_goes_on(shown):
    with refused("EEXIST") as r:
        raise KernelError("EEXIST", "the program is there already")
    assert r.error.name == "EEXIST"
    assert "the program is there already" in str(shown[0])


def test_nothing_refused_is_an_error():
    with pytest.raises(NotRefused, match="but it was done"), refused("EEXIST"):
        pass


def test_another_errno_is_an_error_that_names_both():
    with pytest.raises(NotRefused, match="expected EEXIST.*EACCES"), refused("EEXIST"):
        raise KernelError("EACCES")


def test_what_is_no_refusal_passes_through():
    with pytest.raises(ZeroDivisionError), refused("EEXIST"):
        _ = 1 / 0


def test_a_misspelt_errno_is_refused_at_once():
    with pytest.raises(ValueError, match="EEXISTS"):
        refused("EEXISTS")

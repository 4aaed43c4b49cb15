"""A missing kind is a reason to skip for a learner, and a failure where it is required."""

from __future__ import annotations

import pytest

from tests import requires


@pytest.fixture(params=list(requires.KINDS))
def absent(request, monkeypatch):
    monkeypatch.setattr(requires, "missing", lambda kind: "it is not here")
    monkeypatch.delenv("NETKIT_EDU_REQUIRE", raising=False)
    return request.param


def test_absent_kind_skips_with_its_reason(absent):
    with pytest.raises(pytest.skip.Exception, match="it is not here"):
        requires.require(absent)


def test_absent_kind_fails_where_it_is_required(absent, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_REQUIRE", f" vectors, {absent}")
    with pytest.raises(pytest.fail.Exception, match="it is not here"):
        requires.require(absent)


def test_misspelt_kind_is_refused(monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_REQUIRE", "kernel,brwoser")
    with pytest.raises(pytest.UsageError, match="brwoser"):
        requires.required()


@pytest.mark.parametrize("kind", requires.KINDS)
def test_every_kind_can_be_looked_for_here(kind):
    assert isinstance(requires.missing(kind), str)


def test_every_kind_is_a_declared_marker(pytestconfig):
    declared = {line.split(":")[0] for line in pytestconfig.getini("markers")}
    assert set(requires.KINDS) <= declared

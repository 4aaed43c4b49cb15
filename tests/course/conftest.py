"""Each test of the course keeps its progress in a folder of its own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """Return the folder this test's progress goes to."""
    monkeypatch.setenv("NETKIT_EDU_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("NETKIT_EDU_STRICT", raising=False)
    return tmp_path / "state"


@pytest.fixture
def strict(monkeypatch):
    """Make checks and predictions hold or raise."""
    monkeypatch.setenv("NETKIT_EDU_STRICT", "1")

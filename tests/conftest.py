"""What every test gets: its kind is looked for first, and nothing is written outside of pytest's own folders."""

from __future__ import annotations

import os

import hypothesis
import pytest

from netkit_edu.program.cache import cache_folder
from tests import requires

# No test is timed: a shared machine stalls when it likes. A gate gives the same verdict twice; at a desk, look further.
hypothesis.settings.register_profile("netkit-edu", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("netkit-edu")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a misspelt NETKIT_EDU_REQUIRE at once: it would turn a failure into a skip."""
    requires.required()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that carries a kind's marker runs only where that kind is."""
    for marker in item.iter_markers():
        if marker.name in requires.KINDS:
            requires.require(marker.name)


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory):
    """Compiled objects of a test run are kept for that run only; a machine's snapshot, by its hash, for all runs."""
    with pytest.MonkeyPatch.context() as patch:
        if (usual := cache_folder()) is not None and "NETKIT_EDU_VM_CACHE" not in os.environ:
            patch.setenv("NETKIT_EDU_VM_CACHE", str(usual / "vm"))
        patch.setenv(
            "NETKIT_EDU_CACHE", os.environ.get("NETKIT_EDU_TEST_CACHE") or str(tmp_path_factory.mktemp("cache"))
        )
        yield

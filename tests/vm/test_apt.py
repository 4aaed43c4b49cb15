"""Downloading a kernel: apt is a script here that says what a real one says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netkit_edu.errors import BackendUnavailable
from netkit_edu.vm import apt, cache

PACKAGE = "linux-image-6.12.9-cloud-amd64-unsigned"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path / "vm"))
    program(tmp_path, "apt-cache", f"echo linux-base; echo {PACKAGE}; echo linux-image-6.1.0-9-cloud-amd64-unsigned")
    program(tmp_path, "dpkg-deb", "exit 1")
    return tmp_path


def program(place: Path, name: str, *lines: str) -> None:
    path = place / "bin" / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def fetch() -> None:
    with cache.locked(None) as place:
        apt.fetch(place, lambda step, detail: None)


def left(place: Path) -> list[str]:
    return [path.name for path in (place / "vm").rglob("*") if path.name != "lock"]


def test_apt_is_asked_for_names_once(place):
    program(place, "apt-cache", 'echo "$@" >> "$0.asked"', f"echo {PACKAGE}")
    assert apt.offered() == (PACKAGE,)
    assert (place / "bin/apt-cache.asked").read_text().splitlines() == ["pkgnames linux-"]


def test_full_disk_is_said_as_such(place):
    said = "E: Failed to fetch x  Error writing to file - write (28: No space left on device)"
    program(place, "apt-get", f"echo '{said}' >&2; exit 100")
    with pytest.raises(BackendUnavailable, match="^no room in .*NETKIT_EDU_CACHE") as caught:
        fetch()
    assert "\n" not in str(caught.value) and left(place) == []


def test_other_trouble_is_quoted_in_apts_words(place):
    program(place, "apt-get", "echo 'W: slow' >&2; echo 'E: Temporary failure resolving' >&2; exit 100")
    with pytest.raises(BackendUnavailable, match=f"could not download {PACKAGE}: E: Temporary failure resolving$"):
        fetch()
    assert left(place) == []


def test_apt_writes_where_the_cache_is(place):
    """A /tmp that is full or may not be written to is no matter."""
    program(place, "apt-get", f'echo "$TMPDIR" > {place}/said; exit 100')
    with pytest.raises(BackendUnavailable):
        fetch()
    assert Path((place / "said").read_text().strip()).parent == place / "vm"

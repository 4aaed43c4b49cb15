"""Snapshots are found again, the oldest go first, and a build that was killed leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from netkit_edu.errors import BackendUnavailable, KernelError
from netkit_edu.vm import cache, identity
from tests.requires import ROOT


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path / "vm"))
    (tmp_path / "vm").mkdir()
    return tmp_path / "vm"


def keep(place, key, size=1000, used=0):
    file = cache.NewFile(place)
    os.write(file.fd, bytes(size))
    (place / f"{key}.json").write_text(json.dumps({"kernel": "6.12.9"}))
    file.keep(place / f"{key}.snapshot")
    os.utime(place / f"{key}.json", (used, used))


def test_what_was_kept_is_found_with_its_facts(place):
    keep(place, "k")
    entry = cache.lookup("k")
    assert entry.facts == {"kernel": "6.12.9"} and entry.path.stat().st_size == 1000


def test_looking_up_counts_as_use(place):
    keep(place, "old", used=1)
    keep(place, "older", used=0)
    cache.lookup("older")
    assert [entry.key for entry in cache.entries()] == ["old", "older"]


@pytest.mark.parametrize("facts", [None, b"", b"{"])
def test_snapshot_without_facts_is_none(place, facts):
    keep(place, "k")
    (place / "k.json").unlink()
    if facts is not None:
        (place / "k.json").write_bytes(facts)
    assert cache.lookup("k") is None and cache.entries() == []


def test_those_used_longest_ago_go_until_the_rest_fits(place, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE_MB", "1")
    for n in range(4):
        keep(place, f"k{n}", 400_000, used=n)
    assert cache.evict("k0") == ["k1", "k2"]
    assert {entry.key for entry in cache.entries()} == {"k0", "k3"}


def test_the_one_in_use_stays_even_if_it_is_too_large(place, monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE_MB", "0")
    keep(place, "k")
    assert cache.evict("k") == [] and cache.lookup("k")


def test_lean_cache_holds_what_labs_start_from_and_its_rehearsals(place):
    for key in ("k", "k-lab", "two", "booted", "kk", "other-lab"):
        keep(place, key)
    assert cache.keep_only({"k", "two"}) == 3 and {entry.key for entry in cache.entries()} == {"k", "k-lab", "two"}


def test_clean_says_what_it_freed(place):
    keep(place, "k")
    assert cache.clean() > 1000 and not place.exists()
    assert cache.clean() == 0


def test_file_that_is_not_kept_leaves_nothing(place):
    file = cache.NewFile(place)
    os.write(file.fd, b"half")
    assert list(place.iterdir()) == []
    file.close()
    file.close()
    assert list(place.iterdir()) == []


def test_file_without_o_tmpfile_leaves_nothing_either(place, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE")
    cache.NewFile(place).close()
    assert list(place.iterdir()) == []
    file = cache.NewFile(place)
    os.write(file.fd, b"whole")
    file.keep(place / "k.snapshot")
    assert [path.name for path in place.iterdir()] == ["k.snapshot"]


def test_lock_is_one_and_frees_the_folder_of_what_a_killed_build_left(place):
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from netkit_edu.vm import cache
with cache.locked(lambda: None) as place, cache.work_folder(place) as work:
    (work / "half").write_bytes(b"x")
    print("ready", flush=True)
    sys.stdin.read()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    waited = []

    def waiting():
        waited.append(1)
        child.kill()

    with cache.locked(waiting):
        assert waited == [1]
        assert [path.name for path in place.iterdir()] == ["lock"]
    child.communicate()


def test_folder_that_cannot_be_is_said_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path / "file" / "vm"))
    with pytest.raises(BackendUnavailable, match="NETKIT_EDU_CACHE"), cache.locked(lambda: None):
        pass


def test_hash_of_a_file_is_remembered_until_it_changes(place, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = identity.sha256(path)
    identity._seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr(identity.hashlib, "sha256", None)
        assert identity.sha256(path) == first
    path.write_bytes(b"other")
    assert identity.sha256(path) != first


def test_garbled_memory_of_hashes_is_no_harm(place, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    (place / "known.json").write_bytes(b"[1")
    assert len(identity.sha256(path)) == 64


def test_using_a_snapshot_does_not_touch_its_file(place):
    keep(place, "k")
    before = (place / "k.snapshot").stat()
    assert cache.lookup("k") and (place / "k.json").stat().st_mtime > 1
    after = (place / "k.snapshot").stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_full_disk_is_said_with_what_to_do_wherever_it_is_met(place):
    with pytest.raises(BackendUnavailable, match=r"no room in .* 300 MB.*NETKIT_EDU_CACHE"), cache.locked(None):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_folder_without_room_or_rights_is_told_beforehand(place, monkeypatch):
    assert cache.lacking() == ""
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(place / "not" / "yet"))
    assert cache.lacking() == ""
    monkeypatch.setattr(cache.os, "access", lambda path, how: path != place)
    assert "cannot be written to" in cache.lacking()
    monkeypatch.undo()
    monkeypatch.setattr(cache, "ROOM", 10**12)
    assert "no room in" in cache.lacking()


def test_kernels_refusal_while_one_builds_stays_what_it_is(place):
    with pytest.raises(KernelError, match="EACCES"), cache.locked(None):
        raise KernelError("EACCES")

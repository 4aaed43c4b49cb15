"""A snapshot on a host that did not make it, and hosts that lack something: it serves, or one line says what is wrong.

Each test has a cache of its own, so that whatever is spoilt in it is spoilt for nobody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import netkit_edu as nk
from netkit_edu.errors import BackendUnavailable
from netkit_edu.vm import cache, identity, image, machine, prepare, qemu, rehearsal
from tests.requires import ROOT
from tests.vm.test_machine import NOBODY, unprivileged_python

pytestmark = pytest.mark.vm

OPEN = """
import sys
from netkit_edu.errors import BackendUnavailable
from netkit_edu.vm.machine import open_vm
told = []
try:
    with open_vm(progress=lambda step, detail: told.append(step)) as vm:
        print(vm.door.call("getpid"), *told)
except BackendUnavailable as error:
    print("not here:", error, *told)
"""


def copied(to: Path, *, holes: bool = True) -> Path:
    """Return a copy of what a virtual machine starts from: the snapshots of now, the kernel, the launcher."""
    with nk.Lab("vm"):
        entry, here = image.snapshot(), cache.folder()
    to.mkdir(parents=True, exist_ok=True)
    recipe = image.Recipe(qemu.find(), entry.facts["qemu"], 1, image.find_kernel(here), image.build_door())
    if (here / "kernels").is_dir():
        shutil.copytree(here / "kernels", to / "kernels")
    paths = list(here.glob("launch-*"))
    rehearsed = rehearsal.lookup(entry) or (None,)  # none where other checkouts share the cache and ask otherwise
    for found in (entry, rehearsed[0], cache.lookup(recipe.booted)):
        paths += [found.path, found.path.with_suffix(".json")] if found else []
    for path in paths:
        subprocess.run(["cp", f"--sparse={'always' if holes else 'never'}", path, to / path.name], check=True)
    return to


def state(place: Path) -> dict[str, int]:
    return {str(path.relative_to(place)): path.stat().st_size for path in place.rglob("*") if path.is_file()}


def child(words: list[str], code: str = OPEN, **environment: str) -> str:
    done = subprocess.run(
        [*words, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_cache_that_was_moved_serves_whatever_its_files_times_and_holes(tmp_path, monkeypatch):
    """As in the image of a container: other inodes, other times, holes filled with zeros."""
    place = copied(tmp_path / "elsewhere" / "vm", holes=False)
    for path in place.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(place))
    told = []
    with machine.open_vm(progress=lambda *said: told.append(said), rehearsing=True) as vm:
        assert vm.door.call("getpid") == 1 and told == []
    with nk.Lab("vm") as lab:
        assert lab.pod("db", device="netkit").ping(lab.outside)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody")
def test_another_user_starts_from_a_cache_that_may_only_be_read():
    """Files of root, a process of nobody: nothing is built, nothing is written."""
    python = unprivileged_python()
    with tempfile.TemporaryDirectory(prefix="netkit-edu-test-") as folder:
        os.chmod(folder, 0o755)
        place = copied(Path(folder) / "vm")
        shutil.copy(image.build_door(), folder)
        before = state(Path(folder))
        environment = {"NETKIT_EDU_CACHE": folder, "NETKIT_EDU_VM_CACHE": str(place), "HOME": "/nonexistent",
                       "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
        assert child([*NOBODY, python], **environment) == "1"
        assert state(Path(folder)) == before


def test_rehearsal_that_cannot_be_kept_is_no_harm(monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rehearsal, "settle", closed)
    with nk.Lab("vm") as lab:
        assert lab.pod("db", device="netkit").ping(lab.outside)


def test_cache_that_cannot_be_written_to_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path / "file" / "vm"))
    with pytest.raises(BackendUnavailable, match="cannot be written to .* set NETKIT_EDU_CACHE") as caught:
        machine.open_vm()
    assert "\n" not in str(caught.value)


def test_door_that_cannot_be_kept_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NETKIT_EDU_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(cache.folder()))
    assert "cannot be written to" in image.unavailable()


@pytest.mark.parametrize("room", [1, 24, 90], ids=lambda megabytes: f"{megabytes} MB left")
def test_disk_that_is_full_is_one_line_and_nothing_half_made(tmp_path, room):
    """The snapshot in which each room has what it needs is to be made, on a small file system."""
    mount = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "--propagation", "private"]
    if subprocess.run([*mount, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    place = copied(tmp_path / "full")
    for path in place.glob(f"{image.snapshot().key}*"):
        path.unlink()
    taken = sum(cache.occupied(path) for path in place.rglob("*") if path.is_file())
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o noexec,size={taken + (room << 20)} tmpfs {small} && "
        f"cp -a --sparse=always {place} {small} && "
        f'"$0" -c "$1"; cd {small} && find . -type f | sort | sed "s/^/left /"'
    )
    done = subprocess.run(
        [*mount, "sh", "-c", script, sys.executable, OPEN],
        cwd=ROOT,
        env=os.environ | {"NETKIT_EDU_VM_CACHE": str(small / "full"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    said, *left = done.stdout.splitlines()
    names = {Path(line.removeprefix("left ")).name for line in left} - {"lock", "known.json"}
    if room < 64:
        assert "not here: no room in" in said and "NETKIT_EDU_CACHE" in said, done.stdout + done.stderr
        assert names == {path.name for path in place.rglob("*") if path.is_file()}
    else:
        assert said.split()[0] == "1", done.stdout + done.stderr


def test_one_processor_is_enough():
    one = min(os.sched_getaffinity(0))
    assert child([sys.executable], f"import os; os.sched_setaffinity(0, {{{one}}})\n{OPEN}").split()[0] == "1"


@pytest.mark.parametrize("now", [5.0, 4e9, 1e11], ids=["1970", "2096", "5138"])
def test_hosts_clock_may_be_far_off(monkeypatch, now):
    image.snapshot()
    monkeypatch.setattr(prepare.time, "time", lambda: now)
    with machine.open_vm() as vm:
        assert vm.door.call("getpid") == 1


def wrapped(folder: Path, *lines: str) -> str:
    """Return a PATH in which QEMU is a shell script that does this before it becomes QEMU."""
    folder.mkdir()
    script = folder / qemu.PROGRAM
    script.write_text("\n".join(["#!/bin/sh", *lines, f'exec {shutil.which(qemu.PROGRAM)} "$@"', ""]))
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_too_little_memory_is_one_line_and_costs_no_snapshot(tmp_path, monkeypatch):
    place = copied(tmp_path / "vm")
    before = state(place)
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(place))
    monkeypatch.setenv("PATH", wrapped(tmp_path / "bin", 'case "$*" in *--version*) ;; *) ulimit -v 250000;; esac'))
    for open_one in (machine.open_vm, lambda: nk.Lab("vm")):
        with pytest.raises(BackendUnavailable, match="too little memory") as caught:
            open_one()
        assert "\n" not in str(caught.value)
    state_now = state(place)
    assert {name: state_now[name] for name in before} == before


def test_qemu_of_another_version_asks_for_a_snapshot_of_its_own(tmp_path, monkeypatch):
    place = cache.folder()
    mine = image.Recipe(qemu.find(), identity.version(qemu.find()), 1, image.find_kernel(place), image.build_door())
    answer = 'case "$*" in --version) echo "QEMU emulator version 99.1.0"; exit;; esac'
    monkeypatch.setenv("PATH", wrapped(tmp_path / "bin", answer))
    other = image.Recipe(qemu.find(), identity.version(qemu.find()), 1, mine.kernel, mine.door)
    assert other.version == "QEMU emulator version 99.1.0"
    assert other.booted != mine.booted and other.key != mine.key


def test_broken_machine_that_has_booted_is_booted_anew(tmp_path, monkeypatch):
    """Both snapshots end in the middle, as after a copy that was broken off."""
    place = copied(tmp_path / "vm")
    for path in place.glob("*.snapshot"):
        os.truncate(path, 1_000_000)
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(place))
    told = []
    with machine.open_vm(progress=lambda step, detail: told.append((step, detail.split(":")[0]))) as vm:
        assert vm.door.call("getpid") == 1
    assert told[:2] == [("snapshot", "made anew"), ("booted", "made anew")] and told[-1][0] == "snapshot"


def test_four_labs_live_beside_each_other():
    labs = [nk.Lab("vm") for _ in range(4)]
    try:
        begun = time.monotonic()
        assert all(lab.pod("db", device="netkit").ping(lab.outside) for lab in labs)
        assert time.monotonic() - begun < 60
    finally:
        for lab in labs:
            lab.close()

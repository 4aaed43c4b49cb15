"""What every lab begins with is done once: the next machine knows the answers, and no other question is fooled."""

from __future__ import annotations

import os
import shutil

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError
from netkit_edu.linux.door import Door
from netkit_edu.vm import cache, image, machine, rehearsal

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """A cache of the test's own, with the plain snapshot in it: no other process rehearses there."""
    entry, usual = image.snapshot(), cache.folder()
    for path in (entry.path, entry.path.with_suffix(".json"), *usual.glob("launch-*")):
        try:
            os.link(path, tmp_path / path.name)
        except OSError:  # another file system
            shutil.copy(path, tmp_path)
    if (usual / "kernels").is_dir():
        (tmp_path / "kernels").symlink_to(usual / "kernels")
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path))


@pytest.fixture
def crossings(monkeypatch) -> list[bytes]:
    """Every question that reaches a guest."""
    asked = []
    usual = Door.exchange

    def exchange(self, body, timeout, flags=0):
        if type(self) is rehearsal.RehearsedDoor and self._asked is not None:
            asked.append(bytes(body))
        return usual(self, body, timeout, flags)

    monkeypatch.setattr(Door, "exchange", exchange)
    return asked


def name_it(vm, name: bytes) -> None:
    vm.door.call("sethostname", name, len(name))


def hostname(vm) -> bytes:
    batch = vm.door.batch()
    at = batch.room(64)
    handle = batch.call("open", b"/proc/sys/kernel/hostname\0", 0)
    count = batch.call("read", handle, at, 64)
    data = batch.read(at, count, 64)
    batch.call("close", handle)
    batch.run()
    return data.value.strip()


def begin(vm) -> bytes:
    name_it(vm, b"first")
    with pytest.raises(KernelError, match="ENOENT"):
        vm.door.call("open", b"/nothing\0", 0)
    return hostname(vm)


@pytest.fixture
def rehearsed():
    with machine.open_vm(rehearsing=True) as vm:
        begin(vm)
        vm.settled()
        assert hostname(vm) == b"first"


def test_next_machine_has_done_it_and_is_asked_nothing(rehearsed, crossings):
    with machine.open_vm(rehearsing=True) as vm:
        assert begin(vm) == b"first" and crossings == []
        vm.settled()
        assert hostname(vm) == b"first"
        name_it(vm, b"second")
        assert hostname(vm) == b"second"


def test_other_question_is_asked_of_a_machine_that_has_done_only_what_was_asked(rehearsed, crossings):
    with machine.open_vm(rehearsing=True) as vm:
        name_it(vm, b"other")
        assert len(crossings) == 1
        assert hostname(vm) == b"other"
        with pytest.raises(KernelError, match="ENOENT"):
            vm.door.call("open", b"/nothing\0", 0)
        vm.settled()
        assert hostname(vm) == b"other"


def test_question_that_differs_late_finds_the_earlier_ones_done(rehearsed):
    with machine.open_vm(rehearsing=True) as vm:
        name_it(vm, b"first")
        assert hostname(vm) == b"first"


def test_machine_that_settles_early_has_done_no_more_than_was_asked(rehearsed):
    with machine.open_vm(rehearsing=True) as vm:
        vm.settled()
        assert hostname(vm) != b"first"


def test_changed_beginning_is_rehearsed_anew(rehearsed, crossings):
    with machine.open_vm(rehearsing=True) as vm:
        name_it(vm, b"changed")
        vm.settled()
    crossings.clear()
    with machine.open_vm(rehearsing=True) as vm:
        name_it(vm, b"changed")
        vm.settled()
        assert crossings == [] and hostname(vm) == b"changed"


def test_beginning_that_differs_each_time_is_given_up(crossings):
    for n in range(rehearsal.MOST_MISSES + 1):
        with machine.open_vm(rehearsing=True) as vm:
            name_it(vm, b"n%d" % n)
            vm.settled()
    assert rehearsal.lookup(image.snapshot()) is None
    with machine.open_vm(rehearsing=True) as vm:
        name_it(vm, b"once more")
        vm.settled()
        assert hostname(vm) == b"once more"


def test_plain_machine_is_not_rehearsed(rehearsed):
    with machine.open_vm() as vm:
        assert hostname(vm) != b"first"


def test_second_lab_finds_its_devices_made(crossings):
    nk.Lab("vm").close()
    crossings.clear()
    with nk.Lab("vm") as lab:
        assert crossings == []
        assert lab.nic.stats is not None
        pod = lab.pod("db", device="netkit")
        assert pod.ping(lab.outside)

"""A restored machine: it answers, it is stopped between round trips, there may be several, and nothing of it stays."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from netkit_edu.errors import KernelError, VMError
from netkit_edu.vm import cache, image, machine
from tests.requires import ROOT

pytestmark = pytest.mark.vm


@pytest.fixture
def vm():
    with machine.open_vm() as vm:
        yield vm


def read(door, path: str, most: int = 4096) -> bytes:
    batch = door.batch()
    at = batch.room(most)
    handle = batch.call("open", path.encode() + b"\0", 0)
    count = batch.call("read", handle, at, most)
    data = batch.read(at, count, most)
    batch.call("close", handle)
    batch.run()
    return data.value


def alive(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_door_of_a_restored_machine_is_process_1_of_its_kernel(vm):
    assert vm.door.call("getpid") == 1 and vm.door.pid == 1
    assert read(vm.door, "/proc/sys/kernel/osrelease").decode().strip() == vm.kernel


def test_what_the_rooms_read_is_mounted(vm):
    kinds = {line.split()[2] for line in read(vm.door, "/proc/mounts").decode().splitlines()}
    assert {"proc", "sysfs", "bpf", "tracefs", "devtmpfs"} <= kinds


def test_modules_are_loaded_and_leave_no_file(vm):
    if not image.find_kernel(cache.folder()).modules:
        pytest.skip("this kernel has them built in")
    assert b"veth " in read(vm.door, "/proc/modules")
    with pytest.raises(KernelError, match="ENOENT"):
        read(vm.door, "/modules/veth")


def test_guests_clock_is_ours(vm):
    batch = vm.door.batch()
    at = batch.room(16)
    batch.clock(at, 0)
    data = batch.read(at, 16)
    batch.run()
    assert abs(int.from_bytes(data.value[:8], "little") - time.time()) < 5


def test_machine_is_stopped_between_round_trips(vm):
    vm.door.call("getpid")
    assert vm.guest.monitor.call("query-status")["status"] == "paused"
    before = read(vm.door, "/proc/uptime")
    time.sleep(0.5)
    assert float(read(vm.door, "/proc/uptime").split()[0]) - float(before.split()[0]) < 0.3


def test_the_same_calls_take_the_same_number_of_instructions(vm):
    def once(door) -> int:
        batch = door.batch()
        at = batch.room(32)
        batch.clock(at)
        with batch.loop(1000):
            batch.call("getpid")
        batch.clock(at + 16)
        data = batch.read(at, 32)
        batch.run()
        words = [int.from_bytes(data.value[n : n + 8], "little") for n in range(0, 32, 8)]
        return (words[2] - words[0]) * 10**9 + words[3] - words[1]

    def count() -> int:
        with machine.open_vm() as fresh:
            return min(once(fresh.door) for _ in range(5))

    first, second = count(), count()
    assert 10**5 < first < 10**7 and abs(first - second) < first / 100


def test_machines_know_nothing_of_each_other(vm):
    with machine.open_vm() as other:
        vm.door.call("sethostname", b"first", 5)
        other.door.call("sethostname", b"other", 5)
        assert read(vm.door, "/proc/sys/kernel/hostname") == b"first\n"
        assert read(other.door, "/proc/sys/kernel/hostname") == b"other\n"


def test_machine_may_have_two_processors():
    with machine.open_vm(cpus=2) as vm:
        assert vm.cpus == 2
        assert read(vm.door, "/proc/cpuinfo", 1 << 16).count(b"processor\t") == 2


def test_closed_machine_is_gone_and_says_so():
    vm = machine.open_vm()
    process = vm.guest.process.pid
    vm.close()
    vm.close()
    assert not alive(process)
    with pytest.raises(VMError, match="it was closed"):
        vm.door.call("getpid")


def test_build_is_shown_where_somebody_looks(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    machine._say("boot", "quietly")
    assert capsys.readouterr().out == ""
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    machine._say("boot", "1.0 s")
    assert capsys.readouterr().out == "virtual machine, boot: 1.0 s\n"


def test_forgotten_machine_is_gone():
    vm = machine.open_vm()
    process = vm.guest.process.pid
    del vm
    gc.collect()
    assert not alive(process)


def test_machine_outlives_the_thread_that_opened_it():
    opened = []
    thread = threading.Thread(target=lambda: opened.append(machine.open_vm()))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert opened[0].door.call("getpid") == 1
    opened[0].close()


def test_fork_that_ends_takes_no_machine_with_it(vm):
    child = os.fork()
    if not child:
        vm.guest.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert vm.door.call("getpid") == 1


def test_nothing_is_left_open():
    machine.open_vm().close()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        machine.open_vm().close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_broken_snapshot_is_made_anew(tmp_path, monkeypatch):
    """It ends in the middle; the booted machine that it was made from is there."""
    entry, here = image.snapshot(), cache.folder()
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path))
    for path in here.iterdir():
        if path.name == "kernels":
            (tmp_path / path.name).symlink_to(path)
        elif path.name.startswith("launch") or path.suffix == ".json":
            shutil.copy(path, tmp_path)
        elif path.suffix == ".snapshot" and path != entry.path:
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / entry.path.name).write_bytes(entry.path.read_bytes()[:1_000_000])
    told = []
    with machine.open_vm(progress=lambda step, detail: told.append(step)) as vm:
        assert vm.door.call("getpid") == 1
    assert told[0] == "snapshot" and told[-1] == "snapshot"


def unprivileged_python() -> str:
    """A Python that a user without any right may run; the tests' own may lie in somebody's home."""
    for candidate in (sys.executable, shutil.which("python3"), "/usr/bin/python3"):
        words = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if candidate and subprocess.run([*NOBODY, *words], capture_output=True).returncode == 0:
            return candidate
    pytest.skip("no Python 3.11 here that every user may run")


RIGHTS = """
from netkit_edu.vm.machine import open_vm
status = open("/proc/self/status").read()
open_vm().close()  # this one boots
vm = open_vm()
print(vm.door.call("getpid"), status.split("CapEff:")[1].split()[0], status.split("CapBnd:")[1].split()[0])
"""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody")
def test_user_without_any_privilege_has_a_machine():
    """Nobody, no capabilities, a home and a cache of its own; the kernel comes from where this run has it."""
    image.snapshot()
    python = unprivileged_python()
    with tempfile.TemporaryDirectory(prefix="netkit-edu-test-") as folder:
        home = Path(folder)
        shutil.copytree(cache.folder(), home / "vm", ignore=shutil.ignore_patterns("lock", "*.snapshot"))
        for path in (home, *home.rglob("*")):
            os.chown(path, 65534, 65534)
        environment = {"HOME": folder, "PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
                       "NETKIT_EDU_CACHE": folder, "TMPDIR": folder}  # fmt: skip
        if named := os.environ.get("NETKIT_EDU_KERNEL"):
            environment["NETKIT_EDU_KERNEL"] = named
        done = subprocess.run(
            [*NOBODY, python, "-c", RIGHTS], cwd=home, env=environment, capture_output=True, text=True
        )
    assert done.stdout.split() == ["1", "0" * 16, "0" * 16], done.stderr

"""What a guest can do to us: it panics, hangs, eats its memory, floods or garbles its port. We get one clear error."""

from __future__ import annotations

import os
import signal
import struct
import time

import pytest

from netkit_edu.errors import DoorError, VMError
from netkit_edu.vm import machine

pytestmark = pytest.mark.vm

BAR = 5.0  # seconds
FOREVER = 2**32 - 1


def port(door) -> int:
    """The descriptor that the door itself speaks through."""
    for number in range(16):
        batch = door.batch()
        at = batch.room(64)
        batch.call("readlink", f"/proc/self/fd/{number}\0".encode(), at, 64, must=False)
        data = batch.read(at, 64)
        batch.run()
        if data.value.startswith(b"/dev/vport"):
            return number
    raise AssertionError("the door has no port")


def panic(vm):
    handle = vm.door.call("open", b"/proc/sysrq-trigger\0", 1)
    vm.door.call("write", handle, b"c", 1)


def end_of_process_1(vm):
    vm.door.call("exit_group", 0)


def hang(vm):
    batch = vm.door.batch()
    with batch.loop(FOREVER):
        batch.call("getpid")
    batch.run()


def stopped_emulator(vm):
    os.kill(vm.guest.process.pid, signal.SIGSTOP)
    vm.door.call("getpid")


def killed_emulator(vm):
    vm.guest.process.kill()
    vm.door.call("getpid")


def all_memory(vm):
    for _ in range(20):
        vm.door.call("mmap", 0, 32 << 20, 3, 0x8022, -1, 0)


def garbage(vm):
    vm.door.call("write", port(vm.door), b"garbage" * 10, 70)


def flood(vm):
    batch, number = vm.door.batch(), port(vm.door)
    at = batch.put(bytes(60_000))
    with batch.loop(FOREVER):
        batch.call("write", number, at, 60_000)
    batch.run()


def flood_of_old_answers(vm):
    batch, number = vm.door.batch(), port(vm.door)
    frames = struct.pack("<6I", 0x4144_4B4E, 0, 1, 0, 0, 0) * 1000  # a port takes 32 kB at a time
    at = batch.put(frames)
    with batch.loop(FOREVER):
        batch.call("write", number, at, len(frames))
    batch.run()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (panic, "kernel panicked: sysrq triggered crash"),
        (end_of_process_1, "kernel panicked: Attempted to kill init"),
        (hang, "hangs"),
        (stopped_emulator, "hangs"),
        (killed_emulator, "QEMU has ended"),
        (all_memory, "kernel panicked: System is deadlocked on memory"),
        (garbage, "no answer"),
        (flood, "no answer"),
        (flood_of_old_answers, "floods|no answer in time"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_trouble_is_one_clear_error_and_the_next_machine_works(trouble, said):
    vm = machine.open_vm()
    process, begun = vm.guest.process, time.monotonic()
    with pytest.raises(VMError, match=said) as caught:
        trouble(vm)
    # Time in which a busy machine did not let QEMU run does not count against a guest; it cannot be asked any more.
    assert time.monotonic() - begun < BAR * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))
    assert process.poll() is not None
    if "panicked" in said:
        assert "Kernel panic - not syncing" in str(caught.value).split("\n", 1)[1]
    with pytest.raises(VMError, match="this machine is gone"):
        vm.door.call("getpid")
    with machine.open_vm() as another:
        assert another.door.call("getpid") == 1


def test_call_that_waits_too_long_is_interrupted_and_the_machine_lives():
    with machine.open_vm() as vm:
        batch = vm.door.batch()
        at = batch.room(8)
        batch.call("pipe", at)
        data = batch.read(at, 8)
        batch.run()
        batch = vm.door.batch()
        batch.call("read", struct.unpack("<i", data.value[:4])[0], b"x", 1)
        with pytest.raises(DoorError, match="waited too long"):
            batch.run(timeout=0.3)
        assert vm.door.call("getpid") == 1


def test_interrupted_cell_leaves_a_machine_that_answers():
    with machine.open_vm() as vm:
        batch = vm.door.batch()
        batch.call("nanosleep", struct.pack("<qq", 1, 0), 0)
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(KeyboardInterrupt):
                batch.run()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        assert vm.door.call("getpid") == 1

"""Programs that watch the end of others: what they tell in the kernel's trace."""

from __future__ import annotations

import re

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.linux import fexit
from netkit_edu.linux.syscalls import AT_FDCWD, CLONE_NEWNS, O_NONBLOCK
from netkit_edu.program import isa
from tests.linux.bpf_room import load

PACKET = bytes(12) + b"\x88\xb5" + bytes(50)
TRACING = "/sys/kernel/tracing"
MS_PRIVATE, MS_REC = 1 << 18, 1 << 14


def mounted(door) -> None:
    """Have tracefs where the door looks, in a mount namespace of its own."""
    batch = door.batch()
    batch.call("unshare", CLONE_NEWNS)
    batch.call("mount", b"none\0", b"/\0", 0, MS_PRIVATE | MS_REC, 0)
    batch.call("mount", b"none\0", f"{TRACING}\0".encode(), b"tracefs\0", 0, 0, must=False)
    batch.run()


def trace(door) -> list[tuple[int, int, int]]:
    """Return what was told so far, oldest first."""
    batch = door.batch()
    fd = batch.call("openat", AT_FDCWD, f"{TRACING}/trace\0".encode(), O_NONBLOCK, 0)
    room = batch.room(1 << 16)
    text = batch.read(room, batch.call("read", fd, room, 1 << 16), 1 << 16)
    batch.call("close", fd)
    batch.run()
    told = re.findall(r"bpf_trace_printk: (nk .*)", text.value.decode())
    return [line for line in map(fexit.read_line, told) if line]


def watched(room, number: int) -> int:
    """Watch a program; skip where this kernel lets nobody do that."""
    prog = room._progs[number]
    try:
        return fexit.watch(room.door, prog.fd, prog.main, fexit.told(number))
    except KernelError as refusal:
        if refusal.name == "EPERM":
            pytest.skip("this kernel lets nobody load programs of type tracing")
        raise


def test_each_run_tells_skb_program_and_return_value(room):
    progs = {code: load(room, f"r0 = {code}\nexit") for code in (-1, 0, 2, 7, 99)}
    for number in progs.values():
        watched(room, number)
    mounted(room.door)
    before = len(trace(room.door))
    for number in progs.values():
        room.prog_test_run(number, PACKET)
    told = trace(room.door)[before:]
    assert [line[1:] for line in told] == [(number, code) for code, number in progs.items()]
    assert all(skb >> 63 for skb, _, _ in told)


def test_once_it_is_closed_a_watch_is_over(room):
    number = load(room, "r0 = 2\nexit")
    fd = watched(room, number)
    mounted(room.door)
    room.prog_test_run(number, PACKET)
    before = trace(room.door)
    room.door.call("close", fd)
    room.prog_test_run(number, PACKET)
    assert trace(room.door) == before and before


def test_what_is_no_function_cannot_be_watched(room):
    number = load(room)
    watched(room, number)
    with pytest.raises(KernelError, match="^EINVAL"):
        fexit.watch(room.door, room._progs[number].fd, 9999, fexit.told(number))


@pytest.mark.parametrize("line", ["", "nk", "nk 1 2", "other 1 2 3", "nk 1 2 3 4"])
def test_lines_of_others_are_passed_over(line):
    assert fexit.read_line(line) is None


def test_the_watching_program_is_valid():
    isa.validate(fexit.told(7))
    assert fexit.read_line("nk ff3cd7144193c500 7 -1") == (0xFF3C_D714_4193_C500, 7, -1)

"""Counting over the door alone: what lies between two readings of the guest's clock, and that it repeats."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.linux import counting
from netkit_edu.linux.counting import Flow
from netkit_edu.linux.syscalls import CLONE_NEWNET
from netkit_edu.vm.machine import open_vm

pytestmark = pytest.mark.vm
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def machine():
    with open_vm() as machine:
        yield machine


@pytest.fixture(scope="module")
def flow(machine):
    """From loopback to loopback in a namespace of its own."""
    door = machine.door
    batch = door.batch()
    batch.call("unshare", CLONE_NEWNET)
    ns = batch.call("openat", -100, b"/proc/self/ns/net\0", 0, 0)
    sock = batch.call("socket", 2, 2, 0)
    ifreq = batch.put(b"lo".ljust(16, b"\0") + (1).to_bytes(2, "little") + bytes(22))
    batch.call("ioctl", sock, 0x8914, ifreq)  # SIOCSIFFLAGS, IFF_UP
    batch.call("close", sock)
    batch.run()
    return Flow(ns.value, ns.value, (LOOPBACK, 0), (LOOPBACK, 7))


def test_two_readings_of_the_clock_cost_the_same_every_time(machine):
    readings = counting.overhead(machine.door)
    assert len(set(readings)) == 1 and 0 < readings[0] < 2000


def test_a_loop_of_nothing_costs_in_proportion(machine):
    """Twice as many calls take twice as many instructions: the clock is one of instructions."""

    def calls(n: int) -> int:
        batch = machine.door.batch()

        def write() -> None:
            with batch.loop(n):
                batch.call("getpid")

        pairs = [counting._between(batch, write) for _ in range(5)]
        batch.run()
        return min(map(counting._elapsed, pairs))  # without a timer's tick

    empty = counting.overhead(machine.door)[0]
    assert calls(2000) - empty == pytest.approx(2 * (calls(1000) - empty), rel=0.02)


def test_the_same_datagram_costs_the_same(machine, flow):
    readings = [sorted(counting.one_way(machine.door, flow))[4] for _ in range(3)]
    assert max(readings) / min(readings) - 1 < 0.002
    assert 1000 < readings[0] < 50_000


def test_a_longer_datagram_costs_more(machine, flow):
    short, long = (Flow(flow.sender, flow.receiver, flow.src, flow.dst, bytes(size)) for size in (64, 1400))
    assert min(counting.one_way(machine.door, short)) < min(counting.one_way(machine.door, long))


def test_a_request_and_its_reply_cost_more_than_twice_one_way(machine, flow):
    assert min(counting.request_reply(machine.door, flow)) > 2 * min(counting.one_way(machine.door, flow))


def test_a_stream_arrives_whole_and_costs_the_same(machine, flow):
    runs = counting.stream(machine.door, Flow(flow.sender, flow.receiver, flow.src, (LOOPBACK, 5001)))
    assert max(runs) / min(runs) - 1 < 0.02
    assert min(runs) > counting.MIB  # every byte is copied out, one instruction at a time


def test_what_cannot_be_counted_is_refused(machine, flow):
    with pytest.raises(UsageError, match="1 to 1024"):
        counting.one_way(machine.door, flow, n=0)
    with pytest.raises(UsageError, match="who answers"):
        counting.request_reply(machine.door, Flow(flow.sender, None, flow.src, flow.dst))
    with pytest.raises(KernelError, match="EADDRNOTAVAIL"):
        counting.one_way(machine.door, Flow(flow.sender, None, ("192.0.2.77", 0), flow.dst))


def test_no_socket_stays_open(machine, flow):
    def highest() -> int:
        fd = machine.door.call("dup", flow.sender)
        machine.door.call("close", fd)
        return fd

    before = highest()
    counting.one_way(machine.door, flow)
    counting.stream(machine.door, Flow(flow.sender, flow.receiver, flow.src, (LOOPBACK, 5002)))
    assert highest() == before

"""The ring buffer: records in order, room that comes back by reading, and what a program owes it."""

from __future__ import annotations

import pytest

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.maps import RingBufMap
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import ProgramFault
from netkit_edu.program.object import MapSpec
from tests.engine.asm import executable
from tests.engine.test_maps import refused

RESERVE = "r1 = map[fd:0]\nr2 = {}\nr3 = 0\ncall bpf_ringbuf_reserve#131\nif r0 != 0x0 goto +1\nexit\nr6 = r0\n"
FILL = "*(u64 *)(r6 +0) = 77\nr1 = r6\nr2 = 0\n"
SUBMIT, DISCARD = "call bpf_ringbuf_submit#132\n", "call bpf_ringbuf_discard#133\n"
END = "r0 = 1\nexit"


def ring(size: int = 4096) -> RingBufMap:
    return maps.create(MapSpec("events", uapi.BPF_MAP_TYPE_RINGBUF, 0, 0, size))


def run(text: str, events: RingBufMap) -> int:
    return executable(text, {"events": events}).run(SkBuff(bytes(60)))


def test_a_submitted_record_is_read_once():
    events = ring()
    assert run(RESERVE.format(8) + FILL + SUBMIT + END, events) == 1
    assert events.read() == [(77).to_bytes(8, "little")]
    assert events.read() == []


def test_a_discarded_record_takes_room_and_is_not_read():
    events = ring()
    run(RESERVE.format(8) + FILL + DISCARD + END, events)
    assert events.query(0) == 16
    assert events.read() == []
    assert events.query(0) == 0


def test_a_full_ring_gives_null_until_it_is_read():
    events = ring()
    text = RESERVE.format(1000) + FILL + SUBMIT + END
    assert [run(text, events) for _ in range(6)] == [1, 1, 1, 1, 0, 0]
    assert len(events.read()) == 4
    assert run(text, events) == 1


def test_nothing_is_read_past_a_record_that_is_still_being_written():
    events = ring()
    first = events.reserve(8)
    events.output(b"second")
    assert events.read() == []
    events.commit(first)
    assert events.read() == [bytes(8), b"second"]


@pytest.mark.parametrize("ends", [END, "r1 = 0\nr0 = 5\nexit"])
def test_a_record_that_is_kept_at_the_end_is_a_fault(ends):
    with pytest.raises(ProgramFault, match="unreleased reference at the end of the program: .* in events"):
        run(RESERVE.format(8) + ends, ring())


def test_a_record_that_was_handed_over_is_no_longer_the_programs():
    with pytest.raises(ProgramFault, match="the record was submitted"):
        run(RESERVE.format(8) + FILL + SUBMIT + "*(u64 *)(r6 +0) = 1\n" + END, ring())
    with pytest.raises(ProgramFault, match="a pointer that bpf_ringbuf_reserve returned"):
        run(RESERVE.format(8) + FILL + SUBMIT + "r1 = r6\nr2 = 0\n" + SUBMIT + END, ring())


def test_a_record_has_the_size_that_was_asked_for():
    with pytest.raises(ProgramFault, match="record of events has 8 bytes"):
        run(RESERVE.format(8) + "*(u8 *)(r6 +8) = 1\n" + FILL + SUBMIT + END, ring())


def test_records_of_two_runs_do_not_mix():
    events = ring()
    text = (
        RESERVE.format(8) + FILL + SUBMIT + RESERVE.format(8) + "*(u64 *)(r6 +0) = 78\nr1 = r6\nr2 = 0\n" + SUBMIT + END
    )
    for _ in range(3):
        run(text, events)
    assert [int.from_bytes(record, "little") for record in events.read()] == [77, 78] * 3


def test_output_without_room_is_refused():
    events = ring()
    events.output(bytes(4000))
    with refused("EAGAIN"):
        events.output(bytes(100))
    with refused("errno 524"):
        events.lookup(b"")

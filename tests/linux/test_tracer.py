"""Which journey belongs to which send, from a recording instead of a machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from netkit_edu.backend import SendRequest
from netkit_edu.errors import UsageError
from netkit_edu.journey import FateKind
from netkit_edu.linux.trace import Place, Tracer
from tests.linux.traced import Recording


@pytest.fixture
def recording():
    return Recording("netkit-routed")


@pytest.fixture
def tracer(recording, monkeypatch):
    """A tracer that was never at a door."""
    made = object.__new__(Tracer)
    names = recording.names
    devices = [Place(*key, where.node, where.device, where.kind) for key, where in names.devices.items()]
    made._backend = SimpleNamespace(
        kernel="6.12.117",
        _devices=lambda: devices,
        _ns={n: SimpleNamespace(inode=inode, name=name) for n, (inode, name) in enumerate(names.nodes.items())},
    )
    made._reasons, made._places, made._programs, made._looked = names.reasons, names.functions, {}, (None, [])
    monkeypatch.setattr("netkit_edu.linux.trace.read_records", lambda log: log)
    return made


def traced(records, overflowed: bool = False):
    return SimpleNamespace(value=records, overflowed=overflowed)


def test_a_journey_says_who_made_it_what_moved_and_what_the_sender_calls_it(tracer, recording):
    moved = {"web/eth0": {"tx_packets": 1}}
    request = SendRequest(recording.packet, label="a datagram")
    (journey,) = tracer.journeys(traced(recording.records), request, [0], moved)
    assert (journey.backend, journey.label, journey.counters) == ("Linux 6.12.117", "a datagram", moved)
    assert not tracer.waiting(traced(recording.records))


def test_several_sends_have_a_journey_each_and_the_first_what_moved(tracer, recording):
    again = [record._replace(skb=record.skb and record.skb + 4096) for record in recording.records]
    request = SendRequest(recording.packet)
    first, second = tracer.journeys(traced(recording.records + again), request, [0, 0], {"web/eth0": {"rx_bytes": 1}})
    assert first.hops == second.hops and first.counters and not second.counters


def test_a_send_that_came_to_no_function_is_a_journey_without_hops(tracer, recording):
    request = SendRequest(recording.packet)
    refused, sent = tracer.journeys(traced(recording.records), request, [6, 0])
    assert not refused.hops and refused.fate.kind is FateKind.NOT_SENT and refused.sender_error == "ENXIO"
    assert sent.fate.delivered


def test_a_packet_without_an_answer_yet_waits(tracer):
    recording = Recording("l2-arp")
    names = [record for record in recording.records if record.context == "process"]
    tracer._backend._devices = lambda: [
        Place(*key, where.node, where.device, where.kind) for key, where in recording.names.devices.items()
    ]
    assert tracer.waiting(traced(names)) and not tracer.waiting(traced(recording.records))


def test_a_log_that_was_too_small_is_told(tracer, recording):
    with pytest.raises(UsageError, match="send fewer at a time"):
        tracer.journeys(traced(recording.records, overflowed=True), SendRequest(recording.packet))

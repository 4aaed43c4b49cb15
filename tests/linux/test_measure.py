"""`MeasureCalls`: a lab in the virtual machine counts what its packets cost, undisturbed by who records them."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program import isa
from netkit_edu.program.object import Object, ProgramCode
from netkit_edu.programs import Program

pytestmark = pytest.mark.vm
PACKET = nk.IP(dst="198.51.100.2") / nk.UDP(dport=53) / bytes(64)


@pytest.fixture(scope="module")
def lab():
    with nk.Lab("vm") as lab:
        card = lab.dummy("card")
        card.addr("198.51.100.1/24").up()
        lab.host.neigh("198.51.100.2", "02:00:00:00:00:02", dev=card)
        yield lab


@pytest.fixture(scope="module")
def pod(lab):
    return lab.pod("pod", device="netkit")


def returning(code: int) -> Program:
    made = ProgramCode("made", "netkit/peer", isa.assemble(f"r0 = {code}\nexit"), license="GPL")
    return Program(made, Object({"made": made}, {}))


def test_the_same_packet_costs_the_same_in_every_run(lab):
    assert lab.measure(lab.host, PACKET, runs=5).spread < 0.002


def test_a_program_costs_what_it_runs_even_where_journeys_are_recorded(lab, pod):
    bare = lab.measure(pod, PACKET)
    with pod.pair.attach(returning(-1), at="peer"):
        watched = lab.measure(pod, PACKET)
        pod.send(PACKET)
        assert lab.measure(pod, PACKET).median == pytest.approx(watched.median, rel=0.002)
    assert 0 < watched.median - bare.median < 200


def test_a_journey_is_told_after_a_count_as_before(lab, pod):
    before = pod.send(PACKET)
    lab.measure(pod, PACKET, runs=1)
    after = pod.send(PACKET)
    assert [hop.function for hop in after.hops] == [hop.function for hop in before.hops]
    assert after.fate == before.fate


def test_a_reply_is_counted_with_its_request(lab, pod):
    answered = lab.measure(pod, nk.IP(dst=lab.outside.ip) / nk.UDP(dport=7) / b"hi", replies=True, runs=1)
    assert answered.median > lab.measure(pod, PACKET, runs=1).median


def test_a_stream_costs_more_where_each_packet_goes_alone(lab):
    together = lab.measure_stream(lab.host, lab.outside, runs=1)
    alone = lab.measure_stream(lab.host, lab.outside, gso=False, runs=1)
    assert alone.median > 1.3 * together.median


def test_what_cannot_be_counted_is_refused(lab, pod):
    with pytest.raises(UsageError, match="UDP"):
        lab.measure(pod, nk.IP(dst="198.51.100.2") / nk.ICMP())
    with pytest.raises(UsageError, match="without Ethernet"):
        lab.measure(pod, nk.Ether() / PACKET)
    with pytest.raises(UsageError, match="who should reply"):
        lab.measure(pod, PACKET, replies=True)
    with pytest.raises(UsageError, match="same lab"):
        lab.measure_stream(pod, "outside")
    with pod.pair.attach(returning(2), at="peer"), pytest.raises(KernelError, match="EAGAIN"):
        lab.measure(pod, nk.IP(dst=lab.outside.ip) / nk.UDP(dport=7) / b"hi", replies=True)
    with pod.pair.attach(returning(2), at="peer"), pytest.raises((KernelError, UsageError)):
        lab.measure_stream(pod, lab.outside)

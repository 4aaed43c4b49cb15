"""What a lab looks like before anyone touches it: who reaches whom, through what."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind, HopKind
from tests.contract.conftest import PORT


@pytest.fixture(params=["veth", "netkit"])
def pod(request, lab):
    return lab.pod("web", device=request.param)


def test_addresses_are_as_told(lab, pod):
    assert (lab.host.ip, lab.outside.ip, pod.ip, pod.gateway) == ("192.0.2.1", "192.0.2.2", "10.0.1.2", "10.0.1.1")
    assert lab.pod("db", device="netkit").ip == "10.0.2.2"
    assert (pod.pair.primary.name, pod.device.name, lab.nic.name) == ("web", "eth0", "eth0")


def test_everyone_answers_everyones_ping(lab, pod):
    other = lab.pod("db", device="netkit")
    nodes = [lab.host, lab.outside, pod, other]
    for sender in nodes:
        for receiver in nodes:
            journey = sender.ping(receiver)
            assert journey.fate.delivered, (sender, receiver, journey.fate)
            assert [reply.fate.delivered for reply in journey.replies] == [True]
            assert journey.replies[0].fate.node == sender.name


def test_the_outside_takes_any_datagram(lab, pod):
    journey = pod.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi")
    assert journey.fate.delivered and journey.fate.node == "outside"
    assert [(r.src, r.dst, r.dport, r.payload) for r in lab.outside.received] == [(pod.ip, lab.outside.ip, 53, b"hi")]


def test_a_closed_port_drops_the_datagram_and_answers_with_an_icmp_error(lab, pod):
    journey = lab.outside.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT) / b"hi")
    assert journey.fate.kind is FateKind.DROPPED
    assert journey.fate.node == pod.name and journey.fate.reason.endswith("NO_SOCKET")
    assert len(journey.replies) == 1
    assert "ICMP unreachable code 3" in nk.summary(journey.replies[0].packet)


def test_a_port_with_a_listener_takes_the_datagram(lab, pod):
    pod.listen(udp=PORT)
    assert lab.outside.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT, sport=999) / b"hi").fate.delivered
    assert [(r.src, r.sport, r.payload) for r in pod.received] == [(lab.outside.ip, 999, b"hi")]


def test_forwarding_takes_one_from_the_ttl(lab, pod):
    journey = pod.send(nk.IP(dst=lab.outside.ip, ttl=9) / nk.UDP(dport=53) / b"hi", via="raw")
    changed = {change.field: (change.before, change.after) for change in nk.diff(journey.packet, journey.arrived)}
    assert changed.pop("IP.ttl") == (9, 8)
    assert set(changed) <= {"IP.chksum"}


def test_a_packet_crosses_two_stacks_on_its_way_out(lab, pod):
    journey = pod.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53))
    nodes = list(dict.fromkeys(hop.node for hop in journey.hops))
    assert nodes == ["web", "host", "outside"]
    lookups = [hop.node for hop in journey.hops if hop.kind is HopKind.LOOKUP]
    assert lookups[:2] == ["web", "host"]
    assert journey.counts.backlogs >= 1 and journey.counts.softirq_hops > 0


def test_a_frame_leaves_as_it_was_written(lab, pod):
    journey = pod.send(nk.Ether() / nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi")
    assert journey.fate.delivered and journey.fate.node == "outside"


def test_a_host_that_does_not_forward_drops_what_is_not_for_it(lab, pod):
    packet = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53)
    lab.host.sysctl("net.ipv4.ip_forward", 0)
    assert pod.send(packet).fate.kind is FateKind.DROPPED
    lab.host.sysctl("net.ipv4.ip_forward", 1)
    assert pod.send(packet).fate.delivered


def test_a_setting_that_there_is_not_is_refused(lab):
    with pytest.raises(nk.KernelError) as refusal:
        lab.host.sysctl("net.ipv4.no_such_thing", 1)
    assert refusal.value.name == "ENOENT"
    for key, value in ((4, 1), ("net.ipv4.ip_forward", "1"), ("net.ipv4.ip_forward", -1)):
        with pytest.raises(nk.UsageError):
            lab.host.sysctl(key, value)

"""Neighbours: asked for by ARP while packets wait, learnt, and given up."""

from __future__ import annotations

import struct

import pytest

from netkit_edu.backend import SendRequest
from netkit_edu.errors import ProgramFault
from netkit_edu.journey import FateKind
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import BPF_NETKIT_PRIMARY
from tests.sim.topologies import at_rest, faulting, returning, udp

A, B = "10.0.0.1", "10.0.0.2"
BROADCAST = b"\xff" * 6


def two(kind: str = "netkit", *, other: str = B, info: dict | None = None):
    """Two namespaces on a pair of Ethernet devices that know nothing of each other; port 9 is open on the second."""
    sim = SimBackend()
    a, b = sim.netns_add("a"), sim.netns_add("b")
    info = {"mode": 0} if kind == "netkit" and info is None else info
    one = sim.link_add(a, kind, "one", peer_ns=b, peer={"name": "two"}, info=info)
    end = sim.links(b)[-1].ifindex
    for ns, ifindex, address in ((a, one, A), (b, end, other)):
        sim.link_set(ns, ifindex, up=True)
        sim.addr_add(ns, ifindex, f"{address}/24")
    sim.listen(b, udp=9)
    return sim, a, one, b, end


@pytest.mark.parametrize("kind", ["netkit", "veth", "nic"])
def test_a_packet_waits_until_its_neighbour_has_answered(kind):
    sim, a, one, b, end = two(kind)
    journey = sim.send(a, SendRequest(udp(B)))
    assert journey.fate.delivered and journey.sender_error is None
    (request,) = journey.requests
    (reply,) = request.replies
    assert (request.fate.node, reply.fate.node) == ("b", "a")
    assert request.fate.delivered and reply.fate.delivered
    functions = [(h.function, h.context) for h in journey.hops]
    waits = functions.index(("__neigh_event_send", "process"))
    assert functions[waits + 1] == ("neigh_resolve_output", "softirq") or kind == "nic"
    assert sim.link_get(a, one).stats.tx_packets == 2 and sim.link_get(b, end).stats.tx_packets == 1


def test_the_frames_are_those_of_rfc_826():
    sim, a, one, b, end = two()
    tap = sim.capture_start(a, one)
    sim.send(a, SendRequest(udp(B)))
    (_, request), (_, reply), _ = sim.captured(tap)
    mac_a, mac_b = (bytes.fromhex(sim.link_get(*dev).mac.replace(":", "")) for dev in ((a, one), (b, end)))
    ip_a, ip_b = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    start = struct.pack("!HHBB", 1, 0x0800, 6, 4)
    assert request == BROADCAST + mac_a + b"\x08\x06" + start + b"\0\1" + mac_a + ip_a + bytes(6) + ip_b
    assert reply == mac_a + mac_b + b"\x08\x06" + start + b"\0\2" + mac_b + ip_b + mac_a + ip_a
    assert len(request) == 42


def test_who_asked_is_known_to_who_answered():
    sim, a, one, b, end = two()
    sim.send(a, SendRequest(udp(B)))
    assert not sim.send(b, SendRequest(udp(A))).requests
    assert not sim.send(a, SendRequest(udp(B))).requests


def test_packets_sent_meanwhile_wait_in_the_same_queue_and_one_request_is_enough():
    sim, a, *_ = two()
    journeys = sim.send_many(a, SendRequest(udp(B)), 5)
    assert [len(j.requests) for j in journeys] == [1, 0, 0, 0, 0]
    assert all(j.fate.delivered for j in journeys)


def test_the_queue_drops_its_oldest():
    sim, a, *_ = two()
    journeys = sim.send_many(a, SendRequest(udp(B)), 300)
    reasons = [j.fate.reason for j in journeys]
    dropped = reasons.count("NEIGH_QUEUEFULL")
    assert 0 < dropped < 300 and set(reasons[:dropped]) == {"NEIGH_QUEUEFULL"}
    assert all(j.fate.delivered for j in journeys[dropped:])


def test_after_three_requests_nobody_answers_the_sender_is_told():
    sim, a, one, *_ = two(other="10.0.0.3")
    journey = sim.send(a, SendRequest(udp(B), recverr=True))
    assert (journey.fate.kind, journey.fate.reason, journey.sender_error) == (FateKind.DROPPED, "NEIGH_FAILED", None)
    assert [r.fate.reason for r in journey.requests] == ["10.0.0.2 is not ours"] * 3
    (unreachable,) = journey.replies
    assert unreachable.fate.delivered and unreachable.fate.node == "a" and unreachable.packet[20:22] == b"\3\1"
    assert sim.link_get(a, one).stats.tx_packets == 3
    again = sim.send(a, SendRequest(udp(B)))
    assert len(again.requests) == 3 and at_rest(sim)


def test_a_forwarded_packet_that_finds_nobody_is_reported_to_its_sender():
    sim, a, one, b, end = two()
    sim.sysctl(b, "net.ipv4.ip_forward", 1)
    far = sim.link_add(b, "dummy", "far")
    eth = sim.link_add(b, "veth", "v0", peer={"name": "v1"})
    for ifindex in (far, eth, sim.link_get(b, eth).peer):
        sim.link_set(b, ifindex, up=True)
    sim.addr_add(b, eth, "10.9.0.1/24")
    sim.route_add(a, "default", via=B)
    journey = sim.send(a, SendRequest(udp("10.9.0.7")))
    assert journey.fate.reason == "NEIGH_FAILED" and journey.fate.node == "b"
    assert journey.replies[-1].packet[20:22] == b"\3\1" and journey.replies[-1].fate.node == "a"


def test_an_arp_device_that_lost_carrier_forgets_whom_it_knew():
    sim, a, one, b, end = two()
    sim.send(a, SendRequest(udp(B)))
    sim.link_set(b, end, up=False)
    sim.link_set(b, end, up=True)
    assert len(sim.send(a, SendRequest(udp(B))).requests) == 1


def test_a_device_that_goes_down_forgets_permanent_neighbours_too():
    sim, a, one, b, end = two()
    sim.neigh_add(a, one, B, sim.link_get(b, end).mac)
    assert not sim.send(a, SendRequest(udp(B))).requests
    sim.link_set(b, end, up=False)
    sim.link_set(b, end, up=True)
    assert not sim.send(a, SendRequest(udp(B))).requests  # the carrier alone takes no permanent entry
    sim.link_set(a, one, up=False)
    sim.link_set(a, one, up=True)
    assert len(sim.send(a, SendRequest(udp(B))).requests) == 1


def test_a_new_mac_address_is_told_when_its_owner_asks():
    sim, a, one, b, end = two()
    sim.send(a, SendRequest(udp(B)))
    sim.link_set(b, end, mac="02:00:00:00:00:99")
    old = sim.send(a, SendRequest(udp(B)))
    assert old.fate.reason == "OTHERHOST"
    sim.listen(a, udp=9)
    assert sim.send(b, SendRequest(udp(A))).fate.delivered  # b forgot whom it knew, asks, and a learns
    assert sim.send(a, SendRequest(udp(B))).fate.delivered


def test_a_device_without_arp_passes_arp_over():
    sim, a, one, b, end = two(info={"mode": 1})
    frame = BROADCAST + bytes(6) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20)
    journey = sim.send(a, SendRequest(frame, "packet", one))
    assert (journey.fate.kind, journey.fate.reason) == (FateKind.DROPPED, "a device without ARP")


@pytest.mark.parametrize("body", [b"", bytes(28), struct.pack("!HHBBH", 1, 0x0800, 6, 4, 3) + bytes(20)])
def test_arp_that_makes_no_sense_is_dropped(body):
    sim, a, one, *_ = two()
    frame = BROADCAST + bytes(6) + b"\x08\x06" + body
    assert sim.send(a, SendRequest(frame, "packet", one)).fate.kind is FateKind.DROPPED
    assert at_rest(sim)


@pytest.mark.parametrize("op", [1, 2])
def test_arp_for_others_is_not_learnt(op):
    sim, a, one, b, end = two()
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, op, b"\2" * 6, b"\x0a\0\0\x09", bytes(6), b"\x0a\0\0\x08")
    assert not sim.send(a, SendRequest(BROADCAST + bytes(6) + b"\x08\x06" + body, "packet", one)).fate.delivered
    assert not sim._kernel.namespaces[b].devices[end].neighbours


def test_a_program_that_drops_requests_keeps_neighbours_apart():
    sim, a, one, b, end = two()
    sim.prog_attach(a, one, BPF_NETKIT_PRIMARY, returning(sim, 2))
    journey = sim.send(a, SendRequest(udp(B)))
    assert journey.fate.reason == "NEIGH_FAILED" and len(journey.requests) == 3
    assert sim.link_get(a, one).stats.tx_dropped == 3


def test_a_fault_while_asking_leaves_the_machine_at_rest():
    sim, a, one, b, end = two()
    prog = faulting(sim)
    sim.prog_attach(a, one, BPF_NETKIT_PRIMARY, prog)
    with pytest.raises(ProgramFault):
        sim.send(a, SendRequest(udp(B)))
    assert at_rest(sim) and not sim._kernel.neigh_timers
    sim.prog_detach(a, one, BPF_NETKIT_PRIMARY, prog)
    assert sim.send(a, SendRequest(udp(B))).fate.delivered

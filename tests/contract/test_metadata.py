"""What a program is shown, and what of it the packet carries on (drivers/net/netkit.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from tests.contract.conftest import PAYLOAD, PORT, SKB_LEN, got, sent

MARK, PRIORITY = 0x77, 5


def seen_by(att) -> dict:
    seen = dict(att.maps["seen"][0])
    seen["header"] = bytes(seen["header"][:14])
    return seen


def expected(ifindex: int, mark: int, priority: int) -> dict:
    return {
        "runs": 1, "len": SKB_LEN, "pkt_type": 0, "mark": mark, "priority": priority, "protocol": 0x0800,
        "ingress_ifindex": 0, "ifindex": ifindex, "window": SKB_LEN, "header": bytes(12) + b"\x08\x00",
    }  # fmt: skip


def test_a_program_sees_the_other_end_and_a_scrubbed_packet(way, programs):
    """G3"""
    att = way.pair.attach(programs["record"], at=way.at)
    way.send(mark=MARK, priority=PRIORITY)
    assert seen_by(att) == expected(way.rx.ifindex, 0, 0)


def test_without_scrubbing_mark_and_priority_survive_the_border(lab, programs):
    """G4"""
    pod = lab.pod("open", device="netkit", scrub="none", peer_scrub="none")
    pod.listen(udp=PORT)
    att = pod.pair.attach(programs["record"], at="primary")
    lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT) / PAYLOAD, mark=MARK, priority=PRIORITY)
    assert seen_by(att) == expected(pod.device.ifindex, MARK, PRIORITY)


def test_the_scrub_setting_is_that_of_the_sending_end(lab, programs):
    pod = lab.pod("half", device="netkit", scrub="none", peer_scrub="default")
    for node in (lab.host, pod):
        node.listen(udp=PORT)  # a closed port's answer would come back through the other hook
    record = programs["record"]
    outward, inward = pod.pair.attach(record, at="primary"), pod.pair.attach(lab.load(record), at="peer")
    lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT), mark=MARK, priority=PRIORITY)
    pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=PORT), mark=MARK, priority=PRIORITY)
    assert (seen_by(outward)["mark"], seen_by(outward)["priority"]) == (MARK, PRIORITY)
    assert (seen_by(inward)["mark"], seen_by(inward)["priority"]) == (0, 0)


def test_within_one_namespace_nothing_is_scrubbed(lab, programs):
    """G5"""
    pair = lab.pair("same", peer_name="other")
    pair.primary.up()
    pair.peer.up()
    pair.primary.addr("10.0.9.1/24")
    att = pair.attach(programs["record"], at="primary")
    lab.host.send(nk.IP(dst="10.0.9.2") / nk.UDP(dport=PORT) / PAYLOAD, mark=MARK, priority=PRIORITY)
    assert seen_by(att) == expected(pair.peer.ifindex, MARK, PRIORITY)


def test_the_next_program_of_a_chain_sees_what_the_first_one_set(way, programs):
    """G11, its first half: within the chain."""
    way.pair.attach(programs["set_marks"], at=way.at)
    att = way.pair.attach(programs["record"], at=way.at)
    way.send()
    assert (seen_by(att)["mark"], seen_by(att)["priority"]) == (0xABC, 6)


def test_a_mark_set_by_a_program_survives_the_receivers_stack(lab, con, hst, programs):
    """Beyond G11 (test_tcx.py): the container forwards the packet, and the next pair's program still sees the mark.

    The priority cannot be followed this way: forwarding sets it from the TOS field (ip_forward).
    """
    con.sysctl("net.ipv4.ip_forward", 1)
    beyond = lab.node("beyond")
    second = lab.pair("second", primary_in=con, peer_in=beyond, scrub="none")
    second.primary.up().addr("10.0.9.1/24")
    second.peer.up().addr("10.0.9.2/24")
    beyond.route("default", via="10.0.9.1")
    lab.host.route("10.0.9.0/24", via=con.ip)
    beyond.listen(udp=PORT)
    con.pair.attach(programs["set_marks"], at="primary")
    att = second.attach(programs["record"], at="primary")
    assert lab.host.send(nk.IP(dst="10.0.9.2") / nk.UDP(dport=PORT) / PAYLOAD).fate.delivered
    assert seen_by(att)["mark"] == 0xABC


@pytest.mark.parametrize(
    ("to", "kind"),
    [("02:00:00:00:00:01", 3), ("ff:ff:ff:ff:ff:ff", 1), ("01:00:5e:00:00:01", 2), ("00:00:00:00:00:00", 0)],
)
def test_the_packet_type_follows_the_frames_destination(lab, con, hst, programs, to, kind):
    """G19"""
    att = con.pair.attach(programs["record"], at="primary")
    lab.host.send(nk.Ether(dst=to, src="02:00:00:00:00:09") / nk.IP(dst=con.ip) / nk.UDP(dport=PORT), dev=hst)
    assert seen_by(att)["pkt_type"] == kind


def test_the_protocol_stays_what_the_stack_said_whatever_a_program_writes_into_the_header(way, programs, moved):
    """G13"""
    way.pair.attach(programs["relabel"], at=way.at)
    att = way.pair.attach(programs["record"], at=way.at)
    count = moved(way.tx, way.rx)
    journey = way.send()
    assert journey.fate.delivered and way.rx.node.received[-1].payload == PAYLOAD
    assert (seen_by(att)["protocol"], seen_by(att)["header"][12:]) == (0x0800, b"\x86\xdd")
    assert count() == [sent(), got()]

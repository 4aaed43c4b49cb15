"""Which counter moves on which path, and the plain vectors of delivery (netkit_xmit, __netif_rx; Linux 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind
from tests.contract.conftest import DROPPED, PAYLOAD, PORT, got, sent


def test_a_packet_without_programs_is_delivered_and_counted_on_both_ends(way, moved):
    """G1, G2"""
    count = moved(way.tx, way.rx)
    journey = way.send()
    assert journey.fate.delivered
    assert count() == [sent(), got()]
    names = [f"{device.node.name}/{device.name}" for device in (way.tx, way.rx)]
    assert journey.counters == dict(zip(names, (sent(), got()), strict=True))


def test_what_arrives_is_what_was_sent(way):
    way.send()
    receiver = way.rx.node
    assert [(r.dport, r.payload) for r in receiver.received] == [(PORT, PAYLOAD)]


def test_a_redirected_packet_counts_on_the_sending_device_alone(way, programs, moved):
    way.pair.attach(programs["redirect"], at=way.at)
    count = moved(way.tx, way.rx)
    way.send()
    assert count() == [sent(), {}]


def test_the_other_end_down_drops_before_the_driver(way, programs, moved):
    """G10"""
    record = way.pair.attach(programs["record"], at=way.at)
    way.rx.down()
    count = moved(way.tx, way.rx)
    journey = way.send(recverr=True)
    assert journey.fate.kind is FateKind.DROPPED and journey.sender_error is None
    assert count() == [DROPPED, {}]
    assert record.maps["seen"][0]["runs"] == 0


def test_no_mtu_check_on_delivery(lab, con, hst, moved):
    """G14"""
    hst.set(mtu=9000)
    count = moved(hst, con.device)
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / bytes(5000))
    assert journey.fate.delivered
    assert count() == [sent(1, 5042), got(1, 5042)]
    assert con.received[-1].payload == bytes(5000)


def test_a_datagram_larger_than_the_mtu_travels_in_fragments(lab, con, hst, moved):
    """G15"""
    count = moved(hst, con.device)
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / bytes(5000))
    assert journey.fate.delivered
    assert count() == [
        {"tx_packets": 4, "tx_bytes": 5144},
        {"rx_packets": 4, "rx_bytes": 5144},
    ]
    assert con.received[-1].payload == bytes(5000)


def test_a_full_backlog_drops_on_both_ends(burst_backend, moved):
    """The backlog takes one packet more than net.core.netdev_max_backlog says."""
    with nk.Lab(burst_backend, backlog=4) as lab:
        con = lab.pod("con", device="netkit")
        con.listen(udp=PORT)
        count = moved(con.pair.primary, con.device)
        summary = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD, repeat=10)
        assert summary.fates == {"delivered": 5, "dropped": 5}
        assert count() == [sent(5) | {"tx_dropped": 5}, got(5) | {"rx_dropped": 5}]
        assert len(con.received) == 5
        assert lab.softnet == ((5, 5),)


def test_a_backlog_is_one_cpus_and_so_are_its_drops(burst_backend):
    """The sender is told of the drop like of any other of the driver's."""
    with nk.Lab(burst_backend, backlog=0, cpus=2) as lab:
        con = lab.pod("con", device="netkit")
        con.listen(udp=PORT)
        before = lab.softnet
        packet = nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD
        summary = lab.host.send(packet, repeat=3, cpu=1, recverr=True)
        assert summary.fates == {"delivered": 1, "dropped": 2} and summary.sender_errors == {"ENOBUFS": 2}
        assert lab.softnet == (before[0], (before[1].processed + 1, before[1].dropped + 2))


def test_a_packet_for_another_host_arrives_and_is_dropped_by_ip(lab, con, hst, moved):
    """G12's counters: here the frame's destination address makes it PACKET_OTHERHOST, not bpf_skb_change_type."""
    frame = (
        nk.Ether(dst="02:00:00:00:00:99", src="02:00:00:00:00:98") / nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD
    )
    count = moved(hst, con.device)
    journey = lab.host.send(frame, dev=hst)
    assert journey.fate.kind is FateKind.DROPPED and journey.fate.node == "con"
    assert count() == [sent(), got()]
    assert con.received == []


@pytest.mark.parametrize("device", ["veth", "netkit"])
def test_both_kinds_of_pair_count_alike_when_all_goes_well(lab, moved, device):
    pod = lab.pod("web", device=device)
    pod.listen(udp=PORT)
    count = moved(pod.pair.primary, pod.device)
    lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert count() == [sent(), got()]

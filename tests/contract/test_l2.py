"""What the Ethernet header means to a pair: ARP in L2 mode, and for whom a frame is (drivers/net/netkit.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.uapi import PacketType
from tests.contract.conftest import PAYLOAD, PORT, refused

NOBODY = "10.0.1.77"
NO_ARP = """
SEC("netkit/primary") int no_arp(struct __sk_buff *skb)
{
    return skb->protocol == bpf_htons(ETH_P_ARP) ? NETKIT_DROP : NETKIT_NEXT;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(params=["l2", "l3"])
def pod(request, lab):
    pod = lab.pod("con", device="netkit", mode=request.param)
    pod.listen(udp=PORT)
    return pod


def seen(attachment) -> dict:
    return attachment.maps["seen"][0]


def test_an_l2_pod_is_found_by_arp(lab, programs):
    """G20"""
    pod = lab.pod("con", device="netkit", mode="l2")
    pod.listen(udp=PORT)
    recorder = pod.pair.attach(programs["record"], at="primary")
    journey = lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert journey.fate.delivered and seen(recorder)["runs"] == 2
    (request,) = journey.requests
    assert request.verdicts[0].verdict == nk.Verdict.NEXT and request.replies[0].fate.delivered
    assert not lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT)).requests
    assert pod.ping(lab.outside).fate.delivered


def test_what_a_program_sees_of_a_packet_to_nobody(lab, pod, programs):
    """G20, N5: in L3 mode the packet itself, in L2 mode only the ARP requests."""
    recorder = pod.pair.attach(programs["record"], at="primary")
    journey = lab.host.send(nk.IP(dst=NOBODY) / nk.UDP(dport=PORT) / PAYLOAD)
    now = seen(recorder)
    if pod.device.mode == nk.Mode.L3:
        assert (now["runs"], now["protocol"], now["len"]) == (1, 0x0800, 142)
        assert not journey.requests
    else:
        assert (now["runs"], now["protocol"], now["len"]) == (3, 0x0806, 42)
        assert now["pkt_type"] == PacketType.BROADCAST
        assert bytes(now["header"][:6]) == b"\xff" * 6
        assert journey.fate.reason == "NEIGH_FAILED" and len(journey.requests) == 3
        assert journey.sender_error is None
        assert journey.replies[0].fate.delivered  # ICMP host unreachable, to the sender itself


def test_an_error_to_the_address_that_nobody_answers_for_is_thrown_away(lab):
    """neigh_invalidate() purges what error_report() has just put into the queue; it is not asked for three times."""
    pod = lab.pod("con", device="netkit", mode="l2")
    for which in ("all", "con"):  # a redirect would ask first
        lab.host.sysctl(f"net.ipv4.conf.{which}.send_redirects", 0)
    pod.pair.attach(nk.compile('#include "netkit_edu.h"\n' + NO_ARP)["no_arp"], at="primary")
    frame = nk.Ether(src=pod.device.mac, dst=pod.pair.primary.mac) / nk.IP(src=pod.ip, dst=pod.ip) / nk.UDP(dport=PORT)
    journey = pod.send(frame)
    assert journey.fate.reason == "NEIGH_FAILED" and len(journey.requests) == 3
    (error,) = journey.replies
    assert (error.fate.kind, error.fate.reason) == ("dropped", "QUEUE_PURGE") and len(error.requests) == 1


@pytest.mark.parametrize(
    ("mac", "kind"),
    [
        ("02:00:00:00:00:77", PacketType.OTHERHOST),
        ("ff:ff:ff:ff:ff:ff", PacketType.BROADCAST),
        ("01:00:5e:00:00:01", PacketType.MULTICAST),
        (None, PacketType.HOST),
    ],
)
def test_for_whom_a_frame_is_depends_on_the_other_ends_address(lab, pod, programs, mac, kind):
    """G19"""
    recorder = pod.pair.attach(programs["record"], at="primary")
    packet = nk.Ether(dst=mac or pod.device.mac, src=pod.pair.primary.mac) / nk.IP(dst=pod.ip) / nk.UDP(dport=PORT)
    journey = lab.host.send(packet, dev=pod.pair.primary)
    assert seen(recorder)["pkt_type"] == kind
    assert journey.fate.delivered == (kind is not PacketType.OTHERHOST)


def test_an_l2_address_can_be_changed_at_any_time_but_only_to_one_of_an_interface(lab, pod):
    primary = pod.pair.primary
    if primary.mode == nk.Mode.L3:
        refused("EOPNOTSUPP", lambda: primary.set(mac="02:00:00:00:00:07"))
        return
    assert lab.host.ping(pod).fate.delivered
    primary.set(mac="02:00:00:00:00:07")
    assert primary.mac == "02:00:00:00:00:07" and primary.is_up
    refused("EADDRNOTAVAIL", lambda: primary.set(mac="01:00:00:00:00:07"))
    refused("EADDRNOTAVAIL", lambda: primary.set(mac="00:00:00:00:00:00"))
    assert lab.host.ping(pod).fate.delivered  # who asks anew tells its new address


@pytest.mark.parametrize("mac", ["02:00:00:00:00:08", None])
def test_an_l2_pair_may_be_given_addresses(lab, mac):
    attrs = {"mac": mac} if mac else {}
    pair = lab.pair("nk1", mode="l2", attrs=attrs, peer_attrs={"mac": "02:00:00:00:00:09"})
    assert pair.peer.mac == "02:00:00:00:00:09"
    assert mac is None or pair.primary.mac == mac


def test_arp_of_an_ethernet_means_nothing_to_the_loopback(lab):
    """The request comes to lo by a redirect: its kind of hardware is not lo's, and nobody answers (arp_process)."""
    pod = lab.pod("pod", device="netkit", mode="l2")
    to_lo = nk.compile('SEC("netkit/peer") int to_lo(struct __sk_buff *skb) { return bpf_redirect(1, 0); }')
    pod.pair.attach(to_lo["to_lo"])
    journey = pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"hi")
    requests = 3  # arp_solicit gives up after that many
    assert journey.counters["pod/eth0"]["tx_packets"] == journey.counters["host/lo"]["rx_packets"] == requests


def test_a_neighbour_that_is_made_permanent_again_keeps_its_ready_made_header(lab, programs):
    """The slow way leads past neigh_resolve_output; a header that is there is put right for another address."""
    pair = lab.pair("nk1", mode="l2", peer_in=lab.node("inside"))
    pair.primary.addr("10.0.9.1/24").up()
    pair.peer.addr("10.0.9.2/24").up()
    slow, to = [], []
    recorder = pair.attach(programs["record"], at="primary")
    for mac in ("02:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:02"):
        lab.host.neigh("10.0.9.2", mac, dev=pair.primary)
        journey = lab.host.send(nk.IP(dst="10.0.9.2") / nk.UDP(dport=PORT) / PAYLOAD)
        slow.append("neigh_resolve_output" in [hop.function for hop in journey.hops])
        to.append(bytes(seen(recorder)["header"][:6]).hex(":"))
    assert slow == [True, False, False]
    assert to == ["02:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:02"]


@pytest.mark.parametrize(("first", "slow"), [("it asks", [True, True, True]), ("it answers", [True, False, False])])
def test_who_is_known_only_from_asking_takes_the_slow_way_until_it_answers(lab, first, slow):
    """NUD_STALE and NUD_REACHABLE (net/core/neighbour.c)"""
    pod = lab.pod("con", device="netkit", mode="l2")
    pod.listen(udp=PORT)
    if first == "it asks":
        pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=PORT) / PAYLOAD)
    packet = nk.IP(dst=pod.ip) / nk.UDP(dport=PORT) / PAYLOAD
    journeys = [lab.host.send(packet) for _ in range(3)]
    assert ["neigh_resolve_output" in [hop.function for hop in journey.hops] for journey in journeys] == slow

"""What the sending program sees of a drop (net/ipv4/udp.c, ping.c, net/packet/af_packet.c, 6.12).

TCP's row, where send() succeeds and the segment is retried, needs a TCP endpoint, which only Linux has.
"""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from tests.contract.conftest import PAYLOAD, PORT


def frame(lab, con):
    return nk.Ether(dst="00:00:00:00:00:00", src="00:00:00:00:00:00") / nk.IP(src=con.gateway, dst=con.ip) / nk.UDP(
        dport=PORT) / PAYLOAD  # fmt: skip


@pytest.fixture(params=["program", "policy"])
def dropping(request, con, programs):
    if request.param == "program":
        con.pair.attach(programs["drop"], at="primary")
    else:
        con.pair.set_policy(policy="drop")
    return con


def test_a_udp_socket_is_not_told_of_a_drop(lab, dropping):
    assert lab.host.send(nk.IP(dst=dropping.ip) / nk.UDP(dport=PORT) / PAYLOAD).sender_error is None


def test_a_udp_socket_that_asked_is_told(lab, dropping):
    journey = lab.host.send(nk.IP(dst=dropping.ip) / nk.UDP(dport=PORT) / PAYLOAD, recverr=True)
    assert journey.sender_error == "ENOBUFS"


@pytest.mark.parametrize("recverr", [False, True])
def test_a_ping_socket_is_told_whether_it_asked_or_not(lab, dropping, recverr):
    assert lab.host.ping(dropping, recverr=recverr).sender_error == "ENOBUFS"


def test_a_packet_socket_is_told(lab, dropping):
    assert lab.host.send(frame(lab, dropping), dev=dropping.pair.primary).sender_error == "ENOBUFS"


def test_nobody_is_told_when_the_other_end_is_down(lab, con):
    con.device.down()
    assert lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT), recverr=True).sender_error is None
    assert lab.host.send(frame(lab, con), dev=con.pair.primary).sender_error is None


def test_nobody_is_told_of_a_redirect_that_leads_nowhere(lab, con, programs):
    con.pair.attach(programs["redirect"], at="primary")
    assert lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT), recverr=True).sender_error is None
    assert lab.host.ping(con).sender_error is None
    assert lab.host.send(frame(lab, con), dev=con.pair.primary).sender_error is None


def test_a_sender_without_a_route_is_refused_before_any_device(lab, con):
    lone = lab.node("lone")
    journey = lone.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT))
    assert journey.sender_error == "ENETUNREACH"
    assert journey.fate.kind is nk.FateKind.NOT_SENT


def test_behind_a_real_queue_nobody_is_told_and_the_drop_counts_all_the_same(lab, programs):
    """A pair has none by itself; whoever installs one stands between the program and its sender."""
    pair = lab.pair("hst", peer_in=lab.node("inside"), attrs={"qdisc": "pfifo"})
    hst = pair.primary.addr("10.0.9.1/24").up()
    pair.peer.addr("10.0.9.2/24").up()
    assert hst.info.qdisc == "pfifo"
    hst.attach(programs["drop"], at="primary")
    journey = lab.host.send(nk.IP(dst="10.0.9.2") / nk.UDP(dport=PORT) / PAYLOAD, recverr=True)
    assert (journey.fate.kind, journey.sender_error) == (nk.FateKind.DROPPED, None)
    assert hst.stats.tx_dropped == 1


@pytest.mark.parametrize("qdisc", ["", "htb", 1, None, []])
def test_a_queue_that_there_is_not_is_refused(lab, qdisc):
    with pytest.raises(nk.UsageError, match="qdisc is one of 'noqueue', 'pfifo'"):
        lab.pair("hst", attrs={"qdisc": qdisc})


@pytest.mark.parametrize("via", ["udp", "icmp"])
def test_a_socket_that_cannot_have_its_address_never_sends(lab, via):
    """bind(2) refuses, and no function of the sending path runs."""
    packet = nk.IP(src="10.99.0.1", dst=lab.outside.ip) / (nk.ICMP() if via == "icmp" else nk.UDP(dport=7)) / b"hi"
    journey = lab.host.send(packet, via=via)
    assert (journey.sender_error, journey.fate.kind, journey.hops) == ("EADDRNOTAVAIL", "not sent", ())


def test_a_packet_socket_is_asked_before_it_looks_for_its_device(lab, con):
    request = SendRequest(bytes(60), "packet", ifindex=999)
    journey = lab.kernel_calls.send(lab.host.ns, request)
    assert (journey.sender_error, [hop.function for hop in journey.hops]) == ("ENXIO", ["packet_snd"])


def test_a_ping_to_oneself_is_answered_though_the_socket_is_bound_to_a_device(lab, con):
    """What comes by the loopback counts as the device's that has the address (inet_iif)."""
    echo = nk.IP(src=con.ip, dst=con.ip) / nk.ICMP(id=77)
    assert con.send(echo, via="icmp", dev=con.device).replies[0].fate.delivered
    other = con.ping(con.ip)
    assert other.replies[0].fate.delivered and len(con.received) == 2

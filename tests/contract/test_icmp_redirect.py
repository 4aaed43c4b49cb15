"""A packet that a router sends back where it came from: its sender is told of the shorter way (route.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from tests.contract.conftest import PAYLOAD, PORT

NOBODY = "10.0.1.77"  # an address of the pod's own subnet that nobody has


def to(address: str, **fields):
    return nk.IP(dst=address, **fields) / nk.UDP(dport=PORT) / PAYLOAD


def test_what_an_l3_pair_bounces_back_its_sender_is_told_to_send_itself(lab, con):
    """No ARP keeps the packet at home: the host gets it, and its route leads back through the same pair."""
    before = lab.host.snmp
    journey = con.send(to(NOBODY))
    (reply,) = journey.replies
    told = nk.IP(reply.packet)[nk.ICMP]
    assert (told.type, told.code, told.gw) == (5, 1, NOBODY)
    assert (nk.IP(reply.packet).src, reply.fate.delivered, reply.fate.node) == (con.gateway, True, "con")
    after = lab.host.snmp
    assert after["IcmpOutRedirects"] - before["IcmpOutRedirects"] == 1
    assert after["IpForwDatagrams"] - before["IpForwDatagrams"] == 1
    assert con.snmp["IcmpInRedirects"] == 1


def test_the_packet_goes_back_all_the_same(con):
    journey = con.send(to(NOBODY))
    functions = [(hop.node, hop.function) for hop in journey.hops]
    at = functions.index(("host", "ip_rt_send_redirect"))
    assert functions.index(("host", "ip_forward")) < at < functions.index(("host", "ip_forward_finish"))
    assert not journey.fate.delivered and journey.fate.node == "con"


def test_the_next_ones_at_once_are_not_told_of_again(lab, con):
    replies = [len(journey.replies) for journey in con.send(to(NOBODY), repeat=5).journeys]
    assert replies == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("case", ["another pod", "the gateway", "outside"])
def test_nobody_is_told_on_the_usual_ways(lab, con, case):
    other = lab.pod("other", device="netkit")
    other.listen(udp=PORT)
    journey = con.send(to({"another pod": other.ip, "the gateway": con.gateway, "outside": lab.outside.ip}[case]))
    assert journey.fate.delivered and journey.replies == () and lab.host.snmp["IcmpOutRedirects"] == 0


def test_a_sender_from_elsewhere_is_not_told(lab, con):
    """Only a neighbour on that device could take the shorter way; this source address is routed to another device."""
    other = lab.pod("other", device="netkit")
    journey = con.send(to(NOBODY, src=other.ip), via="raw")
    assert journey.replies == () and lab.host.snmp["IcmpOutRedirects"] == 0


def test_with_a_gateway_on_the_same_device_that_one_is_named(lab, con):
    lab.host.route("10.7.0.0/16", via="10.0.1.9", dev=con.pair.primary)
    (reply,) = con.send(to("10.7.0.1")).replies
    assert nk.IP(reply.packet)[nk.ICMP].gw == "10.0.1.9"

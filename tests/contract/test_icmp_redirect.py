"""A packet that a router sends back where it came from: its sender is told of the shorter way (route.c, 6.12).

What is said, and how seldom, is in tests/sim.
"""

from __future__ import annotations

import pytest

import netkit_edu as nk
from tests.contract.conftest import PAYLOAD, PORT

NOBODY = "10.0.1.77"  # an address of the pod's own subnet that nobody has


def to(address: str, **fields):
    return nk.IP(dst=address, **fields) / nk.UDP(dport=PORT) / PAYLOAD


def test_of_what_an_l3_pair_bounces_back_its_sender_is_told(lab, con):
    """No ARP keeps the packet at home: the host gets it, and its route leads back through the same pair."""
    journey = con.send(to(NOBODY))
    assert not journey.fate.delivered and journey.fate.node == "con"
    assert [(reply.fate.delivered, reply.fate.node) for reply in journey.replies] == [(True, "con")]
    assert (lab.host.snmp["IcmpOutRedirects"], con.snmp["IcmpInRedirects"]) == (1, 1)
    assert lab.host.snmp["IpForwDatagrams"] == con.snmp["IpInAddrErrors"] == 1


@pytest.mark.parametrize("case", ["another pod", "the gateway", "outside"])
def test_nobody_is_told_on_the_usual_ways(lab, con, case):
    other = lab.pod("other", device="netkit")
    other.listen(udp=PORT)
    journey = con.send(to({"another pod": other.ip, "the gateway": con.gateway, "outside": lab.outside.ip}[case]))
    assert journey.fate.delivered and lab.host.snmp["IcmpOutRedirects"] == 0


@pytest.mark.parametrize(
    ("off", "told"),
    [(("all", "default"), 1), (("all", "con"), 0), (("con",), 1), (("all",), 1), (("default",), 1)],
)
def test_one_setting_of_all_and_of_the_device_is_enough(lab, con, off, told):
    """A device begins with what "default" says when it comes (include/linux/inetdevice.h:IN_DEV_TX_REDIRECTS)."""
    for which in off:
        lab.host.sysctl(f"net.ipv4.conf.{which}.send_redirects", 0)
    con.send(to(NOBODY))
    assert lab.host.snmp["IcmpOutRedirects"] == told


def test_a_device_that_comes_later_begins_with_the_default(lab):
    for which in ("all", "default"):
        lab.host.sysctl(f"net.ipv4.conf.{which}.send_redirects", 0)
    lab.pod("con", device="netkit").send(to(NOBODY))
    assert lab.host.snmp["IcmpOutRedirects"] == 0


def test_a_sender_from_elsewhere_is_not_told(lab, con):
    """Only a neighbour on that device could take the shorter way; this source address is routed to another device."""
    other = lab.pod("other", device="netkit")
    con.send(to(NOBODY, src=other.ip), via="raw")
    assert (lab.host.snmp["IpForwDatagrams"], lab.host.snmp["IcmpOutRedirects"]) == (1, 0)


def test_whoever_sends_back_looks_the_sender_up_too(lab, con):
    """To tell a neighbour from a stranger (net/ipv4/fib_frontend.c:__fib_validate_source)."""
    journey = con.send(to(NOBODY))
    found = [f"{hop.node}: {hop.detail}" for hop in journey.hops if hop.kind is nk.HopKind.LOOKUP]
    assert found == ["con: 10.0.1.0/24 dev eth0", *["host: 10.0.1.0/24 dev con"] * 2, "con: 10.0.1.0/24 dev eth0"]

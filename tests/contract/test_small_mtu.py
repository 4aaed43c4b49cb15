"""A device whose MTU falls below 68 bytes loses its addresses and speaks no IPv4 until it has risen (devinet.c)."""

from __future__ import annotations

import pytest
from scapy.all import ICMP, IP, UDP, Raw

from netkit_edu.errors import KernelError


@pytest.fixture
def small(lab):
    """A dummy on the host, up, with an address and a route, that has shrunk."""
    device = lab.dummy("d0").addr("10.9.0.1/24").up()
    lab.host.route("10.10.0.0/24", dev=device)
    return device.set(mtu=67)


def refused(do):
    with pytest.raises(KernelError) as caught:
        do()
    return caught.value.name


def test_it_loses_its_addresses_and_routes(lab, small):
    assert (small.info.mtu, small.info.addresses) == (67, ())
    for dst in ("10.9.0.7", "10.10.0.7"):
        journey = lab.host.send(IP(dst=dst) / UDP(dport=7) / Raw(b"x"), via="udp")
        assert journey.fate.node == "outside", dst  # the default route is left


def test_it_takes_no_address_no_route_and_no_neighbour(lab, small):
    assert refused(lambda: small.addr("10.9.0.1/24")) == "ENOBUFS"
    assert refused(lambda: lab.host.route("10.11.0.0/24", dev=small)) == "ENODEV"
    assert refused(lambda: lab.host.neigh("10.9.0.7", "02:00:00:00:00:07", dev=small)) == "EINVAL"
    assert lab.host.send(IP(dst="10.9.0.7") / UDP(dport=7), dev=small).sender_error == "ENETUNREACH"


def test_it_speaks_ipv4_again_once_it_has_grown(lab, small):
    small.set(mtu=68)
    assert small.info.addresses == ()
    small.addr("10.9.0.1/24")
    assert lab.host.send(IP(dst="10.9.0.1") / ICMP() / Raw(b"x")).fate.kind == "delivered"


def test_one_that_is_born_small_speaks_ipv4(lab):
    device = lab.dummy("d0")
    device.set(mtu=67)
    pair = lab.pair("p0", peer_in=lab.node("n"), kind="veth")
    assert refused(lambda: pair.primary.set(mtu=67)) == "EINVAL"
    device.move(lab.nodes["n"])
    assert device.info.mtu == 67
    device.addr("10.9.0.1/24")
    assert device.info.addresses == ("10.9.0.1/24",)

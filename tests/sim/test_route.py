"""Routes: longest prefix against brute force, what comes and goes with addresses and devices, refusals."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.errors import KernelError
from netkit_edu.sim.backend import SimBackend
from netkit_edu.sim.inet import mask, ntoa
from netkit_edu.sim.route import RTN_UNICAST, Fib, FibInfo
from tests.sim.topologies import BEYOND, HOST_IP, POD_IP, machine, udp

PREFIXES = st.tuples(st.sampled_from((0, 0x0A000000, 0x0A000100, 0x0A0001FF, 0xC0000200)), st.integers(0, 32))


@settings(deadline=None)
@given(st.lists(PREFIXES, max_size=20), st.sampled_from((0x0A000001, 0x0A000101, 0x0A0001FF, 0xC0000202, 0x01020304)))
def test_the_longest_prefix_wins(prefixes, daddr):
    fib = Fib(None)
    routes = {(address & mask(n), n) for address, n in prefixes}
    for number, (prefix, plen) in enumerate(routes):
        fib.insert(FibInfo(prefix, plen, RTN_UNICAST, number))
    nets = [ipaddress.ip_network((prefix, plen)) for prefix, plen in routes]
    matching = [net for net in nets if ipaddress.ip_address(daddr) in net]
    found = fib.find(daddr)
    if not matching:
        assert found is None
    else:
        best = max(matching, key=lambda net: net.prefixlen)
        assert (ntoa(found.prefix), found.plen) == (str(best.network_address), best.prefixlen)


def test_without_a_route_the_sender_is_told_and_nothing_leaves():
    m = machine()
    journey = m.send(m.host, "203.0.113.1")
    assert (journey.fate.kind, journey.sender_error) == ("not sent", "ENETUNREACH")
    assert not journey.counters


def test_a_device_that_goes_down_loses_its_routes_but_its_address_still_answers():
    m = machine()
    m.sim.link_set(m.pod, m.peer, up=False)
    assert m.send(m.pod, BEYOND).sender_error == "ENETUNREACH"
    assert m.send(m.pod, POD_IP).fate.delivered
    m.sim.link_set(m.pod, m.peer, up=True)
    assert m.send(m.pod, HOST_IP).fate.delivered  # the subnet's route comes back by itself, the default route does not
    assert m.send(m.pod, BEYOND).sender_error == "ENETUNREACH"
    m.sim.route_add(m.pod, "default", via=HOST_IP)
    assert m.send(m.pod, BEYOND).fate.kind == "transmitted"


def test_the_source_address_is_the_one_of_the_route():
    m = machine()
    for ns, dst, src in ((m.pod, BEYOND, POD_IP), (m.host, POD_IP, HOST_IP), (m.host, "127.0.0.1", "127.0.0.1")):
        assert m.send(ns, dst).packet[12:16] == ipaddress.ip_address(src).packed
    assert m.send(m.host, "", packet=udp(POD_IP, src=BEYOND)).sender_error == "EADDRNOTAVAIL"


@pytest.mark.parametrize(
    ("prefix", "how", "errno"),
    [
        ("10.0.9.0/24", {"via": "203.0.113.1"}, "ENETUNREACH"),
        ("10.0.9.0/24", {"via": "10.0.1.255"}, "ENETUNREACH"),
        ("10.0.9.1/24", {"ifindex": 2}, "EINVAL"),
        ("10.0.9.0/24", {"ifindex": 77}, "ENODEV"),
        ("10.0.1.0/24", {"ifindex": 2}, "EEXIST"),
        ("10.0.9.0/24", {"ifindex": 4}, "ENETDOWN"),
    ],
)
def test_a_route_that_cannot_be_is_refused(prefix, how, errno):
    m = machine()
    assert m.sim.link_add(m.host, "dummy", "off") == 4
    with pytest.raises(KernelError) as refusal:
        m.sim.route_add(m.host, prefix, **how)
    assert refusal.value.name == errno


def test_a_deleted_device_takes_its_address_along():
    sim = SimBackend()
    ns = sim.netns_add("x")
    dev = sim.link_add(ns, "dummy", "d0")
    sim.link_set(ns, dev, up=True)
    sim.addr_add(ns, dev, "10.0.0.1/24")
    sim.link_del(ns, dev)
    net = sim._kernel.namespaces[ns]
    assert not net.is_local(0x0A000001)
    assert net.fib.find(0x0A000001) is None

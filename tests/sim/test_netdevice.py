"""Devices: a driver of one's own, carriers, the wire between two machines, taps, names and numbers."""

from __future__ import annotations

import pytest

from netkit_edu.backend import SendRequest
from netkit_edu.errors import KernelError
from netkit_edu.sim import dev as core
from netkit_edu.sim.backend import SimBackend
from netkit_edu.sim.dev import netif_rx
from netkit_edu.sim.netdevice import NetDevice, NetDeviceOps
from netkit_edu.sim.rtnetlink import register_netdevice
from netkit_edu.sim.skbuff import alloc_skb, eth_type_trans, skb_orphan
from netkit_edu.sim.trace import Trace
from netkit_edu.uapi import IF_OPER_DOWN, IFF_LOWER_UP, IFF_RUNNING, IFF_UP, NetXmit
from tests.sim.topologies import HOST_IP, POD_IP, at_rest, echo, machine, udp


def test_a_driver_of_ones_own_is_a_function_in_a_table():
    def echo_xmit(skb, dev):
        """Send back what comes, addresses exchanged."""
        at = skb.network_header
        skb.buf[at + 12 : at + 20] = skb.buf[at + 16 : at + 20] + skb.buf[at + 12 : at + 16]
        skb_orphan(skb, dev)
        skb.dst = None
        skb.protocol = eth_type_trans(skb, dev)
        netif_rx(skb)
        return NetXmit.SUCCESS

    sim = SimBackend()
    ns = sim.netns_add("x")
    dev = NetDevice(NetDeviceOps(ndo_start_xmit=echo_xmit), kind="mine")
    register_netdevice(dev, sim._kernel.namespaces[ns], "toy%d")
    sim.link_set(ns, dev.ifindex, up=True)
    sim.addr_add(ns, dev.ifindex, "10.9.0.1/24")
    sim.neigh_add(ns, dev.ifindex, "10.9.0.2", "00:00:00:00:00:00")
    sim.listen(ns, udp=9)
    journey = sim.send(ns, SendRequest(udp("10.9.0.2")))
    assert [(h.function, h.device) for h in journey.hops if h.kind == "driver"] == [("echo_xmit", "toy0")]
    assert journey.fate.delivered and sim.received(ns)[0].src == "10.9.0.2"


@pytest.mark.parametrize("kind", ["veth", "netkit", "nic"])
def test_the_carrier_is_there_while_both_ends_are_up(kind):
    sim = SimBackend()
    a, b = sim.netns_add("a"), sim.netns_add("b")
    one = sim.link_add(a, kind, "one", peer_ns=b, peer={"name": "two"})
    two = sim.links(b)[-1].ifindex
    seen = []
    for ns, ifindex, up in ((a, one, True), (b, two, True), (a, one, False), (a, one, True), (b, two, False)):
        sim.link_set(ns, ifindex, up=up)
        seen.append([info.carrier for info in (sim.link_get(a, one), sim.link_get(b, two))])
    assert seen == [[carrier] * 2 for carrier in (False, True, False, True, False)]


def test_the_qdisc_shown_is_noop_until_the_device_first_goes_up_whatever_the_carrier():
    sim = SimBackend()
    ns = sim.netns_add("x")
    dev = sim.link_add(ns, "netkit", "one", peer={"name": "two"})
    shown = [sim.link_get(ns, dev).qdisc]
    for up in (True, False):
        sim.link_set(ns, dev, up=up)
        shown.append(sim.link_get(ns, dev).qdisc)
    assert shown == ["noop", "noqueue", "noqueue"]


@pytest.mark.parametrize("kind", ["veth", "netkit"])
def test_without_carrier_packets_are_dropped_before_the_driver_and_nobody_is_told(kind):
    """G10"""
    m = machine(kind)
    m.sim.link_set(m.pod, m.peer, up=False)
    journey = m.send(m.host, POD_IP, recverr=True)
    assert (journey.fate.kind, journey.sender_error) == ("dropped", None)
    assert journey.counters == {"host/pod": {"tx_dropped": 1}}
    assert not [h for h in journey.hops if h.kind == "driver"]


def wired() -> tuple[SimBackend, int, int]:
    sim = SimBackend()
    ends = []
    for name, address in (("here", "192.0.2.1"), ("there", "192.0.2.2")):
        ends.append((sim.netns_add(name), address))
    (here, _), (there, _) = ends
    sim.link_add(here, "nic", "eth0", peer_ns=there, peer={"name": "eth0"})
    for ns, address in ends:
        sim.link_set(ns, 2, up=True)
        sim.addr_add(ns, 2, f"{address}/24")
    for ns, other, address in ((here, there, "192.0.2.2"), (there, here, "192.0.2.1")):
        sim.neigh_add(ns, 2, address, sim.link_get(other, 2).mac)
    return sim, here, there


def test_a_frame_on_the_wire_arrives_as_an_interrupt_on_the_other_machine():
    sim, here, there = wired()
    sim.listen(there, udp=9)
    journey = sim.send(here, SendRequest(udp("192.0.2.2"), mark=7))
    assert (journey.fate.delivered, journey.fate.node) == (True, "there")
    functions = [h.function for h in journey.hops]
    wire = functions.index("wire")
    assert functions[wire - 3 : wire] == ["nic_xmit", "consume_skb", "sock_wfree"]
    assert functions[wire + 1 : wire + 3] == ["net_rx_action", "nic_poll"]
    assert {(h.node, h.context) for h in journey.hops[wire + 1 :]} == {("there", "softirq")}
    assert journey.counters["there/eth0"] == {"rx_packets": 1, "rx_bytes": 142}


def test_two_machines_ping_each_other_through_their_cards():
    sim, here, there = wired()
    journey = sim.send(here, SendRequest(echo("192.0.2.2"), via="icmp"))
    assert journey.fate.delivered and journey.replies[0].fate.delivered
    assert journey.replies[0].fate.node == "here"
    assert at_rest(sim)


def test_a_card_without_a_wire_transmits_into_the_void():
    sim = SimBackend()
    ns = sim.netns_add("x")
    dev = sim.link_add(ns, "nic", "")
    sim.link_set(ns, dev, up=True)
    sim.addr_add(ns, dev, "192.0.2.1/24")
    sim.neigh_add(ns, dev, "192.0.2.2", "02:00:00:00:00:99")
    assert sim.send(ns, SendRequest(udp("192.0.2.2"))).fate.kind == "transmitted"
    assert sim.send(ns, SendRequest(udp("192.0.2.3"))).fate.reason == "NEIGH_FAILED"


def test_a_tap_sees_what_leaves_before_the_driver_and_what_arrives_before_the_stack():
    m = machine("netkit")
    sender, receiver = m.sim.capture_start(m.pod, m.peer), m.sim.capture_start(m.host, m.primary)
    m.send(m.pod, HOST_IP)
    (out,), (into,) = m.sim.captured(sender), m.sim.captured(receiver)
    assert (out.direction, into.direction) == ("out", "in")
    assert out.frame == into.frame and out.frame[:14] == bytes(12) + b"\x08\x00"
    m.sim.capture_stop(sender)
    m.send(m.pod, HOST_IP)
    assert len(m.sim.captured(receiver)) == 2
    with pytest.raises(KernelError):
        m.sim.captured(sender)


@pytest.mark.parametrize(
    ("kind", "how", "errno"),
    [
        ("nonsense", {}, "EOPNOTSUPP"),
        ("dummy", {"name": "lo"}, "EEXIST"),
        ("dummy", {"name": "sixteen-letters-"}, "ERANGE"),
        ("dummy", {"name": "a/b"}, "EINVAL"),
        ("dummy", {"name": "a b"}, "EINVAL"),
        ("dummy", {"name": ".."}, "EINVAL"),
        ("dummy", {"name": "a%b"}, "EINVAL"),
        ("dummy", {"name": "%d%d"}, "EINVAL"),
        ("dummy", {"attrs": {"ifindex": 1}}, "EEXIST"),
        ("dummy", {"attrs": {"mac": "01:00:00:00:00:00"}}, "EADDRNOTAVAIL"),
        ("dummy", {"attrs": {"mac": "02:00"}}, "EINVAL"),
        ("veth", {"name": "v", "peer": {"name": "v"}}, "EEXIST"),
        ("veth", {"attrs": {"mtu": 67}}, "EINVAL"),
        ("veth", {"attrs": {"ifindex": 9}, "peer": {"ifindex": 1}}, "EBUSY"),
        ("netkit", {"attrs": {"mtu": 65536}}, "EINVAL"),
        ("nic", {"name": "e", "peer": {"name": "e"}}, "EEXIST"),
    ],
)
def test_a_device_that_cannot_be_is_refused_whole(kind, how, errno):
    sim = SimBackend()
    ns = sim.netns_add("x")
    with pytest.raises(KernelError) as refusal:
        sim.link_add(ns, kind, **{"name": "d", **how})
    assert refusal.value.name == errno
    assert [info.name for info in sim.links(ns)] == ["lo"]


def test_devices_without_a_name_are_numbered_and_ifindexes_are_not_used_again():
    sim = SimBackend()
    ns = sim.netns_add("x")
    assert [sim.link_get(ns, sim.link_add(ns, "dummy", "")).name for _ in range(2)] == ["dummy0", "dummy1"]
    sim.link_del(ns, 2)
    assert (sim.link_add(ns, "dummy", ""), sim.link_get(ns, 4).name) == (4, "dummy0")


def test_the_loopback_stays_and_only_netkit_has_settings_of_its_kind():
    m = machine("veth")
    for call in (
        lambda: m.sim.link_del(m.host, 1),
        lambda: m.sim.link_set(m.host, m.primary, info={}),
        lambda: m.sim.link_set(m.host, 1, info={}),
    ):
        with pytest.raises(KernelError) as refusal:
            call()
        assert refusal.value.name == "EOPNOTSUPP"


def test_what_was_learnt_of_neighbours_is_forgotten_with_the_carrier():
    m = machine("netkit")
    slow = []
    for up in (True, True, False):
        if not up:
            m.sim.link_set(m.pod, m.peer, up=False)
            m.sim.link_set(m.pod, m.peer, up=True)
        slow.append("neigh_resolve_output" in [h.function for h in m.send(m.host, POD_IP).hops])
    assert slow == [True, False, True]


def test_a_protocol_that_nobody_receives_counts_as_dropped_on_the_receiver():
    m = machine("netkit")
    frame = bytes(12) + b"\x12\x34" + bytes(46)
    journey = m.send(m.host, "", packet=frame, via="packet", ifindex=m.primary)
    assert (journey.fate.node, journey.fate.reason, journey.sender_error) == ("pod", "UNHANDLED_PROTO", None)
    assert journey.counters["pod/eth0"] == {"rx_packets": 1, "rx_bytes": 60, "rx_dropped": 1}


def test_behind_a_real_qdisc_the_sender_is_not_told_what_the_driver_did():
    sim = SimBackend()
    ns, far = sim.netns_add("x"), sim.netns_add("y")
    dev = sim.link_add(ns, "netkit", "one", peer_ns=far, peer={"name": "two"}, attrs={"qdisc": "pfifo"},
                       info={"policy": 2})  # fmt: skip
    for where, number in ((ns, dev), (far, sim.link_get(ns, dev).peer)):
        sim.link_set(where, number, up=True)
    sim.addr_add(ns, dev, "10.0.0.1/24")
    journey = sim.send(ns, SendRequest(udp("10.0.0.2"), recverr=True))
    assert (journey.fate.kind, journey.sender_error) == ("dropped", None)
    assert journey.counters == {"x/one": {"tx_dropped": 1}}
    assert "sch_direct_xmit" in [h.function for h in journey.hops]


def test_what_is_sent_through_a_device_that_is_down_meets_the_noop_qdisc():
    m = machine("netkit")
    m.sim.link_set(m.host, m.nic, up=False)
    dev = m.sim._kernel.namespaces[m.host].devices[m.nic]
    skb = alloc_skb(Trace(m.sim._kernel.cpus[0]), bytes(60))
    skb.dev = dev
    assert core.__dev_queue_xmit(skb) == NetXmit.CN
    assert dev.stats["tx_dropped"] == 1 and dev.stats["tx_packets"] == 0


def test_a_header_made_for_an_old_address_is_not_used_again():
    m = machine("veth")
    tap = m.sim.capture_start(m.pod, m.peer)
    for mac in ("02:00:00:00:00:0a", "02:00:00:00:00:0b"):
        m.sim.link_set(m.pod, m.peer, mac=mac)
        m.send(m.pod, HOST_IP)
    sources = [frame[6:12].hex(":") for direction, frame in m.sim.captured(tap) if direction == "out"]
    old, new = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
    assert sources == [old, old, new, new]  # each an ARP request, for the neighbours go too, and the packet


def test_a_device_that_is_down_runs_nowhere_even_with_a_carrier():
    sim = SimBackend()
    ns = sim.netns_add("x")
    info = sim.link_get(ns, sim.link_add(ns, "dummy", "d"))
    assert (info.carrier, info.flags & (IFF_UP | IFF_RUNNING | IFF_LOWER_UP), info.operstate) == (True, 0, IF_OPER_DOWN)

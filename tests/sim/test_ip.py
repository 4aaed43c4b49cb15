"""The IP layer: forwarding, what a router tells the sender, fragments, endpoints."""

from __future__ import annotations

import pytest

from netkit_edu.errors import PacketError
from tests.sim.topologies import BEYOND, HOST_IP, POD_IP, at_rest, echo, machine, udp


def reply_kinds(journey) -> list[tuple[int, int, bool]]:
    """(ICMP type, code, delivered) of each reply."""
    return [(r.packet[20], r.packet[21], r.fate.delivered) for r in journey.replies]


def test_a_router_takes_one_from_the_ttl_and_says_so_when_none_is_left():
    m = machine()
    handle = m.sim.capture_start(m.host, m.nic)
    assert m.send(m.pod, "", packet=udp(BEYOND, ttl=2)).fate.kind == "transmitted"
    assert [frame[14 + 8] for _, frame in m.sim.captured(handle)] == [1]
    journey = m.send(m.pod, "", packet=udp(BEYOND, ttl=1))
    assert (journey.fate.kind, journey.fate.node, journey.fate.reason) == ("dropped", "host", "IP_INHDR: TTL exceeded")
    assert reply_kinds(journey) == [(11, 0, True)]


def test_a_host_that_does_not_forward_drops_without_a_word():
    m = machine()
    m.sim.sysctl(m.host, "net.ipv4.ip_forward", 0)
    journey = m.send(m.pod, BEYOND)
    assert (journey.fate.reason, journey.replies) == ("IP_INADDRERRORS", ())


def test_a_router_without_a_route_tells_the_sender():
    m = machine()
    journey = m.send(m.pod, "203.0.113.9")
    assert journey.fate.reason == "IP_INNOROUTES"
    assert reply_kinds(journey) == [(3, 0, True)]


def test_a_closed_port_is_answered_and_an_open_one_keeps_the_datagram():
    m = machine(listen=False)
    journey = m.send(m.pod, HOST_IP)
    assert journey.fate.reason == "NO_SOCKET"
    assert reply_kinds(journey) == [(3, 3, True)]
    m.sim.listen(m.host, udp=9)
    assert m.send(m.pod, HOST_IP).fate.delivered
    assert m.sim.received(m.host) == [(POD_IP, 4000, HOST_IP, 9, b"x" * 100)]


def test_a_sink_takes_every_port():
    m = machine(listen=False)
    m.sim.listen(m.host, udp=0)
    assert all(m.send(m.pod, "", packet=udp(HOST_IP, dport=port)).fate.delivered for port in (1, 53, 65535))


@pytest.mark.parametrize("kind", ["veth", "netkit"])
def test_an_echo_request_is_answered_and_the_reply_reaches_the_ping_socket(kind):
    m = machine(kind)
    journey = m.send(m.pod, "", packet=echo(HOST_IP), via="icmp")
    assert (journey.fate.delivered, journey.fate.node) == (True, "host")
    assert reply_kinds(journey) == [(0, 0, True)]
    assert m.sim.received(m.pod)[-1].payload == b"ping"
    raw = m.send(m.pod, "", packet=journey.packet, via="raw")  # nobody waits for the reply to a raw packet
    assert raw.replies[0].fate.reason == "NO_SOCKET"


@pytest.mark.parametrize("kind", ["veth", "netkit"])
def test_a_datagram_longer_than_the_mtu_travels_as_fragments_and_arrives_whole(kind):
    """G15"""
    m = machine(kind)
    payload = bytes(range(250)) * 20
    journey = m.send(m.host, "", packet=udp(POD_IP, payload))
    assert journey.fate.delivered
    assert journey.counters["host/pod"] == {"tx_packets": 4, "tx_bytes": 5144}
    assert m.sim.received(m.pod)[-1].payload == payload
    assert journey.counts.drivers == 4 and journey.counts.lookups == 5


def test_fragments_of_which_one_is_missing_never_become_a_packet():
    m = machine("netkit")
    fragment = udp(POD_IP, frag_off=0x2000, src=HOST_IP)  # "more fragments", and none follows
    journey = m.send(m.host, "", packet=fragment, via="raw")
    assert journey.fate.reason == "FRAG_REASM_TIMEOUT"
    assert reply_kinds(journey) == [(11, 1, True)]
    later = udp(POD_IP, frag_off=0x2001, src=HOST_IP)  # nobody is told who has not sent the first
    assert m.send(m.host, "", packet=later, via="raw").replies == ()
    assert at_rest(m.sim)


def test_a_router_does_not_cut_what_must_not_be_cut():
    m = machine()
    m.sim.link_set(m.host, m.nic, mtu=500)
    cut = m.send(m.pod, "", packet=udp(BEYOND, bytes(600), frag_off=0))
    assert cut.counters["host/dummy0"]["tx_packets"] == 2
    journey = m.send(m.pod, "", packet=udp(BEYOND, bytes(600)))
    assert journey.fate.reason == "PKT_TOO_BIG"
    assert reply_kinds(journey) == [(3, 4, True)]
    assert int.from_bytes(journey.replies[0].packet[26:28], "big") == 500  # the MTU to use


def test_veth_drops_what_the_receivers_mtu_does_not_allow_and_netkit_does_not():
    """G14"""
    for kind, delivered in (("veth", False), ("netkit", True)):
        m = machine(kind)
        m.sim.link_set(m.host, m.primary, mtu=9000)
        journey = m.send(m.host, "", packet=udp(POD_IP, bytes(5000)))
        assert journey.fate.delivered is delivered
    assert journey.counters["pod/eth0"] == {"rx_packets": 1, "rx_bytes": 5042}


def test_forwarding_sets_the_priority_from_the_tos_byte():
    m = machine("netkit")
    seen = []
    dev = m.sim._kernel.namespaces[m.host].devices[m.nic]
    ops = dev.netdev_ops

    def spying_xmit(skb, dev):
        seen.append((skb.mark, skb.priority, skb.skb_iif))
        return ops.ndo_start_xmit(skb, dev)

    dev.netdev_ops = type(ops)(ndo_start_xmit=spying_xmit)
    m.send(m.pod, "", packet=udp(BEYOND, tos=0x10), mark=5, priority=3)
    assert seen == [(0, 6, m.primary)]


def test_a_raw_socket_may_send_from_any_address_but_not_more_than_the_mtu():
    m = machine()
    journey = m.send(m.pod, "", packet=udp(HOST_IP, src="203.0.113.9"), via="raw")
    assert journey.fate.delivered and journey.arrived[12:16] == bytes((203, 0, 113, 9))
    assert m.send(m.pod, "", packet=udp(HOST_IP, bytes(1500)), via="raw").sender_error == "EMSGSIZE"


def test_a_router_does_not_believe_packets_from_its_own_address():
    m = machine()
    journey = m.send(m.pod, "", packet=udp(BEYOND, src=HOST_IP), via="raw")
    assert (journey.fate.node, journey.fate.reason) == ("host", "martian source: one of our own addresses")


@pytest.mark.parametrize(
    ("packet", "via"),
    [(b"", "udp"), (b"\x60" + bytes(40), "udp"), (echo(HOST_IP), "udp"), (udp(HOST_IP)[:24], "udp"), (b"x", "icmp")],
)
def test_what_is_no_datagram_of_that_socket_is_refused_in_plain_words(packet, via):
    m = machine()
    with pytest.raises(PacketError):
        m.send(m.pod, "", packet=packet or b"\0", via=via)
    assert at_rest(m.sim)

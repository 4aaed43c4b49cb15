"""What IP and UDP do with packets that are not as they should be (net/ipv4/ip_input.c, route.c, udp.c, icmp.c)."""

from __future__ import annotations

import socket

import pytest

from netkit_edu.backend import SendRequest
from netkit_edu.journey import HopKind
from netkit_edu.sim import ip_input
from netkit_edu.sim.inet import ip_send_check
from netkit_edu.sim.kernel import SENDMSG
from tests.sim.test_ip import reply_kinds
from tests.sim.topologies import BEYOND, HOST_IP, POD_IP, at_rest, echo, machine, udp

TTL = 8
FIELDS = {"first": (0, 1), "tot_len": (2, 2), "ttl": (TTL, 1), "protocol": (9, 1), "ulen": (24, 2)}  # offset, bytes


def packet(dst: str = HOST_IP, *, src: str = POD_IP, payload: bytes = b"x" * 100, data: bytes | None = None,
           check: bool = True, **fields) -> bytes:  # fmt: skip
    """A datagram without a UDP checksum; ``fields`` change its headers, and IP's checksum is right after that."""
    buf = bytearray(udp(dst, payload, src=src) if data is None else data)
    buf[2:4] = len(buf).to_bytes(2, "big")
    for name, value in fields.items():
        at, size = FIELDS[name]
        buf[at : at + size] = value.to_bytes(size, "big")
    if check:
        ip_send_check(buf, 0, 20)
    return bytes(buf)


def arrive(m, data: bytes, *, to: bytes = bytes(6), via: str = "packet"):
    """Let these bytes arrive at the host from the pod, as a frame."""
    return m.send(m.pod, "", packet=to + bytes(6) + b"\x08\x00" + data, via=via, ifindex=m.peer)


@pytest.fixture
def m():
    return machine("netkit")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet()[:19], "IP_INHDR"),
        (b"", "IP_INHDR"),
        (packet(first=0x65), "IP_INHDR"),
        (packet(first=0x44), "IP_INHDR"),
        (packet(first=0x4F)[:40], "IP_INHDR"),
        (packet(check=False), "IP_CSUM"),
        (packet(tot_len=129), "PKT_TOO_SMALL"),
        (packet(tot_len=19), "IP_INHDR"),
        (packet(protocol=6), "NO_SOCKET"),
    ],
)
def test_a_header_that_cannot_be_right_is_dropped_for_the_reason_that_linux_gives(m, data, reason):
    journey = arrive(m, data)
    assert (journey.fate.kind, journey.fate.node, journey.fate.reason) == ("dropped", "host", reason)
    assert journey.replies == () and journey.counters["host/pod"]["rx_packets"] == 1


def test_what_a_link_put_behind_the_packet_is_cut_off(m):
    journey = arrive(m, packet() + b"padding")
    assert journey.arrived == packet()
    assert m.sim.received(m.host)[-1].payload == b"x" * 100
    tap = m.sim.capture_start(m.host, m.nic)
    assert arrive(m, packet(BEYOND) + b"padding").fate.kind == "transmitted"
    assert len(m.sim.captured(tap)[0].frame) == 14 + 128


def test_a_protocol_that_is_not_there_is_answered(m):
    journey = arrive(m, packet(protocol=99))
    assert journey.fate.reason == "IP_NOPROTO"
    assert reply_kinds(journey) == [(3, 2, True)]


@pytest.mark.parametrize("to", [b"\xff" * 6, b"\x01\x00\x5e\x00\x00\x01"])
def test_a_frame_for_everyone_is_delivered_but_not_forwarded_nor_answered(m, to):
    assert arrive(m, packet(), to=to).fate.delivered
    journey = arrive(m, packet(BEYOND), to=to)
    assert (journey.fate.node, journey.fate.reason) == ("host", "not addressed to this router")
    assert arrive(m, packet(BEYOND, ttl=1), to=to).replies == ()
    assert arrive(m, packet(protocol=99), to=to).replies == ()


@pytest.mark.parametrize(
    ("src", "dst", "says"),
    [
        ("0.0.0.0", HOST_IP, "martian: the address 0.0.0.0"),
        (POD_IP, "0.0.0.0", "martian: the address 0.0.0.0"),
        ("127.0.0.1", HOST_IP, "martian: a loopback address on the wire"),
        (POD_IP, "127.0.0.1", "martian: a loopback address on the wire"),
        ("224.0.0.1", HOST_IP, "martian source"),
        ("255.255.255.255", HOST_IP, "martian source"),
        (HOST_IP, HOST_IP, "martian source: one of our own addresses"),
        (HOST_IP, BEYOND, "martian source: one of our own addresses"),
        (POD_IP, "224.0.0.9", "multicast group not joined"),
    ],
)
def test_addresses_that_cannot_come_from_a_wire_are_dropped(m, src, dst, says):
    journey = arrive(m, packet(dst, src=src))
    assert (journey.fate.node, journey.fate.reason, journey.replies) == ("host", says, ())


@pytest.mark.parametrize("dst", ["255.255.255.255", "10.0.1.255"])
def test_a_broadcast_is_for_this_host_and_is_not_answered(m, dst):
    assert arrive(m, packet(dst)).fate.delivered
    for data, reason in (
        (packet(dst, protocol=99), "IP_NOPROTO"),
        (packet(data=udp(dst, dport=77, src=POD_IP)), "no socket listens, and nobody is told: it was for everyone"),
        (packet(data=echo(dst, src=POD_IP)), "ICMP_CSUM"),
    ):
        journey = arrive(m, data)
        assert (journey.fate.reason, journey.replies) == (reason, ())
    request = bytearray(m.send(m.pod, "", packet=echo(HOST_IP), via="icmp").packet)
    request[16:20] = socket.inet_aton(dst)
    assert arrive(m, packet(data=bytes(request))).fate.reason.startswith("INVALID_PROTO: ")


# UDP ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet(data=packet()[:24]), "shorter than a UDP header"),
        (packet(ulen=7), "PKT_TOO_SMALL"),
        (packet(ulen=109), "PKT_TOO_SMALL"),
    ],
)
def test_a_udp_length_that_cannot_be_right_is_dropped(m, data, reason):
    journey = arrive(m, data)
    assert (journey.fate.reason, journey.replies) == (reason, ())


def test_what_stands_behind_the_udp_length_is_not_for_the_socket(m):
    assert arrive(m, packet(ulen=58)).fate.delivered
    assert m.sim.received(m.host)[-1].payload == b"x" * 50


def test_a_damaged_datagram_for_a_closed_port_is_not_answered():
    m = machine("netkit", listen=False)
    sent = bytearray(m.send(m.pod, HOST_IP).packet)
    sent[-1] ^= 1
    journey = arrive(m, packet(data=bytes(sent)))
    assert (journey.fate.reason, journey.replies) == ("UDP_CSUM", ())
    assert reply_kinds(arrive(m, packet())) == [(3, 3, True)]


def test_a_socket_sends_no_more_than_a_packet_can_hold():
    m = machine("netkit")
    for via, longest in (("udp", udp(HOST_IP, bytes(65507))), ("icmp", echo(HOST_IP, payload=bytes(65507)))):
        assert m.send(m.pod, "", packet=longest, via=via).fate.delivered
        assert m.send(m.pod, "", packet=longest + b"x", via=via).sender_error == "EMSGSIZE"


@pytest.mark.parametrize("via", ["udp", "icmp", "raw"])
def test_a_socket_without_permission_to_broadcast_is_refused(m, via):
    make = echo if via == "icmp" else udp
    for dst in ("10.0.1.255", "255.255.255.255"):
        journey = m.send(m.pod, "", packet=make(dst), via=via)
        assert (journey.fate.kind, journey.sender_error) == ("not sent", "EACCES")


# ICMP errors ----------------------------------------------------------------------------------------------------------


def test_no_error_is_sent_about_an_error_but_about_an_echo_request_there_is(m):
    error = m.send(m.pod, "", packet=udp(HOST_IP, dport=77)).replies[0].packet
    for data, answers in ((error, 0), (m.send(m.pod, "", packet=echo(HOST_IP), via="icmp").packet, 1)):
        buf = bytearray(data)
        buf[12:16], buf[16:20] = socket.inet_aton(POD_IP), socket.inet_aton(BEYOND)
        assert len(arrive(m, packet(data=bytes(buf), ttl=1)).replies) == answers


def test_no_error_is_sent_about_a_later_fragment(m):
    for offset, answers in ((0, 1), (10, 0)):
        data = bytearray(packet(BEYOND, ttl=1))
        data[6:8] = offset.to_bytes(2, "big")
        ip_send_check(data, 0, 20)
        assert len(arrive(m, bytes(data)).replies) == answers


def test_an_error_quotes_what_fits_into_576_bytes(m):
    journey = arrive(m, packet(BEYOND, payload=bytes(1000), ttl=1))
    assert len(journey.replies[0].packet) == 576
    assert journey.replies[0].packet[28:48] == journey.packet[14:34]


def test_what_must_not_be_cut_is_refused_before_it_counts_as_forwarded(m):
    m.sim.link_set(m.host, m.nic, mtu=500)
    journey = m.send(m.pod, "", packet=udp(BEYOND, bytes(600)))
    assert [h.detail for h in journey.hops if h.kind is HopKind.HOOK and h.node == "host"] == [
        "NETDEV_INGRESS", "PREROUTING",
    ]  # fmt: skip
    assert journey.replies[0].packet[28 + TTL] == 64  # as it came: the TTL is taken from what goes on only


# fragments on the way out ---------------------------------------------------------------------------------------------


def test_fragments_have_the_metadata_of_their_packet_and_belong_to_its_socket(m):
    seen = []
    dev = m.sim._kernel.namespaces[m.pod].devices[m.peer]
    ops = dev.netdev_ops

    def spying_xmit(skb, dev):
        seen.append((skb.mark, skb.priority, skb.sk is not None, len(skb) - 14))
        return ops.ndo_start_xmit(skb, dev)

    dev.netdev_ops = type(ops)(ndo_start_xmit=spying_xmit)
    m.send(m.pod, "", packet=udp(HOST_IP, bytes(3000)), mark=5, priority=3)
    assert seen == [(5, 3, True, 1500), (5, 3, True, 1500), (5, 3, True, 68)]


def test_the_first_fragment_that_is_dropped_is_the_last_that_is_sent(m):
    m.sim.link_set(m.host, m.primary, info={"peer_policy": 2})
    journey = m.send(m.pod, "", packet=udp(HOST_IP, bytes(5000)), recverr=True)
    assert journey.sender_error == "ENOBUFS"
    assert journey.counters == {"pod/eth0": {"tx_dropped": 1}}
    assert at_rest(m.sim)


@pytest.mark.parametrize(("payload", "packets"), [(1472, 1), (1473, 2), (2952, 2), (2953, 3)])
def test_a_packet_that_just_fits_is_not_cut(m, payload, packets):
    journey = m.send(m.pod, "", packet=udp(HOST_IP, bytes(payload)))
    assert journey.counters["pod/eth0"]["tx_packets"] == packets
    assert ("ip_do_fragment" in [hop.function for hop in journey.hops]) == (packets > 1)
    assert len(m.sim.received(m.host)[-1].payload) == payload


def test_a_fragment_that_comes_twice_is_dropped_once():
    m = machine("netkit")
    first = udp(HOST_IP, b"x" * 64, src=POD_IP, frag_off=0x2000)
    first = first[:4] + b"\x00\x09" + first[6:]
    journeys = m.sim.send_many(m.pod, SendRequest(first, "raw"), 2)
    assert [j.fate.reason for j in journeys] == [
        "FRAG_REASM_TIMEOUT",
        "DUP_FRAG: a fragment that does not fit the others",
    ]


def test_a_marked_datagram_is_still_marked_when_it_is_whole_again():
    """Within one namespace nothing takes the mark off; the last fragment's counts (ip_frag_reasm)."""
    m = machine("netkit", info={"scrub": 0, "peer_scrub": 0})
    seen = []
    real = ip_input.INET_PROTOS[17]
    ip_input.INET_PROTOS[17] = lambda skb, iph: seen.append((skb.mark, skb.priority)) or real(skb, iph)
    try:
        assert m.send(m.pod, "", packet=udp(HOST_IP, bytes(3000)), mark=5, priority=3).fate.delivered
    finally:
        ip_input.INET_PROTOS[17] = real
    assert seen == [(5, 3)]


def fragment(offset: int, length: int, *, more: bool = True) -> bytes:
    """A piece of one datagram, ``offset`` and ``length`` in bytes."""
    packet = udp(HOST_IP, b"x" * (length - 8), src=POD_IP, frag_off=(0x2000 if more else 0) | offset // 8)
    return packet[:4] + b"\x00\x09" + packet[6:]


def gained(m, *packets: bytes) -> dict[str, int]:
    """What the host's IP layer counts of reassembly, for pieces that arrive one behind the other."""
    before = m.sim.snmp(m.host)
    requests = [SendRequest(packet, "raw") for packet in packets]
    kernel, pod = m.sim._kernel, m.sim._net(m.pod)
    traces = [kernel._sendmsg(SENDMSG["raw"], pod, request, kernel.cpus[0]) for request in requests]
    kernel.settle()
    assert all(trace.fate is not None for trace in traces)
    after = m.sim.snmp(m.host)
    return {n: after[n] - before[n] for n in after if "Reasm" in n and after[n] != before[n]}


def test_pieces_that_never_become_whole_count_as_timed_out():
    m = machine("netkit")
    assert gained(m, fragment(0, 64)) == {"IpReasmReqds": 1, "IpReasmFails": 1, "IpReasmTimeout": 1}


def test_a_piece_that_overlaps_another_ends_the_whole_datagram():
    m = machine("netkit")
    assert gained(m, fragment(0, 64), fragment(32, 64)) == {
        "IpReasmReqds": 2, "IpReasmFails": 1, "IpExtReasmOverlaps": 1,
    }  # fmt: skip

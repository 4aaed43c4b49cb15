"""What each kind of socket makes of what it is given (net/ipv4/udp.c, ping.c, raw.c, net/packet/af_packet.c, 6.12)."""

from __future__ import annotations

import pytest

from tests.sim.topologies import BEYOND, HOST_IP, POD_IP, echo, machine, udp

LENGTH = {"udp": 128, "icmp": 32, "raw": 128, "packet": 142}


@pytest.fixture
def m():
    return machine("netkit")


@pytest.fixture
def leaving(m):
    """(mark, priority, socket?, length) of every skb that the pod's device is given to send."""
    seen = []
    dev = m.sim._kernel.namespaces[m.pod].devices[m.peer]
    ops = dev.netdev_ops

    def spying_xmit(skb, dev):
        seen.append((skb.mark, skb.priority, skb.sk is not None, len(skb)))
        return ops.ndo_start_xmit(skb, dev)

    dev.netdev_ops = type(ops)(ndo_start_xmit=spying_xmit)
    return seen


def send(m, via: str, **options):
    data = {"udp": udp(HOST_IP), "icmp": echo(HOST_IP), "raw": udp(HOST_IP)}.get(via)
    if via == "packet":
        data = bytes(12) + b"\x08\x00" + m.send(m.pod, HOST_IP).packet
    return m.send(m.pod, "", packet=data, via=via, ifindex=m.peer if via == "packet" else 0, **options)


@pytest.mark.parametrize("via", LENGTH)
def test_the_sockets_options_are_the_packets(m, leaving, via):
    assert send(m, via, mark=0xFFFF_FFFF, priority=7).fate.delivered
    length = LENGTH[via] + (0 if via == "packet" else 14)
    assert leaving[-1] == (0xFFFF_FFFF, 7, True, length)


@pytest.mark.parametrize(("via", "errno"), [("udp", None), ("icmp", "ENOBUFS"), ("raw", None), ("packet", "ENOBUFS")])
def test_who_is_told_of_a_drop_and_who_has_to_ask(m, via, errno):
    data = bytes(12) + b"\x08\x00" + m.send(m.pod, HOST_IP).packet if via == "packet" else None
    m.sim.link_set(m.host, m.primary, info={"peer_policy": 2})
    for recverr, told in ((False, errno), (True, "ENOBUFS")):
        packet = data or (echo(HOST_IP) if via == "icmp" else udp(HOST_IP))
        journey = m.send(m.pod, "", packet=packet, via=via, ifindex=m.peer if data else 0, recverr=recverr)
        assert (journey.fate.kind, journey.sender_error) == ("dropped", told)


@pytest.mark.parametrize("via", ["udp", "icmp"])
def test_a_socket_fills_in_what_was_left_open(m, via):
    make = udp if via == "udp" else echo
    first, second = (m.send(m.pod, "", packet=bytearray(make(HOST_IP)), via=via).packet for _ in range(2))
    assert first[12:16] == bytes((10, 0, 1, 2))
    assert int.from_bytes(second[4:6], "big") == int.from_bytes(first[4:6], "big") + 1 > 1
    open_ttl = bytearray(make(HOST_IP))
    open_ttl[8] = 0
    assert m.send(m.pod, "", packet=bytes(open_ttl), via=via).packet[8] == 64
    open_ttl[4:6], open_ttl[8] = b"\x12\x34", 3
    kept = m.send(m.pod, "", packet=bytes(open_ttl), via=via).packet
    assert (kept[4:6], kept[8]) == (b"\x12\x34", 3)


def test_what_a_socket_cuts_into_pieces_loses_its_df(m):
    """IP_PMTUDISC_WANT: set where the datagram fits, not where it has to be cut."""
    for length, df in ((1472, 0x4000), (1473, 0)):
        sent = m.send(m.pod, "", packet=udp(HOST_IP, bytes(length), frag_off=0x4000))
        assert int.from_bytes(sent.packet[6:8], "big") & 0x4000 == df


def test_a_raw_socket_writes_length_checksum_and_the_id_that_is_missing(m):
    data = bytearray(udp(HOST_IP, src=POD_IP))
    data[2:4], data[10:12] = b"\0\0", b"\xff\xff"
    sent = m.send(m.pod, "", packet=bytes(data), via="raw")
    assert sent.fate.delivered
    assert int.from_bytes(sent.packet[2:4], "big") == len(data) and any(sent.packet[4:6])
    data[4:6] = b"\x12\x34"
    assert m.send(m.pod, "", packet=bytes(data), via="raw").packet[4:6] == b"\x12\x34"


@pytest.mark.parametrize(
    ("frame", "ifindex", "errno"),
    [(bytes(13), 2, "EINVAL"), (bytes(14), 2, None), (bytes(1514), 2, None), (bytes(1515), 2, "EMSGSIZE"),
     (bytes(60), 0, "ENXIO"), (bytes(60), 77, "ENXIO")],
)  # fmt: skip
def test_what_a_packet_socket_can_send(m, frame, ifindex, errno):
    assert m.send(m.pod, "", packet=frame, via="packet", ifindex=ifindex).sender_error == errno


def test_a_packet_socket_is_told_that_its_device_is_down(m):
    m.sim.link_set(m.pod, m.peer, up=False)
    journey = m.send(m.pod, "", packet=bytes(60), via="packet", ifindex=m.peer)
    assert (journey.fate.kind, journey.sender_error, journey.counters) == ("not sent", "ENETDOWN", {})


@pytest.mark.parametrize("via", ["udp", "icmp"])
def test_a_socket_sends_from_its_own_addresses_only(m, via):
    make = udp if via == "udp" else echo
    assert m.send(m.pod, "", packet=make(HOST_IP, src=BEYOND), via=via).sender_error == "EADDRNOTAVAIL"
    assert m.send(m.pod, "", packet=make(HOST_IP, src=POD_IP), via=via).fate.delivered


def test_a_socket_bound_to_a_device_sends_through_it_or_not_at_all(m):
    assert m.send(m.host, POD_IP, ifindex=m.primary).fate.delivered
    assert m.send(m.host, POD_IP, ifindex=77).sender_error == "ENODEV"
    m.sim.link_set(m.host, m.nic, up=False)
    assert m.send(m.host, POD_IP, ifindex=m.nic).sender_error == "ENETUNREACH"


def test_a_neighbour_that_nobody_knows_is_no_error_to_the_sender():
    m = machine("veth")
    journey = m.send(m.pod, "10.0.1.77", recverr=True)
    assert (journey.fate.kind, journey.fate.reason, journey.sender_error) == ("dropped", "NEIGH_FAILED", None)


def test_an_ipv6_packet_without_a_frame_is_refused_with_the_way_out():
    from netkit_edu import UDP, Ether, IPv6, Lab, UsageError

    with Lab("sim") as lab:
        db = lab.pod("db", device="netkit")
        with pytest.raises(UsageError, match=r"IPv4; as a frame IPv6 crosses devices"):
            db.send(IPv6(src="fd00::1", dst="fd00::2") / UDP())
        frame = Ether(dst=lab.nic.mac) / IPv6(src="fd00::1", dst="fd00::2") / UDP()
        assert db.send(frame, dev=db.pair.peer).counters["host/db"]["rx_packets"] == 1

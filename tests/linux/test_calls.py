"""The calls of a lab on this machine's own kernel, through a door: devices, sockets, captures, counters."""

from __future__ import annotations

import platform
import warnings

import pytest

import netkit_edu as nk
from netkit_edu.backend import Received, SendRequest
from netkit_edu.errors import KernelError, PacketError, UsageError
from netkit_edu.linux.backend import LinuxBackend
from netkit_edu.linux.child import open_child
from netkit_edu.linux.evidence import Evidence, filled
from netkit_edu.linux.linkcalls import warn_of_unknown
from netkit_edu.packet import checksum, to_bytes
from netkit_edu.uapi import Ifla

pytestmark = pytest.mark.door
HERE, THERE = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(LinuxBackend, "_recorder", lambda backend: Evidence(backend))
    backend = LinuxBackend(open_child(), name="host", kernel=platform.release())
    yield backend
    backend.close()


@pytest.fixture
def pair(linux):
    """Two namespaces joined by veth: (namespace, ifindex) of each end."""
    one, two = linux.netns_add("one"), linux.netns_add("two")
    ifindex = linux.link_add(one, "veth", "v0", peer_ns=two, peer={"name": "v1"})
    ends = (one, ifindex), (two, linux.link_get(one, ifindex).peer)
    for (ns, number), address in zip(ends, (HERE, THERE), strict=True):
        linux.addr_add(ns, number, f"{address}/24")
        linux.link_set(ns, number, up=True)
    return ends


def refused(errno: str, call) -> KernelError:
    with pytest.raises(KernelError) as refusal:
        call()
    assert refusal.value.name == errno
    return refusal.value


def descriptors(linux) -> int:
    import os

    return len(os.listdir(f"/proc/{linux.door.child.pid}/fd"))


def udp(dst=THERE, port=7, payload=b"hi", **ip) -> SendRequest:
    return SendRequest(to_bytes(nk.IP(dst=dst, src="0.0.0.0", **ip) / nk.UDP(dport=port, sport=999) / payload).data)


# devices --------------------------------------------------------------------------------------------------------------


def test_a_namespace_begins_with_a_loopback_that_is_up_and_silent(linux):
    (lo,) = linux.links(linux.netns_add("n"))
    assert (lo.ifindex, lo.name, lo.kind, lo.addresses, lo.flags & 1) == (1, "lo", "loopback", ("127.0.0.1/8",), 1)


def test_the_two_ends_of_a_pair_name_each_other(linux, pair):
    (one, first), (two, second) = pair
    near, far = linux.link_get(one, first), linux.link_get(two, second)
    assert (near.peer, near.peer_netns, far.peer, far.peer_netns) == (second, two, first, one)
    assert near.carrier and far.carrier and near.addresses == (f"{HERE}/24",)


def test_a_namespace_that_goes_takes_its_devices_along_at_once_and_leaves_no_descriptor(linux, pair):
    (one, first), (two, _) = pair
    before = descriptors(linux)
    third = linux.netns_add("three")
    linux.listen(third, udp=5)
    linux.netns_del(third)
    assert descriptors(linux) == before
    linux.netns_del(two)
    refused("ENODEV", lambda: linux.link_get(one, first))
    refused("EBADF", lambda: linux.links(two))


def test_more_devices_than_one_answer_holds_are_all_there(linux):
    ns = linux.netns_add("n")
    for n in range(30):
        linux.link_add(ns, "veth", f"a{n}", peer={"name": f"b{n}"})
    assert {link.name for link in linux.links(ns)} == {"lo", *(f"{end}{n}" for n in range(30) for end in "ab")}
    assert len(linux._devices()) == 61


@pytest.mark.parametrize(
    ("call", "errno", "words"),
    [
        (lambda b, ns, i: b.link_set(ns, i, mtu=67), "EINVAL", "mtu less than device minimum"),
        (lambda b, ns, i: b.link_del(ns, 1), "EOPNOTSUPP", ""),
        (lambda b, ns, i: b.link_add(ns, "vlan", "x"), "EOPNOTSUPP", "Unknown device type"),
        (lambda b, ns, i: b.link_add(ns, "veth", "x", attrs={"qdisc": "nosuch"}), "ENOENT", None),
        (lambda b, ns, i: b.addr_add(ns, i, f"{HERE}/24"), "EEXIST", "ipv4: Address already assigned"),
        (lambda b, ns, i: b.route_add(ns, "10.1.0.0/24", via="10.9.9.9"), "ENETUNREACH",
         "Nexthop has invalid gateway"),
        (lambda b, ns, i: b.route_add(ns, "10.1.0.1/24", via=THERE), "EINVAL",
         "Invalid prefix for given prefix length"),
        (lambda b, ns, i: b.neigh_add(ns, i, THERE, "02:00"), "EINVAL", "Invalid link address"),
        (lambda b, ns, i: b.sysctl(ns, "net.ipv4.nosuch", 1), "ENOENT", ""),
        (lambda b, ns, i: b.sysctl(ns, "../x", 1), "EINVAL", ""),
        (lambda b, ns, i: b.raw_newlink(ns, "veth", create=True, attrs={}, data=None, capable=False), "EPERM", ""),
        (lambda b, ns, i: b.raw_newlink(ns, "veth", create=True, attrs={Ifla.NET_NS_FD: b"\7\0\0\0"}, data=None),
         "EBADF", ""),
        (lambda b, ns, i: b.capture_start(ns, 99), "ENODEV", ""),
        (lambda b, ns, i: b.captured(99), "EBADF", ""),
    ],
)  # fmt: skip
def test_a_refusal_has_the_kernels_words_and_leaves_nothing_behind(linux, pair, call, errno, words):
    (ns, ifindex), _ = pair
    links, before = linux.links(ns), descriptors(linux)
    error = refused(errno, lambda: call(linux, ns, ifindex))
    assert words is None or error.extack == words
    assert linux.links(ns) == links and descriptors(linux) == before


def test_without_the_privilege_only_that_one_call_is_refused(linux):
    ns = linux.netns_add("n")
    refused("EPERM", lambda: linux.raw_newlink(ns, "veth", create=True, attrs={}, data=None, capable=False))
    assert linux.raw_newlink(ns, "veth", create=True, attrs={Ifla.IFNAME: b"v0"}, data=None) == 3


def test_a_raw_message_may_put_a_device_elsewhere(linux, pair):
    (one, _), (two, _) = pair
    attrs = {Ifla.IFNAME: b"far", Ifla.NET_NS_FD: two.to_bytes(4, "little")}
    number = linux.raw_newlink(one, "veth", create=True, attrs=attrs, data=None)
    assert linux.link_get(two, number).name == "far"


def test_the_ends_of_a_cable_are_cards(linux):
    one, two = linux.netns_add("one"), linux.netns_add("two")
    made = linux.link_add(one, "nic", "eth0", peer_ns=two, peer={"name": "eth0"})
    near = linux.link_get(one, made)
    assert (near.kind, near.qdisc, linux.link_get(two, near.peer).kind) == ("nic", "pfifo_fast", "nic")
    features = linux.ethtool(one, made).features
    assert not features & {"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-udp-segmentation"}
    wires = {place.node: place.wire for place in linux._devices() if place.name == "eth0"}
    assert wires == {"one": "two/eth0", "two": "one/eth0"}


def test_attributes_that_the_kernel_passes_over_are_told(linux, pair):
    (ns, ifindex), _ = pair
    with pytest.warns(UserWarning, match="headroom"):
        warn_of_unknown({"headroom": 32}, linux.link_get(ns, ifindex))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unknown({}, linux.link_get(ns, ifindex))


def test_ip_counts_in_its_namespace(linux, pair):
    (one, _), (two, _) = pair
    before = linux.snmp(one)
    linux.send(one, udp())
    assert linux.snmp(one)["IpOutRequests"] == before["IpOutRequests"] + 1
    assert linux.snmp(two)["UdpNoPorts"] == 1 and "IpForwarding" not in before


# sockets --------------------------------------------------------------------------------------------------------------


def test_a_datagram_is_received_by_its_port_or_by_the_sink(linux, pair):
    (one, _), (two, _) = pair
    linux.listen(two, udp=7)
    refused("EADDRINUSE", lambda: linux.listen(two, udp=7))
    assert not linux.send(one, udp(port=8)).fate.delivered
    assert linux.received(two) == []
    linux.listen(two, udp=0)
    refused("EADDRINUSE", lambda: linux.listen(two, udp=0))
    for port in (8, 65535):
        journey = linux.send(one, udp(port=port, payload=b"x" * port if port < 10 else b""))
        assert journey.fate.delivered and journey.sender_error is None
    assert linux.received(two) == [
        Received(HERE, 999, THERE, 8, b"x" * 8), Received(HERE, 999, THERE, 65535, b""),
    ]  # fmt: skip


def test_an_answer_to_a_ping_is_received_by_the_sender(linux, pair):
    (one, _), _ = pair
    echo = nk.IP(dst=THERE, src="0.0.0.0") / nk.ICMP(id=5, seq=1) / b"payload"
    assert linux.send(one, SendRequest(to_bytes(echo).data, "icmp")).fate.delivered
    assert linux.received(one) == [Received(THERE, 0, HERE, 0, b"payload")]


def test_whoever_listens_on_the_port_sends_from_it(linux, pair):
    (one, _), (two, _) = pair
    for ns in (one, two):
        linux.listen(ns, udp=999)
    request = udp(port=999, ttl=9)
    linux.send(one, SendRequest(request.packet, mark=5, priority=3, recverr=True))
    linux.send(two, SendRequest(udp(dst=HERE, port=999).packet))
    assert [r.sport for ns in (one, two) for r in linux.received(ns)] == [999, 999]


@pytest.mark.parametrize(
    ("request_", "errno"),
    [
        (udp(dst="203.0.113.1"), "ENETUNREACH"),
        (udp(dst="10.0.0.255"), "EACCES"),
        (SendRequest(to_bytes(nk.IP(src="9.9.9.9", dst=THERE) / nk.UDP()).data), "EADDRNOTAVAIL"),
        (SendRequest(b"\x45", "raw"), "EINVAL"),
        (SendRequest(bytes(60), "packet", 99), "ENXIO"),
        (SendRequest(bytes(13), "packet", 2), "EINVAL"),
    ],
)
def test_what_the_senders_own_stack_refuses_is_not_sent(linux, pair, request_, errno):
    (one, _), _ = pair
    journey = linux.send(one, request_)
    assert (journey.sender_error, str(journey.fate.kind)) == (errno, "not sent")


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (SendRequest(b"", "tcp"), UsageError),
        (SendRequest(udp().packet, "udp", cpu=1), UsageError),
        (SendRequest(udp().packet, "raw", gso_size=5), UsageError),
        (SendRequest(b"\x60" + bytes(50), "raw"), UsageError),
        (SendRequest(b"\x60" + bytes(50), "udp"), PacketError),
        (SendRequest(udp().packet[:25], "udp"), PacketError),
        (SendRequest(udp().packet, "icmp"), PacketError),
    ],
)
def test_what_no_socket_can_send_is_said_before(linux, pair, request_, error):
    with pytest.raises(error):
        linux.send(pair[0][0], request_)


def test_many_packets_are_all_received_and_the_sockets_closed(linux, pair):
    (one, _), (two, _) = pair
    linux.listen(two, udp=7)
    before = descriptors(linux)
    journeys = linux.send_many(one, udp(), 1200)
    assert len(journeys) == 1200 and len(linux.received(two)) == 1200
    linux.received(one)
    assert descriptors(linux) <= before + 6  # raw sockets and neighbour tables of two namespaces


def test_what_moved_is_told_by_device(linux, pair):
    (one, _), (two, _) = pair
    linux.listen(two, udp=7)
    linux.send(one, udp())
    counters = linux.send(one, udp()).counters
    assert counters == {"one/v0": {"tx_packets": 1, "tx_bytes": 44}, "two/v1": {"rx_packets": 1, "rx_bytes": 44}}


# captures and evidence ------------------------------------------------------------------------------------------------


def test_a_capture_sees_both_ways_and_ends(linux, pair):
    (one, first), _ = pair
    linux.send(one, udp())
    number = linux.capture_start(one, first)
    linux.send(one, udp())
    seen = linux.captured(number)
    assert [direction for direction, _ in seen] == ["out", "in"]  # the datagram, and that nobody has the port
    assert seen[0][1][-2:] == b"hi"
    linux.capture_stop(number)
    refused("EBADF", lambda: linux.captured(number))


def test_a_checksum_left_undone_is_filled_in_and_any_other_left_alone():
    whole = to_bytes(nk.IP(src=HERE, dst=THERE) / nk.UDP(dport=7) / b"payload").data
    pseudo = whole[12:20] + b"\0\x11" + whole[24:26]
    undone = whole[:26] + (~checksum(pseudo) & 0xFFFF).to_bytes(2, "big") + whole[28:]
    assert filled(undone) == whole == filled(whole)
    for other in (b"", bytes(20), whole[:24], whole[:26] + b"\1\2" + whole[28:]):
        assert filled(other) == other


def test_a_fragment_whose_others_never_come_is_waited_out(linux, pair):
    (one, _), (two, _) = pair
    linux.listen(two, udp=7)
    lone = to_bytes(nk.IP(src=HERE, dst=THERE, id=9, flags="MF", proto=17) / bytes(24)).data
    assert not linux.send(one, SendRequest(lone, "raw")).fate.delivered
    assert linux.snmp(two)["IpReasmTimeout"] == 1

"""Netlink, byte by byte: against what another encoder writes (pyroute2 0.9.7), and what Linux 6.12.117 has answered."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netkit_edu.errors import UsageError
from netkit_edu.linux import netlink, rtnetlink
from netkit_edu.linux.newlink import NO_FD, descriptors_for_numbers
from netkit_edu.sys import ifinfomsg, nla, u32
from netkit_edu.uapi import Ifla, IflaNetkit, Mode, Policy, Scrub

MAC = "02:00:00:00:00:01"
PYROUTE2 = {
    "change": (
        rtnetlink.link_change(5, up=True, attrs={"name": "web", "mac": MAC, "mtu": 1400}, netns_fd=9),
        "440000001000050007000000000000000000000005000000010000000100000008000300776562000a0001000200000000010000"
        "080004007805000008001c0009000000",
    ),
    "veth": (
        rtnetlink.link_create(
            "veth", {"name": "v0", "ifindex": 50}, {}, {"name": "eth0", "mtu": 1300, "ifindex": 60}, 11
        ),
        "6c00000010000d06070000000000000000000000320000000000000000000000070003007630000044001200090001007665746800000000"
        "3400020030000100000000003c0000000000000000000000090003006574683000000000080004001405000008001c000b000000",
    ),
    "address": (
        rtnetlink.address_create(3, "10.0.0.1/24"),
        "280000001400050607000000000000000218000003000000080002000a000001080001000a000001",
    ),
    "route": (
        rtnetlink.route_create("10.1.0.0/24", 4, "10.0.0.2"),
        "3400000018000506070000000000000002180000fe03000100000000080001000a010000080005000a0000020800040004000000",
    ),
    "neighbour": (
        rtnetlink.neighbour_create(3, "10.0.0.9", "02:00:00:00:00:09"),
        "300000001c0005050700000000000000020000000300000080000000080001000a0000090a0002000200000000090000",
    ),
    "neighbour times": (
        rtnetlink.neighbour_times(3),
        "54000000430005000700000000000000020000000e0001006172705f6361636865000000300006000800010003000000"
        "0c00050064000000000000000c000400005c2605000000000c000700005c260500000000",
    ),
    "qdisc": (
        rtnetlink.qdisc_create(3, "pfifo_fast"),
        "34000000240005050700000000000000000000000300000000000000ffffffff000000000f000100706669666f5f666173740000",
    ),
}
# RTM_NEWLINK of a netkit primary whose peer is in another namespace; what we do not read is left out
LINK = (
    "00000100030000008210000000000000080003006e6b310005001000020000000800040028230000080032004400000008003300ffff00"
    "0008001b000000000008001f000100000008003b00f8ff0700080020000100000005002100000000000a0001000000000000000000cc00"
    "1700" + "00" * 200 + "440012000b0001006e65746b697400003400"
    "02000500020001000000080003000200000008000500010000000800060001000000080004000000000008000700000000000800250001"
    "0000000800050002000000090006006e6f6f7000000000"
)
REFUSED = (
    "74000000020000032600000001000000f3ffffff3c000000100005002600000000000000470001006e65746b6974206c696e6b206f7065"
    "726174696e67206d6f64652063616e6e6f74206265206368616e67656420616674657220646576696365206372656174696f6e00000800"
    "020034000000"
)
ATTRIBUTES = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=20)), max_size=8)


def encoded(request: rtnetlink.Request) -> bytes:
    return netlink.message(request.type, request.flags, 7, request.fixed, request.attrs)


@pytest.mark.parametrize("request_, golden", PYROUTE2.values(), ids=PYROUTE2)
def test_a_request_is_what_another_encoder_writes(request_, golden):
    assert encoded(request_).hex() == golden


def test_a_netkit_pair_is_asked_for_with_all_its_attributes():
    info = dict.fromkeys(("mode", "policy", "peer_policy", "scrub", "peer_scrub"), 0)
    request = rtnetlink.link_create("netkit", {"name": "nk1"}, info, {"name": "eth0"}, 9)
    assert request.attrs[0] == (Ifla.IFNAME, b"nk1\0")
    linkinfo = dict(request.attrs)[rtnetlink.IFLA_LINKINFO]
    data = dict(dict(linkinfo)[rtnetlink.IFLA_INFO_DATA])
    peer = ifinfomsg({Ifla.IFNAME: b"eth0\0", Ifla.NET_NS_FD: u32(9)})
    zero = u32(0)
    assert data == {
        IflaNetkit.MODE: zero, IflaNetkit.POLICY: zero, IflaNetkit.PEER_POLICY: zero, IflaNetkit.SCRUB: zero,
        IflaNetkit.PEER_SCRUB: zero, IflaNetkit.PEER_INFO: peer,
    }  # fmt: skip


def test_attributes_newer_than_6_12_have_their_sizes():
    data = rtnetlink.netkit_data({"headroom": 32, "tailroom": 8, "pairing": 1, "peer_policy": -1})
    assert data == [(8, b"\x20\0"), (9, b"\x08\0"), (10, b"\1\0\0\0"), (4, b"\xff\xff\xff\xff")]


@pytest.mark.parametrize(
    "call",
    [
        lambda: rtnetlink.link_create("netkit", {}, {"colour": 1}, None, None),
        lambda: rtnetlink.link_create("veth", {}, {"mode": 1}, None, None),
        lambda: rtnetlink.link_create("dummy", {"colour": 1}, {}, None, None),
        lambda: rtnetlink.link_create("dummy", {"mac": "none"}, {}, None, None),
    ],
)
def test_what_no_message_can_say_is_a_usage_error(call):
    with pytest.raises(UsageError):
        call()


def test_a_nic_is_a_veth_pair_or_alone_a_dummy_that_is_known_again_by_its_group():
    for peer, made_as in (({"name": "eth0"}, b"veth\0"), (None, b"dummy\0")):
        attrs = dict(rtnetlink.link_create("nic", {}, {}, peer, None).attrs)
        assert attrs[rtnetlink.IFLA_GROUP] == u32(rtnetlink.NIC_GROUP)
        assert dict(attrs[rtnetlink.IFLA_LINKINFO])[rtnetlink.IFLA_INFO_KIND] == made_as


def test_a_bridge_is_asked_not_to_speak_on_its_own():
    linkinfo = dict(rtnetlink.link_create("bridge", {}, {}, None, None).attrs)[rtnetlink.IFLA_LINKINFO]
    assert dict(linkinfo)[rtnetlink.IFLA_INFO_DATA] == [(rtnetlink.IFLA_BR_MCAST_SNOOPING, b"\0")]


def test_a_link_is_read():
    link = rtnetlink.read_link(bytes.fromhex(LINK), ("10.0.0.1/24",))
    assert (link.ifindex, link.name, link.kind, link.flags, link.mtu) == (3, "nk1", "netkit", 0x1082, 9000)
    assert (link.mac, link.operstate, link.carrier, link.qdisc) == ("00:00:00:00:00:00", 2, False, "noop")
    assert (link.peer, link.peer_netns, link.addresses) == (2, 1, ("10.0.0.1/24",))
    assert (link.min_mtu, link.max_mtu, link.tso_max_size, link.num_tx_queues) == (68, 65535, 524280, 1)
    assert link.info == {
        "mode": Mode.L3, "policy": Policy.DROP, "peer_policy": Policy.PASS, "scrub": Scrub.DEFAULT,
        "peer_scrub": Scrub.NONE, "primary": 1,
    }  # fmt: skip


def test_a_refusal_is_read_with_the_kernels_words():
    (answer,) = netlink.split(bytes.fromhex(REFUSED))
    error = netlink.refusal(answer)
    assert (error.name, answer.seq) == ("EACCES", 0x26)
    assert error.extack == "netkit link operating mode cannot be changed after device creation"


def test_an_acknowledgement_is_no_refusal():
    body = struct.pack("=i", 0) + bytes(16)
    assert netlink.refusal(netlink.Message(netlink.NLMSG_ERROR, netlink.NLM_F_CAPPED, 1, body)) is None
    assert netlink.refusal(netlink.Message(netlink.NLMSG_DONE, netlink.NLM_F_MULTI, 1, bytes(4))) is None


def test_a_refusal_that_quotes_the_whole_request_has_its_words_behind_it():
    request = netlink.message(16, 4, 1, b"\1" * 20)
    said = netlink.attributes([(netlink.NLMSGERR_ATTR_MSG, b"no\0")])
    answer = netlink.Message(netlink.NLMSG_ERROR, netlink.NLM_F_ACK_TLVS, 1, struct.pack("=i", -22) + request + said)
    assert netlink.refusal(answer).extack == "no"


@given(ATTRIBUTES)
def test_attributes_are_what_the_raw_door_writes_and_come_back(pairs):
    attrs = dict(pairs)
    assert netlink.attributes(attrs.items()) == nla(attrs)
    assert netlink.parse(nla(attrs)) == attrs


@given(st.binary(max_size=64))
def test_what_is_cut_off_anywhere_is_read_as_far_as_it_goes(data):
    netlink.parse(data)
    for answer in netlink.split(data):
        netlink.refusal(answer)


def test_a_namespaces_number_becomes_its_descriptor_wherever_it_stands():
    peer = ifinfomsg({Ifla.IFNAME: b"eth0", Ifla.NET_NS_FD: u32(2)})
    attrs, data = descriptors_for_numbers({Ifla.NET_NS_FD: u32(1)}, {IflaNetkit.PEER_INFO: peer}, {1: 11, 2: 22})
    assert attrs == {Ifla.NET_NS_FD: u32(11)}
    assert data == {IflaNetkit.PEER_INFO: ifinfomsg({Ifla.IFNAME: b"eth0", Ifla.NET_NS_FD: u32(22)})}
    assert descriptors_for_numbers({Ifla.NET_NS_FD: u32(3)}, None, {1: 11}) == ({Ifla.NET_NS_FD: u32(NO_FD)}, None)
    short = {IflaNetkit.PEER_INFO: b"\0" * 15}
    assert descriptors_for_numbers({Ifla.NET_NS_FD: b"\1"}, short, {1: 11}) == ({Ifla.NET_NS_FD: b"\1"}, short)

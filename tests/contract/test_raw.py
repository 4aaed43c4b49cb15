"""Every refusal of rtnetlink for netkit devices, in its order, through the raw door (netkit.c, rtnetlink.c, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.kernels import ROWS
from netkit_edu.sys import ifinfomsg, u32
from netkit_edu.uapi import Ifla, IflaNetkit, Mode, Policy, Scrub
from tests.contract.conftest import answer, refused

ADDRESS, IFNAME, MTU = Ifla.ADDRESS, Ifla.IFNAME, Ifla.MTU
PEER_INFO, PRIMARY, POLICY, PEER_POLICY, MODE, SCRUB, PEER_SCRUB, HEADROOM = list(IflaNetkit)[:8]
MAC, GROUP = bytes.fromhex("020000000001"), bytes.fromhex("010000000001")
INVALID, TOO_FAR = "Attribute failed policy validation", "integer out of range"
READ_ONLY = "Primary attribute is read-only"
NO_POLICY = "Provided default xmit policy not supported"
L2 = {MODE: u32(Mode.L2)}


# RTM_NEWLINK, create --------------------------------------------------------------------------------------------------

CREATION = [
    ({}, {MODE: b"\0"}, "ERANGE", INVALID),
    ({}, {POLICY: b"\0\0\0"}, "ERANGE", INVALID),
    ({}, {PEER_INFO: bytes(15)}, "ERANGE", INVALID),
    ({}, {SCRUB: b"\0"}, "ERANGE", INVALID),
    ({}, {SCRUB: u32(2)}, "ERANGE", TOO_FAR),
    ({}, {PEER_SCRUB: u32(-1)}, "ERANGE", TOO_FAR),
    ({}, {PRIMARY: b"\1"}, "EINVAL", READ_ONLY),
    ({ADDRESS: MAC[:5]}, {}, "EINVAL", ""),
    ({ADDRESS: MAC + b"\0"}, L2, "EINVAL", ""),
    ({ADDRESS: GROUP}, L2, "EADDRNOTAVAIL", ""),
    ({ADDRESS: bytes(6)}, L2, "EADDRNOTAVAIL", ""),
    ({}, L2 | {PEER_INFO: ifinfomsg({ADDRESS: MAC[:5]})}, "EINVAL", ""),
    ({}, L2 | {PEER_INFO: ifinfomsg({ADDRESS: GROUP})}, "EADDRNOTAVAIL", ""),
    ({}, {MODE: u32(2)}, "mode", ""),
    ({}, {POLICY: u32(1)}, "EINVAL", NO_POLICY),
    ({}, {POLICY: u32(-1)}, "EINVAL", NO_POLICY),
    ({}, {PEER_POLICY: u32(7)}, "EINVAL", NO_POLICY),
    ({ADDRESS: MAC}, {}, "EOPNOTSUPP", ""),
    ({}, {PEER_INFO: ifinfomsg({ADDRESS: MAC})}, "EOPNOTSUPP", ""),
    ({}, {PEER_INFO: ifinfomsg({Ifla.NET_NS_FD: u32(9999)})}, "EBADF", ""),
    ({}, {PEER_INFO: ifinfomsg({Ifla.NET_NS_PID: u32(9999)})}, "ESRCH", ""),
    ({MTU: u32(67)}, {}, "EINVAL", "mtu less than device minimum"),
    ({MTU: u32(65536)}, {}, "EINVAL", "mtu greater than device maximum"),
    ({}, {PEER_INFO: ifinfomsg({MTU: u32(67)})}, "EINVAL", "mtu less than device minimum"),
    ({MTU: b"\0"}, {}, "ERANGE", INVALID),
    ({IFNAME: b""}, {}, "ERANGE", INVALID),
    ({}, {PEER_INFO: ifinfomsg({IFNAME: b""})}, "ERANGE", INVALID),
    ({}, {PEER_INFO: ifinfomsg({MTU: u32(67)}, ifindex=-1)}, "EINVAL", "ifindex can't be negative"),
    ({IFNAME: b"eth0"}, {}, "EEXIST", ""),
    ({IFNAME: b"eth0", MTU: u32(67)}, {POLICY: u32(1)}, "EEXIST", ""),
    ({IFNAME: b"eth0", ADDRESS: GROUP}, {}, "EADDRNOTAVAIL", ""),
    ({IFNAME: b"eth0"}, {SCRUB: u32(2)}, "ERANGE", TOO_FAR),
    ({MTU: b"\0"}, {PRIMARY: b"\1"}, "ERANGE", INVALID),
    ({IFNAME: b"nk1"}, {PEER_INFO: ifinfomsg({IFNAME: b"nk1"})}, "EEXIST", ""),
    ({}, {PEER_INFO: ifinfomsg({IFNAME: b"eth0"})}, "EEXIST", ""),
]


@pytest.mark.parametrize(("attrs", "data", "errno", "extack"), CREATION)
def test_a_pair_that_cannot_be_is_refused_whole(lab, attrs, data, errno, extack):
    before = lab.host.links
    errno, extack = answer(lab, errno, extack)
    refused(errno, lambda: lab.host.sys.link_create(attrs=attrs, data=data), extack)
    assert lab.host.links == before


def test_of_two_mistakes_the_first_in_the_kernels_order_is_told(lab):
    create = lab.host.sys.link_create
    refused("ERANGE", lambda: create(attrs={ADDRESS: GROUP}, data={POLICY: u32(1), MODE: b"\0"}))
    errno, extack = answer(lab, "mode-or-mac")
    refused(errno, lambda: create(attrs={ADDRESS: GROUP}, data={MODE: u32(2)}), extack)
    refused("EADDRNOTAVAIL", lambda: create(attrs={ADDRESS: GROUP}, data={PEER_INFO: ifinfomsg({ADDRESS: b"\2"})}))
    refused("EINVAL", lambda: create(attrs={ADDRESS: b"\2"}), "")  # in L3 a wrong length, before the mode is looked at
    errno, extack = answer(lab, "mode")
    refused(errno, lambda: create(data={MODE: u32(2), POLICY: u32(1)}), extack)
    refused("EINVAL", lambda: create(attrs={ADDRESS: MAC}, data={POLICY: u32(1)}), NO_POLICY)
    errno, extack = answer(lab, "mac-or-namespace")
    peer = ifinfomsg({ADDRESS: MAC, Ifla.NET_NS_FD: u32(9999)})
    refused(errno, lambda: create(data={PEER_INFO: peer}), extack)


@pytest.mark.parametrize(
    ("attrs", "data", "errno", "extack"),
    [({}, {SCRUB: b""}, "negative-or-short", ""), ({MTU: b""}, {}, "ERANGE", INVALID)],
)
def test_a_negative_number_is_told_between_the_ordinary_attributes_and_the_kinds(lab, attrs, data, errno, extack):
    errno, extack = answer(lab, errno, extack)
    refused(errno, lambda: lab.host.sys.link_create(attrs=attrs, data=data, ifindex=-1), extack)


def test_a_kind_that_is_not_there_is_refused(lab):
    refused("EOPNOTSUPP", lambda: lab.host.sys.link_create("netkat"), "Unknown device type")


def test_what_the_kernel_does_not_know_is_passed_over(lab):
    unknown = {HEADROOM: b"\40\0", 99: b"?"}
    dev = lab.host.sys.link_create(attrs={IFNAME: b"nk1", 9999: b""}, data=unknown)
    assert dev.name == "nk1" and set(dev.info.info) == set(ROWS["attributes"].on(lab.kernel))


def test_an_attribute_that_is_too_long_is_read_as_far_as_it_goes(lab):
    assert lab.host.sys.link_create(data={MODE: u32(Mode.L2) + bytes(4)}).mode == Mode.L2


def test_a_pair_is_what_its_message_says(lab):
    inside = lab.node("n1")
    peer = ifinfomsg({IFNAME: b"eth0\0", MTU: u32(1400), ADDRESS: MAC, Ifla.NET_NS_FD: u32(inside.ns)})
    data = {POLICY: u32(2), MODE: u32(0), PEER_SCRUB: u32(0), PEER_INFO: peer}
    dev = lab.host.sys.link_create(attrs={IFNAME: b"nk1\0", MTU: u32(9000)}, data=data)
    (other,) = inside.links[1:]
    assert (dev.mtu, dev.policy, dev.peer_policy, dev.peer_scrub) == (9000, Policy.DROP, Policy.PASS, Scrub.NONE)
    assert (other.name, other.mtu, other.mac, other.peer_policy) == ("eth0", 1400, "02:00:00:00:00:01", Policy.DROP)


def test_without_peer_info_the_peer_takes_over_the_mtu(lab):
    dev = lab.host.sys.link_create(attrs={IFNAME: b"nk1", MTU: u32(9000)})
    peer = next(d for d in lab.host.links if d.ifindex == dev.info.peer)
    assert (dev.mtu, peer.mtu) == (9000, 9000)
    dev = lab.host.sys.link_create(attrs={IFNAME: b"toy", MTU: u32(9000)}, data={PEER_INFO: ifinfomsg()})
    assert next(d for d in lab.host.links if d.ifindex == dev.info.peer).mtu == 1500


@pytest.mark.parametrize(("kind", "data"), [("netkit", L2), ("veth", {})])
def test_without_peer_info_the_peer_does_not_take_over_the_address(lab, kind, data):
    made = lab.host.sys.link_create(kind=kind, attrs={ADDRESS: MAC}, data=data)
    peer = next(d for d in lab.host.links if d.ifindex == made.info.peer)
    assert (made.mac, peer.mac == made.mac, peer.mac == "00:00:00:00:00:00") == ("02:00:00:00:00:01", False, False)


def test_unnamed_ends_are_numbered_the_peer_first(lab):
    dev = lab.host.sys.link_create()
    assert (dev.name, [d.name for d in lab.host.links if d.ifindex == dev.info.peer]) == ("nk1", ["nk0"])


def test_a_number_for_the_peer_counts_only_beside_one_for_the_primary(lab):
    alone = lab.host.sys.link_create(data={PEER_INFO: ifinfomsg(ifindex=60)})
    assert alone.info.peer != 60
    both = lab.host.sys.link_create(data={PEER_INFO: ifinfomsg(ifindex=60)}, ifindex=50)
    assert (both.ifindex, both.info.peer) == (50, 60)


# RTM_NEWLINK, change --------------------------------------------------------------------------------------------------

ONLY_PRIMARY = "netkit link settings can be changed only through the primary device"
FIXED_MODE = "netkit link operating mode cannot be changed after device creation"
CHANGE = [
    ({MODE: b"\0"}, "ERANGE", INVALID),
    ({SCRUB: u32(2)}, "ERANGE", TOO_FAR),
    ({PRIMARY: b"\1"}, "EINVAL", READ_ONLY),
    ({MODE: u32(Mode.L3)}, "EACCES", FIXED_MODE),
    ({SCRUB: u32(1)}, "change-scrub", ""),
    ({PEER_SCRUB: u32(0)}, "change-peer-scrub", ""),
    ({PEER_INFO: ifinfomsg()}, "change-peer-info", ""),
    ({POLICY: u32(1)}, "EINVAL", NO_POLICY),
    ({PEER_POLICY: u32(7)}, "EINVAL", NO_POLICY),
    ({POLICY: u32(2), MODE: u32(1)}, "EACCES", FIXED_MODE),
]


@pytest.mark.parametrize(("data", "errno", "extack"), CHANGE)
def test_what_cannot_be_changed_stays(lab, con, hst, data, errno, extack):
    before = hst.info
    errno, extack = answer(lab, errno, extack)
    refused(errno, lambda: hst.node.sys.link_change(hst, data=data), extack)
    assert hst.info == before


def test_through_the_peer_nothing_is_changed_but_malformed_messages_are_told_first(con):
    change = con.sys.link_change
    for data in ({}, {POLICY: u32(0)}, {MODE: u32(1)}):
        refused("EACCES", lambda data=data: change(con.device, data=data), ONLY_PRIMARY)
    refused("ERANGE", lambda: change(con.device, data={MODE: b"\0"}))
    change(con.device)  # without IFLA_INFO_DATA netkit is not asked


def test_a_change_is_not_atomic(hst):
    refused("EINVAL", lambda: hst.node.sys.link_change(hst, data={POLICY: u32(2), PEER_POLICY: u32(7)}), NO_POLICY)
    assert (hst.policy, hst.peer_policy) == (Policy.DROP, Policy.PASS)


def test_ordinary_attributes_are_changed_behind_the_kinds_own_on_either_end(lab, con, hst):
    change = con.sys.link_change
    change(con.device, attrs={MTU: u32(1400), IFNAME: b"eth7"})
    assert (con.device.mtu, con.device.name) == (1400, "eth7")
    refused("EINVAL", lambda: change(con.device, attrs={MTU: u32(67)}), "mtu less than device minimum")
    refused("EOPNOTSUPP", lambda: change(con.device, attrs={ADDRESS: MAC, MTU: u32(1300)}))
    refused("EEXIST", lambda: change(con.device, attrs={IFNAME: b"lo", MTU: u32(1200)}))
    refused("EBADF", lambda: change(con.device, attrs={Ifla.NET_NS_FD: u32(9999), MTU: u32(1100)}))
    assert (con.device.mtu, con.device.name) == (1200, "eth7")  # what came before the refusal stays
    refused("EINVAL", lambda: lab.host.sys.link_change(hst, attrs={MTU: u32(67)}, data={POLICY: u32(2)}))
    assert hst.policy == Policy.DROP and hst.mtu == 1500


def test_a_change_needs_a_device_of_that_kind(lab, hst):
    refused("ENODEV", lambda: lab.host.sys.link_change(9999, data={}))
    refused("EOPNOTSUPP", lambda: lab.host.sys.link_change(lab.nic, data={}))


@pytest.mark.parametrize(
    ("kind", "size", "errno"), [("veth", 65536, "EINVAL"), ("veth", 9000, "EEXIST"), ("netkit", 65536, "EEXIST")]
)
def test_veth_judges_a_size_before_a_name_is_looked_for(lab, kind, size, errno):
    attrs = {MTU: u32(size), IFNAME: b"eth0"}
    refused(errno, lambda: lab.host.sys.link_create(kind, attrs=attrs), "")


def test_devices_are_for_those_who_may_administer_the_network(lab, hst):
    before = lab.host.links
    refused("EPERM", lambda: lab.host.sys.link_create(capable=False))
    refused("EPERM", lambda: lab.host.sys.link_change(hst, data={POLICY: u32(2)}, capable=False))
    assert lab.host.links == before and hst.policy == Policy.PASS


def test_of_a_pairs_place_size_and_name_the_place_is_looked_at_first_and_the_name_last(lab):
    create, small = lab.host.sys.link_create, {MTU: u32(67), IFNAME: b"eth0"}
    for where, errno in ({Ifla.NET_NS_FD: u32(9999)}, "EBADF"), ({Ifla.NET_NS_PID: u32(9999)}, "ESRCH"), ({}, "EINVAL"):
        refused(errno, lambda where=where: create(data={PEER_INFO: ifinfomsg(small | where)}))
    refused("EEXIST", lambda: create(data={PEER_INFO: ifinfomsg({IFNAME: b"eth0"})}))


@pytest.mark.parametrize(
    ("kind", "attrs", "peer", "told"),
    [
        ("netkit", {}, {Ifla.IFNAME: b""}, ("mtu-or-peer",)),
        ("netkit", {Ifla.ADDRESS: bytes.fromhex("020000007701")}, None, ("EINVAL", "mtu greater than device maximum")),
        ("veth", {}, None, ("EINVAL", "")),
    ],
)
def test_the_primarys_own_mtu_is_judged_before_the_kinds_code_is_asked(lab, kind, attrs, peer, told):
    data = None if peer is None else {IflaNetkit.PEER_INFO: ifinfomsg(peer)}
    attrs = {Ifla.MTU: u32(65536)} | attrs
    errno, extack = answer(lab, *told)
    refused(errno, lambda: lab.node("n").sys.link_create(kind, attrs=attrs, data=data), extack)

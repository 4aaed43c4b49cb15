"""Every refusal of netkit's control plane, in its order, through the raw door (netkit.c, mprog.c, syscall.c, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.sys import ifinfomsg, u32
from netkit_edu.uapi import (
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_NETKIT_PEER,
    BPF_PROG_TYPE_XDP,
    BpfCmd,
    Ifla,
    IflaNetkit,
    Mode,
    Policy,
    Scrub,
)

ATTACH, DETACH, QUERY, CREATE, UPDATE = (
    BpfCmd.PROG_ATTACH, BpfCmd.PROG_DETACH, BpfCmd.PROG_QUERY, BpfCmd.LINK_CREATE, BpfCmd.LINK_UPDATE,
)  # fmt: skip
ADDRESS, IFNAME, MTU = Ifla.ADDRESS, Ifla.IFNAME, Ifla.MTU
PEER_INFO, PRIMARY, POLICY, PEER_POLICY, MODE, SCRUB, PEER_SCRUB, HEADROOM = list(IflaNetkit)[:8]
MAC, GROUP = bytes.fromhex("020000000001"), bytes.fromhex("010000000001")
INVALID, TOO_FAR = "Attribute failed policy validation", "integer out of range"
READ_ONLY = "Primary attribute is read-only"
NO_MODE, NO_POLICY = "Provided device mode can only be L2 or L3", "Provided default xmit policy not supported"
L2 = {MODE: u32(Mode.L2)}


def refused(errno: str, call, extack: str | None = None) -> KernelError:
    with pytest.raises(KernelError) as refusal:
        call()
    assert refusal.value.name == errno
    if extack is not None:
        assert refusal.value.extack == extack
    return refusal.value


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
    ({}, {MODE: u32(2)}, "EINVAL", NO_MODE),
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
    ({IFNAME: b"eth0"}, {}, "EEXIST", ""),
    ({IFNAME: b"nk1"}, {PEER_INFO: ifinfomsg({IFNAME: b"nk1"})}, "EEXIST", ""),
    ({}, {PEER_INFO: ifinfomsg({IFNAME: b"eth0"})}, "EEXIST", ""),
]


@pytest.mark.parametrize(("attrs", "data", "errno", "extack"), CREATION)
def test_a_pair_that_cannot_be_is_refused_whole(lab, attrs, data, errno, extack):
    before = lab.host.links
    refused(errno, lambda: lab.host.sys.link_create(attrs=attrs, data=data), extack)
    assert lab.host.links == before


def test_of_two_mistakes_the_first_in_the_kernels_order_is_told(lab):
    create = lab.host.sys.link_create
    refused("ERANGE", lambda: create(attrs={ADDRESS: GROUP}, data={POLICY: u32(1), MODE: b"\0"}))
    refused("EADDRNOTAVAIL", lambda: create(attrs={ADDRESS: GROUP}, data={MODE: u32(2)}))
    refused("EADDRNOTAVAIL", lambda: create(attrs={ADDRESS: GROUP}, data={PEER_INFO: ifinfomsg({ADDRESS: b"\2"})}))
    refused("EINVAL", lambda: create(attrs={ADDRESS: b"\2"}), "")  # in L3 a wrong length, before the mode is looked at
    refused("EINVAL", lambda: create(data={MODE: u32(2), POLICY: u32(1)}), NO_MODE)
    refused("EINVAL", lambda: create(attrs={ADDRESS: MAC}, data={POLICY: u32(1)}), NO_POLICY)
    peer = ifinfomsg({ADDRESS: MAC, Ifla.NET_NS_FD: u32(9999)})
    refused("EOPNOTSUPP", lambda: create(data={PEER_INFO: peer}))


def test_a_kind_that_is_not_there_is_refused(lab):
    refused("EOPNOTSUPP", lambda: lab.host.sys.link_create("netkat"), "Unknown device type")


def test_what_the_kernel_does_not_know_is_passed_over(lab):
    unknown = {HEADROOM: b"\40\0", 99: b"?"}
    dev = lab.host.sys.link_create(attrs={IFNAME: b"nk1", 9999: b""}, data=unknown)
    assert dev.name == "nk1" and set(dev.info.info) == {
        "mode", "policy", "peer_policy", "scrub", "peer_scrub", "primary",
    }  # fmt: skip


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
FIXED_SCRUB = "netkit scrubbing cannot be changed after device creation"
FIXED_PEER = "netkit peer info cannot be changed after device creation"
CHANGE = [
    ({MODE: b"\0"}, "ERANGE", INVALID),
    ({SCRUB: u32(2)}, "ERANGE", TOO_FAR),
    ({PRIMARY: b"\1"}, "EINVAL", READ_ONLY),
    ({MODE: u32(Mode.L3)}, "EACCES", FIXED_MODE),
    ({SCRUB: u32(1)}, "EACCES", FIXED_SCRUB),
    ({PEER_SCRUB: u32(0)}, "EACCES", FIXED_SCRUB),
    ({PEER_INFO: ifinfomsg()}, "EINVAL", FIXED_PEER),
    ({POLICY: u32(1)}, "EINVAL", NO_POLICY),
    ({PEER_POLICY: u32(7)}, "EINVAL", NO_POLICY),
    ({POLICY: u32(2), MODE: u32(1)}, "EACCES", FIXED_MODE),
]


@pytest.mark.parametrize(("data", "errno", "extack"), CHANGE)
def test_what_cannot_be_changed_stays(con, hst, data, errno, extack):
    before = hst.info
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


# bpf(2) ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def p(lab, programs):
    return [lab.load(programs["next"]).id for _ in range(5)]


@pytest.fixture
def xdp(lab, programs):
    """A program of another type."""
    return lab.kernel_calls.prog_load(programs["pass"].code, {}, prog_type=BPF_PROG_TYPE_XDP)


@pytest.fixture
def a_map(lab, programs):
    return lab.kernel_calls.map_create(programs["gate"].map_specs["verdict"])


@pytest.fixture
def bpf(lab, hst):
    """bpf(2) on the peer hook of the pair, from the host."""

    def call(cmd, tail=b"", **fields):
        return lab.host.sys.bpf(
            cmd, tail=tail, **{"target_ifindex": hst.ifindex, "attach_type": BPF_NETKIT_PEER} | fields
        )

    return call


@pytest.fixture
def ids(con):
    return lambda: [entry.prog_id for entry in con.pair.chain("peer").entries]


@pytest.mark.parametrize("cmd", [ATTACH, DETACH, CREATE])
def test_the_device_is_looked_up_in_one_order(lab, con, bpf, p, cmd):
    """ENODEV, ENXIO, EACCES; what is wrong before the look-up is told before."""
    prog = {"prog_fd" if cmd == CREATE else "attach_bpf_fd": p[0]}
    for ifindex, errno in ((0, "ENODEV"), (9999, "ENODEV"), (lab.nic.ifindex, "ENXIO")):
        refused(errno, lambda i=ifindex: bpf(cmd, target_ifindex=i, **prog))
        refused("EINVAL", lambda i=ifindex: bpf(cmd, target_ifindex=i, attach_type=99, **prog))
        refused("EINVAL", lambda i=ifindex: bpf(cmd, target_ifindex=i, tail=b"\0\1", **prog))
    hook = {"attach_type": BPF_NETKIT_PEER, "target_ifindex": con.device.ifindex}
    refused("EACCES", lambda: con.sys.bpf(cmd, **hook, **prog))


def test_bytes_behind_the_last_field_must_be_zero(bpf, ids, p):
    refused("EINVAL", lambda: bpf(ATTACH, attach_bpf_fd=p[0], tail=b"\1"))
    bpf(ATTACH, attach_bpf_fd=p[0], tail=bytes(8))
    refused("EINVAL", lambda: bpf(QUERY, tail=b"\1"))
    assert ids() == [p[0]]


def test_an_unknown_command_is_refused(lab):
    refused("EINVAL", lambda: lab.host.sys.bpf(9999))


@pytest.mark.parametrize("flags", [1, 2, 0x40, 0x100, 0x100 | BPF_F_BEFORE])
def test_flags_that_order_nothing_are_refused_up_front(bpf, flags):
    refused("EINVAL", lambda: bpf(ATTACH, attach_bpf_fd=9999, attach_flags=flags, target_ifindex=9999))
    refused("EINVAL", lambda: bpf(DETACH, attach_flags=flags, target_ifindex=9999))


def test_a_program_is_a_descriptor_of_the_right_kind(bpf, ids, p, xdp, a_map):
    for cmd, field in ((ATTACH, "attach_bpf_fd"), (DETACH, "attach_bpf_fd"), (CREATE, "prog_fd")):
        refused("EBADF", lambda c=cmd, f=field: bpf(c, **{f: 9999}, target_ifindex=9999))
        for wrong in (xdp, a_map):
            refused("EINVAL", lambda c=cmd, f=field, w=wrong: bpf(c, **{f: w}, target_ifindex=9999))
    assert ids() == []


def test_the_program_to_replace_is_looked_at_only_with_the_flag(bpf, ids, p, xdp, a_map):
    bpf(ATTACH, attach_bpf_fd=p[0], replace_bpf_fd=9999)
    refused("EBADF", lambda: bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=BPF_F_REPLACE, replace_bpf_fd=9999))
    for wrong in (0, xdp, a_map):
        refused("EINVAL", lambda w=wrong: bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=4, replace_bpf_fd=w))
    refused("ENODEV", lambda: bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=4, replace_bpf_fd=9999, target_ifindex=77))
    bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=BPF_F_REPLACE, replace_bpf_fd=p[0])
    assert ids() == [p[1]]


RELATIVE = [
    (0, "bad", "EBADF"),
    (0, "map", "EINVAL"),
    (0, "xdp", "EINVAL"),
    (BPF_F_ID, "none", "ENOENT"),
    (BPF_F_ID, "bad", "ENOENT"),
    (BPF_F_ID, "xdp", "EINVAL"),
    (BPF_F_LINK, "none", "EINVAL"),
    (BPF_F_LINK, "bad", "EBADF"),
    (BPF_F_LINK, "prog", "EINVAL"),
    (BPF_F_LINK | BPF_F_ID, "none", "ENOENT"),
    (BPF_F_LINK | BPF_F_ID, "bad", "ENOENT"),
    (BPF_F_LINK | BPF_F_ID, "prog", "ENOENT"),
]


@pytest.mark.parametrize("place", [0, BPF_F_BEFORE, BPF_F_AFTER])
@pytest.mark.parametrize(("flags", "what", "errno"), RELATIVE)
def test_what_to_go_by_must_be_found(bpf, ids, p, xdp, a_map, flags, what, errno, place):
    """As bpf_mprog_tuple_relative has it; with BEFORE and AFTER it is no different."""
    relative = {"none": 0, "bad": 9999, "map": a_map, "xdp": xdp, "prog": p[0]}[what]
    bpf(ATTACH, attach_bpf_fd=p[0])
    refused(errno, lambda: bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=flags | place, relative_fd=relative))
    refused(errno, lambda: bpf(CREATE, prog_fd=p[1], flags=flags | place, relative_fd=relative))
    if what != "xdp":
        refused(errno, lambda: bpf(DETACH, attach_flags=flags | place, relative_fd=relative))
    assert ids() == [p[0]]


def test_a_place_may_be_told_by_descriptor_or_id_of_program_or_link(bpf, ids, p):
    """O1, O2"""
    link = bpf(CREATE, prog_fd=p[0])["link_fd"]
    bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=BPF_F_BEFORE, relative_fd=p[0])
    bpf(ATTACH, attach_bpf_fd=p[2], attach_flags=BPF_F_BEFORE | BPF_F_ID, relative_id=p[0])
    bpf(ATTACH, attach_bpf_fd=p[3], attach_flags=BPF_F_AFTER | BPF_F_LINK, relative_fd=link)
    bpf(ATTACH, attach_bpf_fd=p[4], attach_flags=BPF_F_AFTER | BPF_F_LINK | BPF_F_ID, relative_id=link)
    assert ids() == [p[1], p[2], p[0], p[4], p[3]]


@pytest.mark.parametrize(
    ("flags", "relative", "errno"),
    [
        (BPF_F_BEFORE | BPF_F_AFTER, 0, "ERANGE"),
        (BPF_F_BEFORE | BPF_F_ID, 0, "ENOENT"),
        (BPF_F_AFTER | BPF_F_ID, 0, "ENOENT"),
        (0, 2, "EINVAL"),
        (BPF_F_BEFORE | BPF_F_AFTER, 2, "ENOENT"),
        (BPF_F_ID, 2, "EINVAL"),
        (BPF_F_BEFORE, 2, "ENOENT"),
        (BPF_F_BEFORE, 1, "ENOENT"),
        (BPF_F_BEFORE | BPF_F_ID, 1, "ENOENT"),
        (BPF_F_AFTER, 1, "ENOENT"),
        (BPF_F_AFTER | BPF_F_ID, 1, "ENOENT"),
        (BPF_F_AFTER | BPF_F_LINK, 1, "EINVAL"),
    ],
)
def test_on_an_empty_hook_most_places_are_nowhere(bpf, ids, p, flags, relative, errno):
    """O5: relative 1 is the program itself, 2 another one, neither attached."""
    near = p[relative - 1] if relative else 0
    refused(errno, lambda: bpf(ATTACH, attach_bpf_fd=p[0], attach_flags=flags, relative_fd=near))
    assert ids() == []


@pytest.mark.parametrize("flags", [0, BPF_F_BEFORE, BPF_F_AFTER, BPF_F_BEFORE | BPF_F_ID])
def test_an_attached_program_is_not_attached_again_wherever(bpf, p, flags):
    """O5"""
    bpf(ATTACH, attach_bpf_fd=p[0])
    refused("EEXIST", lambda: bpf(ATTACH, attach_bpf_fd=p[0], attach_flags=flags))
    refused("EINVAL", lambda: bpf(ATTACH, attach_bpf_fd=p[1], attach_flags=BPF_F_REPLACE, relative_fd=p[0]))
    refused("EEXIST", lambda: bpf(ATTACH, attach_bpf_fd=p[0], attach_flags=BPF_F_REPLACE, replace_bpf_fd=p[0]))


def test_beside_replace_something_to_go_by_without_a_place_is_ignored(bpf, ids, p):
    bpf(ATTACH, attach_bpf_fd=p[0])
    bpf(ATTACH, attach_bpf_fd=p[1])
    bpf(ATTACH, attach_bpf_fd=p[2], attach_flags=BPF_F_REPLACE, replace_bpf_fd=p[0], relative_fd=p[1])
    assert ids() == [p[2], p[1]]


def test_a_wrong_revision_is_told_before_anything_in_the_list(bpf, p):
    """O3"""
    bpf(ATTACH, attach_bpf_fd=p[0], expected_revision=1)
    refused("ESTALE", lambda: bpf(ATTACH, attach_bpf_fd=p[0], expected_revision=1, relative_fd=9999))
    refused("ESTALE", lambda: bpf(DETACH, attach_bpf_fd=p[1], expected_revision=3, relative_fd=9999))
    refused("EINVAL", lambda: bpf(DETACH, attach_flags=BPF_F_REPLACE, expected_revision=3))
    refused("EEXIST", lambda: bpf(ATTACH, attach_bpf_fd=p[0], expected_revision=2, relative_fd=9999))
    bpf(DETACH, attach_bpf_fd=p[0], expected_revision=2)


def test_a_query_tells_as_much_as_there_is_room_for(bpf, p):
    """O12"""
    assert bpf(QUERY, count=8, prog_ids=1) == {"attach_flags": 0, "revision": 1, "count": 0}
    for prog in p[:3]:
        bpf(ATTACH, attach_bpf_fd=prog)
    bpf(CREATE, prog_fd=p[3])
    only_counts = {"attach_flags": 0, "revision": 5, "count": 4}
    assert bpf(QUERY) == bpf(QUERY, count=9) == bpf(QUERY, prog_ids=1) == only_counts
    full = bpf(QUERY, count=9, prog_ids=1, link_ids=1, prog_attach_flags=1, link_attach_flags=1)
    link = full["link_ids"][3]
    zeros = [0, 0, 0, 0]
    assert full == only_counts | {
        "prog_ids": p[:4], "link_ids": [0, 0, 0, link], "prog_attach_flags": zeros, "link_attach_flags": zeros,
    }  # fmt: skip
    little = refused("ENOSPC", lambda: bpf(QUERY, count=2, prog_ids=1))
    assert little.answer == only_counts | {"prog_ids": p[:2]}


def test_a_query_has_no_flags(lab, con, bpf):
    refused("EINVAL", lambda: bpf(QUERY, query_flags=1, target_ifindex=9999))
    refused("EINVAL", lambda: bpf(QUERY, attach_type=99, target_ifindex=9999))
    refused("ENODEV", lambda: bpf(QUERY, attach_flags=8, target_ifindex=9999))
    refused("ENXIO", lambda: bpf(QUERY, target_ifindex=lab.nic.ifindex))
    refused("EINVAL", lambda: bpf(QUERY, attach_flags=8))
    refused("EACCES", lambda: con.sys.bpf(QUERY, target_ifindex=con.device.ifindex, attach_type=BPF_NETKIT_PEER))


def test_a_link_update_checks_its_fields_first(lab, bpf, p, xdp, a_map):
    link = bpf(CREATE, prog_fd=p[0])["link_fd"]

    def update(**fields):
        lab.host.sys.bpf(UPDATE, **{"link_fd": link, "new_prog_fd": p[1]} | fields)

    refused("EINVAL", lambda: update(flags=BPF_F_BEFORE, link_fd=9999))
    refused("EINVAL", lambda: update(old_prog_fd=p[0]))
    for field in ("link_fd", "new_prog_fd"):
        refused("EBADF", lambda field=field: update(**{field: 9999}))
        refused("EINVAL", lambda field=field: update(**{field: a_map}))
    refused("EBADF", lambda: update(flags=BPF_F_REPLACE, old_prog_fd=9999))
    refused("EPERM", lambda: update(flags=BPF_F_REPLACE, old_prog_fd=p[2]))
    refused("EINVAL", lambda: update(new_prog_fd=xdp))
    update(flags=BPF_F_REPLACE, old_prog_fd=p[0])
    assert lab.host.sys.bpf(BpfCmd.OBJ_GET_INFO_BY_FD, bpf_fd=link)["prog_id"] == p[1]
    lab.host.sys.bpf(BpfCmd.LINK_DETACH, link_fd=link)
    lab.host.sys.bpf(BpfCmd.LINK_DETACH, link_fd=link)
    refused("EBADF", lambda: lab.host.sys.bpf(BpfCmd.LINK_DETACH, link_fd=9999))
    refused("ENOLINK", lambda: update())


@pytest.mark.parametrize(
    ("flags", "errno"),
    [(0x100, "EINVAL"), (BPF_F_LINK, "EINVAL"), (BPF_F_REPLACE, "ENOENT"), (0x100 | BPF_F_BEFORE, None)],
)
def test_a_link_is_not_asked_for_unknown_flags(bpf, ids, p, flags, errno):
    bpf(ATTACH, attach_bpf_fd=p[0])
    if errno:
        refused(errno, lambda: bpf(CREATE, prog_fd=p[1], flags=flags))
        assert ids() == [p[0]]
    else:
        bpf(CREATE, prog_fd=p[1], flags=flags)
        assert ids() == [p[1], p[0]]


# who has no CAP_NET_ADMIN ---------------------------------------------------------------------------------------------


def test_devices_are_for_those_who_may_administer_the_network(lab, hst):
    before = lab.host.links
    refused("EPERM", lambda: lab.host.sys.link_create(capable=False))
    refused("EPERM", lambda: lab.host.sys.link_change(hst, data={POLICY: u32(2)}, capable=False))
    assert lab.host.links == before and hst.policy == Policy.PASS


def test_a_descriptor_of_the_program_is_all_that_attaching_and_detaching_take(bpf, ids, p):
    """Without one, and to look, one must be capable; what is wrong with the call itself is told before that."""
    bpf(ATTACH, attach_bpf_fd=p[0], capable=False)
    link = bpf(CREATE, prog_fd=p[1], capable=False)["link_fd"]
    refused("EPERM", lambda: bpf(DETACH, capable=False))
    refused("EPERM", lambda: bpf(DETACH, target_ifindex=9999, capable=False))
    refused("EINVAL", lambda: bpf(DETACH, attach_flags=2, capable=False))
    refused("EPERM", lambda: bpf(QUERY, capable=False))
    refused("EPERM", lambda: bpf(QUERY, query_flags=1, tail=b"\1", capable=False))
    assert ids() == [p[0], p[1]] and link
    bpf(DETACH, attach_bpf_fd=p[0], capable=False)
    assert ids() == [p[1]]


# which reason comes first ---------------------------------------------------------------------------------------------


def test_of_a_pairs_place_size_and_name_the_place_is_looked_at_first_and_the_name_last(lab):
    create, small = lab.host.sys.link_create, {MTU: u32(67), IFNAME: b"eth0"}
    for where, errno in ({Ifla.NET_NS_FD: u32(9999)}, "EBADF"), ({Ifla.NET_NS_PID: u32(9999)}, "ESRCH"), ({}, "EINVAL"):
        refused(errno, lambda where=where: create(data={PEER_INFO: ifinfomsg(small | where)}))
    refused("EEXIST", lambda: create(data={PEER_INFO: ifinfomsg({IFNAME: b"eth0"})}))


def test_what_to_go_by_is_found_before_it_is_seen_where_it_is(bpf, ids, p):
    """The object to go by, then the program to replace or detach, then the place."""
    link = bpf(CREATE, prog_fd=p[0])["link_fd"]
    bpf(ATTACH, attach_bpf_fd=p[1])
    replace = {"attach_bpf_fd": p[2], "replace_bpf_fd": p[3]}
    refused("EBADF", lambda: bpf(ATTACH, attach_flags=BPF_F_REPLACE | BPF_F_BEFORE, relative_fd=9999, **replace))
    refused("ENOENT", lambda: bpf(ATTACH, attach_flags=BPF_F_REPLACE | BPF_F_BEFORE, relative_fd=p[1], **replace))
    replace["replace_bpf_fd"] = p[0]
    refused("EBUSY", lambda: bpf(ATTACH, attach_flags=BPF_F_REPLACE | BPF_F_BEFORE, relative_fd=p[4], **replace))
    refused("EBADF", lambda: bpf(DETACH, attach_bpf_fd=p[4], attach_flags=BPF_F_BEFORE, relative_fd=9999))
    refused("EBUSY", lambda: bpf(DETACH, attach_bpf_fd=p[0], attach_flags=BPF_F_BEFORE, relative_fd=p[4]))
    refused("EINVAL", lambda: bpf(DETACH, attach_flags=BPF_F_LINK | BPF_F_ID, relative_id=link))
    refused("EBUSY", lambda: bpf(DETACH, attach_flags=BPF_F_BEFORE, relative_fd=p[1]))
    bpf(DETACH, attach_flags=BPF_F_AFTER, relative_fd=p[0])
    assert ids() == [p[0]]


def test_a_full_hook_is_full_before_places_are_compared(lab, bpf, ids, programs):
    loads = [lab.load(programs["next"]).id for _ in range(66)]
    for prog in loads[:63]:
        bpf(ATTACH, attach_bpf_fd=prog)
    new, absent = loads[63:65]
    refused("EBADF", lambda: bpf(ATTACH, attach_bpf_fd=new, attach_flags=BPF_F_BEFORE, relative_fd=9999))
    refused("ERANGE", lambda: bpf(ATTACH, attach_bpf_fd=new, attach_flags=BPF_F_BEFORE, relative_fd=absent))
    refused("ERANGE", lambda: bpf(ATTACH, attach_bpf_fd=new, attach_flags=BPF_F_ID, relative_id=loads[0]))
    assert ids() == loads[:63]


def test_a_link_that_cannot_be_made_changes_nothing(bpf, ids, p):
    bpf(ATTACH, attach_bpf_fd=p[0])
    for how, errno in (
        ({"prog_fd": p[0]}, "EEXIST"),
        ({"expected_revision": 1}, "ESTALE"),
        ({"flags": BPF_F_BEFORE | BPF_F_AFTER}, "ERANGE"),
        ({"flags": BPF_F_BEFORE, "relative_fd": p[2]}, "ENOENT"),
        ({"flags": BPF_F_BEFORE, "relative_fd": 9999}, "EBADF"),
        ({"flags": BPF_F_ID, "relative_id": p[0]}, "EINVAL"),
        ({"relative_fd": p[0]}, "EINVAL"),
    ):
        refused(errno, lambda how=how: bpf(CREATE, **{"prog_fd": p[1]} | how))
        assert bpf(QUERY)["revision"] == 2 and ids() == [p[0]]


def test_links_are_changed_by_whole_messages_only(lab, bpf, p):
    link = bpf(CREATE, prog_fd=p[0])["link_fd"]
    for cmd, fields in ((UPDATE, {"new_prog_fd": p[1]}), (BpfCmd.LINK_DETACH, {})):
        refused("EINVAL", lambda c=cmd, f=fields: lab.host.sys.bpf(c, tail=b"\0\1", link_fd=link, **f))
    assert lab.host.sys.bpf(BpfCmd.OBJ_GET_INFO_BY_FD, bpf_fd=link)["prog_id"] == p[0]


@pytest.mark.parametrize("buffer", ["prog_ids", "link_ids", "prog_attach_flags", "link_attach_flags"])
def test_a_query_into_nowhere_is_refused_when_there_is_something_to_write(bpf, p, buffer):
    assert bpf(QUERY, **{"count": 4, "prog_ids": 1} | {buffer: -1})["count"] == 0
    bpf(ATTACH, attach_bpf_fd=p[0])
    assert bpf(QUERY, **{"prog_ids": 1} | {buffer: -1})["count"] == 1
    refused("EFAULT", lambda: bpf(QUERY, **{"count": 4, "prog_ids": 1} | {buffer: -1}))

"""The tables of refusals, row by row, and that the first row that holds is the one that counts.

Creation and change: drivers/net/netkit.c:netkit_new_link, netkit_change_link behind rtnetlink's attribute policy;
programs: kernel/bpf/syscall.c:bpf_prog_attach, netkit_dev_fetch; Linux 6.12. These tests speak to the backend itself,
since the lab's own words cannot express most of what is refused here.
"""

from __future__ import annotations

from itertools import combinations

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.kernels import ROWS
from netkit_edu.uapi import (
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_NETKIT_PEER,
    BPF_NETKIT_PRIMARY,
    Policy,
)
from tests.contract.conftest import answer

POLICY = "Provided default xmit policy not supported"
UNKNOWN = 99_999
MTUS = [(67, "mtu less than device minimum"), (65536, "mtu greater than device maximum")]


def refusal(call) -> tuple[str, str]:
    with pytest.raises(KernelError) as error:
        call()
    return error.value.name, error.value.extack


# creation: (row, what is asked for, errno, the kernel's words) in the order in which the kernel looks; or instead of
# errno and words the key of a row of netkit_edu.kernels
CREATE = [
    ("scrub", {"info.scrub": 2}, "ERANGE", "integer out of range"),
    ("peer scrub", {"info.peer_scrub": 2}, "ERANGE", "integer out of range"),
    ("primary", {"info.primary": 1}, "EINVAL", "Primary attribute is read-only"),
    ("mac length", {"attrs.mac": "02:00"}, "EINVAL", ""),
    ("mac multicast", {"attrs.mac": "01:00:00:00:00:00"}, "EADDRNOTAVAIL", ""),
    ("mac zero", {"attrs.mac": "00:00:00:00:00:00"}, "EADDRNOTAVAIL", ""),
    ("mode", {"info.mode": 2}, "mode"),
    ("policy", {"info.policy": 1}, "EINVAL", POLICY),
    ("peer policy", {"info.peer_policy": -1}, "EINVAL", POLICY),
    ("mac in L3", {"attrs.mac": "02:00:00:00:00:01"}, "EOPNOTSUPP", ""),
    ("peer mtu", {"peer.mtu": 67}, "EINVAL", "mtu less than device minimum"),
    ("peer's name", {"peer.name": "lo"}, "EEXIST", ""),
]
PEER_MACS = [("02:00", "EINVAL"), ("01:00:00:00:00:00", "EADDRNOTAVAIL"), ("00:00:00:00:00:00", "EADDRNOTAVAIL"),
             ("02:00:00:00:00:01", "EOPNOTSUPP")]  # fmt: skip


def create(lab, ns, *rows):
    how = {"attrs": {}, "peer": {"name": "peer"}, "info": {}}
    for row in rows:
        for where, value in row[1].items():
            part, _, name = where.partition(".")
            how[part][name] = value
    return refusal(lambda: lab.kernel_calls.link_add(ns, "netkit", "made", **how))


def on(lab, rows) -> list[tuple]:
    """Rows with the answers of a lab's kernel; what the attributes' policy finds is told first."""
    answered = [(*row[:2], *answer(lab, *row[2:])) for row in rows]
    return sorted(answered, key=lambda row: row[2] != "ERANGE")


def names(lab, ns) -> list[str]:
    return [link.name for link in lab.kernel_calls.links(ns)]


@pytest.mark.parametrize("row", CREATE, ids=lambda row: row[0])
def test_a_pair_that_cannot_be_is_refused_and_leaves_nothing(lab, row):
    ns = lab.node("n").ns
    assert create(lab, ns, row) == answer(lab, *row[2:])
    assert names(lab, ns) == ["lo"]


@pytest.mark.parametrize(("mac", "errno"), PEER_MACS)
def test_the_peers_address_is_judged_like_the_primarys(lab, mac, errno):
    ns = lab.node("n").ns
    assert create(lab, ns, ("peer mac", {"peer.mac": mac}))[0] == errno
    assert names(lab, ns) == ["lo"]


def test_the_first_reason_to_refuse_a_pair_is_the_one_that_is_told(lab):
    ns = lab.node("n").ns
    for first, second in combinations(on(lab, CREATE), 2):
        if first[1].keys() & second[1].keys() or {first[2], second[2]} == {"ERANGE"} or second[0] == "primary":
            continue  # one attribute has one value; those that the attribute policy judges come in the message's order
        assert create(lab, ns, first, second) == first[2:], (first[0], second[0])
    assert names(lab, ns) == ["lo"]


@pytest.mark.parametrize(("mtu", "words"), MTUS)
def test_an_mtu_that_no_end_can_have_is_refused(lab, mtu, words):
    ns = lab.node("n").ns
    for end in ("attrs", "peer"):
        assert create(lab, ns, ("mtu", {f"{end}.mtu": mtu})) == ("EINVAL", words)
    assert names(lab, ns) == ["lo"]


def test_a_primary_whose_name_is_taken_takes_its_peer_along(lab):
    ns = lab.node("n").ns
    for peer in ("peer", "lo"):
        call = lambda peer=peer: lab.kernel_calls.link_add(ns, "netkit", "lo", peer={"name": peer})  # noqa: E731
        assert refusal(call)[0] == "EEXIST"
    assert refusal(lambda: lab.kernel_calls.link_add(ns, "netkit", "same", peer={"name": "same"}))[0] == "EEXIST"
    assert names(lab, ns) == ["lo"]


def test_attributes_newer_than_the_kernel_are_ignored(lab):
    ns = lab.node("n").ns
    ifindex = lab.kernel_calls.link_add(ns, "netkit", "made", info={"headroom": 32, "tailroom": 8})
    assert set(lab.kernel_calls.link_get(ns, ifindex).info) == set(ROWS["attributes"].on(lab.kernel))


# names, numbers and MTUs of a pair that may be ------------------------------------------------------------------------


def test_a_pair_without_names_is_numbered_the_peer_first(lab):
    ns = lab.node("n").ns
    primary = lab.kernel_calls.link_add(ns, "netkit", "")
    assert [(link.ifindex, link.name, link.info.get("primary")) for link in lab.kernel_calls.links(ns)[1:]] == [
        (primary - 1, "nk0", 0), (primary, "nk1", 1),
    ]  # fmt: skip


def test_the_peers_number_is_taken_as_asked_only_if_the_primary_asks_for_one_too(lab):
    ns = lab.node("n").ns
    both = lab.kernel_calls.link_add(ns, "netkit", "a", attrs={"ifindex": 50}, peer={"name": "b", "ifindex": 60})
    assert (both, lab.kernel_calls.link_get(ns, both).peer) == (50, 60)
    alone = lab.kernel_calls.link_add(ns, "netkit", "c", peer={"name": "d", "ifindex": 70})
    assert lab.kernel_calls.link_get(ns, alone).peer != 70


def test_a_peer_of_which_nothing_is_said_inherits_the_mtu(lab):
    ns = lab.node("n").ns
    for peer, mtus in ((None, (9000, 9000)), ({"name": "p"}, (9000, 1500)), ({"name": "q", "mtu": 1400}, (9000, 1400))):
        ifindex = lab.kernel_calls.link_add(ns, "netkit", f"x{mtus[1]}", attrs={"mtu": 9000}, peer=peer)
        primary = lab.kernel_calls.link_get(ns, ifindex)
        assert (primary.mtu, lab.kernel_calls.link_get(ns, primary.peer).mtu) == mtus


def test_in_l2_mode_an_address_can_be_given_and_changed(lab):
    pair = lab.pair("a", peer_in=lab.node("n"), mode="l2", attrs={"mac": "02:00:00:00:00:0a"})
    assert pair.primary.mac == "02:00:00:00:00:0a" != pair.peer.mac
    assert pair.peer.set(mac="02:00:00:00:00:0b").mac == "02:00:00:00:00:0b"
    for mac in ("01:00:00:00:00:00", "00:00:00:00:00:00"):
        assert refusal(lambda mac=mac: pair.peer.set(mac=mac))[0] == "EADDRNOTAVAIL"
    assert pair.peer.mac == "02:00:00:00:00:0b"


# change: the same -----------------------------------------------------------------------------------------------------

PEER_ONLY = "netkit link settings can be changed only through the primary device"
CHANGE = [
    ("scrub out of range", {"scrub": 2}, "ERANGE", "integer out of range"),
    ("primary", {"primary": 1}, "EINVAL", "Primary attribute is read-only"),
    ("through the peer", {}, "EACCES", PEER_ONLY),
    ("mode", {"mode": 1}, "EACCES", "netkit link operating mode cannot be changed after device creation"),
    ("scrub", {"scrub": 1}, "change-scrub"),
    ("peer scrub", {"peer_scrub": 1}, "change-peer-scrub"),
    ("peer info", {"peer_info": 1}, "change-peer-info"),
    ("policy", {"policy": 7}, "EINVAL", POLICY),
    ("peer policy", {"peer_policy": 1}, "EINVAL", POLICY),
]


def change(lab, con, *rows):
    device = con.pair.peer if any(row[0] == "through the peer" for row in rows) else con.pair.primary
    info = {name: value for row in rows for name, value in row[1].items()}
    return refusal(lambda: lab.kernel_calls.link_set(device.node.ns, device.ifindex, info=info))


@pytest.mark.parametrize("row", CHANGE, ids=lambda row: row[0])
def test_a_change_that_cannot_be_is_refused(lab, con, row):
    before = con.pair.info.info
    assert change(lab, con, row) == answer(lab, *row[2:])
    assert con.pair.info.info == before


def test_the_first_reason_to_refuse_a_change_is_the_one_that_is_told(lab, con):
    for first, second in combinations(on(lab, CHANGE), 2):
        if first[1].keys() & second[1].keys() or (first[0], second[0]) == ("scrub out of range", "primary"):
            continue
        assert change(lab, con, first, second) == first[2:], (first[0], second[0])


def test_a_change_is_done_up_to_the_attribute_that_is_refused(lab, con):
    assert change(lab, con, ("", {"policy": 2, "peer_policy": 7})) == ("EINVAL", POLICY)
    assert (con.pair.policy, con.pair.peer_policy) == (Policy.DROP, Policy.PASS)


def test_other_settings_of_the_peer_are_its_owners(con):
    assert con.pair.peer.set(mtu=1300).mtu == 1300


# programs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def door(lab, con, programs):
    """attach, detach and query at a place, as calls without arguments."""
    loaded = lab.load(programs["next"])
    calls = lab.kernel_calls

    def at(ns, ifindex, which):
        return [
            lambda: calls.prog_attach(ns, ifindex, which, loaded.id),
            lambda: calls.prog_detach(ns, ifindex, which, loaded.id),
            lambda: calls.prog_detach(ns, ifindex, which),
            lambda: calls.prog_query(ns, ifindex, which),
        ]

    return at


def test_where_no_program_can_be(lab, con, hst, door):
    """The device lookup, which attach, detach and query share."""
    lo = lab.host.links[0]
    places = [
        (lab.host.ns, hst.ifindex, 99, "EINVAL"),
        (lab.host.ns, UNKNOWN, 99, "EINVAL"),
        (lab.host.ns, 0, BPF_NETKIT_PRIMARY, "ENODEV"),
        (lab.host.ns, UNKNOWN, BPF_NETKIT_PEER, "ENODEV"),
        (lab.host.ns, lo.ifindex, BPF_NETKIT_PRIMARY, "ENXIO"),
        (con.ns, con.device.ifindex, BPF_NETKIT_PRIMARY, "EACCES"),
        (con.ns, con.device.ifindex, BPF_NETKIT_PEER, "EACCES"),
    ]
    for *place, errno in places:
        for call in door(*place):
            assert refusal(call)[0] == errno, place


@pytest.mark.parametrize("flags", [1, 2, 0x40, 0x80, 0x100, 0x100 | BPF_F_BEFORE])
def test_unknown_flags_are_refused_before_anything_is_looked_up(lab, hst, programs, flags):
    calls, loaded = lab.kernel_calls, lab.load(programs["next"])
    for ifindex, prog in ((hst.ifindex, loaded.id), (UNKNOWN, loaded.id), (hst.ifindex, UNKNOWN)):
        for call in (calls.prog_attach, calls.prog_detach):
            assert refusal(lambda c=call, i=ifindex, p=prog: c(lab.host.ns, i, BPF_NETKIT_PEER, p, flags=flags))[0] == (
                "EINVAL"
            )


def test_what_is_no_program_is_found_out_before_the_device(lab, hst):
    for ifindex in (hst.ifindex, UNKNOWN):
        for call in (lab.kernel_calls.prog_attach, lab.kernel_calls.prog_detach):
            assert refusal(lambda c=call, i=ifindex: c(lab.host.ns, i, BPF_NETKIT_PEER, UNKNOWN))[0] == "EBADF"


def test_the_program_to_replace_is_looked_up_after_the_device_and_before_the_list(lab, hst, programs):
    calls, loaded = lab.kernel_calls, lab.load(programs["next"])

    def replace(ifindex, **how):
        return refusal(
            lambda: calls.prog_attach(
                lab.host.ns, ifindex, BPF_NETKIT_PEER, loaded.id, flags=BPF_F_REPLACE, replace=UNKNOWN, **how
            )
        )[0]

    assert replace(UNKNOWN) == "ENODEV"
    assert replace(hst.ifindex, expected_revision=9) == "EBADF"
    calls.prog_attach(
        lab.host.ns, hst.ifindex, BPF_NETKIT_PEER, loaded.id, replace=UNKNOWN
    )  # without the flag: ignored


RELATIVE = [
    (BPF_F_BEFORE, UNKNOWN, "EBADF"),
    (BPF_F_BEFORE | BPF_F_ID, 0, "ENOENT"),
    (BPF_F_AFTER | BPF_F_ID, 0, "ENOENT"),
    (BPF_F_AFTER | BPF_F_ID, UNKNOWN, "ENOENT"),
    (BPF_F_BEFORE | BPF_F_LINK, 0, "EINVAL"),
    (BPF_F_BEFORE | BPF_F_LINK, UNKNOWN, "EBADF"),
    (BPF_F_BEFORE | BPF_F_LINK | BPF_F_ID, 0, "ENOENT"),
    (BPF_F_BEFORE | BPF_F_AFTER, 0, "ERANGE"),
    (BPF_F_ID, 0, "ENOENT"),
    (BPF_F_LINK, 0, "EINVAL"),
]


@pytest.mark.parametrize(("flags", "relative", "errno"), RELATIVE)
def test_a_place_that_cannot_be_is_refused_after_revision_and_duplicate(
    lab, con, hst, programs, flags, relative, errno
):
    calls, (here, new) = lab.kernel_calls, (lab.load(programs["next"]) for _ in range(2))

    def attach(prog, **how):
        return lambda: calls.prog_attach(
            lab.host.ns, hst.ifindex, BPF_NETKIT_PEER, prog.id, flags=flags, relative=relative, **how
        )

    assert refusal(attach(new))[0] == errno
    con.pair.attach(here, at="peer")
    assert refusal(attach(new))[0] == errno
    assert refusal(attach(here))[0] == "EEXIST"
    assert refusal(attach(here, expected_revision=9))[0] == "ESTALE"
    assert con.pair.chain("peer") == (2, ((here.id, "next", 0),))


def test_a_program_named_for_no_place_is_refused(lab, con, hst, programs):
    """A relative program without BEFORE or AFTER, by descriptor and by id."""
    here, new = (lab.load(programs["next"]) for _ in range(2))
    con.pair.attach(here, at="peer")
    for flags in (0, BPF_F_ID):
        for call in (lab.kernel_calls.prog_attach, lab.kernel_calls.prog_detach):
            prog = new.id if call == lab.kernel_calls.prog_attach else 0
            assert refusal(
                lambda c=call, p=prog, f=flags: c(
                    lab.host.ns, hst.ifindex, BPF_NETKIT_PEER, p, flags=f, relative=here.id
                )
            )[0] == "EINVAL"  # fmt: skip


def test_from_an_empty_hook_nothing_is_detached_whatever_the_revision(con, programs):
    con.pair.attach(programs["next"], at="peer").detach()
    for how in ({}, {"expected_revision": 1}, {"flags": BPF_F_REPLACE}):
        assert refusal(lambda how=how: con.pair.detach(at="peer", **how))[0] == "ENOENT"


def test_detaching_insists_on_the_revision_and_replaces_nothing(con, programs):
    con.pair.attach(programs["next"], at="peer")
    assert refusal(lambda: con.pair.detach(at="peer", flags=BPF_F_REPLACE, expected_revision=9))[0] == "EINVAL"
    assert refusal(lambda: con.pair.detach(at="peer", expected_revision=1))[0] == "ESTALE"
    assert refusal(lambda: con.pair.detach(programs["pass"], at="peer", expected_revision=1))[0] == "ESTALE"
    con.pair.detach(at="peer", expected_revision=2)

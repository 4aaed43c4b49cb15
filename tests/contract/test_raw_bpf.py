"""Every refusal of bpf(2) at netkit's hooks, in its order, through the raw door (mprog.c, syscall.c, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.kernels import ROWS
from netkit_edu.uapi import (
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_NETKIT_PEER,
    BPF_PROG_TYPE_XDP,
    BpfCmd,
)
from tests.contract.conftest import refused

ATTACH, DETACH, QUERY, CREATE, UPDATE = (
    BpfCmd.PROG_ATTACH, BpfCmd.PROG_DETACH, BpfCmd.PROG_QUERY, BpfCmd.LINK_CREATE, BpfCmd.LINK_UPDATE,
)  # fmt: skip


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
        refused("EINVAL", lambda i=ifindex: bpf(cmd, target_ifindex=i, tail=bytes(8) + b"\1", **prog))
    hook = {"attach_type": BPF_NETKIT_PEER, "target_ifindex": con.device.ifindex}
    refused("EACCES", lambda: con.sys.bpf(cmd, **hook, **prog))


def test_bytes_behind_the_last_field_must_be_zero(bpf, ids, p):
    refused("EINVAL", lambda: bpf(ATTACH, attach_bpf_fd=p[0], tail=b"\1"))
    bpf(ATTACH, attach_bpf_fd=p[0], tail=bytes(8))
    refused("EINVAL", lambda: bpf(QUERY, tail=b"\1"))
    assert ids() == [p[0]]


def test_links_are_made_from_as_many_bytes_as_the_kernel_has_fields_for(lab, bpf, p):
    known = ROWS["link-create-bytes"].on(lab.kernel)
    for behind in range(8):
        told = "ENODEV" if behind < known else "EINVAL"
        refused(told, lambda n=behind: bpf(CREATE, prog_fd=p[0], target_ifindex=9999, tail=bytes(n) + b"\1"))


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
]  # the kernel counts programs and links apart: a program's id may well be a link's


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
    refused("EINVAL", lambda: bpf(QUERY, query_flags=2, target_ifindex=9999))
    refused("ENODEV", lambda: bpf(QUERY, query_flags=1, target_ifindex=9999))  # BPF_F_QUERY_EFFECTIVE, for cgroups
    refused("EINVAL", lambda: bpf(QUERY, query_flags=1))
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


def test_a_descriptor_of_the_program_is_all_that_attaching_and_detaching_take(lab, bpf, ids, p):
    """Without one, and to look, one must be capable; what is wrong with the call itself is told before that."""
    bpf(ATTACH, attach_bpf_fd=p[0], capable=False)
    link = bpf(CREATE, prog_fd=p[1], capable=False)["link_fd"]
    may = ROWS["detach-unasked"].on(lab.kernel) == "done"  # then it is the link's program, which only the link detaches
    refused("EBUSY" if may else "EPERM", lambda: bpf(DETACH, capable=False))
    refused("ENODEV" if may else "EPERM", lambda: bpf(DETACH, target_ifindex=9999, capable=False))
    refused("EINVAL", lambda: bpf(DETACH, attach_flags=2, capable=False))
    refused("EPERM", lambda: bpf(QUERY, capable=False))
    refused("EPERM", lambda: bpf(QUERY, query_flags=1, tail=b"\1", capable=False))
    assert ids() == [p[0], p[1]] and link
    bpf(DETACH, attach_bpf_fd=p[0], capable=False)
    assert ids() == [p[1]]


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

"""Hooks through the door, at tcx, which every kernel with mprog has: chains, links, refusals, and who may."""

from __future__ import annotations

import contextlib
import random

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import (
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_LINK_TYPE_TCX,
    BPF_NETKIT_PEER,
    BPF_NETKIT_PRIMARY,
    BPF_PROG_TYPE_XDP,
    BPF_TCX_EGRESS,
    BPF_TCX_INGRESS,
    BpfCmd,
)
from tests.linux.bpf_room import LO, load

IN = BPF_TCX_INGRESS


def refused(errno: str, call) -> KernelError:
    with pytest.raises(KernelError) as refusal:
        call()
    assert refusal.value.name == errno
    return refusal.value


def ids(room, ns) -> list[int]:
    return [entry.prog_id for entry in room.prog_query(ns, LO, IN).entries]


def test_programs_go_into_the_list_of_the_namespace_they_are_attached_from(room, ns):
    other = room.new_netns()
    one, two, three = (load(room, name=f"p{n}") for n in range(3))
    room.prog_attach(ns, LO, IN, one)
    room.prog_attach(ns, LO, IN, two, flags=BPF_F_BEFORE, relative=one)
    room.prog_attach(ns, LO, IN, three, flags=BPF_F_AFTER | BPF_F_ID, relative=two, expected_revision=3)
    assert room.prog_query(ns, LO, IN) == (4, ((two, "p1", 0), (three, "p2", 0), (one, "p0", 0)))
    assert room.prog_query(other, LO, IN) == (1, ())
    room.prog_attach(other, LO, IN, one)
    room.prog_detach(ns, LO, IN, three)
    room.prog_detach(ns, LO, IN)
    assert (ids(room, ns), ids(room, other)) == ([two], [one])
    refused("EBADF", lambda: room.prog_attach(77, LO, IN, one))


def test_a_link_has_an_id_and_ends_when_it_is_closed(room, ns):
    one, two = load(room), load(room)
    link = room.bpf_link_create(ns, LO, IN, one)
    assert room.bpf_link_info(link) == (link, BPF_LINK_TYPE_TCX, one, LO, IN)
    assert room.prog_query(ns, LO, IN).entries[0].link_id == link
    room.bpf_link_update(link, two, flags=BPF_F_REPLACE, old=one)
    refused("EPERM", lambda: room.bpf_link_update(link, one, flags=BPF_F_REPLACE, old=one))
    room.bpf_link_detach(link)
    assert room.bpf_link_info(link) == (link, BPF_LINK_TYPE_TCX, two, 0, IN)
    refused("ENOLINK", lambda: room.bpf_link_update(link, one))
    again = room.bpf_link_create(ns, LO, IN, one)
    room.bpf_link_close(again)
    assert ids(room, ns) == []
    refused("EBADF", lambda: room.bpf_link_info(again))
    refused("EBADF", lambda: room.bpf_link_close(again))


def test_a_number_of_another_kind_is_a_descriptor_of_another_kind(room, ns, hash_map):
    xdp = load(room, "r0 = 2\nexit", prog_type=BPF_PROG_TYPE_XDP)
    for wrong, errno in ((hash_map, "EINVAL"), (xdp, "EINVAL"), (0, "EINVAL"), (99_999_999, "EBADF")):
        refused(errno, lambda wrong=wrong: room.prog_attach(ns, LO, IN, wrong))
    for wrong, errno in ((hash_map, "EINVAL"), (99_999_999, "EBADF")):
        refused(errno, lambda wrong=wrong: room.bpf_link_update(wrong, load(room)))
        refused(errno, lambda wrong=wrong: room.bpf_link_info(wrong))


def test_an_attached_program_that_came_from_elsewhere_has_its_name_too(room, ns):
    stranger = load(room, name="stranger")
    room.prog_attach(ns, LO, IN, stranger)
    known = room._progs.pop(stranger)
    assert room.prog_query(ns, LO, IN).entries[0][:2] == (stranger, "stranger")
    room._progs[stranger] = known


# the raw call ---------------------------------------------------------------------------------------------------------


def raw(room, ns, cmd, **fields):
    how = {name: fields.pop(name) for name in ("tail", "capable") if name in fields}
    return room.raw_bpf(ns, cmd, {"target_ifindex": LO, "attach_type": IN} | fields, **how)


def test_a_raw_query_tells_as_much_as_there_is_room_for(room, ns):
    progs = [load(room) for _ in range(3)]
    assert raw(room, ns, BpfCmd.PROG_QUERY, count=8, prog_ids=1) == {"attach_flags": 0, "revision": 1, "count": 0}
    for prog in progs:
        raw(room, ns, BpfCmd.PROG_ATTACH, attach_bpf_fd=prog)
    counts = {"attach_flags": 0, "revision": 4, "count": 3}
    assert raw(room, ns, BpfCmd.PROG_QUERY) == counts
    assert raw(room, ns, BpfCmd.PROG_QUERY, count=9, prog_ids=1, link_ids=1) == counts | {
        "prog_ids": progs, "link_ids": [0, 0, 0],
    }  # fmt: skip
    little = refused("ENOSPC", lambda: raw(room, ns, BpfCmd.PROG_QUERY, count=2, prog_ids=1))
    assert little.answer == counts | {"prog_ids": progs[:2]}
    refused("EFAULT", lambda: raw(room, ns, BpfCmd.PROG_QUERY, count=4, prog_ids=1, link_ids=-1))


def test_a_raw_link_is_told_by_its_number(room, ns):
    one, two = load(room), load(room)
    link = raw(room, ns, BpfCmd.LINK_CREATE, prog_fd=one)["link_fd"]
    room.raw_bpf(ns, BpfCmd.LINK_UPDATE, {"link_fd": link, "new_prog_fd": two})
    told = room.raw_bpf(ns, BpfCmd.OBJ_GET_INFO_BY_FD, {"bpf_fd": link})
    assert told == {"id": link, "type": BPF_LINK_TYPE_TCX, "prog_id": two, "ifindex": LO, "attach_type": IN}
    raw(room, ns, BpfCmd.PROG_ATTACH, attach_bpf_fd=one, attach_flags=BPF_F_AFTER | BPF_F_LINK, relative_fd=link)
    room.raw_bpf(ns, BpfCmd.LINK_DETACH, {"link_fd": link})
    assert ids(room, ns) == [one]


@pytest.mark.parametrize("cmd", [BpfCmd.PROG_ATTACH, BpfCmd.PROG_DETACH, BpfCmd.PROG_QUERY, BpfCmd.LINK_CREATE])
def test_bytes_behind_the_last_field_must_be_zero(room, ns, cmd):
    prog = load(room)
    if cmd in (BpfCmd.PROG_DETACH, BpfCmd.PROG_QUERY):
        room.prog_attach(ns, LO, IN, prog)
    fields = {
        BpfCmd.PROG_ATTACH: {"attach_bpf_fd": prog}, BpfCmd.PROG_DETACH: {"attach_bpf_fd": prog},
        BpfCmd.LINK_CREATE: {"prog_fd": prog},
    }.get(cmd, {})  # fmt: skip
    refused("EINVAL", lambda: raw(room, ns, cmd, tail=b"\0\1", **fields))
    raw(room, ns, cmd, tail=bytes(8), **fields)


def test_an_unknown_command_or_field(room, ns):
    refused("EINVAL", lambda: room.raw_bpf(ns, 9999, {}))
    with pytest.raises(UsageError, match="has no field sideways"):
        raw(room, ns, BpfCmd.PROG_QUERY, sideways=1)


def test_without_cap_net_admin_only_who_holds_a_program_detaches_it(room, ns):
    one, two = load(room), load(room)
    for prog in (one, two):
        room.prog_attach(ns, LO, IN, prog)
    refused("EPERM", lambda: raw(room, ns, BpfCmd.PROG_QUERY, capable=False))
    try:
        raw(room, ns, BpfCmd.PROG_DETACH, capable=False)
    except KernelError as refusal:
        left = [one, two]
        assert refusal.name == "EPERM"
    else:  # kernels differ: netkit_edu/kernels.py, "detach-unasked"
        left = [one]
    assert ids(room, ns) == left
    raw(room, ns, BpfCmd.PROG_DETACH, attach_bpf_fd=one, capable=False)
    assert ids(room, ns) == left[1:]


# the simulator beside it ----------------------------------------------------------------------------------------------


def random_call(chance: random.Random) -> tuple[str, dict]:
    """Return one call on a hook, in terms of the first few programs and links."""
    what = chance.choice(["attach", "attach", "attach", "detach", "link", "link", "update", "unlink", "close"])
    how = {"prog": chance.randrange(7), "other": chance.randrange(7), "link": chance.randrange(4)}
    flags = [0, 0, 0, BPF_F_BEFORE, BPF_F_AFTER, BPF_F_BEFORE | BPF_F_AFTER]
    how["flags"] = chance.choice(flags) | chance.choice([0, 0, 0, BPF_F_ID, BPF_F_LINK, BPF_F_LINK | BPF_F_ID])
    how["flags"] |= chance.choice([0, 0, 0, BPF_F_REPLACE])
    how["relative"] = chance.choice(["none", "prog", "prog", "link", "bad"])
    how["revision"] = chance.choice([0, 0, 0, 0, 1, 3])
    return what, how


class Player:
    """Plays calls on one backend, and says what became of them in terms that another backend shares."""

    def __init__(self, calls, ns, ifindex: int = LO, attach_type: int = IN):
        self.calls, self.hook = calls, (ns, ifindex, attach_type)
        self.progs = [load(calls, name=f"p{n}") for n in range(7)]
        self.links: list[int] = []

    def play(self, what: str, how: dict):
        try:
            self._play(what, how)
            said = "ok"
        except KernelError as refusal:
            said = refusal.name
        revision, entries = self.calls.prog_query(*self.hook)
        names = [(entry.name, self.links.index(entry.link_id) if entry.link_id else -1) for entry in entries]
        return said, revision, names

    def clear(self) -> None:
        """Leave the hook empty."""
        for link in self.links:
            with contextlib.suppress(KernelError):
                self.calls.bpf_link_close(link)
        while self.calls.prog_query(*self.hook).entries:
            self.calls.prog_detach(*self.hook)

    def _play(self, what: str, how: dict) -> None:
        prog, calls = self.progs[how["prog"]], self.calls
        link = self.links[how["link"] % len(self.links)] if self.links else 99_999_999
        # a link that was closed is no number any more; its id could be anyone's
        relative = {"none": 0, "prog": self.progs[how["other"]], "link": link, "bad": 99_999_999}[how["relative"]]
        if how["relative"] == "prog" and how["flags"] & BPF_F_LINK:
            relative = 99_999_999  # ids of programs and links overlap in the kernel
        if how["relative"] == "link" and not how["flags"] & BPF_F_LINK:
            relative = 99_999_999
        place = {"relative": relative, "expected_revision": how["revision"]}
        hook, flags = self.hook, how["flags"]
        if what == "attach":
            calls.prog_attach(*hook, prog, flags=flags, replace=self.progs[how["other"]], **place)
        elif what == "detach":
            calls.prog_detach(*hook, prog if how["other"] else 0, flags=flags, **place)
        elif what == "link":
            self.links.append(calls.bpf_link_create(*hook, prog, flags=flags, **place))
        elif what == "update":
            calls.bpf_link_update(link, prog, flags=flags, old=self.progs[how["other"]] if flags else 0)
        elif what == "unlink":
            calls.bpf_link_detach(link)
        else:
            calls.bpf_link_close(link)


@pytest.mark.parametrize("seed", range(12))
def test_the_simulators_lists_are_the_kernels(room, ns, seed):
    """Random calls on a tcx hook: every answer, every revision and every order is the same."""
    sim = SimBackend()
    play_together(random.Random(seed), Player(room, ns), Player(sim, sim.netns_add("n")))


@pytest.mark.vm
@pytest.mark.parametrize("attach_type", [BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER])
def test_at_netkits_hooks_too(attach_type):
    with nk.Lab("vm") as vm, nk.Lab("sim") as sim:
        hooks = []
        for lab in (vm, sim):
            pair = lab.pod("con", device="netkit").pair
            hooks.append((lab.kernel_calls, lab.host.ns, pair.primary.ifindex, attach_type))
        for seed in range(3):
            play_together(random.Random(seed), *(Player(*hook) for hook in hooks))


def play_together(chance: random.Random, *players: Player) -> None:
    played = []
    for _ in range(80):
        played.append(random_call(chance))
        here, there = (player.play(*played[-1]) for player in players)
        assert here == there, played[-5:]
    for player in players:
        player.clear()


def test_both_directions_of_a_device_are_lists_of_their_own(room, ns):
    prog = load(room)
    room.prog_attach(ns, LO, IN, prog)
    room.prog_attach(ns, LO, BPF_TCX_EGRESS, prog)
    room.prog_detach(ns, LO, IN, prog)
    assert len(room.prog_query(ns, LO, BPF_TCX_EGRESS).entries) == 1

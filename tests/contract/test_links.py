"""Links: what they own, how they change and end, and that they outlive their device (kernel/bpf/syscall.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.uapi import BPF_LINK_TYPE_NETKIT, BPF_NETKIT_PEER
from tests.contract.conftest import refused


@pytest.fixture
def link(con):
    return lambda program, **how: con.pair.attach(program, at="peer", link=True, **how)


def test_a_query_shows_which_link_owns_an_entry(con, attach, link, p):
    attach(p[0])
    made = link(p[1])
    assert con.pair.chain("peer") == (3, ((p[0].id, "next", 0), (p[1].id, "next", made.link)))


def test_a_link_tells_where_its_program_sits(con, link, p):
    made = link(p[0])
    assert made.info == (made.link, BPF_LINK_TYPE_NETKIT, p[0].id, con.pair.peer.ifindex, BPF_NETKIT_PEER)
    assert made.attached


def test_a_link_runs_its_program(con, programs):
    con.pair.attach(programs["drop"], at="peer", link=True)
    assert not con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=7)).fate.delivered


def test_a_links_entry_is_the_links_alone(con, attach, link, order, p):
    """O8"""
    link(p[0])
    refused("EBUSY", lambda: attach(p[1], replace=p[0]))
    refused("EBUSY", lambda: con.pair.detach(p[0], at="peer"))
    refused("EBUSY", lambda: con.pair.detach(at="peer"))
    refused("EEXIST", lambda: attach(p[0]))
    assert order() == [0]


def test_an_attached_program_cannot_be_linked_at_the_same_hook(con, attach, link, order, p):
    """O8"""
    attach(p[0])
    refused("EEXIST", lambda: link(p[0]))
    con.pair.attach(p[0], at="primary", link=True)
    assert order() == [0]


def test_once_a_link_is_gone_the_rest_is_everyones(con, attach, link, order, p):
    """O9"""
    attach(p[0])
    made = link(p[1])
    attach(p[2])
    made.detach()
    assert order() == [0, 2]
    con.pair.detach(at="peer")
    con.pair.detach(p[0], at="peer")
    assert order() == []


def test_a_link_goes_by_other_links_and_programs(attach, link, order, p):
    first = link(p[0])
    attach(p[1], before=first)
    second = link(p[2], after=first)
    link(p[3], before=p[1])
    link(p[4], before=second)
    link(p[5], after=nk.ANY)
    assert order() == [3, 1, 0, 4, 2, 5]
    refused("ENOENT", lambda: attach(p[6], before=p[7]))


def test_a_detached_links_program_is_no_place_to_go_by(attach, link, p):
    made = link(p[0])
    made.detach()
    refused("ENOENT", lambda: attach(p[1], before=made))
    made.close()
    refused("ENOENT", lambda: attach(p[1], before=made))


def test_a_link_made_for_an_opts_program_elsewhere_is_not_that_entry(con, attach, link, p):
    """A relative link must be the owner of the entry, not only name its program."""
    attach(p[0])
    elsewhere = con.pair.attach(p[0], at="primary", link=True)
    refused("ENOENT", lambda: attach(p[1], before=elsewhere))


def test_a_new_link_replaces_nothing(link, attach, order, p):
    attach(p[0])
    refused("ENOENT", lambda: link(p[1], replace=p[0]))
    assert order() == [0]


@pytest.mark.parametrize(("flags", "errno"), [(0x100, "EINVAL"), (1 << 13, "EINVAL"), (4, "ENOENT")])
def test_flags_that_name_no_place_make_no_link(con, link, p, flags, errno):
    refused(errno, lambda: link(p[0], flags=flags))
    assert con.pair.chain("peer").entries == ()


def test_unknown_flags_beside_a_place_are_accepted_of_a_link_only(attach, link, order, p):
    link(p[0])
    link(p[1], before=nk.ANY, flags=0x100)
    assert order() == [1, 0]
    refused("EINVAL", lambda: attach(p[2], before=nk.ANY, flags=0x100))


def test_a_link_can_insist_on_a_revision(con, link, p):
    link(p[0], expected_revision=1)
    refused("ESTALE", lambda: link(p[1], expected_revision=1))
    link(p[1], expected_revision=2)
    assert con.pair.revision("peer") == 3


def test_an_update_keeps_place_and_link(con, attach, link, order, p):
    """L1"""
    attach(p[0])
    made = link(p[1])
    attach(p[2])
    number, revision = made.link, con.pair.revision("peer")
    made.update(p[3])
    assert order() == [0, 3, 2] and made.id == p[3].id
    assert con.pair.chain("peer").entries[1].link_id == number == made.info.id
    assert con.pair.revision("peer") == revision + 1


def test_an_update_to_the_same_program_changes_nothing(con, link, p):
    """L1"""
    made = link(p[0])
    made.update(p[0])
    made.update(p[0], old=p[0])
    assert con.pair.revision("peer") == 2


def test_an_update_may_name_the_program_it_expects(link, order, p):
    """L1"""
    made = link(p[0])
    refused("EPERM", lambda: made.update(p[1], old=p[2]))
    made.update(p[1], old=p[0])
    assert order() == [1]


def test_an_update_to_a_program_of_the_same_hook_is_refused(attach, link, order, p):
    attach(p[0])
    made = link(p[1])
    other = link(p[2])
    for program in (p[0], p[2]):
        refused("EEXIST", lambda program=program: made.update(program))
    assert order() == [0, 1, 2] and made.info.prog_id == p[1].id and other.attached


def test_a_detached_link_is_a_link_to_nothing(con, link, p):
    made = link(p[0])
    made.detach()
    assert con.pair.chain("peer") == (1, ())
    assert (made.info.ifindex, made.info.prog_id, made.info.attach_type) == (0, p[0].id, BPF_NETKIT_PEER)
    assert not made.attached
    made.detach()
    refused("ENOLINK", lambda: made.update(p[1]))
    con.pair.attach(p[1], at="peer", expected_revision=3)


def test_closing_a_link_takes_its_program_off(con, link, p):
    made = link(p[0])
    made.close()
    assert con.pair.chain("peer").entries == ()
    for again in (made.close, made.detach, lambda: made.info, lambda: made.update(p[1])):
        refused("EBADF", again)


def test_leaving_the_block_closes_a_link(con, link, p):
    with link(p[0]) as made:
        assert con.pair.chain("peer").entries
    assert con.pair.chain("peer").entries == () and not made.attached


@pytest.mark.parametrize("end", ["primary", "peer"])
@pytest.mark.parametrize("at", ["primary", "peer"])
def test_links_outlive_their_device(con, p, at, end):
    """O7"""
    made = con.pair.attach(p[0], at=at, link=True)
    con.pair.attach(p[1], at=at)
    getattr(con.pair, end).delete()
    assert (made.info.ifindex, made.info.prog_id) == (0, p[0].id)
    refused("ENOLINK", lambda: made.update(p[2]))
    made.detach()
    made.close()


def test_links_outlive_the_namespace_of_their_device(lab, con, p):
    made = con.pair.attach(p[0], at="peer", link=True)
    con.delete()
    assert not made.attached and made.info.ifindex == 0


def test_through_the_peer_nobody_makes_links(con, p):
    """N4"""
    for at in ("primary", "peer"):
        refused("EACCES", lambda at=at: con.pair.peer.attach(p[0], at=at, link=True))
        assert con.pair.chain(at).entries == ()


def test_only_netkit_devices_take_links(lab, p):
    refused("ENXIO", lambda: lab.nic.attach(p[0], at="primary", link=True))


def test_without_a_link_an_update_replaces_in_place(con, attach, order, p):
    attach(p[0])
    middle = attach(p[1])
    attach(p[2])
    assert middle.update(p[3]) is middle
    assert order() == [0, 3, 2] and middle.id == p[3].id
    refused("EEXIST", lambda: middle.update(p[3]))
    refused("ENOENT", lambda: middle.update(p[4], old=p[5]))
    middle.detach()
    assert order() == [0, 2]


def test_what_was_attached_without_a_link_says_so(attach, p):
    att = attach(p[0])
    for ask in (lambda: att.info, att.close):
        with pytest.raises(nk.UsageError, match="link=True"):
            ask()


# netkit selftests -----------------------------------------------------------------------------------------------------


def runs(attachment) -> int:
    return attachment.maps["seen"][0]["runs"]


def probe(lab, con):
    return lab.host.ping(con)


def test_each_hook_of_an_l2_pair_runs_its_own_link(lab, programs):
    """N1"""
    con = lab.pod("con", device="netkit", mode="l2")
    probe(lab, con)  # so that the two know each other's addresses
    assert con.pair.chain("primary").entries == con.pair.chain("peer").entries == ()
    one = con.pair.attach(lab.load(programs["record"]), at="primary", link=True)
    assert con.pair.chain("primary") == (2, ((one.id, "record", one.link),))
    assert probe(lab, con).fate.delivered
    assert runs(one) == 1
    two = con.pair.attach(lab.load(programs["record"]), at="peer", link=True)
    assert con.pair.chain("peer") == (2, ((two.id, "record", two.link),)) and one.link != two.link
    probe(lab, con)
    assert (runs(one), runs(two)) == (2, 1)
    one.close(), two.close()
    assert con.pair.chain("primary").entries == con.pair.chain("peer").entries == ()


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("mode", ["l2", "l3"])
@pytest.mark.parametrize("at", ["primary", "peer"])
def test_a_second_program_before_the_first_runs_too(lab, programs, at, mode, link):
    """N2, N3"""
    con = lab.pod("con", device="netkit", mode=mode)
    probe(lab, con)
    one = con.pair.attach(lab.load(programs["record"]), at=at, link=link)
    assert con.pair.revision(at) == 2
    probe(lab, con)
    assert runs(one) == 1 and one.maps["seen"][0]["protocol"] == 0x0800
    assert bytes(one.maps["seen"][0]["header"][12:14]) == b"\x08\x00"
    two = con.pair.attach(lab.load(programs["record"]), at=at, link=link, before=one.program)
    assert con.pair.chain(at) == (3, ((two.id, "record", two.link), (one.id, "record", one.link)))
    probe(lab, con)
    assert (runs(one), runs(two)) == (2, 1)
    two.detach()
    assert len(con.pair.chain(at).entries) == 1
    one.detach()
    assert con.pair.chain(at).entries == ()


def test_inside_one_namespace_too_only_the_primary_manages(lab, programs):
    """N4"""
    pair = lab.pair("nk1", peer_name="nk0")
    one = pair.attach(programs["record"], at="primary", link=True)
    for at in ("primary", "peer"):
        refused("EACCES", lambda at=at: pair.peer.chain(at))
        refused("EACCES", lambda at=at: pair.peer.attach(programs["next"], at=at, link=True))
    assert [e.prog_id for e in pair.chain("primary").entries] == [one.id]
    assert pair.chain("peer").entries == ()

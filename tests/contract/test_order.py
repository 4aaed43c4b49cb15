"""Where a program goes in a hook's list, and when the kernel says no (kernel/bpf/mprog.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError


@pytest.fixture
def p(lab, programs):
    """Eight programs P0 to P7: loads of one and the same."""
    return [lab.load(programs["next"]) for _ in range(8)]


@pytest.fixture
def order(con, p):
    """The list of the peer hook as indexes into ``p``."""
    ids = [loaded.id for loaded in p]
    return lambda: [ids.index(entry.prog_id) for entry in con.pair.chain("peer").entries]


@pytest.fixture
def attach(con):
    return lambda program, **place: con.pair.attach(program, at="peer", **place)


def refused(errno: str, call) -> None:
    with pytest.raises(KernelError) as refusal:
        call()
    assert refusal.value.name == errno


def test_programs_go_where_they_are_told(attach, order, p):
    """The worked example of the vectors: G22."""
    attach(p[0])
    attach(p[1])
    attach(p[2], before=p[1])
    assert order() == [0, 2, 1]
    attach(p[3], after=p[0])
    assert order() == [0, 3, 2, 1]
    attach(p[4], before=nk.ANY)
    assert order() == [4, 0, 3, 2, 1]
    attach(p[5], after=nk.ANY)
    assert order() == [4, 0, 3, 2, 1, 5]
    attach(p[6], before=p[1].id)
    assert order() == [4, 0, 3, 2, 6, 1, 5]
    attach(p[7], replace=p[6])
    assert order() == [4, 0, 3, 2, 7, 1, 5]
    attach(p[6], replace=p[7], before=p[1])
    assert order() == [4, 0, 3, 2, 6, 1, 5]
    refused("ERANGE", lambda: attach(p[7], replace=p[6], before=p[4]))
    attach(p[7], replace=p[6], after=p[2])
    assert order() == [4, 0, 3, 2, 7, 1, 5]


def test_an_attachment_tells_a_place_too(attach, order, p):
    first = attach(p[0])
    attach(p[1], before=first)
    attach(p[2], replace=first)
    assert order() == [1, 2]
    assert not first.attached


def test_a_place_beside_a_program_that_is_not_there_is_refused(attach, order, p):
    attach(p[0])
    refused("ENOENT", lambda: attach(p[1], before=p[2]))
    refused("ENOENT", lambda: attach(p[1], after=p[2]))
    refused("ENOENT", lambda: attach(p[1], replace=p[2]))
    refused("ENOENT", lambda: attach(p[1], before=99_999))
    refused("EEXIST", lambda: attach(p[0], replace=p[0]))
    assert order() == [0]


def test_before_and_after_any_contradict_each_other(attach, p):
    refused("ERANGE", lambda: attach(p[0], before=nk.ANY, after=nk.ANY))


def test_a_refusal_leaves_the_revision_and_a_change_raises_it(con, attach, p):
    assert con.pair.revision("peer") == 1
    attach(p[0])
    refused("EEXIST", lambda: attach(p[0]))
    assert con.pair.revision("peer") == 2
    attach(p[1], replace=p[0])
    assert con.pair.revision("peer") == 3


def test_a_queried_empty_hook_says_1_but_its_counter_goes_on(con, attach, p):
    """G21"""
    attach(p[0]).detach()
    assert con.pair.chain("peer") == (1, ())
    refused("ESTALE", lambda: attach(p[0], expected_revision=1))
    attach(p[0], expected_revision=3)
    assert con.pair.revision("peer") == 4


def test_a_hook_holds_63_programs_and_a_full_one_still_replaces(lab, con, programs):
    loads = [lab.load(programs["next"]) for _ in range(65)]
    for loaded in loads[:63]:
        con.pair.attach(loaded, at="peer")
    refused("ERANGE", lambda: con.pair.attach(loads[63], at="peer"))
    con.pair.attach(loads[64], at="peer", replace=loads[62])
    assert len(con.pair.chain("peer").entries) == 63


def test_detaching_by_a_neighbour_that_is_first_takes_the_neighbour_itself(con, attach, order, p):
    for loaded in p[:4]:
        attach(loaded)
    con.pair.detach(at="peer", before=p[2])
    assert order() == [0, 2, 3]
    con.pair.detach(at="peer", before=p[0])
    assert order() == [2, 3]
    con.pair.detach(at="peer", after=p[3])
    assert order() == [2]


def test_detaching_by_the_wrong_neighbour_is_refused(con, attach, order, p):
    for loaded in p[:3]:
        attach(loaded)
    refused("ERANGE", lambda: con.pair.detach(p[0], at="peer", before=p[2]))
    con.pair.detach(p[0], at="peer", before=p[1])
    assert order() == [1, 2]

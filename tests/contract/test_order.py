"""Where a program goes in a hook's list, and when the kernel says no (kernel/bpf/mprog.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from tests.contract.conftest import refused


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


def test_programs_go_in_front_of_and_behind_first_middle_and_last(attach, order, p):
    """O1, O2, O6"""
    for n in (0, 1, 2):
        attach(p[n])
    attach(p[3], before=p[0])
    attach(p[4], before=p[1].id)
    attach(p[5], after=p[1])
    attach(p[6], after=p[2].id)
    assert order() == [3, 0, 4, 1, 5, 2, 6]
    attach(p[7], before=nk.ANY)
    assert order() == [7, 3, 0, 4, 1, 5, 2, 6]


def test_replacing_must_agree_with_a_place_that_is_named(attach, order, p):
    """O4"""
    for n in (0, 1, 2):
        attach(p[n])
    refused("ERANGE", lambda: attach(p[3], replace=p[1], before=p[1]))
    refused("ERANGE", lambda: attach(p[3], replace=p[1], after=p[2]))
    refused("ERANGE", lambda: attach(p[3], replace=p[1], before=nk.ANY))
    refused("ERANGE", lambda: attach(p[3], replace=p[1], after=nk.ANY))
    attach(p[3], replace=p[1], before=p[2])
    attach(p[1], replace=p[3], after=p[0])
    refused("EEXIST", lambda: attach(p[1], replace=p[1]))
    refused("EEXIST", lambda: attach(p[0], replace=p[1]))
    assert order() == [0, 1, 2]


def test_a_full_hook_takes_nothing_wherever_it_is_to_go(lab, con, programs):
    """O11"""
    loads = [lab.load(programs["next"]) for _ in range(64)]
    for loaded in loads[:63]:
        con.pair.attach(loaded, at="peer")
    last, first = loads[63], loads[0]
    for place in ({}, {"before": nk.ANY}, {"after": nk.ANY}, {"before": first}, {"after": first}):
        for link in (False, True):
            refused("ERANGE", lambda place=place, link=link: con.pair.attach(last, at="peer", link=link, **place))
    assert con.pair.revision("peer") == 64


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ({}, [0, 1, 2, 3]),
        ({"before": nk.ANY}, [1, 2, 3, 4]),
        ({"after": nk.ANY}, [0, 1, 2, 3]),
        ({"before": 2}, [0, 2, 3, 4]),
        ({"before": 0}, [1, 2, 3, 4]),
        ({"after": 2}, [0, 1, 2, 4]),
        ({"after": 4}, [0, 1, 2, 3]),
        ({"program": 1, "before": 2}, [0, 2, 3, 4]),
        ({"program": 3, "after": 2}, [0, 1, 2, 4]),
        ({"program": 2, "after": 1, "before": 3}, None),
    ],
)
def test_detach_takes_what_is_named_or_pointed_at(con, attach, order, p, how, left):
    """O10"""
    for n in range(5):
        attach(p[n])
    how = {name: p[value] if isinstance(value, int) else value for name, value in how.items()}
    if left is None:  # the kernel has room for one program to go by
        with pytest.raises(nk.UsageError):
            con.pair.detach(at="peer", **how)
        return
    con.pair.detach(at="peer", **how)
    assert order() == left and con.pair.revision("peer") == 7


@pytest.mark.parametrize(
    ("how", "errno"),
    [
        ({"program": 5}, "ENOENT"),
        ({"before": 5}, "ENOENT"),
        ({"after": 5}, "ENOENT"),
        ({"program": 0, "after": 1}, "ERANGE"),
        ({"program": 2, "before": 1}, "ERANGE"),
        ({"program": 2, "after": nk.ANY}, "ERANGE"),
        ({"program": 0, "before": nk.ANY}, "ERANGE"),
        ({"before": nk.ANY, "after": nk.ANY}, "ERANGE"),
        ({"flags": 4}, "EINVAL"),
        ({"program": 0, "flags": 4}, "EINVAL"),
        ({"expected_revision": 3}, "ESTALE"),
        ({"program": 5, "expected_revision": 3}, "ESTALE"),
    ],
)
def test_a_detach_that_cannot_be_is_refused(con, attach, order, p, how, errno):
    """O10"""
    for n in range(3):
        attach(p[n])
    named = {n: p[v] if isinstance(v, int) and n in ("program", "before", "after") else v for n, v in how.items()}
    refused(errno, lambda: con.pair.detach(at="peer", **named))
    assert order() == [0, 1, 2] and con.pair.revision("peer") == 4


def test_an_empty_hook_has_nothing_to_detach_whatever_else_is_wrong(con, p):
    """The revision and the flags are not even looked at."""
    for how in ({}, {"program": p[0]}, {"expected_revision": 9}, {"flags": 4}, {"before": p[1]}):
        refused("ENOENT", lambda how=how: con.pair.detach(at="peer", **how))


def test_the_two_hooks_of_a_pair_know_nothing_of_each_other(con, attach, p):
    attach(p[0])
    attach(p[1])
    con.pair.attach(p[0], at="primary")
    assert (con.pair.revision("primary"), con.pair.revision("peer")) == (2, 3)
    refused("ENOENT", lambda: con.pair.attach(p[2], at="primary", before=p[1]))

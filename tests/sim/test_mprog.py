"""The order of programs: the worked examples, every refusal, and what holds in any sequence of operations."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.errors import KernelError
from netkit_edu.sim.mprog import Mprog, MprogEntry
from netkit_edu.uapi import BPF_F_AFTER as AFTER
from netkit_edu.uapi import BPF_F_BEFORE as BEFORE
from netkit_edu.uapi import BPF_F_ID as ID
from netkit_edu.uapi import BPF_F_REPLACE as REPLACE
from netkit_edu.uapi import BPF_MPROG_MAX

P = [SimpleNamespace(id=n, name=f"P{n}") for n in range(70)]
LINK = SimpleNamespace(id=1)


def near(number: int | None):
    """What BEFORE and AFTER refer to."""
    return None if number is None else lambda: MprogEntry(P[number])


def attach(mprog: Mprog, number: int, flags: int = 0, rel: int | None = None, replace: int | None = None, **how):
    mprog.attach(
        MprogEntry(P[number]), flags=flags, relative=near(rel), replace=None if replace is None else P[replace], **how
    )


def order(mprog: Mprog) -> list[int]:
    return [entry.prog.id for entry in mprog.progs]


def filled(*numbers: int) -> Mprog:
    mprog = Mprog()
    for number in numbers:
        attach(mprog, number)
    return mprog


def errno(function, *args, **how) -> str:
    with pytest.raises(KernelError) as refusal:
        function(*args, **how)
    return refusal.value.name


def test_before_after_and_replace_put_programs_where_linux_does():
    m = filled(0, 1)
    steps = [
        ((2, BEFORE, 1), [0, 2, 1]),
        ((3, AFTER, 0), [0, 3, 2, 1]),
        ((4, BEFORE), [4, 0, 3, 2, 1]),
        ((5, AFTER), [4, 0, 3, 2, 1, 5]),
        ((6, BEFORE | ID, 1), [4, 0, 3, 2, 6, 1, 5]),
        ((7, REPLACE, None, 6), [4, 0, 3, 2, 7, 1, 5]),
        ((6, REPLACE | BEFORE, 1, 7), [4, 0, 3, 2, 6, 1, 5]),
    ]
    for args, expected in steps:
        attach(m, *args)
        assert order(m) == expected
    assert errno(attach, m, 7, REPLACE | BEFORE, 4, 6) == "ERANGE"
    attach(m, 7, REPLACE | AFTER, 2, 6)
    assert order(m) == [4, 0, 3, 2, 7, 1, 5]
    assert m.revision == 1 + 2 + len(steps) + 1


@pytest.mark.parametrize(
    ("there", "args", "expected"),
    [
        ((), (0, BEFORE | AFTER), "ERANGE"),
        ((), (0, BEFORE | AFTER, 1), "ENOENT"),
        ((), (0, BEFORE, 0), "ENOENT"),  # relative to itself, which is not attached
        ((), (0, 0, 1), "EINVAL"),
        ((0,), (0,), "EEXIST"),
        ((0,), (0, BEFORE), "EEXIST"),
        ((0,), (0, REPLACE, None, 0), "EEXIST"),
        ((0,), (1, REPLACE, None, 2), "ENOENT"),
        ((0,), (1, ID, 0), "EINVAL"),
    ],
)
def test_an_attach_that_cannot_be_is_refused_and_changes_nothing(there, args, expected):
    m = filled(*there)
    before = order(m), m.revision
    assert errno(attach, m, *args) == expected
    assert (order(m), m.revision) == before


def test_the_revision_guards_and_is_not_reset():
    assert errno(Mprog().detach, expected_revision=9) == "ESTALE"  # before the list is seen to be empty
    m = filled(0)
    m.detach(P[0], expected_revision=2)
    assert m.query().revision == 1 and m.revision == 3
    assert errno(attach, m, 1, expected_revision=1) == "ESTALE"
    attach(m, 1, expected_revision=3)
    assert m.query().revision == 4


def test_a_hook_holds_63_programs_and_replace_still_works_when_it_is_full():
    m = filled(*range(BPF_MPROG_MAX))
    for flags, rel in ((0, None), (BEFORE, None), (AFTER, None), (BEFORE, 3)):
        assert errno(attach, m, 64, flags, rel) == "ERANGE"
    attach(m, 64, REPLACE, None, 5)
    assert len(m.progs) == BPF_MPROG_MAX


@pytest.mark.parametrize(
    ("prog", "flags", "rel", "left"),
    [
        (None, 0, None, [0, 1]),
        (None, BEFORE, None, [1, 2]),
        (None, AFTER, None, [0, 1]),
        (None, BEFORE, 1, [1, 2]),
        (None, BEFORE, 0, [1, 2]),  # no predecessor: X itself
        (None, AFTER, 1, [0, 1]),
        (None, AFTER, 2, [0, 1]),  # no successor: X itself
        (0, BEFORE, 1, [1, 2]),
        (2, AFTER, 1, [0, 1]),
    ],
)
def test_detach_removes_what_is_named_or_pointed_at(prog, flags, rel, left):
    m = filled(0, 1, 2)
    m.detach(None if prog is None else P[prog], flags=flags, relative=near(rel))
    assert order(m) == left


@pytest.mark.parametrize(
    ("prog", "flags", "rel", "expected"),
    [
        (5, 0, None, "ENOENT"),
        (0, REPLACE, None, "EINVAL"),
        (0, BEFORE, 2, "ERANGE"),
        (2, AFTER, None, "ERANGE"),
        (None, BEFORE, 5, "ENOENT"),
        (None, ID, 1, "EINVAL"),
    ],
)
def test_a_detach_that_cannot_be_is_refused(prog, flags, rel, expected):
    m = filled(0, 1, 2)
    assert errno(m.detach, None if prog is None else P[prog], flags=flags, relative=near(rel)) == expected
    assert order(m) == [0, 1, 2]


def test_an_entry_of_a_link_is_the_links_to_change():
    m = filled(0)
    m.attach(MprogEntry(P[1], LINK))
    assert errno(attach, m, 2, REPLACE, None, 1) == "EBUSY"
    assert errno(m.detach, P[1]) == "EBUSY"
    assert errno(m.detach) == "EBUSY"  # the last one is the link's
    assert errno(m.detach, P[1], flags=BEFORE, relative=near(0)) == "EBUSY"  # before its place is looked at
    for link, expected in ((None, [2, 0, 1]), (LINK, [0, 2, 1]), (SimpleNamespace(id=2), "ENOENT")):
        other = filled(0)
        other.attach(MprogEntry(P[1], LINK))
        rel = MprogEntry(P[1 if link else 0], link)
        if isinstance(expected, str):
            assert errno(other.attach, MprogEntry(P[2]), flags=BEFORE, relative=lambda rel=rel: rel) == expected
        else:
            other.attach(MprogEntry(P[2]), flags=BEFORE, relative=lambda rel=rel: rel)
            assert order(other) == expected
    m.detach(P[1], link=LINK)
    assert m.query().entries == ((0, "P0", 0),)


OPERATION = st.tuples(
    st.sampled_from(("attach", "detach")),
    st.integers(0, 5),
    st.sampled_from((0, BEFORE, AFTER, REPLACE, REPLACE | BEFORE, BEFORE | AFTER, ID)),
    st.none() | st.integers(0, 5),
    st.integers(0, 5),
)


@settings(deadline=None)
@given(st.lists(OPERATION, max_size=40))
def test_in_any_sequence_programs_stay_unique_and_only_successes_count(operations):
    m = Mprog()
    successes = 0
    for what, number, flags, rel, replace in operations:
        before = order(m)
        try:
            if what == "attach":
                attach(m, number, flags, rel, replace)
            else:
                m.detach(P[number] if flags == 0 else None, flags=flags, relative=near(rel))
        except KernelError:
            assert order(m) == before
        else:
            successes += 1
            kept = [n for n in order(m) if n in before]
            assert kept == [n for n in before if n in order(m)]  # those that stay keep their order
            assert abs(len(order(m)) - len(before)) == (0 if flags & REPLACE else 1)
        assert len(set(order(m))) == len(m.progs)
    assert m.revision == 1 + successes

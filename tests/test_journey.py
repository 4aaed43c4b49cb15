"""A journey's own arithmetic: what it counts, how it reads, how two are put side by side."""

from __future__ import annotations

from netkit_edu.journey import Counts, Fate, FateKind, Hop, HopKind, Journey
from netkit_edu.uapi import Context, Verdict


def journey(*kinds: HopKind, **more) -> Journey:
    hops = tuple(Hop(f"f{n}", kind, Context.PROCESS, "web") for n, kind in enumerate(kinds))
    return Journey(b"", hops, Fate(FateKind.DELIVERED, "outside", "eth0"), **more)


LOOKUP, WIRE, HOOK = HopKind.LOOKUP, HopKind.WIRE, HopKind.HOOK


def test_counts_are_the_sum_over_the_machines():
    j = journey(LOOKUP, HOOK, LOOKUP, WIRE, LOOKUP, HOOK, WIRE, HOOK)
    assert [n.lookups for n in j.machines] == [2, 1, 0]
    assert [n.hooks for n in j.machines] == [1, 1, 1]
    assert Counts(*map(sum, zip(*j.machines, strict=True))) == j.counts


def test_a_path_without_a_wire_is_one_machines():
    j = journey(LOOKUP, HOOK)
    assert j.machines == (j.counts,)


def test_a_wire_at_the_very_end_adds_no_machine():
    assert len(journey(LOOKUP, WIRE).machines) == 1


def test_a_journey_that_never_began_costs_nothing():
    j = journey()
    assert j.machines == (j.counts,) == (Counts(0, 0, 0, 0, 0, 0, 0, 0),)


def test_repr_says_how_it_ended_and_what_the_sender_was_told():
    assert repr(journey(LOOKUP, label="hi", sender_error="ENOBUFS")) == (
        "<Journey of hi: 1 hops, delivered at outside (eth0), sender told ENOBUFS>"
    )


def test_verdicts_are_named_where_netkit_knows_them():
    hops = tuple(
        Hop("bpf_prog_run", HopKind.PROGRAM, Context.PROCESS, "web", "eth0", data={"program": "p", "verdict": code})
        for code in (0, 3)
    )
    ran = Journey(b"", hops, Fate(FateKind.DROPPED)).verdicts
    assert [r.verdict for r in ran] == [Verdict.PASS, 3]


def test_a_comparison_aligns_common_steps_and_keeps_the_rest():
    left, right = journey(LOOKUP, HOOK, WIRE), journey(LOOKUP, HOOK)
    rows = left.compare(right).rows
    assert [(r.left is not None, r.right is not None) for r in rows] == [(True, True), (True, True), (True, False)]
    assert not left.compare(right).same
    assert left.compare(left).same


def test_functions_leaves_out_what_no_tracer_sees():
    seen = Hop("nf_hook_slow", HOOK, Context.SOFTIRQ, "host")
    hidden = Hop("nf_hook", HOOK, Context.SOFTIRQ, "host", observable=False)
    j = Journey(b"", (seen, hidden), Fate(FateKind.DROPPED))
    assert j.functions() == [("nf_hook_slow", Context.SOFTIRQ)]
    assert j.functions(only=["ip_rcv"]) == []

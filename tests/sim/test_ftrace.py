"""The simulator's hops against what Linux's function tracer recorded: the same functions, in order, in context."""

from __future__ import annotations

import re
from functools import cache

import pytest

from netkit_edu.uapi import Context
from tests.requires import SHARED_DATA, required
from tests.sim.topologies import BEYOND, POD_IP, machine

RECORDING = SHARED_DATA / "ftrace-paths.txt"
ROW = re.compile(r"\s*(?P<task>\S+)-\d+\s+\[\d+\]\s+(?P<flags>\S+)\s+(?P<function>\w+)")


@cache
def recording() -> dict[str, list[tuple[str, Context]]]:
    """Title -> the sending task's rows: function without compiler's suffix, and context by the softirq flag.

    ``handle_softirqs`` from __irq_exit_rcu is a timer that happened to fire; the other tasks' rows are not ours.
    """
    paths: dict[str, list[tuple[str, Context]]] = {}
    for line in RECORDING.read_text().splitlines():
        if line.startswith("#### "):
            rows = paths.setdefault(line[5:], [])
        elif (row := ROW.match(line)) and row["task"].startswith("python") and "<-__irq_exit_rcu" not in line:
            rows.append((row["function"], Context.SOFTIRQ if "s" in row["flags"] else Context.PROCESS))
    return paths


@cache
def traced() -> frozenset[str]:
    """Every function that the tracer's filter named, as far as the recordings show."""
    return frozenset(re.findall(r"\s(\w+)(?:\.\w+)* <-", RECORDING.read_text()))


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("title", "kind", "sender", "dst", "warm"),
    [
        ("HOST process -> phys(dummy0)", "veth", "host", BEYOND, True),
        ("HOST loopback", "veth", "host", "127.0.0.1", False),
        ("veth, plain routing: container -> host fwd -> dummy0", "veth", "pod", BEYOND, True),
        ("netkit, no prog, plain routing", "netkit", "pod", BEYOND, True),
    ],
)
def test_the_hops_are_those_that_linux_recorded(title, kind, sender, dst, warm):
    if not RECORDING.is_file():
        (pytest.fail if "vectors" in required() else pytest.skip)(f"no recording at {RECORDING}")
    m = machine(kind)
    ns = getattr(m, sender)
    if warm:  # the first packet to a neighbour takes the slow way, and the recordings but one start later
        m.send(ns, dst)
    journey = m.send(ns, dst)
    assert journey.functions(traced()) == recording()[title]


def test_only_the_first_packet_to_a_neighbour_takes_the_slow_way():
    m = machine("netkit")
    functions = [[h.function for h in m.send(m.host, POD_IP).hops] for _ in range(2)]
    assert ["neigh_resolve_output" in f for f in functions] == [True, False]


def test_the_two_stack_path_has_two_lookups_two_queues_and_more_than_seven_hook_points():
    m = machine("veth")
    counts = m.send(m.pod, BEYOND).counts
    assert (counts.lookups, counts.queues, counts.backlogs) == (2, 2, 1)
    assert counts.hooks >= 7

"""The simulator's hops against what Linux's function tracer recorded: the same functions, in order, in context."""

from __future__ import annotations

import re
from functools import cache

import pytest

from netkit_edu.journey import FateKind
from netkit_edu.uapi import BPF_NETKIT_PEER, BPF_TCX_INGRESS, Context
from tests.requires import SHARED_DATA, required
from tests.sim.topologies import BEYOND, POD_IP, machine, redirecting

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


@pytest.fixture
def recorded():
    """``recorded(title)`` is one path of the recording."""
    if not RECORDING.is_file():
        (pytest.fail if "vectors" in required() else pytest.skip)(f"no recording at {RECORDING}")
    return lambda title: recording()[title]


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
def test_the_hops_are_those_that_linux_recorded(title, kind, sender, dst, warm, recorded):
    m = machine(kind)
    ns = getattr(m, sender)
    if warm:  # the first packet to a neighbour takes the slow way, and the recordings but one start later
        m.send(ns, dst)
    journey = m.send(ns, dst)
    assert journey.functions(traced()) == recorded(title)


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("title", "kind", "hook", "call"),
    [
        ("netkit PEER prog redirect -> dummy0", "netkit", BPF_NETKIT_PEER, "redirect"),
        ("netkit PEER prog redirect_neigh -> dummy0", "netkit", BPF_NETKIT_PEER, "redirect_neigh"),
        ("veth + tcx ingress redirect", "veth", BPF_TCX_INGRESS, "redirect"),
        ("veth + tcx ingress redirect_neigh", "veth", BPF_TCX_INGRESS, "redirect_neigh"),
    ],
)
def test_the_way_out_past_the_hosts_stack_is_as_linux_recorded_it(title, kind, hook, call, recorded):
    m = machine(kind)
    m.sim.prog_attach(m.host, m.primary, hook, redirecting(m.sim, call, m.nic))
    m.send(m.pod, BEYOND)
    journey = m.send(m.pod, BEYOND)
    assert journey.fate.kind is FateKind.TRANSMITTED
    assert journey.functions(traced()) == recorded(title)


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("title", "call", "delivered"),
    [
        ("veth rx -> tcx redirect_peer(kh) -> netkit container", "redirect_peer", True),
        ("veth rx -> tcx redirect(kh,0) -> netkit container", "redirect", False),  # a veth's MAC: OTHERHOST
    ],
)
def test_the_way_into_a_container_past_the_hosts_stack_is_as_linux_recorded_it(title, call, delivered, recorded):
    m = machine("veth")
    box = m.sim.netns_add("box")
    kh = m.sim.link_add(m.host, "netkit", "kh", peer_ns=box, peer={"name": "kc"})
    kc = m.sim.link_get(m.host, kh).peer
    for ns, ifindex, address in ((m.host, kh, "10.0.2.1"), (box, kc, "10.0.2.2")):
        m.sim.link_set(ns, ifindex, up=True)
        m.sim.addr_add(ns, ifindex, f"{address}/24")
    m.sim.route_add(box, "default", via="10.0.2.1")
    m.sim.listen(box, udp=9)
    m.sim.prog_attach(m.host, m.primary, BPF_TCX_INGRESS, redirecting(m.sim, call, kh))
    m.send(m.pod, "10.0.2.2")
    journey = m.send(m.pod, "10.0.2.2")
    assert journey.fate.delivered == delivered and journey.fate.node == "box"
    assert journey.functions(traced()) == recorded(title)


def test_only_the_first_packet_to_a_neighbour_takes_the_slow_way():
    m = machine("netkit")
    functions = [[h.function for h in m.send(m.host, POD_IP).hops] for _ in range(2)]
    assert ["neigh_resolve_output" in f for f in functions] == [True, False]


def test_the_two_stack_path_has_two_lookups_two_queues_and_more_than_seven_hook_points():
    m = machine("veth")
    counts = m.send(m.pod, BEYOND).counts
    assert (counts.lookups, counts.queues, counts.backlogs) == (2, 2, 1)
    assert counts.hooks >= 7

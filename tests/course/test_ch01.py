"""The exercises of chapter 01; their oracles are held against the simulator, packet by packet."""

from __future__ import annotations

import random

import pytest

from netkit_edu.course import check
from netkit_edu.course.ch01 import Cost, Fate, Orphaned, Path, datagram
from netkit_edu.lab import Lab

KEPT = ("10.0.1.2", "10.0.1.1", "10.0.2.1", "192.0.2.1")
FORWARDED = ("10.0.2.2", "192.0.2.2")


@pytest.fixture(scope="module")
def lab():
    with Lab("sim") as lab:
        for name in ("web", "db"):
            lab.pod(name, device="veth")
        for node in lab.nodes.values():
            node.listen(udp=7)
        yield lab


@pytest.mark.parametrize("seed", range(3))
def test_the_fate_oracle_is_what_the_simulator_does(lab, seed):
    exercise = Fate()
    for case in exercise.cases(random.Random(seed)):
        journey = lab.nodes["web"].send(datagram(case).ip)
        assert ("delivered" if journey.fate.delivered else "dropped") == exercise.expected(case), case


def test_a_right_fate_passes():
    assert check(
        "01.fate", lambda dst, ttl: "delivered" if dst in KEPT or dst in FORWARDED and ttl > 1 else "dropped"
    ).passed


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (lambda dst, ttl: "delivered" if ttl > 1 and dst in KEPT + FORWARDED else "dropped", "Only a router"),
        (lambda dst, ttl: "delivered" if dst in KEPT + FORWARDED else "dropped", "How many routers"),
        (lambda dst, ttl: "delivered" if dst in KEPT or dst in FORWARDED and ttl > 2 else "dropped", "1 is enough"),
        (lambda dst, ttl: "delivered" if dst in KEPT or ttl > 1 else "dropped", "Nobody has that address"),
        (lambda dst, ttl: True, "Return the word"),
    ],
)
def test_a_misunderstanding_of_fate_is_named(answer, thought):
    assert thought in check("01.fate", answer).thought


def test_the_orphan_oracle_is_what_the_simulator_does():
    exercise = Orphaned()
    lab, _ = exercise.prepare(None)
    for case in exercise.cases(random.Random(0)):
        hops = exercise.journey(lab, case).hops
        cut = [n for n, hop in enumerate(hops) if hop.function == "sock_wfree"]
        assert len(cut) == 1, case
        drivers = [(hop.node, hop.device) for hop in hops[cut[0] :] if hop.kind == "driver"]
        assert drivers == exercise.expected(case), case


def drivers(journey):
    return [(hop.node, hop.device) for hop in journey.hops if hop.kind == "driver"]


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (lambda journey: [("host", "eth0")], "Look it up"),
        (lambda journey: ("host", "softirq"), "a list of pairs"),
        (lambda journey: len(drivers(journey)), "a list of pairs"),
        (drivers, "while the socket still accounts"),
        (lambda journey: [hop.name for hop in journey.hops], "Each hop has"),
    ],
)
def test_a_misunderstanding_of_the_orphan_is_named(answer, thought):
    assert thought in check("01.orphaned", answer).thought


@pytest.mark.parametrize(
    "devices",
    [("lo",), ("nic",), ("veth",), ("netkit", "nic"), ("veth", "netkit"), ("veth", "veth", "nic"), ("netkit",) * 5],
)
def test_the_cost_oracle_is_what_the_simulator_does(devices):
    journey = walk(devices)
    assert journey.fate.delivered
    assert (journey.counts.lookups, journey.counts.backlogs) == Cost().expected(Path(devices))


def test_a_packet_from_outside_costs_the_same():
    with Lab("sim") as lab:
        pod = lab.pod("web", device="veth")
        pod.listen(udp=7)
        counts = lab.outside.send(udp_to(pod.ip)).counts
        assert (counts.lookups, counts.backlogs) == Cost().expected(Path(("nic", "veth")))


def walk(devices):
    """Send a packet through a row of namespaces joined by these devices, and return its journey."""
    with Lab("sim") as lab:
        if devices == ("lo",):
            lab.host.listen(udp=7)
            return lab.host.send(udp_to(lab.host.ip))
        pairs = [kind for kind in devices if kind != "nic"]
        nodes = [lab.node(f"n{i}") for i in range(len(pairs))] + [lab.host if "nic" in devices else lab.node("last")]
        for here, there, kind, number in zip(nodes, nodes[1:], pairs, range(20, 40), strict=False):
            lab.kernel_calls.sysctl(there.ns, "net.ipv4.ip_forward", 1)
            join(lab, here, there, kind, number)
        goal = lab.outside.ip if "nic" in devices else nodes[-1].ip
        nodes[-1].listen(udp=7)
        return nodes[0].send(udp_to(goal))


def join(lab, here, there, kind, number):
    """Join two namespaces by a pair; the default route of the first leads through it."""
    pair = lab.pair(f"p{number}", primary_in=there, peer_in=here, peer_name=f"q{number}", kind=kind)
    pair.primary.addr(f"10.0.{number}.1/24")
    pair.peer.addr(f"10.0.{number}.2/24")
    pair.primary.up()
    pair.peer.up()
    if kind == "veth":
        here.neigh(f"10.0.{number}.1", pair.primary.mac, dev=pair.peer)
        there.neigh(f"10.0.{number}.2", pair.peer.mac, dev=pair.primary)
    here.route("default", via=f"10.0.{number}.1")


def udp_to(address):
    from netkit_edu.packet import layer

    return layer("IP")(dst=address) / layer("UDP")(dport=7) / b"x"


def cost(lo=(1, 1), last=1, nic=0, netkit=1):
    def answer(devices):
        if devices == ["lo"]:
            return lo
        return len(devices) + last, sum({"veth": 1, "netkit": netkit, "nic": nic}[d] for d in devices)

    return answer


def test_a_right_cost_passes():
    assert check("01.cost", cost()).passed


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (cost(lo=(2, 1)), "loopback is special"),
        (cost(last=0), "The last stack asks too"),
        (cost(netkit=0), "netkit hands over as veth does"),
        (lambda devices: 3, "Return a pair"),
    ],
)
def test_a_misunderstanding_of_cost_is_named(answer, thought):
    assert thought in check("01.cost", answer).thought

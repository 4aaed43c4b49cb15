"""Where unwanted traffic is dropped, and what it has cost by then: the events on its way, counted."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind
from tests.contract.conftest import PAYLOAD, PORT

PLACES = ("netkit program", "tcx ingress", "ip", "udp", "outside")


def dropped(lab, con, programs, place: str):
    """Send a datagram that is dropped at one of the `PLACES`; return its journey, the second one's of two."""
    to, port = lab.outside.ip, PORT
    if place == "netkit program":
        con.pair.attach(programs["drop"], at="peer")
    elif place == "tcx ingress":
        con.pair.primary.attach_tcx(programs["drop"], "ingress")
    elif place == "ip":
        lab.host.sysctl("net.ipv4.ip_forward", 0)
    elif place == "udp":
        to, port = con.gateway, PORT + 1
    elif place == "outside":
        to = "192.0.2.77"
        lab.host.neigh(to, lab.outside.links[-1].mac, dev=lab.nic)
    packet = nk.IP(dst=to) / nk.UDP(dport=port) / PAYLOAD
    con.send(packet)
    journey = con.send(packet)
    assert journey.fate.kind is FateKind.DROPPED, (place, journey.fate)
    return journey


@pytest.fixture
def cost(lab, con, programs):
    return lambda place: dropped(lab, con, programs, place)


def test_a_drop_in_the_program_spares_backlog_softirq_and_the_hosts_stack(lab, con, cost):
    counts, before = cost("netkit program").counts, lab.host.snmp
    assert (counts.backlogs, counts.softirq_hops, counts.lookups, counts.programs) == (0, 0, 1, 1)
    con.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert lab.host.snmp == before


@pytest.mark.parametrize("place", PLACES[1:])
def test_every_later_drop_has_crossed_the_backlog_and_cost_a_softirq(cost, place):
    journey = cost(place)
    counts = journey.counts
    assert counts.backlogs == 1 and counts.softirq_hops > 0
    assert counts.lookups == (1 if place == "tcx ingress" else 2 if place in ("ip", "udp") else 3)


@pytest.mark.parametrize(("place", "answers"), [("netkit program", 0), ("tcx ingress", 0), ("ip", 0), ("udp", 1)])
def test_a_drop_at_a_closed_port_even_causes_an_answer(cost, place, answers):
    assert len(cost(place).replies) == answers


@pytest.mark.parametrize(("earlier", "later"), list(zip(PLACES, PLACES[1:], strict=False)))
def test_the_earlier_the_cheaper(backend, programs, earlier, later):
    steps = []
    for place in (earlier, later):
        with nk.Lab(backend) as lab:
            con = lab.pod("con", device="netkit")
            steps.append(dropped(lab, con, programs, place).counts.hops)
    assert steps[0] < steps[1]


def test_a_policy_drops_for_the_price_of_no_program_at_all(con, cost):
    with_program = cost("netkit program").counts
    con.pair.detach(at="peer")
    con.pair.set_policy(peer_policy="drop")
    counts = con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=PORT)).counts
    assert counts.programs == 0 and counts.hops < with_program.hops


def test_on_veth_the_first_place_for_the_host_to_drop_is_behind_the_backlog(lab, programs):
    web = lab.pod("web", device="veth")
    web.pair.primary.attach_tcx(programs["drop"], "ingress")
    counts = web.send(nk.IP(dst=web.gateway) / nk.UDP(dport=PORT)).counts
    assert (counts.backlogs, counts.lookups) == (1, 1) and counts.softirq_hops > 0

"""Redirects beneath the API: what the CPU remembers, what never ends, what a route that leads out does at home."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.backend import SendRequest
from netkit_edu.errors import ProgramFault, UsageError
from netkit_edu.journey import FateKind
from netkit_edu.program.isa import assemble
from netkit_edu.program.object import ProgramCode
from netkit_edu.sim import filter as bpf_filter
from netkit_edu.uapi import BPF_NETKIT_PEER, BPF_NETKIT_PRIMARY, BPF_TCX_EGRESS, BPF_TCX_INGRESS, Context
from tests.sim.topologies import (
    BEYOND,
    CALLS,
    HOST_IP,
    POD_IP,
    at_rest,
    faulting,
    machine,
    redirecting,
    returning,
    stats,
    udp,
)

LO = 1


@pytest.fixture(autouse=True, scope="module")
def few_hops():
    """Packets that go round for ever are stopped early here."""
    limit, bpf_filter.HOPS_MAX = bpf_filter.HOPS_MAX, 1000
    yield
    bpf_filter.HOPS_MAX = limit


def asking(sim, ifindex: int, code: int) -> int:
    """Load a program that asks for a redirect and then returns something else."""
    text = f"r1 = {ifindex}\nr2 = 0\ncall bpf_redirect#23\nr0 = {code}\nexit"
    return sim.prog_load(ProgramCode("asking", "tc", assemble(text)), {})


def second_pair(m, kind="netkit"):
    """A second container on the machine: (namespace, primary, its address)."""
    box = m.sim.netns_add("box")
    primary = m.sim.link_add(m.host, kind, "box", peer_ns=box, peer={"name": "eth0"})
    peer = m.sim.link_get(m.host, primary).peer
    for ns, ifindex, address in ((m.host, primary, "10.0.2.1"), (box, peer, "10.0.2.2")):
        m.sim.link_set(ns, ifindex, up=True)
        m.sim.addr_add(ns, ifindex, f"{address}/24")
    m.sim.listen(box, udp=9)
    return box, primary, "10.0.2.2"


def test_the_receive_softirq_remembers_a_redirect_for_whoever_comes_next():
    """net_rx_action opens one bpf_net_context for all that runs inside it; a transmission by a task opens its own."""
    m = machine("veth")
    _box, primary, address = second_pair(m)
    m.sim.prog_attach(m.host, m.primary, BPF_TCX_INGRESS, asking(m.sim, LO, 0))
    m.sim.prog_attach(m.host, primary, BPF_NETKIT_PRIMARY, returning(m.sim, 7))
    journey = m.send(m.pod, address)
    assert journey.fate.kind is not FateKind.LOST and journey.fate.node == "box"
    assert m.send(m.host, address).fate.kind is FateKind.LOST
    assert at_rest(m.sim)


def test_programs_on_a_copys_way_share_what_the_copier_has_asked_for():
    """A copy's transmission runs inside the packet's: the last to ask is the one that counts."""
    m = machine("netkit")
    _box, primary, _address = second_pair(m)
    text = (
        f"r6 = r1\nr1 = {m.nic}\nr2 = 0\ncall bpf_redirect#23\n"
        f"r1 = r6\nr2 = {primary}\nr3 = 0\ncall bpf_clone_redirect#13\nr0 = 7\nexit"
    )
    asks_and_copies = m.sim.prog_load(ProgramCode("asks", "tc", assemble(text)), {})
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, asks_and_copies)
    journey = m.send(m.pod, BEYOND)
    assert journey.fate.kind is not FateKind.LOST and "host/dummy0" in journey.counters
    m.sim.prog_attach(m.host, primary, BPF_NETKIT_PRIMARY, asking(m.sim, 77, 2))
    assert "host/dummy0" not in m.send(m.pod, BEYOND).counters


@pytest.mark.parametrize("call", ["redirect", "clone_redirect"])
def test_a_packet_sent_round_for_ever_is_stopped_with_a_sentence(call):
    m = machine("veth")
    m.sim.prog_attach(m.host, m.primary, BPF_TCX_INGRESS, redirecting(m.sim, call, m.primary, 1))
    with pytest.raises(UsageError, match="for ever"):
        m.send(m.pod, HOST_IP)
    assert at_rest(m.sim)


def test_redirect_peer_between_two_ends_is_stopped_too():
    m = machine("veth")
    for ns, ifindex in ((m.host, m.primary), (m.pod, m.peer)):
        m.sim.prog_attach(ns, ifindex, BPF_TCX_INGRESS, redirecting(m.sim, "redirect_peer", ifindex))
    with pytest.raises(UsageError, match="for ever"):
        m.send(m.pod, HOST_IP)
    assert at_rest(m.sim)


@pytest.mark.parametrize("call", ["redirect", "redirect_neigh"])
def test_a_device_that_redirects_to_itself_is_stopped_by_the_recursion_limit(call):
    """Only the redirect counts here, not the queue that is never reached: nine rounds."""
    m = machine("veth")
    m.sim.prog_attach(m.host, m.nic, BPF_TCX_EGRESS, redirecting(m.sim, call, m.nic))
    journey = m.send(m.host, BEYOND)
    assert [hop.function for hop in journey.hops].count("__dev_queue_xmit") == 10
    assert "recursion limit" in journey.fate.reason and at_rest(m.sim)


def test_a_fault_on_the_way_of_a_copy_leaves_the_machine_at_rest():
    m = machine("netkit")
    _box, primary, _address = second_pair(m)
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, redirecting(m.sim, "clone_redirect", primary))
    m.sim.prog_attach(m.host, primary, BPF_NETKIT_PRIMARY, faulting(m.sim))
    with pytest.raises(ProgramFault):
        m.send(m.pod, HOST_IP)
    assert at_rest(m.sim)


@pytest.mark.parametrize(
    ("call", "dst", "fate"),
    [
        ("redirect", HOST_IP, FateKind.DELIVERED),
        ("redirect", BEYOND, FateKind.TRANSMITTED),  # the host forwards what came in by its loopback
        ("redirect_neigh", HOST_IP, FateKind.DELIVERED),
        ("redirect_neigh", BEYOND, FateKind.DELIVERED),  # routed out through the loopback: for us, whoever it is for
    ],
)
def test_a_redirect_to_the_loopback(call, dst, fate):
    m = machine("netkit")
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, redirecting(m.sim, call, LO))
    assert m.send(m.pod, dst).fate.kind is fate


def test_a_packet_routed_to_a_device_and_redirected_to_the_loopback_is_nobodys():
    """It keeps the route it left with, and that one leads in nowhere (dst_discard)."""
    m = machine("netkit")  # whose frames the loopback takes for its own: no MAC address
    m.sim.prog_attach(m.host, m.primary, BPF_TCX_EGRESS, redirecting(m.sim, "redirect", LO))
    fate = m.send(m.host, POD_IP).fate
    assert fate.kind is FateKind.DROPPED and "its route leads elsewhere" in fate.reason


def test_a_copy_belongs_to_no_socket_and_the_packet_still_does():
    m = machine("netkit")
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, redirecting(m.sim, "clone_redirect", m.nic))
    journey = m.send(m.pod, HOST_IP)
    assert journey.fate.delivered
    assert [hop.function for hop in journey.hops].count("sock_wfree") == 1


def test_a_redirected_frame_passes_no_netfilter_hook_of_its_target():
    m = machine("netkit")
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, redirecting(m.sim, "redirect", m.nic))
    hooks = [(hop.device, hop.detail) for hop in m.send(m.pod, BEYOND).hops if hop.detail == "NETDEV_EGRESS"]
    assert hooks == [("eth0", "NETDEV_EGRESS")]


def test_what_was_sent_on_stays_in_the_senders_context_and_is_charged_to_its_socket():
    m = machine("netkit")
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, redirecting(m.sim, "redirect", m.nic))
    journey = m.send(m.pod, BEYOND)
    assert {hop.context for hop in journey.hops} == {Context.PROCESS}
    assert journey.hops[-1].function == "sock_wfree"


@pytest.mark.parametrize("length", [100, 3000])
def test_a_burst_of_redirected_packets_adds_up(length):
    m = machine("netkit")
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, redirecting(m.sim, "redirect_neigh", m.nic))
    journeys = m.sim.send_many(m.pod, SendRequest(udp(BEYOND, bytes(length))), 20)
    assert {journey.fate.kind for journey in journeys} == {FateKind.TRANSMITTED}
    pieces = 1 if length == 100 else 3
    assert m.sim.link_get(m.host, m.nic).stats.tx_packets == 20 * pieces
    assert m.send(m.host, POD_IP).fate.delivered


CALL = st.sampled_from(tuple(CALLS))
WHERE = st.sampled_from(("primary", "peer", "host in", "host out", "nic out", "pod in", "pod out"))
DOINGS = st.one_of(
    st.tuples(st.just("redirect"), WHERE, CALL, st.integers(0, 4), st.integers(0, 1)),
    st.tuples(st.just("return"), WHERE, st.sampled_from((-2, -1, 0, 1, 2, 7))),
    st.tuples(st.just("link"), st.booleans(), st.booleans()),
    st.tuples(st.just("send"), st.booleans(), st.sampled_from((HOST_IP, POD_IP, BEYOND)), st.integers(1, 3)),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(("veth", "netkit")), st.lists(DOINGS, min_size=2, max_size=12))
def test_wherever_programs_send_packets_all_comes_to_rest_and_is_accounted_for(kind, doings):
    m = machine(kind)
    place = {
        "primary": (m.host, m.primary, BPF_NETKIT_PRIMARY), "peer": (m.host, m.primary, BPF_NETKIT_PEER),
        "host in": (m.host, m.primary, BPF_TCX_INGRESS), "host out": (m.host, m.primary, BPF_TCX_EGRESS),
        "nic out": (m.host, m.nic, BPF_TCX_EGRESS),
        "pod in": (m.pod, m.peer, BPF_TCX_INGRESS), "pod out": (m.pod, m.peer, BPF_TCX_EGRESS),
    }  # fmt: skip
    for what, *how in doings:
        if what == "send":
            check_a_send(m, *how)
        elif what == "link":
            m.sim.link_set(*((m.host, m.primary) if how[0] else (m.pod, m.peer)), up=how[1])
        elif kind == "netkit" or how[0] not in ("primary", "peer"):
            prog = redirecting(m.sim, *how[1:]) if what == "redirect" else returning(m.sim, how[1])
            m.sim.prog_attach(*place[how[0]], prog)


def check_a_send(m, from_host: bool, dst: str, n: int) -> None:
    """Send; whatever happens, the machine is at rest, and what the counters gained the journeys can tell."""
    before, gained = stats(m.sim), Counter()
    try:
        journeys = m.sim.send_many(m.host if from_host else m.pod, SendRequest(udp(dst)), n)
    except UsageError:
        assert at_rest(m.sim)
        return
    assert at_rest(m.sim)
    for journey in journeys:
        assert journey.fate.delivered == bool(journey.arrived)
        gained.update({(path, name): n for path, moved in journey.counters.items() for name, n in moved.items()})
    after = stats(m.sim)
    assert gained == {
        (path, name): n - before[path][name]
        for path, counters in after.items()
        for name, n in counters.items()
        if n != before[path][name]
    }


@pytest.mark.parametrize(("ifindex", "code"), [("nic", 0), ("small", 1), (0, 0), (99, -19)])
def test_a_program_compares_its_packet_with_the_mtu_of_any_device_of_the_receiving_namespace(ifindex, code):
    m = machine("netkit")
    small = m.sim.link_add(m.host, "dummy", "small", attrs={"mtu": 100})
    number = {"nic": m.nic, "small": small}.get(ifindex, ifindex)
    text = f"*(u32 *)(r10 -4) = 0\nr2 = {number}\nr3 = r10\nr3 += -4\nr4 = 0\nr5 = 0\ncall bpf_check_mtu#163\nexit"
    prog = m.sim.prog_load(ProgramCode("fits", "tc", assemble(text)), {})
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, prog)
    assert m.send(m.pod, HOST_IP).verdicts[0].verdict == code

"""Whatever is done to the machine, it comes to rest, and its counters are the sum of what its journeys tell."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.backend import SendRequest
from netkit_edu.errors import KernelError, NetkitEduError, ProgramFault
from netkit_edu.journey import FateKind
from netkit_edu.uapi import BPF_NETKIT_PEER, BPF_NETKIT_PRIMARY
from tests.sim.topologies import BEYOND, HOST_IP, POD_IP, at_rest, echo, faulting, machine, returning, stats, udp


@pytest.mark.parametrize("dst", [HOST_IP, BEYOND])
@pytest.mark.parametrize("n", [1, 5])
def test_a_programs_fault_reaches_the_caller_and_leaves_the_machine_at_rest(dst, n):
    m = machine("netkit")
    prog = faulting(m.sim)
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PEER, prog)
    with pytest.raises(ProgramFault):
        m.sim.send_many(m.pod, SendRequest(udp(dst)), n)
    assert at_rest(m.sim)
    assert m.sim.link_get(m.pod, m.peer).stats.tx_dropped == 1
    m.sim.prog_detach(m.host, m.primary, BPF_NETKIT_PEER, prog)
    assert m.send(m.pod, HOST_IP).fate.delivered


def test_a_fault_in_the_answers_path_is_contained_too():
    m = machine("netkit", listen=False)
    m.sim.prog_attach(m.host, m.primary, BPF_NETKIT_PRIMARY, faulting(m.sim))
    with pytest.raises(ProgramFault):
        m.send(m.pod, HOST_IP)  # the host's port unreachable runs into the primary's program, in softirq
    assert at_rest(m.sim)


PACKETS = st.one_of(
    st.builds(
        lambda dst, length, ttl, df: ("udp", udp(dst, bytes(length), ttl=ttl, frag_off=df)),
        st.sampled_from((HOST_IP, POD_IP, BEYOND, "127.0.0.1", "203.0.113.1", "10.0.1.255", "224.0.0.1")),
        st.sampled_from((0, 1, 100, 1472, 1473, 5000)),
        st.sampled_from((1, 2, 64)),
        st.sampled_from((0, 0x4000)),
    ),
    st.builds(lambda dst: ("icmp", echo(dst)), st.sampled_from((HOST_IP, POD_IP, BEYOND))),
    st.builds(lambda data: ("raw", data), st.binary(max_size=80)),
    st.builds(lambda head, data: ("raw", head[:-8] + data), st.just(udp(HOST_IP, src=POD_IP)), st.binary(max_size=60)),
    st.builds(lambda data: ("packet", data), st.binary(max_size=80)),
    st.builds(lambda data: ("packet", bytes(12) + b"\x08\x00" + data), st.binary(max_size=60)),
    st.builds(lambda data: ("packet", b"\xff" * 6 + bytes(6) + b"\x08\x06" + data), st.binary(max_size=40)),
    st.builds(
        lambda n, doff: ("packet", bytes(12) + b"\x08\x00" + tcp(n, doff)), st.integers(0, 4000), st.integers(0, 15)
    ),
)


def tcp(payload: int, doff: int) -> bytes:
    """Return a TCP segment from its IP header, with a header that says it is ``doff`` words long."""
    body = bytes(12) + bytes([doff << 4, 0x18]) + bytes(6 + payload)
    return udp(POD_IP, src=HOST_IP)[:9] + b"\x06" + udp(POD_IP, src=HOST_IP)[10:20] + body


STEPS = st.one_of(
    st.tuples(st.just("send"), st.booleans(), PACKETS, st.integers(1, 4), st.sampled_from((0, 0, 1, 700, 1400))),
    st.tuples(st.just("link"), st.booleans(), st.booleans()),
    st.tuples(st.just("attach"), st.booleans(), st.sampled_from((-2, -1, 0, 1, 2, 3, 7, 100))),
    st.tuples(st.just("detach"), st.booleans()),
    st.tuples(st.just("policy"), st.sampled_from((0, 2)), st.sampled_from((0, 2))),
    st.tuples(st.just("forward"), st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(("veth", "netkit", "l2", "arp")), st.integers(0, 5), st.lists(STEPS, max_size=15))
def test_in_any_state_everything_comes_to_rest_and_the_counters_add_up(kind, backlog, steps):
    m = machine(
        "veth" if kind == "veth" else "netkit", backlog=backlog, info={"mode": 0} if kind in ("l2", "arp") else None
    )
    if kind == "arp":  # nobody knows anybody
        for dev in (
            m.sim._kernel.namespaces[m.host].devices[m.primary],
            m.sim._kernel.namespaces[m.pod].devices[m.peer],
        ):
            dev.neighbours.clear()
    before, gained = stats(m.sim), Counter()
    for step in steps:
        try:
            journeys = do(m, kind, step)
        except NetkitEduError:
            journeys = ()
        assert at_rest(m.sim)
        for journey in journeys:
            assert journey.fate.kind in FateKind
            assert journey.fate.delivered == bool(journey.arrived)
            assert (journey.sender_error is None) or journey.fate.kind in (FateKind.NOT_SENT, FateKind.DROPPED)
            for path, counters in journey.counters.items():
                gained.update({(path, name): n for name, n in counters.items()})
    moved = {}
    for path, counters in stats(m.sim).items():
        moved |= {(path, name): n - before[path][name] for name, n in counters.items() if n != before[path][name]}
    assert gained == moved


def do(m, kind, step):
    """Carry out one step; a send returns its journeys."""
    what, *args = step
    end = (m.host, m.primary) if args[0] else (m.pod, m.peer)
    if what == "send":
        via, packet = args[1]
        request = SendRequest(packet, via, end[1] if via == "packet" else 0, recverr=True, gso_size=args[3])
        return m.sim.send_many(end[0], request, args[2])
    if what == "link":
        m.sim.link_set(*end, up=args[1])
    elif what == "forward":
        m.sim.sysctl(m.host, "net.ipv4.ip_forward", args[0])
    elif kind != "veth":
        hook = BPF_NETKIT_PRIMARY if args[0] else BPF_NETKIT_PEER
        if what == "attach":
            m.sim.prog_attach(m.host, m.primary, hook, returning(m.sim, args[1]))
        elif what == "detach":
            m.sim.prog_detach(m.host, m.primary, hook)
        else:
            m.sim.link_set(m.host, m.primary, info={"policy": args[0], "peer_policy": args[1]})
    return ()


def test_a_drivers_own_error_is_not_taken_for_the_stacks_refusal():
    m = machine("netkit")
    dev = m.sim._kernel.namespaces[m.pod].devices[m.peer]

    def broken_xmit(skb, dev):
        raise KernelError("EIO")

    dev.netdev_ops = type(dev.netdev_ops)(ndo_start_xmit=broken_xmit)
    with pytest.raises(KernelError):
        m.send(m.pod, HOST_IP)
    assert at_rest(m.sim)

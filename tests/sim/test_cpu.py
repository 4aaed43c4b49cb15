"""The backlog: how much fits, what a burst does to it, and how the softirq takes its turns."""

from __future__ import annotations

from netkit_edu.backend import SendRequest
from netkit_edu.sim.backend import SimBackend
from netkit_edu.uapi import Context
from tests.sim.topologies import HOST_IP, at_rest, machine, udp


def test_a_burst_overflows_the_backlog_and_all_three_counters_tell():
    m = machine("netkit", backlog=10)
    journeys = m.sim.send_many(m.pod, SendRequest(udp(HOST_IP), recverr=True), 15)
    assert [str(j.fate.kind) for j in journeys] == ["delivered"] * 11 + ["dropped"] * 4  # one more than the limit fits
    assert {j.fate.reason for j in journeys[11:]} == {"CPU_BACKLOG"}
    assert {j.sender_error for j in journeys[11:]} == {"ENOBUFS"}
    sender, receiver = m.sim.link_get(m.pod, m.peer).stats, m.sim.link_get(m.host, m.primary).stats
    assert (sender.tx_packets, sender.tx_dropped) == (11, 4)
    assert (receiver.rx_packets, receiver.rx_dropped) == (11, 4)
    assert m.sim._kernel.cpus[0].dropped == 4
    assert at_rest(m.sim)


def test_the_same_packets_one_by_one_all_arrive():
    m = machine("netkit", backlog=0)
    assert all(m.send(m.pod, HOST_IP).fate.delivered for _ in range(15))


def test_one_softirq_serves_a_burst_in_polls_of_64_packets():
    m = machine("veth")
    for packets, polls in ((64, 1), (65, 2), (130, 3), (200, 4)):
        journeys = m.sim.send_many(m.pod, SendRequest(udp(HOST_IP)), packets)
        for function, times in (("__do_softirq", 1), ("net_rx_action", 1), ("process_backlog", polls)):
            assert sum(h.function == function for j in journeys for h in j.hops) == times


def test_a_softirq_handles_300_packets_in_a_round_and_then_begins_another():
    m = machine("veth")
    journeys = m.sim.send_many(m.pod, SendRequest(udp(HOST_IP)), 700)
    rounds = [number for number, j in enumerate(journeys) if any(h.function == "net_rx_action" for h in j.hops)]
    assert rounds == [0, 320, 640]  # the budget is looked at after each poll of 64


def test_the_softirq_runs_inside_the_senders_call():
    m = machine("veth")
    hops = m.send(m.pod, HOST_IP).hops
    contexts = [h.context for h in hops]
    assert contexts == sorted(contexts, key=[Context.PROCESS, Context.SOFTIRQ].index)
    functions = [h.function for h in hops]
    assert functions.index("enqueue_to_backlog") + 1 == functions.index("__do_softirq")


def test_the_backlog_is_that_of_the_cpu_the_sender_runs_on():
    sim = SimBackend(cpus=2)
    ns = sim.netns_add("x")
    sim.listen(ns, udp=9)
    assert {h.cpu for h in sim.send(ns, SendRequest(udp("127.0.0.1"), cpu=1)).hops} == {1}
    assert [cpu.processed for cpu in sim._kernel.cpus] == [0, 1]

"""tcx beneath the API: redirects remembered by the CPU, programs that go with their device."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError, ProgramFault
from netkit_edu.journey import FateKind
from netkit_edu.uapi import BPF_TCX_EGRESS, BPF_TCX_INGRESS, Context
from tests.sim.topologies import BEYOND, POD_IP, at_rest, faulting, machine, returning


@pytest.mark.parametrize("kind", ["veth", "netkit"])
def test_egress_runs_before_the_queue_and_ingress_behind_the_backlog(kind):
    m = machine(kind)
    for ns, ifindex, which, name in (
        (m.host, m.primary, BPF_TCX_EGRESS, "out"),
        (m.pod, m.peer, BPF_TCX_INGRESS, "in"),
    ):
        m.sim.prog_attach(ns, ifindex, which, returning(m.sim, -1, name))
    journey = m.send(m.host, POD_IP)
    functions = [hop.function for hop in journey.hops if hop.observable]
    out, into = (i for i, f in enumerate(functions) if f == "bpf_prog_run")
    assert functions[out - 1] == "__dev_queue_xmit" and functions[out + 1] == "dev_hard_start_xmit"
    assert functions[into - 1] == "__netif_receive_skb_core" and functions[into + 1] == "ip_rcv"
    ran = [hop for hop in journey.hops if hop.function == "bpf_prog_run"]
    assert [(hop.context, hop.device) for hop in ran] == [(Context.PROCESS, "pod"), (Context.SOFTIRQ, "eth0")]
    assert [hop.data["hook"] for hop in ran] == ["tcx egress", "tcx ingress"]


@pytest.mark.parametrize("which", [BPF_TCX_INGRESS, BPF_TCX_EGRESS])
def test_a_programs_fault_leaves_the_machine_at_rest(which):
    m = machine("netkit")
    ns, ifindex = (m.host, m.primary) if which == BPF_TCX_EGRESS else (m.pod, m.peer)
    m.sim.prog_attach(ns, ifindex, which, faulting(m.sim))
    with pytest.raises(ProgramFault):
        m.send(m.host, POD_IP)
    assert at_rest(m.sim)


def test_programs_go_with_their_device():
    m = machine("veth")
    prog = returning(m.sim, 2)
    m.sim.prog_attach(m.host, m.nic, BPF_TCX_EGRESS, prog)
    assert m.send(m.host, BEYOND).fate.kind is FateKind.DROPPED
    m.sim.link_del(m.host, m.nic)
    with pytest.raises(KernelError) as refusal:
        m.sim.prog_query(m.host, m.nic, BPF_TCX_EGRESS)
    assert refusal.value.name == "ENODEV"


def test_a_link_at_tcx_lets_go_of_a_deleted_device():
    m = machine("veth")
    link = m.sim.bpf_link_create(m.host, m.nic, BPF_TCX_INGRESS, returning(m.sim, 2))
    assert m.sim.bpf_link_info(link).type == 11 and m.sim.bpf_link_info(link).ifindex == m.nic
    m.sim.link_del(m.host, m.nic)
    assert m.sim.bpf_link_info(link).ifindex == 0
    m.sim.bpf_link_close(link)

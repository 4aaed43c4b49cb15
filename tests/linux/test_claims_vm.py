"""The article's claims on a real Linux with netkit, one test each: what course.toml names as their proof.

Finer details are the contract's (tests/contract), which runs on the same backend; here each claim is said once.
"""

from __future__ import annotations

import itertools

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.linux.kernelbtf import KernelBtf
from netkit_edu.linux.trace_setup import BTF_FILE, read_file
from tests.requires import a_compiler

pytestmark = [pytest.mark.vm, a_compiler()]
POINTER = 8  # bytes
NUMBERS = itertools.count(1)
DNS = nk.IP(dst="192.0.2.2") / nk.UDP(dport=53) / b"hi"
PROGRAMS = """
#include "netkit_edu.h"

volatile const __u32 TARGET;
volatile const __s32 CODE;

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); }
    seen SEC(".maps");

SEC("netkit/peer") int say(struct __sk_buff *skb) { return CODE; }
SEC("netkit/peer") int look(struct __sk_buff *skb)
{
    __u32 zero = 0, ifindex = skb->ifindex;

    bpf_map_update_elem(&seen, &zero, &ifindex, BPF_ANY);
    return NETKIT_NEXT;
}
SEC("netkit/peer") int mark(struct __sk_buff *skb) { skb->mark = 0xabc; return NETKIT_NEXT; }
SEC("netkit/peer") int read_mark(struct __sk_buff *skb) { return skb->mark == 0xabc ? NETKIT_DROP : NETKIT_NEXT; }
SEC("netkit/peer") int send_to(struct __sk_buff *skb) { return bpf_redirect(TARGET, 0); }
SEC("netkit/peer") int neigh_to(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, 0, 0, 0); }
"""


@pytest.fixture(scope="module")
def lab():
    with nk.Lab("vm") as lab:
        yield lab


@pytest.fixture(scope="module")
def programs():
    return nk.compile(PROGRAMS)


@pytest.fixture
def pod(lab):
    made = lab.pod(f"pod{next(NUMBERS)}", device="netkit")
    yield made
    lab.forget(made)


@pytest.fixture
def veth(lab):
    made = lab.pod(f"veth{next(NUMBERS)}", device="veth")
    yield made
    lab.forget(made)


def functions(journey, node="") -> list[str]:
    return [hop.function for hop in journey.hops if node in ("", hop.node)]


def test_a_pod_reaches_the_outside_through_the_whole_stack_of_a_virtual_device(veth):
    """C1"""
    journey = veth.send(DNS)
    assert journey.fate.delivered
    path = ["udp_sendmsg", "ip_output", "__dev_queue_xmit", "veth_xmit", "ip_rcv", "ip_forward", "nic_xmit"]
    assert [name for name in dict.fromkeys(functions(journey)) if name in path] == path


def test_the_classic_path_has_two_stacks(veth, lab):
    """C2"""
    veth.send(DNS)
    journey = veth.send(DNS)
    assert functions(journey, veth.name).count("fib_table_lookup") == functions(journey, "host").count(
        "fib_table_lookup"
    )
    host = functions(journey, "host")
    steps = ["enqueue_to_backlog", "ip_rcv", "fib_table_lookup", "ip_forward", "sch_direct_xmit", "nic_xmit"]
    assert [name for name in host if name in steps] == steps
    assert journey.machines[0].lookups == lab.host.send(DNS).machines[0].lookups + 1


def test_a_driver_is_a_table_of_functions_and_the_kernel_calls_its_ndo_start_xmit(lab, pod):
    """C4"""
    btf = KernelBtf(read_file(lab.kernel_calls.door, BTF_FILE))
    assert btf.offset("net_device_ops", "ndo_start_xmit") == 4 * POINTER
    assert btf.offset("net_device_ops", "ndo_hwtstamp_set") // POINTER in range(70, 100)
    text = lab.ftrace(lambda: pod.send(DNS), ["netkit_xmit"])
    assert "netkit_xmit <-dev_hard_start_xmit" in text


def test_an_ordinary_virtual_device_hands_the_packet_to_its_peers_backlog(veth):
    """C5"""
    journey = veth.send(DNS)
    names = functions(journey)
    assert names.index("veth_xmit") < names.index("enqueue_to_backlog") < names.index("net_rx_action")
    assert str(journey.hops[names.index("enqueue_to_backlog")].context) == "process"
    assert str(journey.hops[names.index("process_backlog")].context) == "softirq"


def test_each_end_takes_several_programs(lab, pod, programs):
    """C6"""
    next_one = programs.say.bind(CODE=-1)
    for at in ("primary", "peer"):
        for _ in range(63):
            pod.pair.attach(lab.load(next_one), at=at)
        with pytest.raises(nk.KernelError, match="ERANGE"):
            pod.pair.attach(lab.load(next_one), at=at)
        assert len(pod.pair.chain(at).entries) == 63


def test_root_in_the_pod_may_not_attach_but_may_delete_its_device(lab, pod, programs):
    """C7"""
    guard = pod.pair.attach(programs.say.bind(CODE=-1), at="peer")
    eth0 = pod.pair.peer
    attempts = [
        lambda: eth0.attach(programs.look, at="peer"),
        lambda: eth0.detach(at="peer"),
        lambda: eth0.chain("peer"),
        lambda: eth0.set_policy(peer_policy="drop"),
    ]
    for attempt in attempts:
        with pytest.raises(nk.KernelError, match="EACCES"):
            attempt()
    assert guard.attached
    eth0.delete()
    assert pod.name not in {device.name for device in lab.host.links}


def test_programs_run_at_transmit_in_order_and_see_the_other_end(pod, programs):
    """C8"""
    look = pod.pair.attach(programs.look, at="peer")
    pod.pair.attach(programs.mark, at="peer")
    journey = pod.send(DNS)
    assert [run.program for run in journey.verdicts] == ["look", "mark"]
    assert look.maps["seen"][0] == pod.pair.primary.ifindex
    names, kinds = functions(journey), [hop.kind for hop in journey.hops]
    assert names.index("netkit_xmit") < kinds.index(HopKind.PROGRAM) < names.index("enqueue_to_backlog")


def test_a_program_may_change_the_packet_and_its_device(lab, pod, programs):
    """C9"""
    pod.pair.attach(programs.mark, at="peer")
    with pod.pair.primary.attach_tcx(programs.read_mark, "ingress"):
        assert pod.send(DNS).verdicts[-1].verdict == nk.Verdict.DROP
    pod.pair.attach(programs.neigh_to.bind(TARGET=lab.nic.ifindex), at="peer")
    journey = pod.send(DNS)
    assert journey.fate.delivered and "ip_forward" not in functions(journey)


def test_next_goes_on_and_at_the_end_passes(pod, programs):
    """C10"""
    pod.pair.set_policy(peer_policy="drop")
    pod.pair.attach(programs.look, at="peer")
    pod.pair.attach(programs.mark, at="peer")
    journey = pod.send(DNS)
    assert len(journey.verdicts) == 2 and journey.fate.delivered


def test_pass_ends_the_chain_and_delivers(pod, programs):
    """C11"""
    pod.pair.attach(programs.say.bind(CODE=nk.Verdict.PASS), at="peer")
    look = pod.pair.attach(pod.lab.load(programs.look), at="peer")
    journey = pod.send(DNS)
    assert journey.fate.delivered and look.maps["seen"][0] == 0


@pytest.mark.parametrize("code", [nk.Verdict.DROP, 1, 5, 99])
def test_drop_and_unknown_codes_drop_and_the_sender_must_ask(pod, programs, code):
    """C12"""
    pod.pair.attach(programs.say.bind(CODE=code), at="peer")
    quiet, asking = pod.send(DNS), pod.send(DNS, recverr=True)
    assert quiet.fate.kind is asking.fate.kind is FateKind.DROPPED
    assert (quiet.sender_error, asking.sender_error) == (None, "ENOBUFS")
    assert quiet.counters[f"{pod.name}/eth0"] == {"tx_dropped": 1}


def test_redirect_goes_to_the_device_at_once_and_counts_as_sent_even_to_nobody(lab, pod, programs):
    """C13"""
    card = lab.dummy("card").up()
    with pod.pair.attach(programs.send_to.bind(TARGET=card.ifindex), at="peer"):
        journey = pod.send(DNS)
    assert journey.counters["host/card"]["tx_packets"] == 1
    assert not {"ip_rcv", "enqueue_to_backlog"} & set(functions(journey, "host"))
    gone = card.ifindex
    card.delete()
    with pod.pair.attach(programs.send_to.bind(TARGET=gone), at="peer"):
        lost = pod.send(DNS, recverr=True)
        assert "location=skb_do_redirect" in lab.ftrace(lambda: pod.send(DNS))
    assert lost.fate.kind is FateKind.LOST and lost.sender_error is None
    assert lost.counters[f"{pod.name}/eth0"]["tx_packets"] == 1


def test_a_policy_decides_where_no_program_is_attached_each_for_its_direction(lab, pod):
    """C14"""
    inward = nk.IP(dst=pod.ip) / nk.UDP(dport=7) / b"hi"
    pod.listen(udp=7)
    for policy, peer_policy in itertools.product(("pass", "drop"), repeat=2):
        pod.pair.set_policy(policy=policy, peer_policy=peer_policy)
        assert lab.host.send(inward).fate.delivered == (policy == "pass")
        assert pod.send(DNS).fate.delivered == (peer_policy == "pass")
    with pytest.raises(nk.KernelError, match="EACCES"):
        pod.pair.peer.set_policy(peer_policy="pass")


@pytest.mark.parametrize(("policy", "leaked"), [("pass", 3), ("drop", 0)])
def test_a_bring_up_leaks_with_pass_and_not_with_drop(programs, policy, leaked):
    """C15"""
    with nk.Lab("vm") as lab:
        shop = lab.node("shop")
        pair = lab.pair("shop", peer_in=shop, peer_policy=policy)
        pair.primary.addr("10.0.9.1/24").up()
        pair.peer.addr("10.0.9.2/24").up()
        shop.route("default", via="10.0.9.1")
        for _ in range(3):
            shop.send(DNS)
        pair.attach(programs.say.bind(CODE=nk.Verdict.DROP), at="peer")
        shop.send(DNS)
        assert len(lab.outside.received) == leaked


def test_a_redirect_moves_the_work_from_the_softirq_into_the_senders_context(lab, pod, veth, programs):
    """C18"""
    card = lab.dummy("dummy").addr("198.51.100.1/24").up()
    away = nk.IP(dst="198.51.100.2") / nk.UDP(dport=53) / b"hi"
    pod.pair.attach(programs.neigh_to.bind(TARGET=card.ifindex), at="peer")
    context = {}
    for sender in (veth, pod):
        text = lab.ftrace(lambda sender=sender: sender.send(away), ["dummy_xmit", "sock_wfree"])
        lines = [line.partition("]")[2].split() for line in text.splitlines()]
        context[sender] = [(line[2], line[0][2] == "s") for line in lines if line[2] in ("dummy_xmit", "sock_wfree")]
    assert context[veth] == [("sock_wfree", True), ("dummy_xmit", True)]
    assert context[pod] == [("dummy_xmit", False), ("sock_wfree", False)]
    routed, redirected = lab.cpu_time(veth, away), lab.cpu_time(pod, away)
    card.delete()
    assert routed.softirq >= 0.03 > redirected.softirq
    assert redirected.sender < routed.sender == pytest.approx(routed.user + routed.system + routed.softirq, abs=0.03)

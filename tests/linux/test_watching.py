"""`Lab.ftrace` and `Lab.cpu_time`: the kernel's own tracer and its books, through a lab."""

from __future__ import annotations

import re

import pytest

import netkit_edu as nk
from netkit_edu.errors import KernelError, UsageError

FUNCTIONS = ["udp_sendmsg", "netkit_xmit", "enqueue_to_backlog", "net_rx_action", "ip_rcv"]
LINE = re.compile(r"\s*(?P<task>.+)-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\] (?P<flags>\S{4,5})\s+[\d.]+: (?P<function>[\w:]+)")
AWAY = nk.IP(dst="198.51.100.2") / nk.UDP(dport=53) / bytes(64)


@pytest.fixture(scope="module")
def lab(request):
    from tests.requires import require

    require("vm")
    with nk.Lab("vm") as lab:
        lab.dummy("card").addr("198.51.100.1/24").up()
        yield lab


@pytest.fixture(scope="module")
def pods(lab):
    return {kind: lab.pod(kind, device=kind) for kind in ("veth", "netkit")}


def dns(lab):
    return nk.IP(dst=lab.outside.ip) / nk.UDP(dport=53) / b"hi"


@pytest.mark.vm
def test_the_tracer_writes_a_line_for_each_call_of_a_function_in_order(lab, pods):
    text = lab.ftrace(lambda: pods["netkit"].send(dns(lab)), FUNCTIONS)
    lines = [LINE.match(line) for line in text.splitlines()]
    assert all(lines)
    called = [line["function"] for line in lines]
    assert [name for name in dict.fromkeys(called) if name in FUNCTIONS] == FUNCTIONS
    assert {line["task"] for line in lines if line["function"] == "net_rx_action"} == {"init"}


@pytest.mark.vm
def test_the_flags_agree_with_the_journeys_context(lab, pods):
    text = lab.ftrace(lambda: pods["netkit"].send(dns(lab)), FUNCTIONS)
    lines = [LINE.match(line) for line in reversed(text.splitlines())]
    in_softirq = {line["function"]: "s" in line["flags"].lower() for line in lines}
    journey = pods["netkit"].send(dns(lab))
    told = {hop.function: str(hop.context) == "softirq" for hop in reversed(journey.hops) if hop.function in FUNCTIONS}
    assert told == in_softirq
    assert told["enqueue_to_backlog"] is False and told["ip_rcv"] is True


@pytest.mark.vm
def test_events_alone_need_no_function(lab, pods):
    with_drop = lab.pod("closed", device="netkit", peer_policy="drop")
    text = lab.ftrace(lambda: with_drop.send(dns(lab)))
    assert "skb:kfree_skb" not in text and "kfree_skb:" in text
    assert "location=netkit_xmit" in text


@pytest.mark.vm
def test_what_that_kernel_does_not_have_is_refused_by_name(lab):
    with pytest.raises(UsageError, match="no function netkit_transmit"):
        lab.ftrace(lambda: None, ["netkit_transmit"])
    with pytest.raises(UsageError, match="no event skb/gone"):
        lab.ftrace(lambda: None, events=["skb/gone"])


@pytest.mark.vm
def test_the_tracer_is_gone_afterwards_even_if_what_is_traced_fails(lab):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            lab.ftrace(lambda: 1 / 0, ["ip_rcv"])
    assert lab.ftrace(lambda: None, events=[]) == ""


@pytest.mark.vm
def test_what_a_softirq_does_is_on_the_senders_bill_and_in_the_softirqs_book(lab, pods):
    host, veth = lab.cpu_time(lab.host, AWAY), lab.cpu_time(pods["veth"], AWAY)
    assert host.softirq <= 0.02 < veth.softirq
    assert veth.sender - host.sender > 0.03
    assert veth.sender == pytest.approx(veth.user + veth.system + veth.softirq, abs=0.03)


@pytest.mark.vm
def test_what_cannot_be_sent_is_refused(lab):
    with pytest.raises(KernelError, match="ENETUNREACH"):
        lab.cpu_time(lab.node("alone"), AWAY, n=1)


@pytest.mark.vm
def test_a_second_cpu_does_not_change_the_senders_bill(lab, pods):
    with nk.Lab("vm", cpus=2) as two:
        two.dummy("card").addr("198.51.100.1/24").up()
        pod = two.pod("veth", device="veth")
        one, other = lab.cpu_time(pods["veth"], AWAY), two.cpu_time(pod, AWAY)
    assert other.sender == pytest.approx(one.sender, rel=0.15)
    assert other.softirq > 0.02
    assert other.sender == pytest.approx(other.user + other.system + other.softirq, abs=0.03)


def test_the_simulator_says_where_to_ask():
    with nk.Lab("sim") as lab:
        with pytest.raises(UsageError, match=r"nk\.Lab\('vm'\)"):
            lab.ftrace(lambda: None, ["ip_rcv"])
        with pytest.raises(UsageError, match=r"nk\.Lab\('vm'\)"):
            lab.cpu_time(lab.host, AWAY)


@pytest.mark.vm
def test_wrong_arguments_are_told(lab):
    with pytest.raises(UsageError, match="lambda"):
        lab.ftrace("ip_rcv", [])
    with pytest.raises(UsageError, match="list of names"):
        lab.ftrace(lambda: None, "ip_rcv")
    with pytest.raises(UsageError, match="without Ethernet"):
        lab.cpu_time(lab.host, nk.Ether() / AWAY, n=1)

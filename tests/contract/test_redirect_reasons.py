"""What is said of redirects that lead nowhere: the kernel gives them all one reason (net/core/filter.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind

DROP, LOST = FateKind.DROPPED, FateKind.LOST
PROGRAMS = """
#include "netkit_edu.h"

volatile const __u32 TARGET;

SEC("netkit/peer") int out(struct __sk_buff *skb) { return bpf_redirect(TARGET, 0); }
SEC("netkit/peer") int neigh(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, 0, 0, 0); }
SEC("netkit/peer") int odd(struct __sk_buff *skb)
{
    struct bpf_redir_neigh next = { .nh_family = 7 };

    return bpf_redirect_neigh(TARGET, &next, sizeof(next), 0);
}

char LICENSE[] SEC("license") = "GPL";
"""
NOWHERE = 999  # no device has this number


@pytest.fixture(scope="session")
def calls():
    return nk.compile(PROGRAMS, name="reasons.c")


def frame(con, ethertype: int, to: str):
    packet = bytes(nk.IP(src=con.ip, dst=to) / nk.UDP(dport=7) / b"hi")
    return bytes(12) + ethertype.to_bytes(2, "big") + packet


@pytest.mark.parametrize(
    ("call", "ethertype", "to", "fate", "reason"),
    [
        ("out", 0x86DD, "outside", LOST, "redirect to no device"),
        ("out", 0x0800, "outside", LOST, "redirect to no device"),
        ("neigh", 0x86DD, "outside", DROP, "redirect_neigh: no route for IPv6"),
        ("neigh", 0x1234, "outside", LOST, "redirect_neigh: neither IPv4 nor IPv6"),
        ("neigh", 0x0800, "broadcast", DROP, "redirect_neigh: a broadcast route has no next hop"),
        ("odd", 0x0800, "outside", DROP, "redirect_neigh: the next hop is not an IPv4 address"),
    ],
)
def test_a_redirect_that_leads_nowhere_says_why(lab, con, calls, moved, call, ethertype, to, fate, reason):
    target = con.pair.primary if to == "broadcast" else lab.nic
    con.pair.attach(calls[call].bind(TARGET=NOWHERE if call == "out" else target.ifindex))
    count = moved(target)
    address = {"outside": lab.outside.ip, "broadcast": "10.0.1.255"}[to]
    journey = con.send(frame(con, ethertype, address), dev=con.device)
    assert (journey.fate.kind, journey.fate.reason.split(": host has")[0]) == (fate, reason)
    assert count() == [{"tx_dropped": 1} if fate is DROP else {}]

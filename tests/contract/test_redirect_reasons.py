"""What is said of redirects that lead nowhere: the kernel gives them all one reason (net/core/filter.c, 6.12).

Linux's journeys tell them apart by the word that a program's helper leaves with its task, and by the packet's length:
who looks for a neighbour has taken the Ethernet header off.
"""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind

DROP, LOST = FateKind.DROPPED, FateKind.LOST
PROGRAMS = """
#include "netkit_edu.h"

volatile const __u32 TARGET;

SEC("netkit/peer") int out(struct __sk_buff *skb) { return bpf_redirect(TARGET, 0); }
SEC("netkit/peer") int in(struct __sk_buff *skb) { return bpf_redirect(TARGET, BPF_F_INGRESS); }
SEC("netkit/peer") int none(struct __sk_buff *skb) { return NETKIT_REDIRECT; }
SEC("netkit/peer") int peer(struct __sk_buff *skb) { return bpf_redirect_peer(TARGET, 0); }
SEC("netkit/peer") int neigh(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, 0, 0, 0); }
SEC("netkit/peer") int odd(struct __sk_buff *skb)
{
    struct bpf_redir_neigh next = { .nh_family = 7 };

    return bpf_redirect_neigh(TARGET, &next, sizeof(next), 0);
}

char LICENSE[] SEC("license") = "GPL";
"""
NOBODY = 999  # no device has this number
NO_DEVICE = f"redirect to no device: host has no device {NOBODY}"


@pytest.fixture(scope="session")
def calls():
    return nk.compile(PROGRAMS, name="reasons.c")


def frame(con, to: str, ethertype: int = 0x0800, mac: bytes = bytes(6)) -> bytes:
    packet = bytes(nk.IP(src=con.ip, dst=to) / nk.UDP(dport=7) / b"hi")
    return mac + bytes(6) + ethertype.to_bytes(2, "big") + packet


@pytest.mark.parametrize(
    ("call", "target", "what", "fate", "reason"),
    [
        ("none", "missing", {}, LOST, "redirect to no device"),
        ("out", "missing", {}, LOST, NO_DEVICE),
        ("out", "missing", {"ethertype": 0x86DD}, LOST, NO_DEVICE),
        ("in", "missing", {}, LOST, NO_DEVICE),
        ("peer", "missing", {}, LOST, NO_DEVICE),
        ("neigh", "missing", {}, LOST, NO_DEVICE),
        ("peer", "nic", {}, LOST, "redirect_peer works at tcx ingress only"),
        ("neigh", "nic", {"ethertype": 0x86DD}, DROP, "redirect_neigh: no route for IPv6"),
        ("neigh", "nic", {"ethertype": 0x1234}, LOST, "redirect_neigh: neither IPv4 nor IPv6"),
        ("neigh", "nic", {"mac": b"\1" + bytes(5)}, LOST, "redirect_neigh: a frame to a group has no next hop"),
        ("neigh", "primary", {"to": "10.0.1.255"}, DROP, "redirect_neigh: a broadcast route has no next hop"),
        ("odd", "nic", {}, DROP, "redirect_neigh: the next hop is not an IPv4 address"),
    ],
)
def test_a_redirect_that_leads_nowhere_says_why(lab, con, calls, moved, call, target, what, fate, reason):
    device = con.pair.primary if target == "primary" else lab.nic
    number = NOBODY if target == "missing" else device.ifindex
    con.pair.attach(calls[call].bind(TARGET=number) if call != "none" else calls[call])
    count = moved(device)
    journey = con.send(frame(con, **{"to": lab.outside.ip, **what}), dev=con.device)
    assert (journey.fate.kind, journey.fate.reason) == (fate, reason)
    assert count() == [{"tx_dropped": 1} if fate is DROP else {}]


@pytest.mark.parametrize("case", ["no pair", "down", "at home"])
def test_a_redirect_to_the_other_end_of_a_device_says_why_it_leads_nowhere(lab, con, calls, case):
    """At tcx ingress; whether the other end is down or in the same namespace, Linux does not show."""
    web = lab.pod("web", device="netkit")
    home = lab.pair("nk1")
    target = {"no pair": lab.dummy("d0").up(), "down": web.pair.primary, "at home": home.primary}[case]
    web.device.down()
    home.peer.up()
    con.pair.primary.attach_tcx(calls["peer"].bind(TARGET=target.ifindex), "ingress")
    journey = con.send(frame(con, lab.outside.ip), dev=con.device)
    end = f"redirect_peer: the other end of {target.name} is"
    said = {
        "no pair": {"redirect_peer: d0 has no other end"},
        "down": {f"{end} down", f"{end} down or in the same namespace"},
        "at home": {f"{end} in the same namespace", f"{end} down or in the same namespace"},
    }
    assert journey.fate.kind is LOST and journey.fate.reason in said[case]

"""Addresses that nobody can have sent from, or to: what becomes of their packets (net/ipv4/route.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind
from netkit_edu.kernels import ROWS
from tests.contract.conftest import PORT

SOURCE, OWN = "martian source", "martian source: one of our own addresses"
ZERO, LOOPBACK = "martian: the address 0.0.0.0", "martian: a loopback address on the wire"
HOST, POD, BEYOND, NOBODY = "10.0.1.1", "10.0.1.2", "192.0.2.2", "10.0.1.77"


@pytest.mark.parametrize(
    ("source", "to", "reason", "own"),
    [
        ("224.1.2.3", HOST, SOURCE, "IP_INVALID_SOURCE"),
        ("255.255.255.255", HOST, SOURCE, "IP_INVALID_SOURCE"),
        ("0.0.0.0", HOST, ZERO, "IP_INVALID_SOURCE"),
        (POD, "0.0.0.0", ZERO, "IP_INVALID_DEST"),
        ("127.0.0.1", HOST, LOOPBACK, "IP_LOCALNET"),
        (POD, "127.0.0.1", LOOPBACK, "IP_LOCALNET"),
        (HOST, HOST, OWN, "IP_LOCAL_SOURCE"),
        (HOST, BEYOND, OWN, "IP_LOCAL_SOURCE"),
        (HOST, "10.0.1.255", OWN, "IP_LOCAL_SOURCE"),
        (HOST, "255.255.255.255", OWN, "IP_LOCAL_SOURCE"),
        (HOST, NOBODY, SOURCE, "IP_LOCAL_SOURCE"),
        ("10.0.1.255", NOBODY, SOURCE, "IP_INVALID_SOURCE"),
        (POD, "224.0.0.5", "multicast group not joined", ""),
        ("0.1.2.3", HOST, "", ""),
        (POD, HOST, "", ""),
        ("0.0.0.0", "255.255.255.255", "", ""),
        ("10.0.1.255", HOST, "", ""),
    ],
)
def test_whether_the_host_takes_a_packet_from_an_address(lab, con, source, to, reason, own):
    """By a packet socket: the pod's own stack would not send all of them. Newer kernels have reasons of their own."""
    reason = own if own and ROWS["martian-reason"].on(lab.kernel) == "IP_INVALID_SOURCE" else reason
    frame = bytes(12) + b"\x08\0" + bytes(nk.IP(src=source, dst=to) / nk.UDP(dport=PORT) / b"hi")
    journey = con.send(frame, dev=con.device)
    assert (journey.fate.node, journey.fate.delivered) == ("host", not reason)
    assert journey.fate.reason == reason
    assert not lab.host.snmp["IcmpOutMsgs"]


def test_a_packet_that_the_loopback_brings_back_has_its_route_and_that_leads_elsewhere(lab, con):
    to_lo = nk.compile('SEC("tc") int to_lo(struct __sk_buff *skb) { return bpf_redirect(1, 0); }')
    con.device.attach_tcx(to_lo["to_lo"], "egress")
    journey = con.send(nk.IP(dst=BEYOND) / nk.UDP(dport=PORT))
    assert (journey.fate.kind, journey.fate.node) == (FateKind.DROPPED, "con")
    assert journey.fate.reason == "came back by the loopback though its route leads elsewhere"

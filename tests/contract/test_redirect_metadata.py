"""What of a packet's metadata a redirect keeps, and what the target makes anew (net/core/filter.c, dev.c; 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.uapi import PacketType
from tests.contract.conftest import PAYLOAD, PORT

MARK, PRIORITY = 0xABC, 6
PROGRAMS = """
#include "netkit_edu.h"

volatile const __u32 TARGET;
volatile const __u32 FLAGS;

static __always_inline void sign(struct __sk_buff *skb)
{
    skb->mark = 0xabc;
    skb->priority = 6;
}

SEC("netkit/peer") int to(struct __sk_buff *skb)
{
    sign(skb);
    return bpf_redirect(TARGET, FLAGS);
}

/* another type than the frame's own, and another protocol */
SEC("netkit/peer") int disguised(struct __sk_buff *skb)
{
    __u16 other = bpf_htons(0x88b5);

    bpf_skb_change_type(skb, PACKET_OTHERHOST);
    bpf_skb_store_bytes(skb, 12, &other, 2, 0);
    return bpf_redirect(TARGET, FLAGS);
}

SEC("tcx/ingress") int into_peer(struct __sk_buff *skb)
{
    sign(skb);
    return bpf_redirect_peer(TARGET, 0);
}

char LICENSE[] SEC("license") = "GPL";
"""
INGRESS = 1


@pytest.fixture(scope="session")
def calls():
    return nk.compile(PROGRAMS, name="redirect-metadata.c")


@pytest.fixture
def web(lab):
    web = lab.pod("web", device="netkit")
    web.listen(udp=PORT)
    return web


def saw(att) -> tuple[int, int]:
    seen = att.maps["seen"][0]
    assert seen["runs"] == 1
    return seen["mark"], seen["priority"]


def packet(to):
    return nk.IP(dst=to) / nk.UDP(dport=PORT) / PAYLOAD


def test_out_of_a_device_mark_and_priority_go_along_as_far_as_its_driver(lab, con, web, programs, calls):
    """On its way into the container the pair itself scrubs them."""
    con.pair.attach(calls["to"].bind(TARGET=web.pair.ifindex, FLAGS=0))
    out = web.pair.attach_tcx(lab.load(programs["record"]), "egress")
    behind = web.pair.attach(lab.load(programs["record"]), at="primary")
    assert con.send(packet(web.ip)).fate.node == "web"
    assert saw(out) == (MARK, PRIORITY) and saw(behind) == (0, 0)


def test_into_a_device_of_the_same_namespace_the_mark_goes_along_and_the_priority_does_not(con, hst, programs, calls):
    con.pair.attach(calls["to"].bind(TARGET=hst.ifindex, FLAGS=INGRESS))
    att = hst.attach_tcx(programs["record"], "ingress")
    assert con.send(packet(con.gateway)).fate.delivered
    assert saw(att) == (MARK, 0)


def test_into_a_device_the_packet_is_what_its_frame_says(con, hst, programs, calls):
    con.pair.attach(calls["disguised"].bind(TARGET=hst.ifindex, FLAGS=INGRESS))
    att = hst.attach_tcx(programs["record"], "ingress")
    con.send(packet(con.gateway))
    seen = att.maps["seen"][0]
    assert (seen["pkt_type"], seen["protocol"]) == (PacketType.HOST, 0x88B5)
    assert seen["ifindex"] == seen["ingress_ifindex"] == hst.ifindex


def test_into_the_other_end_mark_and_priority_go_along(lab, web, programs, calls):
    lab.nic.attach_tcx(calls["into_peer"].bind(TARGET=web.pair.ifindex), "ingress")
    att = web.device.attach_tcx(programs["record"], "ingress")
    assert lab.outside.send(packet(web.ip)).fate.delivered
    assert saw(att) == (MARK, PRIORITY)
    assert att.maps["seen"][0]["pkt_type"] == PacketType.HOST
    assert att.maps["seen"][0]["ifindex"] == web.device.ifindex


def test_an_output_redirect_changes_no_time_to_live_and_looks_at_no_mtu(lab, con, web, calls):
    web.pair.primary.set(mtu=500)
    con.pair.attach(calls["to"].bind(TARGET=web.pair.ifindex, FLAGS=0))
    journey = con.send(nk.IP(dst=web.ip, ttl=1) / nk.UDP(dport=PORT) / bytes(1000))
    assert journey.fate.delivered and journey.fate.node == "web"
    assert journey.arrived[8] == 1

"""What a program at a netkit hook reads of a packet beside its bytes, and what of it goes on (netkit_xmit, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from tests.contract.conftest import PAYLOAD, PORT

FAULT = -14
PROGRAMS = """
#include "netkit_edu.h"

struct context {
    __u32 cb[5], tc_index, hash, tc_classid, napi_id, queue_mapping, vlan_present, vlan_tci, vlan_proto;
    __u32 gso_segs, gso_size, protocol, meta, owned;
    __s32 loaded;
    __u8 bytes[64];
};
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct context); }
    context SEC(".maps");

SEC("netkit/primary") int look(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct context *now = bpf_map_lookup_elem(&context, &zero);

    if (!now)
        return NETKIT_DROP;
    for (int i = 0; i < 5; i++)
        now->cb[i] = skb->cb[i];
    now->tc_index = skb->tc_index;
    now->hash = skb->hash;
    now->tc_classid = skb->tc_classid;
    now->napi_id = skb->napi_id;
    now->queue_mapping = skb->queue_mapping;
    now->vlan_present = skb->vlan_present;
    now->vlan_tci = skb->vlan_tci;
    now->vlan_proto = skb->vlan_proto;
    now->gso_segs = skb->gso_segs;
    now->gso_size = skb->gso_size;
    now->protocol = bpf_ntohs(skb->protocol);
    now->meta = (long)skb->data - (long)skb->data_meta;
    now->owned = skb->sk != 0;
    now->loaded = bpf_skb_load_bytes(skb, 0, now->bytes, 64);
    return NETKIT_NEXT;
}

SEC("netkit/primary") int note(struct __sk_buff *skb)
{
    skb->cb[0] = 9;
    return NETKIT_NEXT;
}

/* what the frame says, not what the socket said */
SEC("netkit/primary") int relabel(struct __sk_buff *skb)
{
    __u16 ipv6 = bpf_htons(0x86dd);

    bpf_skb_store_bytes(skb, 12, &ipv6, 2, 0);
    return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def of():
    return nk.compile(PROGRAMS, name="context.c")


def saw(att) -> dict:
    return dict(att.maps["context"][0]) | {"bytes": bytes(att.maps["context"][0]["bytes"])}


def test_what_nobody_has_set_is_zero_and_the_packet_belongs_to_its_sender(lab, con, of):
    att = con.pair.attach(of["look"])
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    now = saw(att)
    assert now.pop("cb") == [0] * 5
    assert (now.pop("owned"), now.pop("protocol"), now.pop("loaded")) == (1, 0x0800, 0)
    assert now.pop("bytes")[12:15] == b"\x08\x00\x45"
    assert set(now.values()) == {0}


def test_the_control_block_goes_with_the_packet_as_far_as_the_receivers_ingress(lab, con, of):
    con.pair.attach(of["note"])
    att, behind = con.pair.attach(lab.load(of["look"])), con.device.attach_tcx(lab.load(of["look"]), "ingress")
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert saw(att)["cb"] == saw(behind)["cb"] == [9, 0, 0, 0, 0]


def test_the_receiver_too_goes_by_the_protocol_and_not_by_the_bytes(lab, con, of):
    """G13"""
    con.pair.attach(of["relabel"])
    behind = con.device.attach_tcx(of["look"], "ingress")
    assert lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD).fate.delivered
    assert (saw(behind)["protocol"], saw(behind)["bytes"][12:14]) == (0x0800, b"\x86\xdd")


def frame(lab, device, data: bytes):
    return lab.kernel_calls.send(device.node.ns, SendRequest(data, "packet", device.ifindex))


def test_a_program_runs_on_a_header_with_nothing_behind_it(lab, con, hst, of):
    """bpf_skb_load_bytes fails, and leaves zeros."""
    att = con.pair.attach(of["look"])
    att.maps["context"][0] = {"bytes": [0xEE] * 64}
    frame(lab, hst, bytes(12) + b"\x08\x00")
    assert (saw(att)["loaded"], saw(att)["bytes"]) == (FAULT, bytes(64))


def test_less_than_a_header_is_refused_by_the_socket(lab, con, hst, of):
    att = con.pair.attach(of["look"])
    journey = frame(lab, hst, bytes(13))
    assert journey.sender_error == "EINVAL" and journey.verdicts == ()
    assert saw(att)["protocol"] == 0


def test_a_program_may_sit_elsewhere_than_its_section_says(lab, con, hst, of):
    """expected_attach_type is not compared for programs of this type."""
    places = [lambda p: con.pair.attach(p, at="peer"), lambda p: con.device.attach_tcx(p, "egress"),
              lambda p: hst.attach_tcx(p, "ingress")]  # fmt: skip
    for attach in places:
        attach(lab.load(of["look"]))
    journey = con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=PORT))
    assert [run.program for run in journey.verdicts] == ["look"] * 3


@pytest.mark.parametrize(("scrub", "told"), [("default", (0, 0)), ("none", (42, 0xEB9F))])
def test_a_socket_writes_on_a_packet_for_the_other_namespace_if_it_is_not_scrubbed(lab, programs, scrub, told):
    """N7"""
    pod = lab.pod("foo", device="netkit", mode="l2", scrub=scrub)
    lab.host.ping(pod)  # so that the two know each other's addresses
    att = pod.pair.attach(programs["record"], at="primary")
    assert lab.host.ping(pod, mark=42, priority=0xEB9F).fate.delivered
    seen = att.maps["seen"][0]
    assert (seen["mark"], seen["priority"]) == told


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_an_address_is_for_l2_and_a_probe_arrives_in_both_modes(lab, mode):
    """N0"""
    if mode == "l3":
        with pytest.raises(nk.KernelError, match="^EOPNOTSUPP"):
            lab.pair("nk1", mode=mode, attrs={"mac": "02:00:00:00:00:01"})
    pair = lab.pair("nk1", peer_in=lab.node("foo"), peer_name="nk0", mode=mode,
                    attrs={"mac": "02:00:00:00:00:01"} if mode == "l2" else None)  # fmt: skip
    pair.primary.addr("10.0.0.1/24").up()
    pair.peer.addr("10.0.0.2/24").up()
    journey = lab.host.ping("10.0.0.2", dev=pair.primary)
    assert journey.fate.delivered and journey.sender_error is None

"""tcx beside netkit: the same programs and calls, other places and answers (kernel/bpf/tcx.c, net/core/dev.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind
from netkit_edu.kernels import ROWS
from tests.contract.conftest import PAYLOAD, PORT, SKB_LEN, got, refused, sent
from tests.contract.test_metadata import MARK, PRIORITY, seen_by

UNKNOWN = [1, 3, 4, 5, 6, 8, 9, 100, -2]

PROGRAMS = """
#include "netkit_edu.h"

struct seen { __u32 ifindex, ingress_ifindex, mark, priority, pkt_type, len, wire_len, first; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct seen); }
    tcx_seen SEC(".maps");

SEC("tcx/ingress") int look(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct seen *now = bpf_map_lookup_elem(&tcx_seen, &zero);

    if (!now)
        return TCX_DROP;
    now->ifindex = skb->ifindex;
    now->ingress_ifindex = skb->ingress_ifindex;
    now->mark = skb->mark;
    now->priority = skb->priority;
    now->pkt_type = skb->pkt_type;
    now->len = skb->len;
    now->wire_len = skb->wire_len;
    bpf_skb_load_bytes(skb, 0, &now->first, 4);
    return TCX_NEXT;
}

SEC("netkit/primary") int other_host(struct __sk_buff *skb)
{
    bpf_skb_change_type(skb, PACKET_OTHERHOST);
    return NETKIT_PASS;
}

SEC("netkit/primary") int to_multicast(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;

    if (data + sizeof(*eth) > end)
        return NETKIT_DROP;
    eth->h_dest[0] = 4;
    bpf_skb_change_type(skb, PACKET_MULTICAST);
    return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def tcx_programs():
    return nk.compile(PROGRAMS, name="tcx.c")


@pytest.fixture
def look(lab, tcx_programs):
    """A fresh load of the recorder, with a map of its own; ``tcx_seen`` is what it saw."""
    return lambda: lab.load(tcx_programs["look"])


def saw(att) -> dict:
    return dict(att.maps["tcx_seen"][0])


def test_three_recorders_on_the_way_into_a_container(lab, con, hst, programs, look):
    """G6"""
    out, into = hst.attach_tcx(look(), "egress"), con.device.attach_tcx(look())
    driver = con.pair.attach(programs["record"], at="primary")
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD, mark=MARK, priority=PRIORITY)
    before, behind, between = saw(out), saw(into), seen_by(driver)
    assert (before["ifindex"], before["mark"], before["priority"]) == (hst.ifindex, MARK, PRIORITY)
    assert (before["len"], before["wire_len"]) == (SKB_LEN, SKB_LEN)
    assert (between["ifindex"], between["mark"], between["priority"]) == (con.device.ifindex, 0, 0)
    assert (behind["ifindex"], behind["ingress_ifindex"]) == (con.device.ifindex, con.device.ifindex)
    assert (behind["len"], behind["wire_len"]) == (SKB_LEN, SKB_LEN - 14)


def test_the_order_is_tcx_egress_then_netkit_then_tcx_ingress(lab, con, hst, programs):
    for attach, name in (
        (lambda p: con.device.attach_tcx(p, "ingress"), "pass"),
        (lambda p: con.pair.attach(p, at="primary"), "next"),
        (lambda p: hst.attach_tcx(p, "egress"), "set_marks"),
    ):
        attach(programs[name])
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT))
    assert [run.program for run in journey.verdicts] == ["set_marks", "next", "pass"]


def test_mark_and_priority_set_by_a_netkit_program_arrive_with_the_packet(lab, con, programs, look):
    """G11"""
    con.pair.attach(programs["set_marks"], at="primary")
    att = con.device.attach_tcx(look(), "ingress")
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert (saw(att)["mark"], saw(att)["priority"]) == (0xABC, 6)


def test_a_packet_type_set_by_a_program_is_what_the_receiver_goes_by(lab, con, hst, tcx_programs, moved):
    """G12"""
    con.pair.attach(tcx_programs["other_host"])
    count = moved(hst, con.device)
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert journey.fate.kind is FateKind.DROPPED and journey.fate.node == "con"
    assert count() == [sent(), got()]
    assert con.received == []


@pytest.mark.parametrize("mode", ["l3", "l2"])
def test_a_rewritten_frame_and_its_type_survive_pass(lab, tcx_programs, look, mode):
    """N6"""
    pod = lab.pod("foo", device="netkit", mode=mode)
    pod.pair.attach(tcx_programs["to_multicast"])
    att = pod.device.attach_tcx(look(), "ingress")
    lab.host.ping(pod)
    assert saw(att)["pkt_type"] == nk.PacketType.MULTICAST
    assert saw(att)["first"] & 0xFF == 4


@pytest.mark.parametrize("device", ["veth", "netkit"])
def test_a_drop_at_egress_moves_no_counter_but_the_sender_is_told(lab, programs, moved, device):
    pod = lab.pod("web", device=device)
    pod.pair.attach_tcx(programs["drop"], "egress")
    count = moved(pod.pair.primary, pod.device)
    journey = lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT), recverr=True)
    assert (journey.fate.kind, journey.fate.reason) == (FateKind.DROPPED, "TC_EGRESS")
    assert journey.sender_error == "ENOBUFS"
    assert count() == [{}, {}]


def test_a_drop_at_ingress_comes_after_the_packet_was_counted(lab, con, hst, programs, moved):
    con.device.attach_tcx(programs["drop"], "ingress")
    count = moved(hst, con.device)
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD, recverr=True)
    assert (journey.fate.kind, journey.fate.reason) == (FateKind.DROPPED, "TC_INGRESS")
    assert journey.sender_error is None
    assert count() == [sent(), got()]


@pytest.mark.parametrize("code", UNKNOWN)
@pytest.mark.parametrize("where", ["egress", "ingress"])
def test_an_unknown_code_goes_on_where_netkit_would_drop(lab, con, hst, programs, where, code):
    device = hst if where == "egress" else con.device
    att = device.attach_tcx(programs["gate"], where)
    att.maps["verdict"][0] = code
    assert lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT)).fate.delivered


def test_an_unknown_code_ends_the_list_all_the_same(lab, con, hst, programs):
    hst.attach_tcx(programs["three"], "egress")
    hst.attach_tcx(programs["drop"], "egress")
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT))
    assert journey.fate.delivered and [run.program for run in journey.verdicts] == ["three"]


def test_next_goes_on_to_the_next_program_and_at_the_end_to_the_stack(lab, con, programs):
    for name in ("next", "set_marks"):
        con.device.attach_tcx(programs[name], "ingress")
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT))
    assert journey.fate.delivered and [run.program for run in journey.verdicts] == ["next", "set_marks"]


def test_any_device_takes_programs_also_the_peers_own_end(lab, con, hst, programs):
    """The container has no say at the netkit hooks, but its own device is its own."""
    for device in (lab.nic, lab.dummy("d0"), hst, con.device, lab.host.links[0]):
        for where in ("ingress", "egress"):
            with device.attach_tcx(programs["pass"], where) as att:
                assert [entry.prog_id for entry in device.tcx_chain(where).entries] == [att.id]
            assert device.tcx_chain(where).entries == ()
    refused("EACCES", lambda: con.device.attach(programs["pass"], at="peer"))


def test_the_revision_starts_anew_when_the_list_gets_empty(con, programs):
    con.device.attach_tcx(programs["pass"], "egress").detach()
    assert con.device.tcx_chain("egress") == (1, ())
    con.device.attach_tcx(programs["pass"], "egress", expected_revision=1)
    assert con.device.tcx_chain("egress").revision == 2


def test_the_two_lists_of_a_device_are_apart(con, programs):
    con.device.attach_tcx(programs["pass"], "egress")
    assert con.device.tcx_chain("ingress") == (1, ())
    refused("ENOENT", lambda: con.device.detach_tcx(where="ingress"))
    con.device.attach_tcx(programs["pass"], "ingress")


def test_a_place_is_told_as_at_the_netkit_hooks(lab, con, programs):
    p = [lab.load(programs["next"]) for _ in range(4)]
    con.device.attach_tcx(p[0], "ingress")
    con.device.attach_tcx(p[1], "ingress", before=p[0])
    con.device.attach_tcx(p[2], "ingress", after=p[1])
    refused("EEXIST", lambda: con.device.attach_tcx(p[0], "ingress"))
    refused("ERANGE", lambda: con.device.attach_tcx(p[3], "ingress", before=p[1], after=nk.ANY))
    assert [e.prog_id for e in con.device.tcx_chain("ingress").entries] == [p[1].id, p[2].id, p[0].id]
    link = con.device.attach_tcx(p[3], "ingress", link=True, before=nk.ANY)
    assert con.device.tcx_chain("ingress").entries[0] == (p[3].id, "next", link.link)
    con.device.detach_tcx(p[1], "ingress")
    link.detach()
    assert [e.prog_id for e in con.device.tcx_chain("ingress").entries] == [p[2].id, p[0].id]


def test_a_hook_that_is_neither_is_refused_in_a_sentence(con, programs):
    for call in (lambda: con.device.attach_tcx(programs["pass"]), lambda: con.device.tcx_chain("peer")):
        with pytest.raises(nk.UsageError, match="'ingress' or 'egress'"):
            call()


def test_an_attachment_says_where_it_is(con, programs):
    att = con.device.attach_tcx(programs["pass"], "ingress")
    assert att.at == "tcx ingress" and "at the tcx ingress hook of eth0" in repr(att)


def test_a_list_holds_63_programs(lab, con, programs):
    for _ in range(63):
        con.device.attach_tcx(lab.load(programs["next"]), "ingress")
    refused("ERANGE", lambda: con.device.attach_tcx(programs["next"], "ingress"))
    assert len(con.device.tcx_chain("ingress").entries) == 63


ROUND = """
#include "netkit_edu.h"
volatile const __u32 TARGET, HOP;
SEC("tcx/egress") int around(struct __sk_buff *skb)
{
    struct bpf_redir_neigh next = { .nh_family = 2, .ipv4_nh = HOP };

    return bpf_redirect_neigh(TARGET, &next, sizeof(next), 0);
}
"""


def test_a_device_that_redirects_to_itself_drops_when_the_kernel_has_enough(lab, con, hst, moved):
    """Each round calls the next inside itself: beyond a depth of eight bpf_out_neigh_v4 gives up (filter.c, 6.12)."""
    hop = int.from_bytes(bytes(map(int, con.ip.split("."))), "little")
    counted = moved(hst, con.device)
    with hst.attach_tcx(nk.compile(ROUND)["around"].bind(TARGET=hst.ifindex, HOP=hop)):
        journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / PAYLOAD)
    assert journey.fate.kind is FateKind.DROPPED and "recursion limit" in journey.fate.reason
    counts = {"tx_dropped": 1} if ROWS["neigh-down"].on(lab.kernel) else {}
    assert counted() == [counts, {}] and journey.sender_error is None

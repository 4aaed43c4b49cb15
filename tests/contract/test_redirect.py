"""Where a redirect leads, who counts it, and what its sender learns (net/core/filter.c:skb_do_redirect, 6.12).

The table's topology: ``con`` and ``c2`` are pods on netkit pairs, ``hst`` and ``h2`` their primaries on the host, which
does not forward; ``d0`` is a dummy. The program sits at the peer hook of con's pair and sees what con sends.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind
from netkit_edu.kernels import ROWS
from tests.contract.conftest import DROPPED, PAYLOAD, PORT, got, sent

NOWHERE = 9999

PROGRAMS = """
#include "netkit_edu.h"

volatile const __u32 TARGET;
volatile const __u32 VIA;

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __s32); }
    said SEC(".maps");

static __always_inline void say(long code)
{
    __u32 zero = 0;
    __s32 value = code;

    bpf_map_update_elem(&said, &zero, &value, BPF_ANY);
}

SEC("tc") int out(struct __sk_buff *skb) { return bpf_redirect(TARGET, 0); }
SEC("tc") int in(struct __sk_buff *skb) { return bpf_redirect(TARGET, BPF_F_INGRESS); }
SEC("tc") int bad_flags(struct __sk_buff *skb) { return bpf_redirect(TARGET, 2); }
SEC("tc") int peer(struct __sk_buff *skb) { return bpf_redirect_peer(TARGET, 0); }
SEC("tc") int neigh(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, 0, 0, 0); }
SEC("tc") int neigh_bad_flags(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, 0, 0, 1); }
SEC("tc") int plain(struct __sk_buff *skb) { return NETKIT_REDIRECT; }

SEC("tc") int neigh_via(struct __sk_buff *skb)
{
    struct bpf_redir_neigh next = { .nh_family = 2, .ipv4_nh = bpf_htonl(VIA) };

    return bpf_redirect_neigh(TARGET, &next, sizeof(next), 0);
}

SEC("tc") int copy_pass(struct __sk_buff *skb)
{
    say(bpf_clone_redirect(skb, TARGET, 0));
    return NETKIT_PASS;
}

SEC("tc") int copy_drop(struct __sk_buff *skb)
{
    say(bpf_clone_redirect(skb, TARGET, 0));
    return NETKIT_DROP;
}

SEC("tc") int copy_in(struct __sk_buff *skb)
{
    say(bpf_clone_redirect(skb, TARGET, BPF_F_INGRESS));
    return NETKIT_DROP;
}

SEC("tc") int ask_next(struct __sk_buff *skb) { bpf_redirect(TARGET, 0); return NETKIT_NEXT; }
SEC("tc") int ask_pass(struct __sk_buff *skb) { bpf_redirect(TARGET, 0); return NETKIT_PASS; }
SEC("tc") int ask_twice(struct __sk_buff *skb) { bpf_redirect(1, BPF_F_INGRESS); return bpf_redirect(TARGET, 0); }

SEC("tc") int ask_badly(struct __sk_buff *skb) { bpf_redirect(TARGET, 5); return NETKIT_REDIRECT; }

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def calls():
    return nk.compile(PROGRAMS, name="redirect.c")


@pytest.fixture
def net(lab, con, calls, moved):
    """The table's topology, with ``attach(call, target)`` at the peer hook and ``send(dst)`` from con."""
    lab.host.sysctl("net.ipv4.ip_forward", 0)
    c2 = lab.pod("c2", device="netkit")
    c2.listen(udp=PORT)
    dummy = lab.dummy("d0").up()
    devices = {"con": con.device, "hst": con.pair.primary, "h2": c2.pair.primary, "c2": c2.device, "d0": dummy}
    count = moved(*devices.values())

    def attach(call, target, at="peer"):
        number = target if isinstance(target, int) else devices[target].ifindex
        return con.pair.attach(calls[call].bind(TARGET=number), at=at)

    def counted():
        return {name: moved for name, moved in zip(devices, count(), strict=True) if moved}

    def send(dst=c2.ip, node=con, **options):
        return node.send(nk.IP(dst=dst) / nk.UDP(dport=PORT) / PAYLOAD, **options)

    return SimpleNamespace(
        lab=lab, con=con, c2=c2, dummy=dummy, hst=devices["hst"], h2=devices["h2"], attach=attach, counted=counted,
        send=send,
    )  # fmt: skip


TO_C2, TO_HOST = "c2", "host"
LOST, DROP, GONE_OUT = FateKind.LOST, FateKind.DROPPED, FateKind.TRANSMITTED
THROUGH = {"con": sent(), "h2": sent(), "c2": got()}
ONLY_CON = {"con": sent()}


@pytest.mark.parametrize(
    ("call", "target", "to", "end", "counters"),
    [
        ("out", "h2", TO_C2, "c2", THROUGH),
        ("in", "h2", TO_C2, DROP, ONLY_CON),
        ("in", "h2", TO_HOST, "host", ONLY_CON),
        ("in", "hst", TO_HOST, "host", ONLY_CON),
        ("in", 1, TO_HOST, "host", ONLY_CON),
        ("out", NOWHERE, TO_C2, LOST, ONLY_CON),
        ("out", 0, TO_C2, LOST, ONLY_CON),
        ("plain", "h2", TO_C2, LOST, ONLY_CON),
        ("peer", "h2", TO_C2, LOST, ONLY_CON),
        ("neigh", "h2", TO_C2, "c2", THROUGH),
        ("out", "d0", TO_C2, GONE_OUT, ONLY_CON | {"d0": sent()}),
        ("neigh", "d0", TO_C2, GONE_OUT, ONLY_CON | {"d0": sent()}),
    ],
)
def test_where_a_redirect_leads_and_who_counts_it(net, call, target, to, end, counters):
    """G16: the sender is told nothing, not even where it asked to be."""
    net.attach(call, target)
    journey = net.send(net.c2.ip if to == TO_C2 else net.con.gateway, recverr=True)
    assert (journey.fate.node if journey.fate.delivered else journey.fate.kind) == end
    assert net.counted() == counters
    assert journey.sender_error is None


@pytest.mark.parametrize("call", ["bad_flags", "neigh_bad_flags"])
def test_bad_flags_are_a_verdict_to_drop(net, call):
    """G16"""
    net.attach(call, "h2")
    journey = net.send(recverr=True)
    assert journey.fate.kind is DROP and journey.sender_error == "ENOBUFS"
    assert net.counted() == {"con": DROPPED}
    assert net.send().sender_error is None


@pytest.mark.parametrize(("call", "counter"), [("out", "tx_dropped"), ("neigh", "tx_dropped"), ("in", "rx_dropped")])
def test_a_device_that_is_down_counts_what_it_does_not_take(net, call, counter):
    """G16"""
    net.dummy.down()
    net.attach(call, "d0")
    journey = net.send(recverr=True)
    assert not journey.fate.delivered and journey.sender_error is None
    uncounted = call == "neigh" and not ROWS["neigh-down"].on(net.lab.kernel)
    assert net.counted() == ONLY_CON | ({} if uncounted else {"d0": {counter: 1}})


@pytest.mark.parametrize("end", ["c2", "h2"])
def test_a_pair_with_an_end_down_takes_nothing_and_the_sender_does_not_hear_of_it(net, end):
    """G16"""
    (net.c2.device if end == "c2" else net.h2).down()
    net.attach("out", "h2")
    journey = net.send(recverr=True)
    assert not journey.fate.delivered and journey.sender_error is None
    assert net.counted() == ONLY_CON | {"h2": DROPPED}


def test_a_copy_goes_where_the_program_says_and_the_packet_its_own_way(net):
    """G16"""
    att = net.attach("copy_pass", "h2")
    journey = net.send(recverr=True)
    assert journey.fate.delivered and journey.fate.node == "c2" and journey.sender_error is None
    assert net.counted() == {"con": sent(), "hst": got(), "h2": sent(), "c2": got()}
    assert att.maps["said"][0] == 0


def test_a_copy_arrives_though_the_packet_is_dropped(net):
    """G16"""
    net.attach("copy_drop", "h2")
    assert net.send().fate.node == "c2"
    assert net.counted() == {"con": DROPPED, "h2": sent(), "c2": got()}
    assert net.send(recverr=True).sender_error == "ENOBUFS"


def test_the_program_is_told_what_became_of_the_copys_transmission(net):
    down = net.attach("copy_drop", NOWHERE)
    net.send()
    assert down.maps["said"][0] == -22
    down.detach()
    net.h2.down()
    congested = net.attach("copy_drop", "h2")
    net.send()
    assert congested.maps["said"][0] == 2  # NET_XMIT_CN: the noop qdisc


def test_a_copy_may_arrive_on_the_host_instead(net):
    net.attach("copy_in", "hst")
    assert net.send(net.con.gateway).fate.node == "host"
    assert net.counted() == {"con": DROPPED}


# in whose namespace ---------------------------------------------------------------------------------------------------


def test_a_primary_program_cannot_name_a_device_of_the_host(net):
    """G16: it is looked up in the container."""
    net.attach("out", "h2", at="primary")
    journey = net.send(net.con.ip, node=net.lab.host)
    assert journey.fate.kind is LOST
    assert net.counted() == {"hst": sent()}


def test_a_primary_program_names_a_device_of_the_container(net):
    """G16"""
    net.attach("in", "con", at="primary")
    journey = net.send(net.con.ip, node=net.lab.host)
    assert journey.fate.delivered and journey.fate.node == "con"
    assert net.counted() == {"hst": sent()}


# what is remembered ---------------------------------------------------------------------------------------------------


def test_a_redirect_is_the_transmissions_not_the_programs(net, calls):
    net.attach("ask_next", "h2")
    net.con.pair.attach(calls["plain"], at="peer")
    journey = net.send()
    assert [run.program for run in journey.verdicts] == ["ask_next", "plain"]
    assert journey.fate.delivered and journey.fate.node == "c2"


def test_of_two_redirects_the_last_one_counts(net):
    net.attach("ask_twice", "h2")
    assert net.send().fate.node == "c2"


def test_a_refused_redirect_leaves_nothing_behind(net):
    net.attach("ask_badly", "h2")
    assert net.send().fate.kind is LOST


def test_a_redirect_that_was_not_carried_out_is_forgotten(net, calls):
    att = net.attach("ask_pass", "h2")
    assert net.send(net.con.gateway).fate.node == "host"
    att.detach()
    net.con.pair.attach(calls["plain"], at="peer")
    assert net.send(net.con.gateway).fate.kind is LOST


def test_a_target_that_is_a_pair_runs_its_own_programs(net, programs):
    net.attach("out", "h2")
    record = net.c2.pair.attach(programs["record"], at="primary")
    net.c2.pair.attach(programs["drop"], at="primary")
    journey = net.send(recverr=True)
    assert [run.program for run in journey.verdicts] == ["out", "record", "drop"]
    assert record.maps["seen"][0]["ifindex"] == net.c2.device.ifindex
    assert journey.fate.kind is DROP and journey.sender_error is None
    assert net.counted() == {"con": sent(), "h2": DROPPED}


def test_two_ends_that_redirect_to_each_other_are_stopped(net):
    """G17"""
    net.attach("out", "hst", at="peer")
    net.attach("out", "con", at="primary")
    journey = net.send(net.con.ip, node=net.lab.host, recverr=True)
    assert journey.fate.kind is LOST and journey.sender_error is None
    assert [hop.function for hop in journey.hops].count("netkit_xmit") == 5
    assert net.counted() == {"hst": sent(3), "con": sent(2)}


# to a neighbour -------------------------------------------------------------------------------------------------------


@pytest.fixture
def outward(lab, con, calls):
    """Attach a program at con's peer hook that redirects to the card."""
    return lambda call, **values: con.pair.attach(calls[call].bind(TARGET=lab.nic.ifindex, **values), at="peer")


def test_a_plain_redirect_to_a_card_keeps_the_pairs_mac_addresses(lab, con, outward):
    outward("out")
    journey = con.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT))
    assert journey.fate.node == "outside" and journey.fate.reason == "OTHERHOST"


def test_a_redirect_to_a_neighbour_fills_them_in_and_needs_no_forwarding(lab, con, outward):
    lab.host.sysctl("net.ipv4.ip_forward", 0)
    outward("neigh")
    journey = con.send(nk.IP(dst=lab.outside.ip, ttl=9) / nk.UDP(dport=PORT) / PAYLOAD)
    assert journey.fate.delivered and journey.fate.node == "outside"
    assert journey.arrived[8] == 9  # the TTL: nobody has forwarded it
    assert journey.machines[0].backlogs == 0 and journey.machines[0].lookups == 2


def test_a_given_next_hop_saves_the_lookup(lab, con, outward):
    outward("neigh_via", VIA=int.from_bytes(map(int, lab.outside.ip.split(".")), "big"))
    journey = con.send(nk.IP(dst="203.0.113.5") / nk.UDP(dport=PORT))
    assert journey.machines[0].lookups == 1
    assert journey.fate.node == "outside"


def test_a_frame_to_a_group_has_no_next_hop(lab, con, outward):
    outward("neigh")
    frame = nk.Ether(dst="ff:ff:ff:ff:ff:ff") / nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT)
    assert con.send(frame).fate.kind is LOST


def test_what_is_neither_ipv4_nor_ipv6_has_no_neighbour(con, outward):
    outward("neigh")
    assert con.send(nk.Ether(dst="00:00:00:00:00:00", type=0x88B5) / bytes(40)).fate.kind is LOST


# tcx on the other side ------------------------------------------------------------------------------------------------


def arrive(lab, pod, **options):
    return lab.outside.send(nk.IP(dst=pod.ip) / nk.UDP(dport=PORT) / PAYLOAD, **options)


def test_redirect_peer_at_a_cards_ingress_reaches_the_container_in_one_go(net, calls, programs):
    """No queue, no netkit program, no counter but the container's own."""
    net.c2.pair.attach(programs["drop"], at="primary")
    net.lab.nic.attach_tcx(calls["peer"].bind(TARGET=net.h2.ifindex), "ingress")
    journey = arrive(net.lab, net.c2)
    assert journey.fate.delivered and journey.fate.node == "c2"
    assert [run.program for run in journey.verdicts] == ["peer"]
    assert journey.machines[1].backlogs == 0 and journey.machines[1].lookups == 1
    assert net.counted() == {"c2": got()}


def test_redirect_neigh_at_a_cards_ingress_takes_the_pairs_way(net, calls, programs):
    net.c2.pair.attach(programs["next"], at="primary")
    net.lab.nic.attach_tcx(calls["neigh"].bind(TARGET=net.h2.ifindex), "ingress")
    journey = arrive(net.lab, net.c2)
    assert journey.fate.delivered and journey.fate.node == "c2"
    assert [run.program for run in journey.verdicts] == ["neigh", "next"]
    assert journey.machines[1].backlogs == 1 and journey.machines[1].lookups == 2
    assert net.counted() == {"h2": sent(), "c2": got()}


def test_a_cards_frame_redirected_as_it_is_is_another_hosts_to_the_container(net, calls):
    net.lab.nic.attach_tcx(calls["out"].bind(TARGET=net.h2.ifindex), "ingress")
    journey = arrive(net.lab, net.c2)
    assert journey.fate.node == "c2" and journey.fate.reason == "OTHERHOST"
    assert net.counted() == {"h2": sent(), "c2": got()}


@pytest.mark.parametrize("target", ["d0", "inside", "down", NOWHERE])
def test_redirect_peer_wants_a_pair_into_another_namespace_that_is_up(net, calls, target):
    if target == "inside":
        pair = net.lab.pair("near")
        pair.primary.up()
        pair.peer.up()
        target = pair.primary.ifindex
    elif target == "down":
        net.c2.device.down()
        target = net.h2.ifindex
    elif target == "d0":
        target = net.dummy.ifindex
    net.lab.nic.attach_tcx(calls["peer"].bind(TARGET=target), "ingress")
    assert arrive(net.lab, net.c2).fate.kind is LOST
    assert net.counted() == {}


def test_redirect_peer_to_the_own_pair_goes_back_where_it_came_from(net, calls):
    net.hst.attach_tcx(calls["peer"].bind(TARGET=net.hst.ifindex), "ingress")
    journey = net.send(net.con.gateway)
    assert journey.fate.node == "con" and not journey.fate.delivered
    assert net.counted() == {"con": sent() | got(), "hst": got()}


def test_redirect_peer_at_egress_is_lost(net, calls):
    net.hst.attach_tcx(calls["peer"].bind(TARGET=net.h2.ifindex), "egress")
    journey = net.send(net.con.ip, node=net.lab.host, recverr=True)
    assert journey.fate.kind is LOST and journey.sender_error is None
    assert net.counted() == {}


def test_a_redirect_at_egress_takes_the_other_device(net, calls):
    net.hst.attach_tcx(calls["out"].bind(TARGET=net.dummy.ifindex), "egress")
    assert net.send(net.con.ip, node=net.lab.host).fate.kind is GONE_OUT
    assert net.counted() == {"d0": sent()}


# what it saves --------------------------------------------------------------------------------------------------------


def test_from_container_to_container_a_redirect_leaves_one_queue(net):
    net.attach("out", "h2")
    counts = net.send().counts
    assert (counts.backlogs, counts.lookups, counts.drivers) == (1, 2, 2)


def test_from_container_to_container_over_veth(lab, calls):
    """Plain routing queues twice, redirect_peer at the host's end once."""
    one, two = lab.pod("one", device="veth"), lab.pod("two", device="veth")
    two.listen(udp=PORT)
    packet = nk.IP(dst=two.ip) / nk.UDP(dport=PORT) / PAYLOAD
    routed = one.send(packet)
    one.pair.attach_tcx(calls["peer"].bind(TARGET=two.pair.primary.ifindex), "ingress")
    redirected = one.send(packet)
    assert routed.fate.delivered and redirected.fate.delivered
    assert (routed.counts.backlogs, redirected.counts.backlogs) == (2, 1)
    assert (routed.counts.lookups, redirected.counts.lookups) == (3, 2)


def test_from_container_to_card_a_redirect_needs_no_backlog_and_no_softirq(lab, con, outward):
    packet = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT)
    routed = con.send(packet).machines[0]
    outward("neigh")
    redirected = con.send(packet).machines[0]
    assert (routed.backlogs, redirected.backlogs) == (1, 0)
    assert routed.softirq_hops > 0 and redirected.softirq_hops == 0
    assert redirected.hooks < routed.hooks


def test_redirect_neigh_waits_until_the_neighbour_has_answered(lab, con, calls):
    """Nobody on the host's side has spoken to the second pod yet: its address is asked for first."""
    web = lab.pod("web", device="veth", up=False)
    web.listen(udp=PORT)
    web.pair.primary.up()
    web.device.up()
    con.pair.attach(calls["neigh"].bind(TARGET=web.pair.primary.ifindex), at="peer")
    journey = con.send(nk.IP(dst="10.0.2.2") / nk.UDP(dport=PORT) / PAYLOAD)
    assert journey.fate.delivered and journey.fate.node == "web"
    assert web.received[-1].payload == PAYLOAD


def test_redirect_neigh_to_an_address_that_nobody_has_is_dropped_at_the_end(lab, con, outward):
    outward("neigh")
    journey = con.send(nk.IP(dst="192.0.2.77") / nk.UDP(dport=PORT), recverr=True)
    assert journey.fate.kind is DROP and journey.sender_error is None

"""Ends that change place and name, and pairs beside pairs: where authority, programs and links then are (6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.uapi import BPF_TCX_INGRESS, PacketType, Policy
from tests.contract.conftest import PORT, refused

N6 = """
#include "netkit_edu.h"

SEC("netkit/primary") int to_group(struct __sk_buff *skb)
{
    __u8 first = 4;

    bpf_skb_store_bytes(skb, 0, &first, 1, 0);
    bpf_skb_change_type(skb, 2);
    return NETKIT_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def foo(lab):
    return lab.node("foo")


@pytest.fixture
def pair(lab):
    """Both ends on the host, up, with addresses of one subnet."""
    pair = lab.pair("nk1", peer_name="nk0")
    pair.primary.addr("10.0.0.1/24").up()
    pair.peer.addr("10.0.0.2/24").up()
    return pair


def test_a_device_that_moves_goes_down_and_loses_its_addresses_only(lab, pair, foo):
    pair.peer.set(mtu=1400)
    before = pair.peer.ifindex
    assert pair.peer.move(foo) is pair.peer
    assert pair.peer.node is foo and foo.links[1] is pair.peer
    info = pair.peer.info
    assert (info.name, info.mtu, info.addresses, pair.peer.is_up) == ("nk0", 1400, (), False)
    assert pair.peer.ifindex == before and pair.primary.info.peer == before
    assert not pair.primary.carrier
    assert "nk0" not in [d.name for d in lab.host.links]
    pair.peer.addr("10.0.0.2/24").up()
    assert foo.ping("10.0.0.1").fate.delivered


def test_a_number_that_is_taken_there_is_replaced(lab, foo):
    lab.pair("theirs", primary_in=foo, peer_in=foo, attrs={"ifindex": 55})
    mine = lab.pair("mine", attrs={"ifindex": 55})
    mine.primary.move(foo)
    assert mine.primary.ifindex != 55 and mine.peer.info.peer == mine.primary.ifindex
    assert len({d.ifindex for d in foo.links}) == len(foo.links) == 4


def test_a_name_that_is_taken_there_is_refused_and_nothing_moves(lab, pair, foo):
    lab.dummy("nk0", node=foo)
    refused("EEXIST", lambda: pair.peer.move(foo))
    assert pair.peer.node is lab.host and pair.peer.is_up and pair.peer.info.addresses
    pair.peer.move(foo, name="eth7")
    assert pair.peer.name == "eth7"


def test_the_loopback_stays_where_it_is(lab, foo):
    refused("EINVAL", lambda: lab.host.links[0].move(foo, name="lo2"))
    with pytest.raises(nk.UsageError):
        lab.nic.move("foo")


def test_authority_goes_where_the_primary_goes(lab, pair, foo, programs):
    pair.attach(programs["pass"], at="peer")
    link = pair.attach(programs["pass"], at="primary", link=True)
    number = pair.primary.ifindex
    pair.primary.move(foo)
    refused("EACCES", lambda: pair.peer.attach(programs["drop"], at="peer"))
    refused("EACCES", lambda: pair.peer.set_policy(policy="drop"))
    refused("EACCES", lambda: pair.peer.chain("primary"))
    refused("ENODEV", lambda: lab.kernel_calls.prog_query(lab.host.ns, number, link.attach_type))
    assert [e.name for e in pair.chain("peer").entries] == ["pass"] and link.attached
    pair.attach(programs["drop"], at="peer")
    pair.set_policy(peer_policy="drop")
    assert pair.peer.policy == Policy.DROP
    pair.primary.move(lab.host)
    pair.detach(at="peer")
    assert len(pair.chain("peer").entries) == 1


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_a_link_survives_the_move_and_what_a_program_says_of_a_frame_is_kept(lab, foo, programs, mode):
    """N6"""
    pair = lab.pair("nk1", peer_name="nk0", mode=mode)
    recorder = pair.attach(programs["record"], at="primary", link=True)
    changed = pair.attach(nk.compile(N6)["to_group"], at="primary", link=True)
    pair.peer.move(foo)
    assert changed.attached and recorder.info.ifindex == pair.primary.ifindex
    pair.primary.addr("10.0.0.1/24").up()
    pair.peer.addr("10.0.0.2/24").up()
    lab.host.neigh("10.0.0.2", pair.peer.mac, dev=pair.primary)
    arrived = pair.peer.attach_tcx(lab.load(programs["record"]), "ingress")
    assert arrived.attach_type == BPF_TCX_INGRESS
    lab.host.ping("10.0.0.2")
    before, after = recorder.maps["seen"][0], arrived.maps["seen"][0]
    assert before["pkt_type"] == PacketType.HOST and after["pkt_type"] == PacketType.MULTICAST
    assert before["header"][0] != 4 and after["header"][0] == 4
    assert bytes(after["header"][1:14]) == bytes(before["header"][1:14])


def test_a_peer_links_number_is_that_of_the_namespace_it_moved_to(lab, pair, foo, programs):
    lab.dummy("d0", node=foo)
    link = pair.attach(programs["pass"], at="peer", link=True)
    pair.peer.move(foo)
    assert link.info.ifindex == pair.peer.ifindex


def test_a_device_may_be_renamed_while_it_is_up(lab, pair):
    pair.primary.rename("left")
    assert pair.primary.name == "left" and pair.primary.is_up and pair.primary.info.addresses
    refused("EEXIST", lambda: pair.primary.rename("nk0"))
    refused("EEXIST", lambda: pair.primary.rename("eth0"))
    pair.primary.rename("left")
    with pytest.raises(nk.UsageError):
        pair.primary.rename("a/b")
    journey = lab.host.send(nk.IP(dst="10.0.0.9") / nk.UDP(dport=PORT))
    lookups = [h.detail for h in journey.hops if h.function == "fib_table_lookup"]
    assert set(lookups) == {"10.0.0.0/24 dev left"} and "host/left" in journey.counters


def test_inside_one_namespace_mark_and_priority_pass_whatever_the_scrub(lab, pair, programs):
    """G5"""
    recorder = pair.attach(programs["record"], at="primary")
    packet = nk.IP(dst="10.0.0.9") / nk.UDP(dport=PORT)
    lab.host.send(packet, mark=0x77, priority=5)
    seen = recorder.maps["seen"][0]
    assert (seen["mark"], seen["priority"], seen["ifindex"]) == (0x77, 5, pair.peer.ifindex)


def test_several_pairs_join_the_same_two_namespaces(lab, foo, programs):
    pairs = [lab.pair(f"nk{n}", peer_in=foo, peer_name=f"eth{n}") for n in (1, 2)]
    for n, pair in enumerate(pairs, 1):
        pair.primary.addr(f"10.8.{n}.1/24").up()
        pair.peer.addr(f"10.8.{n}.2/24").up()
    pairs[0].attach(programs["drop"], at="primary")
    fates = [lab.host.ping(f"10.8.{n}.2").fate.delivered for n in (1, 2)]
    assert fates == [False, True]
    assert foo.ping("10.8.1.1").replies[0].fate.reason == "program drop returned DROP"
    pairs[0].peer.delete()
    assert [d.name for d in foo.links] == ["lo", "eth2"]
    assert lab.host.ping("10.8.2.2").fate.delivered


def test_a_namespace_takes_along_what_moved_into_it(lab, pair, foo):
    pair.peer.move(foo)
    foo.delete()
    assert "nk1" not in [d.name for d in lab.host.links]

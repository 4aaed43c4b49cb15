"""Redirects to every kind of device in every state: who takes the packet, and who counts it (net/core/filter.c, 6.12).

The program sits at the peer hook of con's pair, an L3 one, so that frames have no MAC address; the targets are on the
host, which does not forward.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import netkit_edu as nk
from netkit_edu.journey import FateKind
from netkit_edu.kernels import ROWS
from tests.contract.conftest import DROPPED, PAYLOAD, PORT, got, sent

DROP, LOST, GONE_OUT = FateKind.DROPPED, FateKind.LOST, FateKind.TRANSMITTED
PROGRAMS = """
#include "netkit_edu.h"

volatile const __u32 TARGET;

SEC("netkit/peer") int out(struct __sk_buff *skb) { return bpf_redirect(TARGET, 0); }
SEC("netkit/peer") int in(struct __sk_buff *skb) { return bpf_redirect(TARGET, BPF_F_INGRESS); }
SEC("netkit/peer") int neigh(struct __sk_buff *skb) { return bpf_redirect_neigh(TARGET, 0, 0, 0); }
SEC("netkit/peer") int peer(struct __sk_buff *skb) { return bpf_redirect_peer(TARGET, 0); }
SEC("netkit/peer") int copy(struct __sk_buff *skb) { bpf_clone_redirect(skb, TARGET, 0); return NETKIT_DROP; }

char LICENSE[] SEC("license") = "GPL";
"""
KINDS = ("netkit", "netkit L2", "veth", "nic", "dummy")
RUNS_PROGRAMS = ("netkit", "netkit L2")


@pytest.fixture(scope="session")
def calls():
    return nk.compile(PROGRAMS, name="targets.c")


@pytest.fixture(params=KINDS)
def target(request, lab, con):
    """A device of the host, what lies behind it, and who is there."""
    lab.host.sysctl("net.ipv4.ip_forward", 0)
    if request.param == "dummy":
        return SimpleNamespace(kind="dummy", dev=lab.dummy("d0").up(), far=None, to="10.9.9.9", node=None)
    if request.param == "nic":
        return SimpleNamespace(kind="nic", dev=lab.nic, far=lab.nic.other, to=lab.outside.ip, node="outside")
    kind, _, mode = request.param.partition(" ")
    web = lab.pod("web", device=kind, **({"mode": "l2"} if mode else {}))
    web.listen(udp=PORT)
    if mode:  # else redirect_neigh would ask first, and the requests be counted
        lab.host.neigh(web.ip, web.device.mac, dev=web.pair.primary)
    return SimpleNamespace(kind=request.param, dev=web.pair.primary, far=web.device, to=web.ip, node="web")


@pytest.fixture
def trial(con, calls, target, moved):
    """``trial(call)`` sends one packet: the journey, then what con's end, the target and the far end counted."""

    def trial(call):
        con.pair.attach(calls[call].bind(TARGET=target.dev.ifindex))
        count = moved(con.device, target.dev, *([target.far] if target.far else []))
        return con.send(nk.IP(dst=target.to) / nk.UDP(dport=PORT) / PAYLOAD, recverr=True), *count()

    return trial


def test_out_of_a_device_goes_the_frame_as_it_is(target, trial):
    """Whoever has a MAC address takes it for another host's."""
    journey, con, dev, *far = trial("out")
    assert journey.sender_error is None and con == sent() and dev == sent()
    assert far == ([got()] if target.far else [])
    if target.kind == "dummy":
        assert journey.fate.kind is GONE_OUT
    else:
        assert journey.fate.node == target.node and journey.fate.delivered == (target.kind == "netkit")
        assert journey.fate.delivered or journey.fate.reason == "OTHERHOST"


def test_to_a_neighbour_goes_the_frame_with_its_addresses(target, trial):
    journey, con, dev, *far = trial("neigh")
    assert journey.sender_error is None and con == sent() and far == ([got()] if target.far else [])
    assert journey.fate.delivered if target.far else journey.fate.kind is GONE_OUT
    assert dev == sent()


def test_a_copy_goes_the_same_way_as_the_packet_would(target, trial):
    journey, con, dev, *far = trial("copy")
    assert (con, dev, far) == (DROPPED, sent(), [got()] if target.far else [])
    assert journey.sender_error == "ENOBUFS"


def test_into_a_device_the_packet_counts_nowhere_but_at_its_sender(target, trial):
    journey, con, dev, *far = trial("in")
    assert (journey.sender_error, con, dev, far) == (None, sent(), {}, [{}] if target.far else [])
    assert journey.fate.kind is DROP and journey.fate.node == "host"
    assert (journey.fate.reason == "OTHERHOST") == (target.kind != "netkit")


@pytest.mark.parametrize(("call", "counter"), [("out", "tx_dropped"), ("neigh", "tx_dropped"), ("in", "rx_dropped")])
def test_a_device_that_is_down_counts_the_drop_and_the_sender_hears_nothing(lab, target, trial, call, counter):
    target.dev.down()
    journey, con, dev, *far = trial(call)
    counts = {} if call == "neigh" and not ROWS["neigh-down"].on(lab.kernel) else {counter: 1}
    assert (journey.sender_error, con, dev, far) == (None, sent(), counts, [{}] if target.far else [])
    assert not journey.fate.delivered


@pytest.mark.parametrize("target", ["netkit", "netkit L2", "veth"], indirect=True)
@pytest.mark.parametrize("call", ["out", "in"])
def test_a_device_whose_other_end_is_down_sends_nothing_and_still_receives(target, trial, call):
    target.far.down()
    journey, con, dev, far = trial(call)
    assert (journey.sender_error, con, dev, far) == (None, sent(), DROPPED if call == "out" else {}, {})
    assert journey.fate.kind is DROP


def test_redirect_peer_is_lost_whatever_it_names(target, trial):
    """Its packet has not come in through any device: the program stands in a transmission."""
    journey, con, dev, *far = trial("peer")
    assert (journey.fate.kind, journey.sender_error) == (LOST, None)
    assert (con, dev, far) == (sent(), {}, [{}] if target.far else [])


def test_the_targets_own_programs_have_their_say(lab, target, trial, programs):
    """tcx at the device's egress, which counts nothing, or before the container on a netkit pair."""
    drop = lab.load(programs["drop"])
    if target.kind in RUNS_PROGRAMS:
        target.dev.attach(drop, at="primary")
    else:
        target.dev.attach_tcx(drop, "egress")
    journey, con, dev, *far = trial("out")
    assert [run.program for run in journey.verdicts] == ["out", "drop"]
    assert (journey.sender_error, con, far) == (None, sent(), [{}] if target.far else [])
    assert dev == (DROPPED if target.kind in RUNS_PROGRAMS else {})


def test_a_hosts_own_packet_that_is_put_on_its_loopback_is_a_martian(lab):
    """What is sent through lo brings its route along; this has none, and its source is one of the host's own."""
    to_lo = nk.compile('SEC("netkit/primary") int to_lo(struct __sk_buff *skb) { return bpf_redirect(1, 1); }')
    pair = lab.pair("nk1")
    for end, address in ((pair.primary, "10.9.0.1/24"), (pair.peer, "10.9.0.2/24")):
        end.addr(address).up()
    lab.host.listen(udp=7)
    pair.attach(to_lo["to_lo"])
    frame = bytes(12) + b"\x08\0" + bytes(nk.IP(src="10.9.0.1", dst="10.9.0.2") / nk.UDP(dport=7) / b"hi")
    journey = lab.host.send(frame, via="packet", dev=pair.primary)
    assert not journey.fate.delivered and not lab.host.received


def test_a_copy_to_a_group_that_is_put_on_the_loopback_is_received_and_no_more(lab, con):
    """Its route has no way in, since nobody has joined the group (net/ipv4/route.c:__mkroute_output)."""
    to_lo = nk.compile('SEC("tc") int to_lo(struct __sk_buff *skb) { bpf_clone_redirect(skb, 1, 0); return 2; }')
    con.device.attach_tcx(to_lo["to_lo"], "egress")
    journey = con.send(nk.IP(src=con.ip, dst="224.0.0.5") / nk.UDP(dport=PORT) / PAYLOAD)
    assert (journey.fate.kind, journey.fate.node) == (DROP, "con") and not con.received
    counted = {name: n for name, n in con.snmp.items() if n and name.startswith(("IpIn", "IpExtInM"))}
    assert counted == {"IpInReceives": 1, "IpExtInMcastPkts": 1, "IpExtInMcastOctets": 128}

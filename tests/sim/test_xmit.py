"""The two drivers' transmit functions by themselves: what becomes of the packet, the counters, and the caller.

Held against drivers/net/netkit.c:netkit_xmit, drivers/net/veth.c:veth_xmit, net/core/skbuff.c:skb_scrub_packet and
net/core/dev.c, Linux 6.12.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from netkit_edu.backend import SendRequest
from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import HopKind
from netkit_edu.sim import dev as core
from netkit_edu.sim.backend import SimBackend
from netkit_edu.sim.filter import BpfProg
from netkit_edu.sim.mprog import MprogEntry
from netkit_edu.sim.netdevice import NetDevice, NetDeviceOps
from netkit_edu.sim.rtnetlink import register_netdevice
from netkit_edu.sim.trace import Trace
from netkit_edu.uapi import IFF_UP, NetXmit
from tests.sim.topologies import BEYOND, HOST_IP, POD_IP, machine, udp

LENGTH = 142
IP, IPV6 = 0x0800, 0x86DD
SENT = {"tx_packets": 1, "tx_bytes": LENGTH}
GOT = {"rx_packets": 1, "rx_bytes": LENGTH}


class Driver:
    """One pair, and a CPU on which no softirq runs, so that what was queued can be looked at."""

    def __init__(self, kind: str, *, same: bool = False, backlog: int = 10, **info):
        self.sim = SimBackend(backlog=backlog)
        here = self.sim.netns_add("a")
        there = here if same else self.sim.netns_add("b")
        ifindex = self.sim.link_add(here, kind, "one", peer_ns=there, peer={"name": "two"}, info=info or None)
        for ns, number in ((here, ifindex), (there, self.sim.link_get(here, ifindex).peer)):
            self.sim.link_set(ns, number, up=True)
        self.dev = self.sim._kernel.namespaces[here].devices[ifindex]
        self.peer = self.dev.peer
        self.cpu = self.sim._kernel.cpus[0]
        self.cpu.bh_disabled = 1
        self.seen: list[SkBuff] = []

    def skb(self, *, to: bytes | None = None, length: int = LENGTH, ethertype: int = IP, **fields) -> SkBuff:
        frame = (self.peer.dev_addr if to is None else to) + bytes(6) + ethertype.to_bytes(2, "big")
        skb = SkBuff((frame + bytes(length))[:length], protocol=IP)
        skb.trace = Trace(self.cpu)
        skb.dev = self.dev
        for name, value in fields.items():
            setattr(skb, name, value)
        return skb

    def xmit(self, skb: SkBuff) -> int:
        return self.dev.netdev_ops.ndo_start_xmit(skb, self.dev)

    def queued(self) -> list[SkBuff]:
        return list(self.cpu.input_pkt_queue)

    def program(self, run) -> None:
        """Attach a program written in Python, which gets the skb."""
        number = 1000 + len(self.dev.priv.active.progs)
        self.dev.priv.active.attach(
            MprogEntry(BpfProg(number, "python", SimpleNamespace(run=lambda skb, world: run(skb))))
        )

    def moved(self) -> list[dict[str, int]]:
        return [{name: n for name, n in end.stats.items() if n} for end in (self.dev, self.peer)]


METADATA = [
    # kind, one namespace, options: mark, priority, tstamp
    ("netkit", True, {}, (7, 5, 9)),
    ("netkit", False, {}, (0, 0, 0)),
    ("netkit", False, {"scrub": 0}, (7, 5, 0)),
    ("netkit", False, {"peer_scrub": 0}, (0, 0, 0)),
    ("veth", True, {}, (7, 0, 9)),
    ("veth", False, {}, (0, 0, 0)),
]


@pytest.mark.parametrize(("kind", "same", "info", "expected"), METADATA)
def test_what_a_packet_keeps_on_its_way_to_the_other_end(kind, same, info, expected):
    d = Driver(kind, same=same, **info)
    socket, route = object(), object()
    skb = d.skb(mark=7, priority=5, tstamp=9, skb_iif=3, pkt_type=3, ignore_df=True, dst=route, sk=socket)
    if kind == "netkit":
        d.program(lambda skb: d.seen.append((skb.mark, skb.priority, skb.tstamp, skb.skb_iif, skb.pkt_type)) or -1)
    assert d.xmit(skb) == NetXmit.SUCCESS
    assert (skb.mark, skb.priority, skb.tstamp) == expected
    assert (skb.skb_iif, skb.pkt_type, skb.ignore_df, skb.dst, skb.sk) == (0, 0, False, None, socket)
    assert skb.dev is d.peer and skb.protocol == IP and len(skb) == LENGTH - 14
    assert d.seen == ([(*expected, 0, 0)] if kind == "netkit" else [])  # scrubbed before the program looks
    assert d.moved() == [SENT, GOT]


@pytest.mark.parametrize("kind", ["netkit", "veth"])
def test_for_whom_a_frame_is_follows_from_the_receivers_address(kind):
    d = Driver(kind, **({"mode": 0} if kind == "netkit" else {}))
    frames = {d.peer.dev_addr: 0, d.dev.dev_addr: 3, b"\x02" * 6: 3, b"\xff" * 6: 1, b"\x01\x00\x5e\x00\x00\x01": 2}
    for to, expected in frames.items():
        skb = d.skb(to=to)
        d.xmit(skb)
        assert skb.pkt_type == expected, to


def test_netkit_keeps_protocol_and_packet_type_as_programs_leave_them_and_veth_reads_them_anew():
    """G12, G13"""
    d = Driver("netkit")

    def change(skb):
        skb.pkt_type = 3
        skb.buf[skb.data + 12 : skb.data + 14] = b"\x86\xdd"
        return 0

    d.program(change)
    skb = d.skb()
    assert d.xmit(skb) == NetXmit.SUCCESS
    assert (skb.pkt_type, skb.protocol) == (3, IP)
    veth = Driver("veth")
    skb = veth.skb(ethertype=IPV6, pkt_type=3)
    veth.xmit(skb)
    assert (skb.pkt_type, skb.protocol) == (0, IPV6)


def test_a_packet_made_somebody_elses_is_received_and_dropped_by_ip():
    """G12"""
    m = machine("netkit")
    dev = m.sim._kernel.namespaces[m.host].devices[m.primary]

    def change(skb, world):
        skb.pkt_type = 3
        return 0

    dev.priv.active.attach(MprogEntry(BpfProg(1, "change_type", SimpleNamespace(run=change))))
    journey = m.send(m.host, POD_IP)
    assert (journey.fate.node, journey.fate.reason, journey.sender_error) == ("pod", "OTHERHOST", None)
    assert journey.counters == {"host/pod": SENT, "pod/eth0": GOT}
    assert m.sim.received(m.pod) == []


def test_a_packet_made_ipv6_by_its_bytes_alone_is_still_ipv4_to_the_stack():
    """G13"""
    m = machine("netkit")
    dev = m.sim._kernel.namespaces[m.host].devices[m.primary]

    def change(skb, world):
        skb.buf[skb.data + 12 : skb.data + 14] = b"\x86\xdd"
        return 0

    dev.priv.active.attach(MprogEntry(BpfProg(1, "change_bytes", SimpleNamespace(run=change))))
    tap = m.sim.capture_start(m.pod, m.peer)
    assert m.send(m.host, POD_IP).fate.delivered
    assert m.sim.captured(tap)[0].frame[12:14] == b"\x86\xdd"


@pytest.mark.parametrize(
    ("kind", "receiver", "words"),
    [("netkit", {}, "the other end is not up"), ("veth", {"rx_dropped": 1}, "receiver is down")],
)
def test_a_driver_drops_what_the_other_end_cannot_take(kind, receiver, words):
    """The other end down behind the qdisc's back; veth counts it on the receiver too."""
    d = Driver(kind)
    d.peer.flags &= ~IFF_UP
    if kind == "netkit":
        d.program(lambda skb: d.seen.append(skb) or 0)
    skb = d.skb()
    assert d.xmit(skb) == NetXmit.DROP
    assert d.moved() == [{"tx_dropped": 1}, receiver] and d.queued() == [] and d.seen == []
    assert (skb.trace.fate.kind, skb.trace.fate.reason) == ("dropped", words)


@pytest.mark.parametrize("kind", ["netkit", "veth"])
def test_a_driver_drops_what_has_no_whole_ethernet_header(kind):
    d = Driver(kind)
    assert d.xmit(d.skb(length=13)) == NetXmit.DROP
    assert d.moved() == [{"tx_dropped": 1}, {}]


@pytest.mark.parametrize("kind", ["netkit", "veth"])
def test_a_full_backlog_counts_on_both_ends_and_is_told(kind):
    d = Driver(kind, backlog=0)
    assert [d.xmit(d.skb()) for _ in range(2)] == [NetXmit.SUCCESS, NetXmit.DROP]
    assert d.moved() == [SENT | {"tx_dropped": 1}, GOT | {"rx_dropped": 1}]
    assert d.cpu.dropped == 1 and len(d.queued()) == 1


def test_an_end_that_goes_down_while_its_program_runs_gets_nothing_more():
    d = Driver("netkit")

    def down(skb):
        d.peer.flags &= ~IFF_UP
        return 0

    d.program(down)
    skb = d.skb()
    assert d.xmit(skb) == NetXmit.DROP
    assert d.moved() == [{"tx_dropped": 1}, {"rx_dropped": 1}]
    assert (skb.trace.fate.reason, d.cpu.dropped, d.queued()) == ("DEV_READY", 0, [])


@pytest.mark.parametrize(
    ("length", "gso_size", "passes"), [(1518, 0, True), (1519, 0, False), (5000, 1448, True), (5000, 0, False)]
)
def test_veth_holds_frames_to_the_receivers_mtu_and_leaves_room_for_a_tag(length, gso_size, passes):
    d = Driver("veth")
    rc = d.xmit(d.skb(length=length, gso_size=gso_size))
    if passes:
        assert (rc, len(d.queued())) == (NetXmit.SUCCESS, 1)
    else:
        assert (rc, d.queued()) == (NetXmit.DROP, [])
        assert d.moved() == [{"tx_dropped": 1}, {"rx_dropped": 1}]


def test_netkit_holds_nothing_to_the_receivers_mtu():
    """G14"""
    d = Driver("netkit")
    assert d.xmit(d.skb(length=5042)) == NetXmit.SUCCESS


@pytest.mark.parametrize("end", ["one", "two"])
def test_deleting_either_end_of_a_veth_pair_deletes_both(end):
    d = Driver("veth")
    dev = d.dev if end == "one" else d.peer
    d.sim.link_del(dev.net.number, dev.ifindex)
    assert [[link.name for link in d.sim.links(ns)] for ns in d.sim._kernel.namespaces] == [["lo"], ["lo"]]
    assert d.dev.priv.peer is None and d.peer.priv.peer is None


def test_a_driver_that_sends_to_itself_is_stopped_after_nine_calls():
    """XMIT_RECURSION_LIMIT is 8, and the comparison is "greater" (net/core/dev.h)."""
    calls = []

    def loop_xmit(skb, dev):
        calls.append(skb)
        core.__dev_queue_xmit(skb)
        return NetXmit.SUCCESS

    sim = SimBackend()
    ns = sim.netns_add("x")
    dev = NetDevice(NetDeviceOps(ndo_start_xmit=loop_xmit), kind="loop", dev_addr=b"\x02" * 6)
    register_netdevice(dev, sim._kernel.namespaces[ns], "loop%d")
    sim.link_set(ns, dev.ifindex, up=True)
    frame = bytes(12) + b"\x08\x00" + bytes(20)
    journey = sim.send(ns, SendRequest(frame, "packet", dev.ifindex))
    assert len(calls) == 9
    assert journey.counters == {"x/loop0": {"tx_dropped": 1}}
    assert journey.fate.kind == "dropped"
    dev.netdev_ops = NetDeviceOps(ndo_start_xmit=lambda skb, dev: core.__dev_queue_xmit(skb))
    assert sim.send(ns, SendRequest(frame, "packet", dev.ifindex)).sender_error == "ENETDOWN"


def hooks(journey) -> list[tuple[str, str]]:
    return [(hop.node, hop.detail) for hop in journey.hops if hop.kind is HopKind.HOOK]


OUT = [("pod", "LOCAL_OUT"), ("pod", "POSTROUTING"), ("pod", "NETDEV_EGRESS")]
FORWARDED = [("host", "NETDEV_INGRESS"), ("host", "PREROUTING"), ("host", "FORWARD"), ("host", "POSTROUTING"),
             ("host", "NETDEV_EGRESS")]  # fmt: skip


@pytest.mark.parametrize("kind", ["netkit", "veth"])
@pytest.mark.parametrize("via", ["udp", "raw"])
def test_the_hook_points_stand_where_netfilter_has_them(kind, via):
    m = machine(kind)
    assert hooks(m.send(m.pod, BEYOND, via=via)) == OUT + FORWARDED
    arrived = m.send(m.pod, HOST_IP, via=via)
    assert hooks(arrived) == [*OUT, ("host", "NETDEV_INGRESS"), ("host", "PREROUTING"), ("host", "LOCAL_IN")]
    functions = [hop.function for hop in arrived.hops]
    assert functions.index("ip_local_deliver") < functions.index("udp_rcv")


def test_a_fragmented_datagram_passes_the_netfilter_hooks_whole_on_its_way_out_and_when_it_is_whole_again():
    m = machine("netkit")
    passed = [point for _, point in hooks(m.send(m.pod, "", packet=udp(HOST_IP, bytes(3000))))]
    times = {"LOCAL_OUT": 1, "POSTROUTING": 1, "NETDEV_EGRESS": 3, "PREROUTING": 3, "LOCAL_IN": 1}
    assert {point: passed.count(point) for point in times} == times


def test_the_program_is_told_the_length_on_the_wire():
    d = Driver("netkit")
    d.program(lambda skb: d.seen.append(skb.wire_len) or 0)
    skb = d.skb()
    core.__dev_queue_xmit(skb)
    assert d.seen == [LENGTH]

"""The core between stack and drivers: transmit, the backlog, receive, up and down.

Mirrors net/core/dev.c, net/sched/sch_generic.c and net/core/link_watch.c, Linux 6.12. `__dev_queue_xmit` brings a
packet to a driver, `__netif_rx` is how a virtual driver gives it to a receiving device, and `process_backlog` is where
it comes out again, in softirq.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError
from netkit_edu.journey import HopKind
from netkit_edu.sim.cpu import Cpu, local_bh_disable, local_bh_enable, napi_complete, napi_schedule
from netkit_edu.sim.gso import netif_needs_gso, qdisc_pkt_len_init, skb_gso_ok, skb_gso_segment
from netkit_edu.sim.netfilter import nf_hook_egress, nf_hook_ingress
from netkit_edu.sim.skbuff import eth_type_trans, kfree_skb_reason, skb_scrub_packet
from netkit_edu.sim.vlan import VLAN_HLEN, VLANS, skb_vlan_untag, validate_xmit_vlan, vlan_leave
from netkit_edu.uapi import ETH_HLEN, IFF_UP, Errno, NetXmit

NET_RX_SUCCESS, NET_RX_DROP = 0, 1
XMIT_RECURSION_LIMIT = 8
_DRIVER, _QUEUE = HopKind.DRIVER, HopKind.QUEUE
_CN = NetXmit.CN

PTYPES: dict[int, Callable[[SkBuff], None]] = {}  # dev_add_pack(): ethertype -> the protocol's receive function
SCH_HANDLE: dict[str, Callable] = {}  # "ingress", "egress" -> what runs a device's tcx programs; tcx puts them here
NETDEV_CHAIN: list[Callable] = []  # register_netdevice_notifier(): who is told what becomes of devices
ANOTHER_ROUND, GONE = "another round", "gone"  # what may come of them on arrival, if not None: go on


class Captured(NamedTuple):
    """One frame that a tap saw: "out" or "in", and its bytes from the Ethernet header."""

    direction: str
    frame: bytes


# counters -----------------------------------------------------------------------------------------------------------


def dev_sw_netstats_tx_add(skb: SkBuff, dev, length: int) -> None:
    """Count a packet of ``length`` bytes that ``dev`` transmitted."""
    skb.trace.count(dev, "tx_packets", 1)
    skb.trace.count(dev, "tx_bytes", length)


def dev_sw_netstats_rx_add(skb: SkBuff, dev, length: int) -> None:
    """Count a packet of ``length`` bytes that ``dev`` received."""
    skb.trace.count(dev, "rx_packets", 1)
    skb.trace.count(dev, "rx_bytes", length)


def dev_core_stats_tx_dropped_inc(skb: SkBuff, dev) -> None:
    """Count a packet that ``dev`` could not transmit."""
    skb.trace.count(dev, "tx_dropped", 1)


def dev_core_stats_rx_dropped_inc(skb: SkBuff, dev) -> None:
    """Count a packet that was dropped on its way into ``dev``."""
    skb.trace.count(dev, "rx_dropped", 1)


# queueing disciplines -----------------------------------------------------------------------------------------------


class Qdisc(NamedTuple):
    """A queueing discipline; without ``enqueue`` the driver is called directly."""

    id: str
    enqueue: Callable[[SkBuff, object], int] | None = None


def noop_enqueue(skb: SkBuff, dev) -> int:
    """The qdisc of a device without carrier: drop, and tell the sender of congestion only (NET_XMIT_CN)."""
    skb.trace.hop("noop_enqueue", dev, _QUEUE, "noop")
    dev_core_stats_tx_dropped_inc(skb, dev)
    kfree_skb_reason(skb, "QDISC_DROP", dev, "the device has no carrier" if dev.up else "the device is down")
    return _CN


def sch_direct_xmit(skb: SkBuff, dev) -> int:
    """A real qdisc whose queue is empty lets the packet pass at once (TCQ_F_CAN_BYPASS); our drivers are never busy."""
    skb.trace.hop("sch_direct_xmit", dev, _QUEUE, dev.qdisc.id)
    if segments := validate_xmit_skb(skb, dev):
        dev_hard_start_xmit(segments, dev)
    return NetXmit.SUCCESS


def fq_enqueue(skb: SkBuff, dev) -> int:
    """Fair queueing has no way past its queue: in and, with nothing to wait for, out again (net/sched/sch_fq.c)."""
    skb.trace.hop("fq_enqueue", dev, _QUEUE, dev.qdisc.id)
    skb.trace.hop("fq_dequeue", dev)
    skb.trace.hop("sch_direct_xmit", dev)
    if segments := validate_xmit_skb(skb, dev):
        dev_hard_start_xmit(segments, dev)
    return NetXmit.SUCCESS


NOOP = Qdisc("noop", noop_enqueue)
NOQUEUE = Qdisc("noqueue")
QDISCS = {
    "noqueue": NOQUEUE,
    **{name: Qdisc(name, sch_direct_xmit) for name in ("pfifo", "pfifo_fast", "fq_codel")},
    "fq": Qdisc("fq", fq_enqueue),
}


# transmit -----------------------------------------------------------------------------------------------------------


def __dev_queue_xmit(skb: SkBuff) -> int:
    """Send a packet through ``skb->dev``: egress hooks, qdisc, driver.

    Returns:
        a NET_XMIT code, or a negative errno.
    """
    dev, trace = skb.dev, skb.trace
    cpu = trace.cpu
    trace.hop("__dev_queue_xmit", dev)
    skb.mac_header = skb.data
    skb.wire_len = qdisc_pkt_len_init(skb) if skb.gso_size else len(skb)
    if not skb.wire_len and skb.gso_size:
        dev_core_stats_tx_dropped_inc(skb, dev)
        kfree_skb_reason(skb, "SKB_BAD_GSO", dev)
        return -Errno.EINVAL
    cpu.bh_disabled += 1
    skb.tc_at_ingress = False
    nf_hook_egress(skb, dev)
    if dev.tcx_egress.progs:
        skb.nf_skip_egress = True
        rc = SCH_HANDLE["egress"](skb, dev)
        if rc is not None:
            local_bh_enable(cpu)
            return rc
    skb.nf_skip_egress = False
    q = dev.qdisc
    if q.enqueue is not None:
        rc = q.enqueue(skb, dev)
    elif dev.flags & IFF_UP and cpu.xmit_recursion <= XMIT_RECURSION_LIMIT:
        segments = validate_xmit_skb(skb, dev) if skb.gso_size or skb.vlan_present else (skb,)
        rc = -Errno.ENOMEM
        if segments:
            cpu.xmit_recursion += 1
            rc = dev_hard_start_xmit(segments, dev)
            cpu.xmit_recursion -= 1
    else:
        dev_core_stats_tx_dropped_inc(skb, dev)
        kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "recursion limit reached" if dev.up else "the device is down")
        rc = -Errno.ENETDOWN
    local_bh_enable(cpu)
    return rc


def validate_xmit_skb(skb: SkBuff, dev) -> Sequence[SkBuff]:
    """Return what the driver gets: the packet, or its segments if the device takes none whole; nothing if it is bad."""
    validate_xmit_vlan(skb, dev)
    if not skb.gso_size or not netif_needs_gso(skb, dev):
        return (skb,)
    said = f"{skb.gso_segs} segments" if skb.gso_segs else "segments"
    skb.trace.hop("skb_gso_segment", dev, detail=f"{said} of {skb.gso_size} bytes at most")
    try:
        segments = skb_gso_segment(skb, skb_gso_ok(skb, dev))
    except KernelError:
        kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "a GSO packet of one segment, or with impossible headers")
        dev_core_stats_tx_dropped_inc(skb, dev)
        return ()
    if segments is None:
        return (skb,)
    skb.trace.hop("consume_skb", dev)  # its socket has gone over to the segments
    return segments


def dev_hard_start_xmit(first: Sequence[SkBuff], dev) -> int:
    """Give the driver a packet, or several that one was cut into."""
    first[0].trace.hop("dev_hard_start_xmit", dev)
    rc = 0
    for skb in first:
        rc = xmit_one(skb, dev)
    return rc


def xmit_one(skb: SkBuff, dev) -> int:
    """Let the taps see one packet of the list, and give it to the driver."""
    if dev.taps:
        dev_queue_xmit_nit(skb, dev)
    ndo_start_xmit = dev.netdev_ops.ndo_start_xmit
    skb.trace.hop(ndo_start_xmit.__name__, dev, _DRIVER)
    return ndo_start_xmit(skb, dev)


def dev_queue_xmit_nit(skb: SkBuff, dev) -> None:
    """Give a copy of a leaving frame to every packet socket that listens on the device."""
    for tap in dev.taps:
        tap.append(Captured("out", bytes(skb.buf[skb.mac_header :])))


# from driver to stack: the backlog ----------------------------------------------------------------------------------


def netif_rx(skb: SkBuff) -> int:
    """As `__netif_rx`, from any context; if no softirq may run already, it runs before this returns."""
    cpu = skb.trace.cpu
    local_bh_disable(cpu)
    rc = __netif_rx(skb)
    local_bh_enable(cpu)
    return rc


def __netif_rx(skb: SkBuff) -> int:
    """Queue a packet as received on ``skb->dev``; bottom halves are disabled. Returns NET_RX_SUCCESS or NET_RX_DROP."""
    skb.trace.hop("__netif_rx", skb.dev)
    return netif_rx_internal(skb)


def netif_rx_internal(skb: SkBuff) -> int:
    """Choose the CPU: without receive packet steering, this one."""
    skb.trace.hop("netif_rx_internal", skb.dev)
    return enqueue_to_backlog(skb, skb.trace.cpu)


def enqueue_to_backlog(skb: SkBuff, cpu: Cpu) -> int:
    """Put the packet at the end of the CPU's backlog and raise NET_RX; drop it if the backlog is full."""
    dev = skb.dev
    skb.trace.hop("enqueue_to_backlog", dev, _QUEUE, "per-CPU backlog")
    if not dev.flags & IFF_UP:
        dev_core_stats_rx_dropped_inc(skb, dev)
        kfree_skb_reason(skb, "DEV_READY", dev)
        return NET_RX_DROP
    queue = cpu.input_pkt_queue
    if len(queue) > dev.net.kernel.netdev_max_backlog:  # so one more than the limit fits
        cpu.dropped += 1
        dev_core_stats_rx_dropped_inc(skb, dev)
        kfree_skb_reason(skb, "CPU_BACKLOG", dev)
        return NET_RX_DROP
    queue.append(skb)
    napi_schedule(cpu, cpu.backlog)
    return NET_RX_SUCCESS


def process_backlog(cpu: Cpu, quota: int) -> int:
    """Receive up to ``quota`` packets of the backlog; also those that the first ones put there meanwhile."""
    cpu.step("process_backlog")
    work = 0
    while True:
        queue = cpu.process_queue
        while queue:
            skb = queue.popleft()
            cpu.take(skb)
            __netif_receive_skb(skb)
            work += 1
            if work >= quota:
                return work
        if not cpu.input_pkt_queue:
            napi_complete(cpu.backlog)
            return work
        cpu.process_queue, cpu.input_pkt_queue = cpu.input_pkt_queue, queue


# from one device to another ------------------------------------------------------------------------------------------


def __dev_forward_skb(dev, skb: SkBuff) -> int:
    """Check and change over; the trace shows both of the kernel's functions."""
    skb.trace.hop("__dev_forward_skb", skb.dev)
    return __dev_forward_skb2(dev, skb)


def __dev_forward_skb2(dev, skb: SkBuff, check_mtu: bool = True) -> int:
    """Refuse what the receiver could not take; scrub; read the Ethernet header anew.

    Without ``check_mtu``, a receiver that is up takes a frame of any length.
    """
    skb.trace.hop("__dev_forward_skb2", skb.dev)
    if not (is_skb_forwardable(dev, skb) if check_mtu else dev.flags & IFF_UP):
        dev_core_stats_rx_dropped_inc(skb, dev)
        kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "longer than the receiver's MTU" if dev.up else "receiver is down")
        return NET_RX_DROP
    skb_scrub_packet(skb, dev.net is not skb.dev.net)
    skb.priority = 0
    skb.protocol = eth_type_trans(skb, dev)
    return NET_RX_SUCCESS


def is_skb_forwardable(dev, skb: SkBuff) -> bool:
    """True if ``dev`` is up and the frame fits its MTU (a GSO packet always does)."""
    return bool(dev.flags & IFF_UP) and (len(skb) <= dev.mtu + ETH_HLEN + VLAN_HLEN or bool(skb.gso_size))


def dev_forward_skb_nomtu(dev, skb: SkBuff) -> int:
    """Make the packet one that ``dev`` received, however long it is, and queue it there; no counter says so."""
    skb.trace.hop("dev_forward_skb_nomtu", skb.dev)
    rc = __dev_forward_skb2(dev, skb, check_mtu=False)
    return rc if rc != NET_RX_SUCCESS else netif_rx_internal(skb)


# receive ------------------------------------------------------------------------------------------------------------


def netif_receive_skb(skb: SkBuff) -> None:
    """Receive a packet at once, in softirq: one that another device has received already."""
    skb.trace.hop("netif_receive_skb", skb.dev)
    __netif_receive_skb(skb)


def __netif_receive_skb(skb: SkBuff) -> None:
    """Receive one packet: what `__netif_receive_skb_core` finds for it takes it (__netif_receive_skb_one_core)."""
    handler = __netif_receive_skb_core(skb)
    if handler is not None:
        handler(skb)


def __netif_receive_skb_core(skb: SkBuff) -> Callable[[SkBuff], None] | None:
    """Taps, ingress hooks, then who takes it, which is returned: a bridge's function for its ports, or the protocol's.

    None if the packet is gone.

    A program at tcx ingress may give the packet to another device's other end: that one then receives it at once, in
    another round of the same function.
    """
    dev = skb.dev
    skb.trace.hop("__netif_receive_skb_core", dev)
    skb.network_header = skb.data
    again = True
    while again:
        dev = skb.dev
        skb.skb_iif = dev.ifindex
        skb.trace.cpu.processed += 1
        if skb.protocol in VLANS and not skb_vlan_untag(skb):
            return None
        if dev.taps:
            for tap in dev.taps:
                tap.append(Captured("in", bytes(skb.buf[skb.mac_header :])))
        what = SCH_HANDLE["ingress"](skb, dev) if dev.tcx_ingress.progs else None
        if what is GONE:
            return None
        again = what is ANOTHER_ROUND
    skb.nf_skip_egress = False
    nf_hook_ingress(skb, dev)
    if dev.rx_handler is not None:
        return dev.rx_handler
    if skb.vlan_present and not vlan_leave(skb):
        return None
    handler = PTYPES.get(skb.protocol)
    if handler is None:
        dev_core_stats_rx_dropped_inc(skb, dev)
        kfree_skb_reason(skb, "UNHANDLED_PROTO", dev)
    return handler


# up, down, carrier --------------------------------------------------------------------------------------------------


def call_netdevice_notifiers(event: str, dev) -> None:
    """Tell whoever asked: "REGISTER", "UP", "DOWN", "CHANGE" (carrier), "CHANGEMTU", "CHANGEADDR" or "UNREGISTER"."""
    for told in NETDEV_CHAIN:
        told(event, dev)


def dev_open(dev) -> None:
    """Set a device up; the driver may refuse by raising."""
    if dev.up:
        return
    if dev.netdev_ops.ndo_open is not None:
        dev.netdev_ops.ndo_open(dev)
    dev.flags |= IFF_UP
    dev_activate(dev)
    dev.net.fib.device_up(dev)
    call_netdevice_notifiers("UP", dev)


def dev_close(dev) -> None:
    """Set a device down: its routes and neighbours go, permanent ones too; its own addresses stay."""
    if not dev.up:
        return
    dev.flags &= ~IFF_UP
    dev.qdisc = NOOP
    dev.neighbours.clear()
    if dev.netdev_ops.ndo_stop is not None:
        dev.netdev_ops.ndo_stop(dev)
    dev.net.fib.device_down(dev)
    call_netdevice_notifiers("DOWN", dev)


def dev_activate(dev) -> None:
    """Give the device its queueing discipline once it is up; packets meet it once there is a carrier."""
    if dev.up:
        dev.root_qdisc = QDISCS[dev.default_qdisc]
        if dev.carrier:
            dev.qdisc = dev.root_qdisc


def netif_carrier_on(dev) -> None:
    """The driver sees a carrier: packets may flow."""
    changed, dev.carrier = not dev.carrier, True
    dev_activate(dev)
    if changed:
        call_netdevice_notifiers("CHANGE", dev)


def netif_carrier_off(dev) -> None:
    """The driver lost the carrier: the noop qdisc takes over, and addresses learnt on the link are forgotten."""
    changed, dev.carrier = dev.carrier, False
    dev.qdisc = NOOP
    dev.neighbours = {address: n for address, n in dev.neighbours.items() if n.permanent}
    if changed:
        call_netdevice_notifiers("CHANGE", dev)

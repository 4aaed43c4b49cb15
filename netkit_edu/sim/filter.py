"""Running a program on a packet, and carrying out the redirect it may ask for.

Mirrors parts of net/core/filter.c and include/linux/filter.h, Linux 6.12. All that a redirect names is looked up in the
namespace of ``skb->dev``. Whoever sent the packet was told of success before: a redirect that leads nowhere frees it
silently, which is a fate of its own (LOST) unless a counter of the target tells.

Not here: devices without an Ethernet header, which a redirect would take off; IPv6 neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netkit_edu.engine.redirect import INGRESS, NEIGH, PEER, NextHop
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.sim import dev as core
from netkit_edu.sim.neighbour import ip_neigh_gw4, neigh_output
from netkit_edu.sim.route import RTN_LOCAL, RTN_UNICAST, ip_route_output_flow
from netkit_edu.sim.skbuff import kfree_skb_reason, skb_clone, skb_scrub_packet
from netkit_edu.uapi import BPF_PROG_TYPE_SCHED_CLS, ETH_HLEN, ETH_P_IP, ETH_P_IPV6, IFF_UP, Errno, NetXmit, Verdict

AF_INET = 2
BPF_F_INGRESS = 1 << 0
HOPS_MAX = 100_000  # of one packet and its copies; a redirect to where the packet comes from never ends on Linux

_NAMES = {int(verdict): verdict.name for verdict in Verdict}
_PROGRAM = HopKind.PROGRAM


@dataclass(frozen=True, eq=False)
class BpfProg:
    """A loaded program: a kernel object with an ``id``; ``executable.run(skb, world)`` is what it does."""

    id: int
    name: str
    executable: Any
    type: int = BPF_PROG_TYPE_SCHED_CLS


def bpf_prog_run(prog: BpfProg, skb: SkBuff, dev, hook: str = "") -> int:
    """Run a program on a packet at a hook of ``dev``; return its verdict as a signed number of 32 bits.

    The redirect it asks for is remembered by the CPU, not by the packet: see `cpu.bpf_net_ctx_set`.
    """
    trace = skb.trace
    kernel, cpu = dev.net.kernel, trace.cpu
    kernel.world.cpu = cpu.number
    skb.redirect = cpu.redirect
    code = prog.executable.run(skb, kernel.world)
    cpu.redirect = skb.redirect
    data = {"program": prog.name, "verdict": code}
    if hook:
        data["hook"] = hook
    trace.hop("bpf_prog_run", dev, _PROGRAM, _NAMES.get(code, str(code)), data)
    return code


# redirect -----------------------------------------------------------------------------------------------------------


def skb_do_redirect(skb: SkBuff, where) -> int:
    """Send the packet where the last program asked for; ``where`` is the device at whose hook that was.

    A verdict alone, without a helper that names a device, asks for device 0, which nowhere exists.

    Returns:
        what the caller may ignore, but for -EAGAIN: ``skb->dev`` has changed, and is to receive the packet now.
    """
    trace = skb.trace
    trace.hop("skb_do_redirect", where)
    info, trace.cpu.redirect = trace.cpu.redirect, None
    net = skb.dev.net
    dev = net.devices.get(info.ifindex) if info is not None else None
    if dev is None:
        asked = f": {net.node} has no device {info.ifindex}" if info is not None and info.ifindex else ""
        return _lost(skb, -Errno.EINVAL, where, f"redirect to no device{asked}")
    if info.kind == PEER:
        return _redirect_peer(skb, dev, where)
    if info.kind == NEIGH:
        return __bpf_redirect_neigh(skb, dev, info.nexthop)
    return __bpf_redirect(skb, dev, BPF_F_INGRESS if info.kind == INGRESS else 0)


def _redirect_peer(skb: SkBuff, dev, where) -> int:
    """Let the other end of ``dev`` receive the packet at once: the PEER branch of skb_do_redirect."""
    if not skb.tc_at_ingress:
        return _lost(skb, -Errno.EINVAL, where, "redirect_peer works at tcx ingress only")
    get_peer = dev.netdev_ops.ndo_get_peer_dev
    peer = get_peer(dev) if get_peer is not None else None
    if peer is None:
        return _lost(skb, -Errno.EINVAL, where, f"redirect_peer: {dev.name} has no other end")
    if not peer.flags & IFF_UP:
        return _lost(skb, -Errno.EINVAL, where, f"redirect_peer: the other end of {dev.name} is down")
    if peer.net is skb.dev.net:
        return _lost(skb, -Errno.EINVAL, where, f"redirect_peer: the other end of {dev.name} is in the same namespace")
    _check_rounds(skb)
    skb.dev = peer
    core.dev_sw_netstats_rx_add(skb, peer, len(skb))
    skb_scrub_packet(skb, False)
    return -Errno.EAGAIN


def bpf_clone_redirect(skb: SkBuff, ifindex: int, flags: int) -> int:
    """Send a copy at once; the packet itself stays with the program. Returns what transmission says, or -EINVAL."""
    cpu = skb.trace.cpu
    skb.trace.hop("bpf_clone_redirect", skb.dev)
    dev = skb.dev.net.devices.get(ifindex)
    if dev is None:
        return -Errno.EINVAL
    cpu.redirect = skb.redirect  # programs on the copy's way share what this one has asked for
    rc = __bpf_redirect(skb_clone(skb), dev, flags)
    skb.redirect = cpu.redirect
    return rc


def __bpf_redirect(skb: SkBuff, dev, flags: int) -> int:
    """Transmit the frame as it is through ``dev``, or let ``dev`` receive it."""
    skb.trace.hop("__bpf_redirect", dev)
    if skb.mac_header >= skb.network_header or not len(skb):
        return _lost(skb, -Errno.ERANGE, dev, "no Ethernet header to send it with")
    _check_rounds(skb)
    return __bpf_rx_skb(dev, skb) if flags & BPF_F_INGRESS else __bpf_tx_skb(dev, skb)


def __bpf_rx_skb(dev, skb: SkBuff) -> int:
    """Let ``dev`` receive the frame."""
    return core.dev_forward_skb_nomtu(dev, skb)


def __bpf_tx_skb(dev, skb: SkBuff) -> int:
    """Transmit through ``dev``, all hooks and the queue included; programs that send in circles are stopped (G17)."""
    cpu = skb.trace.cpu
    if cpu.xmit_recursion > core.XMIT_RECURSION_LIMIT:
        return _recursion(skb, dev)
    skb.dev = dev
    skb.tstamp = 0
    cpu.xmit_recursion += 1
    rc = core.__dev_queue_xmit(skb)
    cpu.xmit_recursion -= 1
    return rc


# redirect to a neighbour --------------------------------------------------------------------------------------------


def __bpf_redirect_neigh(skb: SkBuff, dev, nh: NextHop | None) -> int:
    """Take the Ethernet header off, and transmit with the one that leads to the next hop."""
    if skb.mac_header >= skb.network_header:
        return _lost(skb, -Errno.EOPNOTSUPP, dev, "no Ethernet header to replace")
    if skb.buf[skb.mac_header] & 1:
        return _lost(skb, -Errno.EOPNOTSUPP, dev, "redirect_neigh: a frame to a group has no next hop")
    skb.pull(ETH_HLEN)
    skb.network_header = skb.data
    if skb.protocol == ETH_P_IP:
        return __bpf_redirect_neigh_v4(skb, dev, nh)
    if skb.protocol == ETH_P_IPV6:
        return _neigh_failed(skb, dev, "redirect_neigh: no route for IPv6")
    return _lost(skb, -Errno.EOPNOTSUPP, dev, "redirect_neigh: neither IPv4 nor IPv6")


def __bpf_redirect_neigh_v4(skb: SkBuff, dev, nh: NextHop | None) -> int:
    """Look up the way out through ``dev`` unless the next hop is given; what fails counts as dropped by ``dev``."""
    if nh is None:
        at = skb.data
        saddr, daddr = (int.from_bytes(skb.buf[at + n : at + n + 4], "big") for n in (12, 16))
        try:
            rt = ip_route_output_flow(skb.trace, dev.net, daddr, saddr, oif=dev.ifindex, anysrc=True)
        except KernelError as refused:
            return _neigh_failed(skb, dev, f"redirect_neigh: no route ({refused.name})")
        if rt.type not in (RTN_UNICAST, RTN_LOCAL):
            return _neigh_failed(skb, dev, f"redirect_neigh: a {rt.type} route has no next hop")
        skb.dst = rt
    err = bpf_out_neigh_v4(skb, dev, nh)
    if err not in (NetXmit.SUCCESS, NetXmit.CN):
        core.dev_core_stats_tx_dropped_inc(skb, dev)
        return NetXmit.DROP
    return NetXmit.SUCCESS


def bpf_out_neigh_v4(skb: SkBuff, dev, nh: NextHop | None) -> int:
    """Find the neighbour, which writes the MAC addresses, and transmit through ``dev``."""
    cpu = skb.trace.cpu
    if cpu.xmit_recursion > core.XMIT_RECURSION_LIMIT:
        return _recursion(skb, dev, FateKind.DROPPED)
    skb.dev = dev
    skb.tstamp = 0
    if nh is not None and nh.family != AF_INET:
        kfree_skb_reason(skb, "NOT_SPECIFIED", dev, "redirect_neigh: the next hop is not an IPv4 address")
        return -Errno.ENETDOWN
    cpu.xmit_recursion += 1
    if nh is not None:
        neigh = ip_neigh_gw4(dev, int.from_bytes(nh.address, "big"))
        rc = neigh_output(neigh, skb)
    elif skb.dst.type is RTN_LOCAL:  # to one of this host's own addresses: the loopback's header, but through dev
        at = skb.push(ETH_HLEN)
        skb.buf[at : at + ETH_HLEN] = 2 * skb.dst.dev.dev_addr + ETH_P_IP.to_bytes(2, "big")
        rc = core.__dev_queue_xmit(skb)
    else:
        daddr = int.from_bytes(skb.buf[skb.data + 16 : skb.data + 20], "big")
        rc = neigh_output(ip_neigh_gw4(dev, skb.dst.gateway or daddr), skb)
    cpu.xmit_recursion -= 1
    return rc


# packets that go no further -----------------------------------------------------------------------------------------


def _lost(skb: SkBuff, rc: int, where, words: str) -> int:
    kfree_skb_reason(skb, "NOT_SPECIFIED", where, words, fate=FateKind.LOST)
    return rc


def _neigh_failed(skb: SkBuff, dev, words: str) -> int:
    core.dev_core_stats_tx_dropped_inc(skb, dev)
    kfree_skb_reason(skb, "NOT_SPECIFIED", dev, words)
    return NetXmit.DROP


def _recursion(skb: SkBuff, dev, fate: FateKind = FateKind.LOST) -> int:
    words = "recursion limit reached on datapath, buggy bpf program?"
    kfree_skb_reason(skb, "NOT_SPECIFIED", dev, words, fate=fate)
    return -Errno.ENETDOWN


def _check_rounds(skb: SkBuff) -> None:
    """Stop a packet that goes round for ever; Linux would not, and its softirq never end."""
    if len(skb.trace.hops) > HOPS_MAX:
        raise UsageError(
            f"a program sends its packet back to {skb.dev.path} for ever: redirect what came from a device elsewhere"
        )

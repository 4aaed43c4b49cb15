"""``KernelWorld``: the network that a program's helpers ask, as seen from the packet's device.

Mirrors the helpers of net/core/filter.c that need devices and routes, Linux 6.12. The clock, the random numbers and the
trace pipe are those of `engine.world`.
"""

from __future__ import annotations

import struct

from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.sim.dev import is_skb_forwardable
from netkit_edu.sim.filter import AF_INET, bpf_clone_redirect
from netkit_edu.sim.pmtu import ip_mtu_from_fib_result
from netkit_edu.sim.route import RTN_UNICAST, fib_table_lookup, inet_select_addr
from netkit_edu.uapi import ETH_HLEN, Errno

AF_INET6 = 10
DIRECT, OUTPUT, SKIP_NEIGH, TBID, SRC = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4  # BPF_FIB_LOOKUP_*
SUCCESS, NOT_FWDED, FWD_DISABLED, NO_NEIGH, FRAG_NEEDED = 0, 4, 5, 7, 8  # BPF_FIB_LKUP_RET_*
RT_TABLE_MAIN, RT_TABLE_LOCAL = 254, 255

# struct bpf_fib_lookup as far as IPv4 uses it: family, l4_protocol, sport, dport | tot_len or mtu_result | ifindex |
# tos or rt_metric | ipv4_src | rest of ipv6_src | ipv4_dst | rest of ipv6_dst | tbid or VLAN | smac | dmac
_PARAMS = struct.Struct("<BB4sHI4s4s12s4s12sI6s6s")


class KernelWorld(World):
    """The world of programs that run in the simulated kernel."""

    def clone_redirect(self, skb: SkBuff, ifindex: int, flags: int) -> int:
        """As `World.clone_redirect`."""
        return bpf_clone_redirect(skb, ifindex, flags)

    def device_mtu(self, skb: SkBuff, ifindex: int) -> tuple[int, int] | None:
        """As `World.device_mtu`."""
        dev = skb.dev.net.devices.get(ifindex) if ifindex else skb.dev
        return None if dev is None else (dev.mtu, ETH_HLEN)

    def fib_lookup(self, skb: SkBuff, params: bytes, flags: int) -> tuple[int, bytes]:
        """As `World.fib_lookup` (bpf_skb_fib_lookup)."""
        family = params[0]
        if family == AF_INET6:
            return self._without_ipv6(skb, params)
        if family != AF_INET:
            return -Errno.EAFNOSUPPORT, params
        given = list(_PARAMS.unpack(params))
        rc = bpf_ipv4_fib_lookup(skb, given, flags)
        checked = int.from_bytes(params[6:8], "little")
        if rc == SUCCESS and not checked:
            dev = skb.dev.net.devices[given[4]]
            given[3] = dev.mtu & 0xFFFF
            if not is_skb_forwardable(dev, skb):
                rc = FRAG_NEEDED
        return rc, _PARAMS.pack(*given)

    def _without_ipv6(self, skb: SkBuff, params: bytes) -> tuple[int, bytes]:
        """IPv6 is switched off on every device: whatever is asked for, forwarding is disabled."""
        known = int.from_bytes(params[8:12], "little") in skb.dev.net.devices
        return FWD_DISABLED if known else -Errno.ENODEV, params


def bpf_ipv4_fib_lookup(skb: SkBuff, params: list, flags: int) -> int:
    """Look up a route and its neighbour in the namespace of ``skb->dev``; ``params`` takes what was found.

    Local and main table are one, as in a Linux without policy rules, and routes have no metric but 0.
    """
    net = skb.dev.net
    dev = net.devices.get(params[4])
    if dev is None:
        return -Errno.ENODEV
    if not (dev.in_dev and net.ip_forward):
        return FWD_DISABLED
    if flags & DIRECT and flags & TBID:
        table, params[10] = params[10], 0
        if table not in (RT_TABLE_MAIN, RT_TABLE_LOCAL):
            return NOT_FWDED
    daddr = int.from_bytes(params[8], "big")
    res = fib_table_lookup(skb.trace, net, daddr, skb.dev, dev.ifindex if flags & OUTPUT else 0)
    if res is None or res.type is not RTN_UNICAST:
        return NOT_FWDED
    dev, mtu = res.dev, 0
    if params[3]:
        mtu = ip_mtu_from_fib_result(res, daddr)
        if params[3] > mtu:
            params[3] = mtu
            return FRAG_NEEDED
    params[5], params[4] = bytes(4), dev.ifindex
    if flags & SRC:
        source = res.prefsrc or inet_select_addr(net, dev, res.gateway)
        params[6] = source.to_bytes(4, "big")
    if res.gateway:
        params[8] = res.gateway.to_bytes(4, "big")
    if not flags & SKIP_NEIGH:
        neigh = dev.neighbours.get(int.from_bytes(params[8], "big"))
        if neigh is None or neigh.ha is None:
            return NO_NEIGH
        params[11], params[12] = dev.dev_addr, neigh.ha
    params[10] = 0
    if mtu:
        params[3] = mtu
    return SUCCESS

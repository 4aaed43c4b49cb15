"""Helpers that send the packet elsewhere, and those that ask a network where to: net/core/filter.c, Linux 6.12.

The redirect helpers only write down the wish (`engine.redirect`). What needs devices and routes is asked of the world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine import redirect
from netkit_edu.engine.helpers.packet import make_writable
from netkit_edu.engine.helpers.registry import U32, buffer_size, helper, signed32, skb_of
from netkit_edu.engine.memory import Fault
from netkit_edu.engine.redirect import NextHop, RedirectInfo
from netkit_edu.engine.skb import GSO_TCP, GSO_UDP_L4
from netkit_edu.uapi import Errno

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
BPF_F_INGRESS = 1 << 0
_AF_INET = 2
_NEIGH_SIZE = 20  # sizeof(struct bpf_redir_neigh)
_FIB_SIZE, _FIB_FLAGS = 64, 0x3F  # sizeof(struct bpf_fib_lookup), BPF_FIB_LOOKUP_MASK
BPF_MTU_CHK_SEGS = 1 << 0
_MTU_SUCCESS, _MTU_FRAG_NEEDED, _MTU_SEGS_TOOBIG = 0, 1, 2


def _packet_of(m: Machine) -> SkBuff:
    """Return the packet this run is about: bpf_redirect is not told."""
    if m.skb is None:
        raise Fault("there is no packet to redirect")
    return m.skb


@helper
def bpf_redirect(m: Machine, ifindex: int, flags: int) -> int:
    """Ask for transmission on a device, with BPF_F_INGRESS for reception there; 7, or 2 for unknown flags."""
    skb = _packet_of(m)
    if flags & ~BPF_F_INGRESS:
        return TC_ACT_SHOT
    kind = redirect.INGRESS if flags else redirect.EGRESS
    skb.redirect = RedirectInfo(kind, ifindex & U32, flags)
    return TC_ACT_REDIRECT


@helper
def bpf_redirect_peer(m: Machine, ifindex: int, flags: int) -> int:
    """Ask for reception on the other end of a device; 7, or 2 for any flag."""
    skb = _packet_of(m)
    if flags:
        return TC_ACT_SHOT
    skb.redirect = RedirectInfo(redirect.PEER, ifindex & U32)
    return TC_ACT_REDIRECT


@helper
def bpf_redirect_neigh(m: Machine, ifindex: int, params: int, size: int, flags: int) -> int:
    """Ask for transmission with fresh MAC addresses, to a next hop if one is given; 7, or 2 for any flag, short params.

    ``size`` is that of ``params``: 0, or the 20 bytes of struct bpf_redir_neigh and more.
    """
    skb = _packet_of(m)
    size &= U32
    given = m.memory.read(params, buffer_size(size)) if size else b""
    if flags or (size and size < _NEIGH_SIZE):
        return TC_ACT_SHOT
    nexthop = None
    if given:
        family = int.from_bytes(given[:4], "little")
        nexthop = NextHop(family, given[4:8] if family == _AF_INET else given[4:20])
    skb.redirect = RedirectInfo(redirect.NEIGH, ifindex & U32, 0, nexthop)
    return TC_ACT_REDIRECT


@helper
def bpf_clone_redirect(m: Machine, ctx: int, ifindex: int, flags: int) -> int:
    """Send a copy at once and go on; what transmission said (0 or NET_XMIT_*), or -EINVAL: flags, no such device."""
    skb = skb_of(m, ctx)
    if flags & ~BPF_F_INGRESS:
        return -Errno.EINVAL
    result = m.world.clone_redirect(skb, ifindex & U32, flags)
    make_writable(m, skb, skb.headlen)
    return result


@helper
def bpf_fib_lookup(m: Machine, ctx: int, params: int, size: int, flags: int) -> int:
    """Look a route up in the namespace of ``skb->dev``; 0 to 9 (BPF_FIB_LKUP_RET_*), or a negative errno.

    ``params`` points to a struct bpf_fib_lookup, which says what to look for, and takes what was found.
    """
    skb = skb_of(m, ctx)
    size, flags = buffer_size(size & U32), flags & U32
    given = m.memory.read(params, size)
    if size < _FIB_SIZE or flags & ~_FIB_FLAGS:
        return -Errno.EINVAL
    result, found = m.world.fib_lookup(skb, given[:_FIB_SIZE], flags)
    m.memory.write(params, found)
    return result


@helper
def bpf_check_mtu(m: Machine, ctx: int, ifindex: int, mtu_len: int, len_diff: int, flags: int) -> int:
    """Compare a packet's length plus ``len_diff`` with a device's MTU; 0, 1 too long, 2 its segments are, or an errno.

    ``*mtu_len`` is the length from the IP header on, 0 for that of the packet, and becomes the MTU. ``ifindex`` 0 is
    the packet's own device.
    """
    skb = skb_of(m, ctx)
    len_diff = signed32(len_diff)
    given = m.memory.load(mtu_len, 4)
    if flags & ~BPF_MTU_CHK_SEGS or (flags and (len_diff or given)):
        return -Errno.EINVAL
    device = m.world.device_mtu(skb, ifindex & U32)
    if device is None:
        return -Errno.ENODEV
    mtu, header = device
    m.memory.store(mtu_len, 4, mtu)
    length = signed32((given + header if given else len(skb)) + len_diff)
    if length <= mtu + header:
        return _MTU_SUCCESS
    if not skb.gso_size:
        return _MTU_FRAG_NEEDED
    return _MTU_SEGS_TOOBIG if flags and _segment_length(skb) > mtu else _MTU_SUCCESS


def _segment_length(skb: SkBuff) -> int:
    """Return the length of one segment from the network header on (skb_gso_network_seglen)."""
    headers = skb.transport_header - skb.network_header
    if skb.gso_type & GSO_TCP:
        headers += 4 * (skb.buf[skb.transport_header + 12] >> 4)
    elif skb.gso_type & GSO_UDP_L4:
        headers += 8
    return headers + skb.gso_size

"""Helpers on what the kernel keeps beside the packet's bytes: net/core/filter.c, Linux 6.12."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from netkit_edu.engine.helpers.packet import clear_hash
from netkit_edu.engine.helpers.registry import U32, helper, skb_of
from netkit_edu.uapi import ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP, IPPROTO_UDP, Errno, PacketType

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff


@helper
def bpf_skb_change_type(m: Machine, ctx: int, pkt_type: int) -> int:
    """Say for whom the frame is, PACKET_HOST to PACKET_OTHERHOST; 0, or -EINVAL for, or on, any other type."""
    skb = skb_of(m, ctx)
    if skb.pkt_type > PacketType.OTHERHOST or pkt_type & U32 > PacketType.OTHERHOST:
        return -Errno.EINVAL
    skb.pkt_type = pkt_type & U32
    return 0


@helper
def bpf_get_hash_recalc(m: Machine, ctx: int) -> int:
    """Return the flow hash, computed now if it is not known yet.

    It is the same for all packets of a flow. Which number it is differs from kernel to kernel: theirs is keyed with a
    random number made at boot, ours with none.
    """
    skb = skb_of(m, ctx)
    if not skb.hash and not skb.sw_hash:
        skb.hash, skb.sw_hash = _flow_hash(skb), True
    return skb.hash


def _flow_hash(skb: SkBuff) -> int:
    """Return a hash of addresses, protocol and ports, never 0; fragments have no ports."""
    at, key = skb.network_header, b""
    if skb.protocol == ETH_P_IP:
        protocol, ports = skb.buf[at + 9 : at + 10], at + 4 * (skb.buf[at] & 15 if at < len(skb.buf) else 0)
        fragment = int.from_bytes(skb.buf[at + 6 : at + 8], "big") & 0x3FFF
        key = skb.buf[at + 12 : at + 20] + protocol
    elif skb.protocol == ETH_P_IPV6:
        protocol, ports, fragment = skb.buf[at + 6 : at + 7], at + 40, 0
        key = skb.buf[at + 8 : at + 40] + protocol
    if key and key[-1] in (IPPROTO_TCP, IPPROTO_UDP) and not fragment:
        key += skb.buf[ports : ports + 4]
    return zlib.crc32(skb.protocol.to_bytes(2, "big") + key) or 1


@helper
def bpf_set_hash_invalid(m: Machine, ctx: int) -> int:
    """Forget the flow hash."""
    clear_hash(skb_of(m, ctx))
    return 0


@helper
def bpf_set_hash(m: Machine, ctx: int, value: int) -> int:
    """Set the flow hash."""
    skb = skb_of(m, ctx)
    skb.hash, skb.sw_hash = value & U32, True
    return 0


@helper
def bpf_skb_set_tstamp(m: Machine, ctx: int, tstamp: int, clock: int) -> int:
    """Set when the packet is to leave, in ns of a clock: real time (0), monotonic (1), TAI (2).

    0, -EINVAL: no such clock, no time; -EOPNOTSUPP for what is not IP.
    """
    skb = skb_of(m, ctx)
    if skb.protocol not in (ETH_P_IP, ETH_P_IPV6):
        return -Errno.EOPNOTSUPP
    clock &= U32
    if clock > 2 or (clock and not tstamp):
        return -Errno.EINVAL
    skb.tstamp, skb.tstamp_type = tstamp, clock
    return 0

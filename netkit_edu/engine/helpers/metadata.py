"""Helpers on what the kernel keeps beside the packet's bytes: net/core/filter.c, Linux 6.12."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from netkit_edu.engine.helpers.registry import U32, helper, skb_of
from netkit_edu.uapi import PacketType

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine


@helper
def bpf_skb_change_type(m: Machine, ctx: int, pkt_type: int) -> int:
    """Say for whom the frame is, PACKET_HOST to PACKET_OTHERHOST; 0, or -EINVAL for, or on, any other type."""
    skb = skb_of(m, ctx)
    if skb.pkt_type > PacketType.OTHERHOST or pkt_type & U32 > PacketType.OTHERHOST:
        return -errno.EINVAL
    skb.pkt_type = pkt_type & U32
    return 0

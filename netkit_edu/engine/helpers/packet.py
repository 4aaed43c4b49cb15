"""Helpers on the packet's bytes: net/core/filter.c, Linux 6.12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine.helpers.registry import INT_MAX, U32, buffer_size, helper, skb_of
from netkit_edu.engine.memory import PACKET
from netkit_edu.uapi import Errno

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

BPF_F_RECOMPUTE_CSUM, BPF_F_INVALIDATE_HASH = 1 << 0, 1 << 1  # of skb_store_bytes
HDR_START_MAC, HDR_START_NET = 0, 1  # BPF_HDR_START_*, of skb_load_bytes_relative
_MAX_OFFSET = 0xFFFF


def packet_bytes(skb: SkBuff, offset: int, size: int) -> bytes | None:
    """Return bytes from anywhere in the packet, None if it does not have them all (skb_header_pointer)."""
    if not 0 <= offset <= len(skb) - size:
        return None
    return bytes(skb.buf[skb.data + offset : skb.data + offset + size])


def make_writable(m: Machine, skb: SkBuff, size: int) -> bool:
    """Make the first ``size`` bytes linear and private (bpf_try_make_writable); False if the packet is shorter."""
    done = skb.make_linear(size & U32)
    refresh(m, skb)
    return done


def refresh(m: Machine, skb: SkBuff) -> None:
    """Let data and data_end be those of the packet as it is now (bpf_compute_data_pointers)."""
    m.memory.regions[PACKET].refresh(skb)


def clear_hash(skb: SkBuff) -> None:
    """Forget the flow hash (skb_clear_hash)."""
    skb.hash, skb.sw_hash = 0, False


@helper
def bpf_skb_load_bytes(m: Machine, ctx: int, offset: int, to: int, size: int) -> int:
    """Copy packet bytes to memory; 0, or -EFAULT and a buffer full of zeros."""
    skb = skb_of(m, ctx)
    size = buffer_size(size & U32)
    m.memory.read(to, size)  # faults before anything of that size is made
    data = packet_bytes(skb, offset & U32, size) if offset & U32 <= INT_MAX else None
    m.memory.write(to, bytes(size) if data is None else data)
    return -Errno.EFAULT if data is None else 0


@helper
def bpf_skb_load_bytes_relative(m: Machine, ctx: int, offset: int, to: int, size: int, start: int) -> int:
    """Copy bytes of the linear part, counted from the MAC (0) or the network header (1); as `bpf_skb_load_bytes`."""
    skb = skb_of(m, ctx)
    size = buffer_size(size & U32)
    m.memory.read(to, size)
    begin = {HDR_START_MAC: skb.mac_header, HDR_START_NET: skb.network_header}.get(start & U32)
    found = begin is not None and offset & U32 <= _MAX_OFFSET
    found = found and begin + (offset & U32) + size <= skb.data + skb.headlen
    m.memory.write(to, bytes(skb.buf[begin + (offset & U32) :][:size]) if found else bytes(size))
    return 0 if found else -Errno.EFAULT


@helper
def bpf_skb_store_bytes(m: Machine, ctx: int, offset: int, source: int, size: int, flags: int) -> int:
    """Copy memory into the packet; 0, -EINVAL for unknown flags, -EFAULT outside the packet."""
    skb = skb_of(m, ctx)
    offset &= U32
    data = m.memory.read(source, buffer_size(size & U32))
    if flags & ~(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH):
        return -Errno.EINVAL
    if offset > INT_MAX or not make_writable(m, skb, offset + len(data)):
        return -Errno.EFAULT
    skb.buf[skb.data + offset : skb.data + offset + len(data)] = data
    if flags & BPF_F_INVALIDATE_HASH:
        clear_hash(skb)
    return 0


@helper
def bpf_skb_pull_data(m: Machine, ctx: int, size: int) -> int:
    """Make the first ``size`` bytes of the packet linear, 0 for what is linear now; 0 or -ENOMEM if it is shorter."""
    skb = skb_of(m, ctx)
    return 0 if make_writable(m, skb, size & U32 or skb.headlen) else -Errno.ENOMEM

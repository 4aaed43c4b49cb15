"""Helpers on checksums, in the packet and beside it: net/core/filter.c, Linux 6.12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine import checksum
from netkit_edu.engine.helpers.packet import make_writable
from netkit_edu.engine.helpers.registry import U16, U32, helper, skb_of
from netkit_edu.engine.maps.base import ENOTSUPP
from netkit_edu.uapi import Errno

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

BPF_F_HDR_FIELD_MASK = 0xF  # of the csum_replace pair: the size of the changed field
BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0, BPF_F_MARK_ENFORCE, BPF_F_IPV6 = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_LEVEL_QUERY, _LEVEL_INC, _LEVEL_DEC, _LEVEL_RESET = range(4)  # BPF_CSUM_LEVEL_*
_MAX_LEVEL = 3  # SKB_MAX_CSUM_LEVEL
_MAX_DIFF = 512  # bytes that csum_diff takes


@helper
def bpf_l3_csum_replace(m: Machine, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    """Mend the checksum at ``offset`` after a field changed from ``old`` to ``new``; 0, -EINVAL or -EFAULT."""
    skb = skb_of(m, ctx)
    if flags & ~BPF_F_HDR_FIELD_MASK:
        return -Errno.EINVAL
    return _csum_replace(m, skb, offset & U32, old, new, flags)


@helper
def bpf_l4_csum_replace(m: Machine, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    """The same for TCP and UDP, whose checksum also covers a pseudo header, and where 0 may mean "none"."""
    skb = skb_of(m, ctx)
    known = BPF_F_HDR_FIELD_MASK | BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_IPV6
    if flags & ~known:
        return -Errno.EINVAL
    return _csum_replace(m, skb, offset & U32, old, new, flags, l4=True)


def _csum_replace(m: Machine, skb: SkBuff, offset: int, old: int, new: int, flags: int, *, l4: bool = False) -> int:
    size = flags & BPF_F_HDR_FIELD_MASK
    if offset > 0xFFFF or offset & 1 or not make_writable(m, skb, offset + 2):
        return -Errno.EFAULT
    at = skb.data + offset
    field = int.from_bytes(skb.buf[at : at + 2], "little")
    mangled_0 = flags & BPF_F_MARK_MANGLED_0
    if mangled_0 and not flags & BPF_F_MARK_ENFORCE and field == 0:
        return 0
    if size not in (0, 2, 4) or (size == 0 and old != 0):
        return -Errno.EINVAL
    if size == 2:
        old, new = old & U16, new & U16
    if l4 and skb.ip_summed == checksum.PARTIAL:
        # the field holds the sum of the pseudo header only; the device adds the rest later
        result = checksum.replace_partial(field, old, new) if flags & BPF_F_PSEUDO_HDR else field
    elif size == 2 and not l4:
        result = checksum.replace2(field, old, new)
    else:
        result = checksum.replace4(field, old & U32, new & U32) if size else checksum.replace_by_diff(field, new)
    if mangled_0 and result == 0:
        result = 0xFFFF
    skb.buf[at : at + 2] = result.to_bytes(2, "little")
    return 0


@helper
def bpf_csum_diff(m: Machine, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """Return the ones' complement difference of two buffers plus a seed, folded to 16 bits, or -EINVAL.

    Linux before 6.13 does not fold; what the checksum helpers make of the result is the same.
    """
    old_size, new_size = old_size & U32, new_size & U32
    if (old_size | new_size) & 3 or old_size + new_size > _MAX_DIFF:
        return -Errno.EINVAL
    removed = m.memory.read(old, old_size) if old_size else b""
    added = m.memory.read(new, new_size) if new_size else b""
    return checksum.diff(removed, added, seed & U32)


@helper
def bpf_csum_update(m: Machine, ctx: int, csum: int) -> int:
    """Add to the sum that a device made of the whole packet; that sum, or -ENOTSUPP where there is none."""
    skb = skb_of(m, ctx)
    if skb.ip_summed != checksum.COMPLETE:
        return -ENOTSUPP
    skb.csum = checksum.add(skb.csum, csum & U32)
    return skb.csum


@helper
def bpf_csum_level(m: Machine, ctx: int, what: int) -> int:
    """Say how many checksums, from the outermost on, were found right: one more (1), one less (2), none (3).

    0 asks: it returns that number less one, or -EACCES where none was. -EINVAL for anything else.
    """
    skb = skb_of(m, ctx)
    right = skb.ip_summed == checksum.UNNECESSARY
    if what == _LEVEL_QUERY:
        return skb.csum_level if right else -Errno.EACCES
    if what == _LEVEL_INC and right:
        skb.csum_level = min(skb.csum_level + 1, _MAX_LEVEL)
    elif what == _LEVEL_INC and skb.ip_summed == checksum.NONE:
        skb.ip_summed, skb.csum_level = checksum.UNNECESSARY, 0
    elif what == _LEVEL_RESET or (what == _LEVEL_DEC and skb.csum_level == 0):
        checksum.reset_unnecessary(skb)
    elif what == _LEVEL_DEC and right:
        skb.csum_level -= 1
    return 0 if what in (_LEVEL_INC, _LEVEL_DEC, _LEVEL_RESET) else -Errno.EINVAL

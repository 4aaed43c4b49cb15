"""The Internet checksum's arithmetic (RFC 1071, RFC 1624) in the kernel's steps: include/net/checksum.h, Linux 6.12.

A 16-bit checksum and the 16- or 32-bit fields it covers are taken as a little-endian program loads them. The steps
matter: ones' complement has two zeros, and which of them comes out depends on the order of the additions.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netkit_edu.engine.skb import SkBuff

NONE, UNNECESSARY, COMPLETE, PARTIAL = range(4)  # skb->ip_summed, include/linux/skbuff.h
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF


def add(total: int, addend: int) -> int:
    """Return the 32-bit sum with its carry added back in (csum_add)."""
    total += addend
    return (total & _U32) + (total >> 32)


def sub(total: int, addend: int) -> int:
    """Return the 32-bit difference: the sum with the complement (csum_sub)."""
    return add(total, ~addend & _U32)


def fold(total: int) -> int:
    """Return the checksum of a 32-bit sum: folded to 16 bits, complemented (csum_fold)."""
    return ~from32to16(total) & _U16


def from32to16(total: int) -> int:
    """Return a 32-bit sum folded to 16 bits."""
    total = (total & _U16) + (total >> 16)
    return (total & _U16) + (total >> 16)


def replace_by_diff(field: int, diff: int) -> int:
    """Return the new checksum after what it covers changed by a sum of differences (csum_replace_by_diff)."""
    return fold(add(diff & _U32, ~field & _U32))


def replace4(field: int, old: int, new: int) -> int:
    """Return the new checksum after 32 bits changed (csum_replace4)."""
    return fold(add(sub(~field & _U32, old), new))


def replace2(field: int, old: int, new: int) -> int:
    """Return the new checksum after 16 bits changed (csum_replace2)."""
    return ~_add16(_add16(~field & _U16, ~old & _U16), new) & _U16


def replace_partial(field: int, old: int, new: int) -> int:
    """Return the new sum of a pseudo header whose packet's checksum is still to be completed (CHECKSUM_PARTIAL)."""
    return ~fold(add(sub(field, old & _U32), new & _U32)) & _U16


def partial(data: bytes, total: int) -> int:
    """Return a 32-bit sum with the words of some bytes added to it (csum_partial); the length is a multiple of 4."""
    total += sum(struct.unpack(f"<{len(data) // 4}I", data))
    while total > _U32:
        total = (total & _U32) + (total >> 32)
    return total


def diff(removed: bytes, added: bytes, seed: int) -> int:
    """Return seed + sum(added) - sum(removed), folded to 16 bits (bpf_csum_diff); lengths are multiples of 4."""
    if removed and not added:
        return from32to16(~partial(removed, ~seed & _U32) & _U32)
    total = partial(added, seed)
    return from32to16(sub(total, partial(removed, 0)) if removed else total)


def _add16(total: int, addend: int) -> int:
    total += addend
    return (total & _U16) + (total >> 16)


def reset_unnecessary(skb: SkBuff) -> None:
    """Forget that the checksums of a packet were found right (__skb_reset_checksum_unnecessary)."""
    if skb.ip_summed == UNNECESSARY:
        skb.ip_summed = NONE
        skb.csum_level = 0

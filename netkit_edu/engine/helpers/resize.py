"""Helpers that make a packet longer or shorter, at its ends or between its headers: net/core/filter.c, Linux 6.12."""

from __future__ import annotations

from errno import EALREADY, EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from netkit_edu.engine.checksum import reset_unnecessary
from netkit_edu.engine.helpers.packet import clear_hash, refresh
from netkit_edu.engine.helpers.registry import INT_MAX, U16, U32, helper, signed32, skb_of
from netkit_edu.engine.maps.base import ENOTSUPP
from netkit_edu.engine.skb import GSO_DODGY, GSO_TCP, GSO_UDP_L4
from netkit_edu.uapi import ETH_P_IP, ETH_P_IPV6

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

MAX_LENGTH = 16064  # BPF_SKB_MAX_LEN: four pages of 4 KiB less struct skb_shared_info
_IP_HEADER = {ETH_P_IP: 20, ETH_P_IPV6: 40}
NET, MAC = 0, 1  # BPF_ADJ_ROOM_*
FIXED_GSO, ENCAP_IPV4, ENCAP_IPV6, ENCAP_GRE, ENCAP_UDP, NO_CSUM_RESET, ENCAP_ETH, DECAP_IPV4, DECAP_IPV6 = (
    1 << bit for bit in range(9)
)
_ENCAP_L2_SHIFT = 56
_DECAP = DECAP_IPV4 | DECAP_IPV6
_KNOWN = (1 << 9) - 1 | 0xFF << _ENCAP_L2_SHIFT
_MAX_DIFF = 0xFFF  # bytes that adjust_room adds or takes


@helper
def bpf_skb_change_tail(m: Machine, ctx: int, length: int, flags: int) -> int:
    """Cut the packet to ``length`` bytes, or fill it up with zeros; 0, -EINVAL: too short for its headers, too long."""
    skb = skb_of(m, ctx)
    length &= U32
    if flags or not _least_length(skb) <= length <= MAX_LENGTH:
        return -EINVAL
    if skb.encapsulation:
        return -ENOTSUPP
    skb.make_linear(len(skb))
    end = skb.data + length
    skb.buf.extend(bytes(max(0, end - len(skb.buf))))
    del skb.buf[end:]
    if skb.linear is not None:
        skb.linear = length
    skb.gso_size = skb.gso_segs = skb.gso_type = 0
    refresh(m, skb)
    return 0


def _least_length(skb: SkBuff) -> int:
    """Return how much of the packet must stay (__bpf_skb_min_len).

    A checksum field that is still to be filled in may go: Linux 6.12.117 lets it be cut off.
    """
    least = max(0, skb.network_header - skb.data)
    if skb.transport_header > skb.data:
        least = skb.transport_header - skb.data
    return least


@helper
def bpf_skb_change_head(m: Machine, ctx: int, room: int, flags: int) -> int:
    """Put ``room`` zero bytes before the packet, where its new MAC header is to be; 0 or -EINVAL."""
    skb = skb_of(m, ctx)
    room &= U32
    if flags or room > INT_MAX or (not skb.gso_size and len(skb) + room > MAX_LENGTH):
        return -EINVAL
    if room > MAX_LENGTH:
        return -ENOMEM
    skb.push(room)
    skb.buf[skb.data : skb.data + room] = bytes(room)
    skb.mac_header = skb.data
    refresh(m, skb)
    return 0


@helper
def bpf_skb_adjust_room(m: Machine, ctx: int, diff: int, mode: int, flags: int) -> int:
    """Add ``diff`` zero bytes behind a header, or take that many away; 0, -EINVAL, -EFAULT, -ENOTSUPP.

    ``mode`` says behind which: the Ethernet header (1), or the IP header without options (0).
    """
    skb = skb_of(m, ctx)
    diff, mode = signed32(diff), mode & U32
    size = abs(diff)
    if flags & ~_KNOWN:
        return -EINVAL
    if size > _MAX_DIFF:
        return -EFAULT
    if skb.protocol not in _IP_HEADER or mode not in (NET, MAC):
        return -ENOTSUPP
    least = _IP_HEADER[skb.protocol]
    at = skb.network_header - skb.mac_header + (least if mode == NET else 0)
    if flags & _DECAP:
        if diff >= 0 or flags & _DECAP == _DECAP:
            return -EINVAL
        least = _IP_HEADER[ETH_P_IP if flags & DECAP_IPV4 else ETH_P_IPV6]
    length = len(skb) - (skb.network_header - skb.data)
    if length - size < least if diff < 0 else len(skb) + size > MAX_LENGTH and not skb.gso_size:
        return -ENOTSUPP
    result = _shrink(skb, at, size, flags) if diff < 0 else _grow(skb, at, size, flags)
    if result == 0 and not flags & NO_CSUM_RESET:
        reset_unnecessary(skb)
    refresh(m, skb)
    return result


def _grow(skb: SkBuff, at: int, size: int, flags: int) -> int:
    """bpf_skb_net_grow: with an ENCAP flag the new bytes are the outer headers of a tunnel."""
    if _datagrams_would_change(skb, flags):
        return -ENOTSUPP
    encap, inner_mac = flags & (ENCAP_IPV4 | ENCAP_IPV6), flags >> _ENCAP_L2_SHIFT
    if encap:
        both = ENCAP_IPV4 | ENCAP_IPV6, ENCAP_GRE | ENCAP_UDP
        if any(flags & pair == pair for pair in both) or (flags & ENCAP_ETH and inner_mac < 14):
            return -EINVAL
        if skb.encapsulation:
            return -EALREADY
        if inner_mac > size:
            return -EINVAL
    mac_length = skb.network_header - skb.mac_header
    insert(skb, at, size)
    if encap:
        skb.encapsulation = True
        skb.network_header = skb.data + mac_length
        skb.protocol = ETH_P_IP if encap == ENCAP_IPV4 else ETH_P_IPV6
    _adjust_segments(skb, -size, flags)
    return 0


def _shrink(skb: SkBuff, at: int, size: int, flags: int) -> int:
    """bpf_skb_net_shrink."""
    if flags & ~(FIXED_GSO | _DECAP | NO_CSUM_RESET):
        return -EINVAL
    if _datagrams_would_change(skb, flags):
        return -ENOTSUPP
    if not skb.make_linear(at + size):
        return -ENOMEM
    remove(skb, at, size)
    if flags & _DECAP:
        skb.protocol = ETH_P_IP if flags & DECAP_IPV4 else ETH_P_IPV6
    _adjust_segments(skb, size, flags)
    return 0


def _datagrams_would_change(skb: SkBuff, flags: int) -> bool:
    """Whether UDP would be cut into datagrams of another size: the sender's boundaries are to stay."""
    if not skb.gso_size or skb.gso_type & GSO_TCP:
        return False
    return not (skb.gso_type & GSO_UDP_L4 and flags & FIXED_GSO)


def _adjust_segments(skb: SkBuff, diff: int, flags: int) -> None:
    if skb.gso_size:
        if not flags & FIXED_GSO:
            skb.gso_size = skb.gso_size + diff & U16
        skb.gso_type |= GSO_DODGY
        skb.gso_segs = 0


@helper
def bpf_skb_change_proto(m: Machine, ctx: int, proto: int, flags: int) -> int:
    """Make room for an IPv6 header in place of an IPv4 one, or the other way; 0, -EINVAL for flags, -ENOTSUPP.

    The new header's bytes are the program's to fill. ``proto`` is in network byte order.
    """
    skb = skb_of(m, ctx)
    if flags:
        return -EINVAL
    to = int.from_bytes((proto & U16).to_bytes(2, "little"), "big")
    if {skb.protocol, to} != _IP_HEADER.keys():
        return -ENOTSUPP
    at = skb.network_header - skb.mac_header
    if to == ETH_P_IPV6:
        insert(skb, at, 20)
    elif not skb.make_linear(at + 20):
        return -ENOMEM
    else:
        remove(skb, at, 20)
    skb.protocol = to
    clear_hash(skb)
    refresh(m, skb)
    return 0


def insert(skb: SkBuff, at: int, size: int) -> None:
    """Put ``size`` zero bytes behind the packet's first ``at``; headers move with what they are (net_hdr_push)."""
    together = skb.transport_header == skb.network_header
    skb.push(size)
    skb.buf[skb.data : skb.data + at + size] = skb.buf[skb.data + size : skb.data + size + at] + bytes(size)
    skb.mac_header -= size
    skb.network_header -= size
    if together:
        skb.transport_header = skb.network_header


def remove(skb: SkBuff, at: int, size: int) -> None:
    """Take ``size`` bytes away behind the packet's first ``at`` (net_hdr_pop)."""
    together = skb.transport_header == skb.network_header
    kept = skb.buf[skb.data : skb.data + at]
    skb.pull(size)
    skb.buf[skb.data : skb.data + at] = kept
    skb.mac_header += size
    skb.network_header += size
    if together:
        skb.transport_header = skb.network_header

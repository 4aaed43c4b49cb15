"""Helpers on VLAN tags, which the kernel keeps beside the packet: the innermost in ``skb->vlan_tci``, others in bytes.

net/core/filter.c and net/core/skbuff.c, Linux 6.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine.helpers.packet import refresh
from netkit_edu.engine.helpers.registry import U16, helper, skb_of
from netkit_edu.uapi import ETH_HLEN, Errno

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine
    from netkit_edu.engine.skb import SkBuff

ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
_TAGS = (ETH_P_8021Q, ETH_P_8021AD)
_MACS, _TAG = 12, 4  # bytes of the two addresses, of a tag


@helper
def bpf_skb_vlan_push(m: Machine, ctx: int, proto: int, tci: int) -> int:
    """Tag the packet; a tag it has beside its bytes goes into them. 0. Any ``proto`` but 802.1AD means 802.1Q."""
    skb = skb_of(m, ctx)
    proto = int.from_bytes((proto & U16).to_bytes(2, "little"), "big")
    if skb.vlan_present:
        macs = skb.buf[skb.data : skb.data + _MACS]
        skb.push(_TAG)
        tag = skb.vlan_proto.to_bytes(2, "big") + skb.vlan_tci.to_bytes(2, "big")
        skb.buf[skb.data : skb.data + _MACS + _TAG] = macs + tag
        skb.mac_header -= _TAG
        skb.network_header -= _TAG  # where the tag's own contents begin
        skb.protocol = skb.vlan_proto
    _put_tag(skb, proto if proto in _TAGS else ETH_P_8021Q, tci & U16)
    refresh(m, skb)
    return 0


@helper
def bpf_skb_vlan_pop(m: Machine, ctx: int) -> int:
    """Take the outer tag off; the next one, if any, goes beside the bytes. 0, or -ENOMEM: too short for a tag."""
    skb = skb_of(m, ctx)
    result = _vlan_pop(skb)
    refresh(m, skb)
    return result


def _vlan_pop(skb: SkBuff) -> int:
    if skb.vlan_present:
        skb.vlan_present = skb.vlan_tci = skb.vlan_proto = 0
    elif skb.protocol not in _TAGS:
        return 0
    elif _cut_tag(skb) is None:
        return -Errno.ENOMEM
    proto = skb.protocol
    if proto in _TAGS:
        tci = _cut_tag(skb)
        if tci is None:
            return -Errno.ENOMEM
        _put_tag(skb, proto, tci)
    return 0


def _put_tag(skb: SkBuff, proto: int, tci: int) -> None:
    skb.vlan_present, skb.vlan_proto, skb.vlan_tci = 1, proto, tci


def _cut_tag(skb: SkBuff) -> int | None:
    """Take a tag out of the packet's bytes (__skb_vlan_pop); return it, None if the packet is shorter than one."""
    if not skb.make_linear(ETH_HLEN + _TAG):
        return None
    macs = skb.buf[skb.data : skb.data + _MACS]
    tci = int.from_bytes(skb.buf[skb.data + 14 : skb.data + 16], "big")
    skb.pull(_TAG)
    skb.buf[skb.data : skb.data + _MACS] = macs
    skb.mac_header += _TAG
    ethertype = int.from_bytes(skb.buf[skb.data + 12 : skb.data + 14], "big")
    if ethertype >= 0x0600:
        skb.protocol = ethertype
    else:  # a length: the two kinds of 802.2 frames
        skb.protocol = 0x0001 if skb.buf[skb.data + 14 : skb.data + 16] == b"\xff\xff" else 0x0004
    skb.network_header = max(skb.network_header, skb.data + ETH_HLEN)
    return tci

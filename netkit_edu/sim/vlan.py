"""VLAN tags: there is no VLAN device here, so on arrival a tag decides only whether the packet is for this host.

Mirrors parts of net/core/skbuff.c, include/linux/if_vlan.h and net/core/dev.c, Linux 6.12.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.sim.skbuff import OTHERHOST, eth_protocol, kfree_skb_reason

VLANS = (0x8100, 0x88A8)  # ethertypes: 802.1Q and 802.1AD
VLAN_HLEN = 4  # bytes of a tag
VLAN_VID_MASK = 0x0FFF
_MACS = 12  # bytes of the two addresses


def skb_vlan_untag(skb: SkBuff) -> bool:
    """Take the tag out of the bytes, and keep it beside them; False if the packet was too short for it and is gone."""
    at = skb.data
    if len(skb) < VLAN_HLEN + 2:
        kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "too short for its VLAN tag")
        return False
    skb.vlan_present, skb.vlan_proto = 1, skb.protocol
    skb.vlan_tci = int.from_bytes(skb.buf[at : at + 2], "big")
    protocol = int.from_bytes(skb.buf[at + 2 : at + 4], "big")
    skb.protocol = eth_protocol(protocol, skb.buf, at + 4)
    mac = skb.mac_header
    skb.buf[mac + VLAN_HLEN : mac + VLAN_HLEN + _MACS] = skb.buf[mac : mac + _MACS]
    skb.mac_header += VLAN_HLEN
    skb.network_header = skb.pull(VLAN_HLEN)
    return True


def validate_xmit_vlan(skb: SkBuff, dev) -> None:
    """Put the tag beside the bytes into them for a device that does not do so itself (__vlan_hwaccel_push_inside)."""
    if not skb.vlan_present or dev.vlan_offload:
        return
    macs = bytes(skb.buf[skb.data : skb.data + _MACS])
    skb.mac_header = at = skb.push(VLAN_HLEN)
    tag = skb.vlan_proto.to_bytes(2, "big") + skb.vlan_tci.to_bytes(2, "big")
    skb.buf[at : at + _MACS + VLAN_HLEN] = macs + tag
    skb.protocol = skb.vlan_proto
    skb.vlan_present = skb.vlan_tci = skb.vlan_proto = 0


def vlan_leave(skb: SkBuff) -> bool:
    """No VLAN device took the packet: a VLAN's is not for this host, a priority tag is ignored. False if it is gone."""
    while True:
        if skb.vlan_tci & VLAN_VID_MASK:
            skb.pkt_type = OTHERHOST
        elif skb.protocol in VLANS:
            if not skb_vlan_untag(skb):
                return False
            continue
        skb.vlan_present = skb.vlan_tci = skb.vlan_proto = 0
        return True

"""802.2: frames that tell their length where others tell a protocol (IEEE 802.3).

Mirrors net/llc/llc_input.c, Linux 6.12, which comes with the module of bridges: for their spanning tree, which is not
here. Nobody else listens, so that a frame is thrown away without being counted by any device. A Linux that has never
had a bridge does not know 802.2, and counts it as a protocol that nobody speaks.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.sim.dev import PTYPES
from netkit_edu.sim.skbuff import ETH_P_802_2, kfree_skb_reason


def llc_rcv(skb: SkBuff) -> None:
    """The function that LLC registers with the core."""
    kfree_skb_reason(skb, "NOT_SPECIFIED", skb.dev, "802.2, which nobody here listens to")


PTYPES[ETH_P_802_2] = llc_rcv

"""Netfilter's hook points, in the places where the kernel has them.

Mirrors include/linux/netfilter.h and include/linux/netfilter_netdev.h, Linux 6.12. A namespace lists what is registered
at each point. Where nothing is, the kernel passes by without calling anything, and a tracer sees nothing: such a hop is
marked as not observable. Debian's kernel has AppArmor's secmark hook at POSTROUTING in every namespace, which only
looks on; that is why a function tracer sees ``nf_hook_slow`` there.
"""

from __future__ import annotations

from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import HopKind

PREROUTING, LOCAL_IN, FORWARD, LOCAL_OUT, POSTROUTING = (
    "PREROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POSTROUTING",
)  # fmt: skip
NETDEV_INGRESS, NETDEV_EGRESS = "NETDEV_INGRESS", "NETDEV_EGRESS"

REGISTERED = frozenset({POSTROUTING})
_HOOK = HopKind.HOOK
_DATA = {
    name: {"hook": name}
    for name in (PREROUTING, LOCAL_IN, FORWARD, LOCAL_OUT, POSTROUTING, NETDEV_INGRESS, NETDEV_EGRESS)
}


def nf_hook(skb: SkBuff, point: str, where) -> None:
    """Pass one of the five IP hook points."""
    if point in REGISTERED:
        skb.trace.hop("nf_hook_slow", where, _HOOK, point, _DATA[point])
    else:
        skb.trace.hop("nf_hook", where, _HOOK, point, _DATA[point], False)


def nf_hook_ingress(skb: SkBuff, dev) -> None:
    """Pass the device's own hook point for arriving packets."""
    skb.trace.hop("nf_hook", dev, _HOOK, NETDEV_INGRESS, _DATA[NETDEV_INGRESS], False)


def nf_hook_egress(skb: SkBuff, dev) -> None:
    """Pass the device's own hook point for leaving packets; not with one that a program has redirected here."""
    if skb.nf_skip_egress:
        return
    skb.trace.hop("nf_hook", dev, _HOOK, NETDEV_EGRESS, _DATA[NETDEV_EGRESS], False)

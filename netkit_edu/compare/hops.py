"""The functions that a packet went through, as far as both machines can see them.

Linux frees some buffers without a trace, and others of which it has shown nothing before; and it has no card behind
which another machine begins, but a cable on which that one's work is done at once. So freeing is left out, and each
machine's functions are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from netkit_edu.journey import Hop, HopKind, Journey

_EARLY = "bpf_clone_redirect"  # Linux is seen to call it even with flags that it then refuses
_FREEING = frozenset({"kfree_skb", "consume_skb"})
_OF_A_CARD = frozenset({"net_rx_action", "eth_type_trans", "napi_gro_receive", "sock_wfree"})
_CARDS = (("host", "eth0"), ("outside", "eth0"))


def of(journey: Journey) -> dict[str, list]:
    """Return a packet's functions with context, node and device; those of the machine behind the cable apart."""
    seen = [[h.function, str(h.context), h.node, h.device] for h in _seen(journey)]
    return {
        "hops": [hop for hop in seen if hop[2] != "outside"],
        "hops outside": [hop for hop in seen if hop[2] == "outside"],
    }


def _seen(journey: Journey) -> Iterator[Hop]:
    freed = False
    for hop in journey.hops:
        of_freed, freed = freed and hop.function == "sock_wfree", hop.function in _FREEING
        if (
            not hop.observable
            or freed
            or of_freed
            or hop.kind in (HopKind.HOOK, HopKind.WIRE)
            or hop.function == _EARLY
        ):
            continue
        if (hop.node, hop.device) not in _CARDS or hop.function not in _OF_A_CARD:
            yield hop

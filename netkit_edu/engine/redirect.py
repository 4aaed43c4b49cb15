"""``RedirectInfo``: where a program asked its packet to go, before anybody looks whether there is such a place.

Mirrors ``struct bpf_redirect_info`` (include/linux/filter.h, Linux 6.12). The redirect helpers write it to
``skb.redirect`` and answer 7; whoever ran the program and sees that verdict reads it, clears it, and sends the packet.
"""

from __future__ import annotations

from typing import NamedTuple

EGRESS, INGRESS, NEIGH, PEER = "egress", "ingress", "neigh", "peer"


class NextHop(NamedTuple):
    """A neighbour to send to instead of a route lookup (struct bpf_redir_neigh).

    ``family`` is the number the program gave, AF_INET 2 or AF_INET6 10; ``address`` has 4 bytes for AF_INET, else 16.
    """

    family: int
    address: bytes


class RedirectInfo(NamedTuple):
    """One request.

    Attributes:
        kind: `EGRESS` and `INGRESS` of bpf_redirect, `NEIGH` of bpf_redirect_neigh, `PEER` of bpf_redirect_peer.
        ifindex: of the target, in the namespace of ``skb->dev``; 0 and absent numbers are found out later.
        flags: as the program gave them.
        nexthop: of bpf_redirect_neigh with parameters; None asks for a route lookup.
    """

    kind: str
    ifindex: int
    flags: int = 0
    nexthop: NextHop | None = None

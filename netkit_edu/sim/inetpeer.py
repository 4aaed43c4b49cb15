"""What the stack remembers of another machine: when it was told something last, and how often.

Mirrors net/ipv4/inetpeer.c, Linux 6.12, as far as redirects go.
"""

from __future__ import annotations


class InetPeer:
    """One other machine; ``rate_last`` in ns of the world's clock."""

    __slots__ = ("rate_last", "n_redirects")

    def __init__(self):
        self.rate_last = 0
        self.n_redirects = 0

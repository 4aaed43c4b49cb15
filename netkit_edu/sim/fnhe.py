"""What a route remembers of single destinations behind it (``struct fib_nh_exception``): how long a packet may be.

Mirrors the exceptions of net/ipv4/route.c and fib_semantics.c, Linux 6.12. An exception belongs to the route through
which the destination is reached, and goes with it. Times are in ns of the world's clock.

Deviation: an exception is over at its time, not after it, since here the clock can stand still. The kernel keeps a few
exceptions for each of its buckets only; here there is no such limit. Nobody learns a gateway from a redirect.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FibNhException:
    """One destination's path MTU, ``pmtu`` in bytes; ``mtu_locked``: it is longer than what somebody asked for."""

    pmtu: int
    mtu_locked: bool
    expires: int


def find_exception(nhc, daddr: int, now: int) -> FibNhException | None:
    """Return what the route ``nhc`` knows of an address; what is over is forgotten."""
    fnhe = nhc.exceptions.get(daddr)
    if fnhe is not None and now >= fnhe.expires:
        del nhc.exceptions[daddr]
        return None
    return fnhe


def update_or_create_fnhe(nhc, daddr: int, pmtu: int, lock: bool, expires: int) -> None:
    """Let a route know the path MTU of an address from now on."""
    nhc.exceptions[daddr] = FibNhException(pmtu, lock, expires)


def fnhe_update_pmtu(fnhe: FibNhException, new: int, orig: int) -> None:
    """The first device of the way has another MTU: a path cannot be wider, and one that was as wide may be so again."""
    if fnhe.mtu_locked:
        if new <= fnhe.pmtu:
            fnhe.pmtu, fnhe.mtu_locked = new, False
    elif new < fnhe.pmtu or orig == fnhe.pmtu:
        fnhe.pmtu = new


def fib_sync_mtu(fib, dev, orig: int) -> None:
    """Tell every exception of the routes through ``dev`` that its MTU was ``orig`` bytes until now."""
    for nhc in fib:
        if nhc.dev is dev:
            for fnhe in nhc.exceptions.values():
                fnhe_update_pmtu(fnhe, dev.mtu, orig)

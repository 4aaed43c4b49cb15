"""One moment of a packet, as a tracer saw it: plain data, which a recording can hold."""

from __future__ import annotations

from typing import NamedTuple

from netkit_edu.uapi import Context


class Carried(NamedTuple):
    """One moment of a packet.

    ``ns``: the kernel's monotonic clock; ``what``: the tracepoint's or the function's name, or "softirq_entry";
    ``context`` and ``softirq``: in whose time it ran, and which softirq it was ("" in process context); ``task``,
    ``pid`` and ``cpu``: who was running there; ``device`` and ``length`` in bytes, where the tracepoint tells them;
    ``skb``: the packet's address in the kernel, 0 at a softirq's entry.
    """

    ns: int
    what: str
    context: Context
    softirq: str
    task: str
    pid: int
    cpu: int
    device: str
    length: int
    skb: int

    def __str__(self) -> str:
        where = f"in softirq {self.softirq} on the time of {self.task}" if self.softirq else f"by {self.task} itself"
        return f"{self.what:<20} {self.device:<10} {where}"

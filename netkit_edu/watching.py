"""Watching a lab's kernel at work: its own function tracer, and its books on who is charged for the time.

What `Lab.ftrace` and `Lab.cpu_time` do, on backends that are a Linux (netkit_edu/linux/ftrace.py, cputime.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netkit_edu import packet as wire
from netkit_edu.arguments import whole_number
from netkit_edu.backend import Backend, CpuTime, SendRequest
from netkit_edu.errors import UsageError
from netkit_edu.node import Node

MOST = 1_000_000  # packets


def ftrace(calls: Backend, run: Callable[[], object], functions: Sequence[str], events: Sequence[str]) -> str:
    """Return what the function tracer wrote; see `Lab.ftrace`."""
    if not hasattr(calls, "ftrace"):
        raise UsageError("the simulator has no function tracer: a journey's hops say it all. Linux has: nk.Lab('vm')")
    if not callable(run):
        raise UsageError(f"run is called while the tracer looks, such as lambda: pod.send(packet), not {run!r}")
    for what, names in (("functions", functions), ("events", events)):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{what} is a list of names, not {names!r}")
    return calls.ftrace(run, functions, events)


def cpu_time(sender: Node, packet, n: int) -> CpuTime:
    """Return who was charged for sending; see `Lab.cpu_time`."""
    calls = sender.lab.kernel_calls
    if not hasattr(calls, "cpu_time"):
        raise UsageError("the simulator runs no clock that could be charged to anyone. Linux keeps books: nk.Lab('vm')")
    whole_number(n, "n", 1, MOST)
    data = wire.to_bytes(packet, src=sender.addresses[0].partition("/")[0] if sender.addresses else "0.0.0.0")
    if data.ethernet:
        raise UsageError("what is charged for is sent by a UDP socket: give the packet from IP on, without Ethernet")
    return calls.cpu_time(sender.ns, SendRequest(data.data), n)

"""One CPU: process and softirq context, and the queue of devices that wait for the receive softirq.

Mirrors kernel/softirq.c and the ``softnet_data`` of net/core/dev.c, Linux 6.12. A CPU is in process context until a
softirq runs. Softirqs raised while bottom halves are disabled run when the last one enables them again: in the middle
of the sender's own system call, which is the point of chapter 01.

Deviation: a softirq that never gets done would be handed to ksoftirqd after ten rounds; here it goes on until all is
done. The context is the same, only the task that pays for it is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netkit_edu.journey import HopKind
from netkit_edu.uapi import Context

NETDEV_BUDGET = 300  # packets per softirq round (net.core.netdev_budget)
NAPI_POLL_WEIGHT = 64  # packets per poll of one device (net.core.dev_weight)

_PROCESS, _SOFTIRQ, _FUNCTION = Context.PROCESS, Context.SOFTIRQ, HopKind.FUNCTION


class Napi:
    """A receive queue that the softirq polls (``struct napi_struct``); ``poll(cpu, quota)`` returns packets done."""

    __slots__ = ("poll", "scheduled")

    def __init__(self, poll: Callable[[Cpu, int], int]):
        self.poll = poll
        self.scheduled = False


class Cpu:
    """One CPU and its ``softnet_data``.

    ``input_pkt_queue`` is the backlog; ``process_queue`` what the softirq has already taken over from it.
    ``dropped`` and ``processed`` count packets, as in /proc/net/softnet_stat. ``redirect`` is the last redirect that a
    program asked for, while ``bpf_net_context`` says that somebody looks after it.
    """

    def __init__(self, number: int, process_backlog: Callable[[Cpu, int], int]):
        self.number = number
        self.backlog = Napi(process_backlog)
        self.dropped = 0
        self.processed = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything in flight: what a machine does after an oops."""
        self.context = _PROCESS
        self.bh_disabled = 0
        self.net_rx_pending = False
        self.xmit_recursion = 0
        self.input_pkt_queue: deque = deque()
        self.process_queue: deque = deque()
        self.poll_list: deque[Napi] = deque()
        self.bpf_net_context = False
        self.redirect = None
        self.backlog.scheduled = False
        self._steps: list[tuple[str, Context]] = []

    @property
    def idle(self) -> bool:
        """True if nothing waits and nothing runs."""
        return not (
            self.input_pkt_queue or self.process_queue or self.poll_list or self.net_rx_pending or self.bh_disabled
        )

    def step(self, function: str) -> None:
        """Note a step that concerns no packet yet; the next packet taken from a queue gets it as a hop."""
        self._steps.append((function, self.context))

    def take(self, skb) -> None:
        """A queue hands ``skb`` to this CPU: its trace goes on here, with the steps that led to it."""
        trace = skb.trace
        trace.cpu = self
        if self._steps:
            now = self.context
            for function, context in self._steps:
                self.context = context
                trace.hop(function, skb.dev, _FUNCTION)
            self.context = now
            self._steps.clear()


def local_bh_disable(cpu: Cpu) -> None:
    """No softirq on this CPU until the matching `local_bh_enable`."""
    cpu.bh_disabled += 1


def local_bh_enable(cpu: Cpu) -> None:
    """Allow softirqs again; the outermost call in process context runs those that wait."""
    cpu.bh_disabled -= 1
    if cpu.net_rx_pending and not cpu.bh_disabled and cpu.context is _PROCESS:
        do_softirq(cpu)


def do_softirq(cpu: Cpu) -> None:
    """Run the waiting softirqs in the time of whoever is running."""
    cpu.step("__do_softirq")
    cpu.step("handle_softirqs")
    handle_softirqs(cpu)


def irq_exit(cpu: Cpu) -> None:
    """A device's interrupt is over: run what it raised, unless softirqs are disabled or running already."""
    if cpu.net_rx_pending and not cpu.bh_disabled and cpu.context is _PROCESS:
        handle_softirqs(cpu)


def handle_softirqs(cpu: Cpu) -> None:
    """Switch to softirq context and run NET_RX until it is no longer raised."""
    cpu.context = _SOFTIRQ
    while cpu.net_rx_pending:
        cpu.net_rx_pending = False
        net_rx_action(cpu)
    cpu.context = _PROCESS
    cpu._steps.clear()


def napi_schedule(cpu: Cpu, napi: Napi) -> None:
    """Put a receive queue on the CPU's poll list and raise NET_RX (____napi_schedule)."""
    if not napi.scheduled:
        napi.scheduled = True
        cpu.poll_list.append(napi)
        cpu.net_rx_pending = True


def napi_complete(napi: Napi) -> None:
    """The queue is empty: it is off the poll list until scheduled again."""
    napi.scheduled = False


def net_rx_action(cpu: Cpu) -> None:
    """The NET_RX softirq: poll each waiting queue in turn, within a budget of packets (net/core/dev.c)."""
    cpu.step("net_rx_action")
    context = bpf_net_ctx_set(cpu)
    budget = NETDEV_BUDGET
    while cpu.poll_list:
        napi = cpu.poll_list.popleft()
        budget -= napi.poll(cpu, NAPI_POLL_WEIGHT)
        if napi.scheduled:  # it used its whole weight: there is more
            cpu.poll_list.append(napi)
        if budget <= 0:
            break
    bpf_net_ctx_clear(cpu, context)
    if cpu.poll_list:
        cpu.net_rx_pending = True


def bpf_net_ctx_set(cpu: Cpu) -> bool:
    """Open a context in which a redirect is remembered, unless one is open; return whether it is this caller's.

    A transmission opens one of its own; whatever runs inside the receive softirq shares the softirq's, across packets.
    (include/linux/filter.h)
    """
    if cpu.bpf_net_context:
        return False
    cpu.bpf_net_context, cpu.redirect = True, None
    return True


def bpf_net_ctx_clear(cpu: Cpu, opened: bool) -> None:
    """Close the context, if this caller opened it: a redirect nobody carried out is forgotten."""
    if opened:
        cpu.bpf_net_context, cpu.redirect = False, None

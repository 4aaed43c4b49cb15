"""The machine: its CPUs, its namespaces, what is loaded into it, and how a system call runs to its end.

One `Kernel` is the state that Linux keeps in global variables. A namespace behind a `Nic`'s wire stands for another
machine; its frames are handled once everything here has come to rest, as interrupts are that come later. It uses the
same CPUs, which nobody can tell, since they are idle by then.
"""

from __future__ import annotations

from collections import deque

from netkit_edu.backend import SendRequest
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.journey import FateKind
from netkit_edu.sim import arp, ip_input, llc  # noqa: F401  they register themselves with the core
from netkit_edu.sim.cpu import Cpu, irq_exit, local_bh_disable, local_bh_enable
from netkit_edu.sim.dev import process_backlog
from netkit_edu.sim.icmp import ping_v4_sendmsg
from netkit_edu.sim.ip_fragment import ip_expire
from netkit_edu.sim.neighbour import RETRANS_TIME, neigh_timer_handler
from netkit_edu.sim.netdevice import nic_interrupt
from netkit_edu.sim.netns import Netns
from netkit_edu.sim.raw import packet_snd, raw_sendmsg
from netkit_edu.sim.sock import Sock
from netkit_edu.sim.trace import Trace
from netkit_edu.sim.udp import udp_sendmsg
from netkit_edu.sim.world import KernelWorld
from netkit_edu.uapi import Context, errno_name

DRIVER_CALLS = 10_000  # of learners' drivers for one packet, before it is taken for a loop
SENDMSG = {"udp": udp_sendmsg, "icmp": ping_v4_sendmsg, "raw": raw_sendmsg, "packet": packet_snd}


class Kernel:
    """A Linux with ``cpus`` CPUs and a backlog of ``backlog`` packets on each (net.core.netdev_max_backlog)."""

    def __init__(self, cpus: int, backlog: int):
        self.cpus = [Cpu(number, process_backlog) for number in range(cpus)]
        self.netdev_max_backlog = backlog
        self.namespaces: dict[int, Netns] = {}
        self.interrupts: deque = deque()
        self.neigh_timers: deque = deque()
        self.driver_budget = DRIVER_CALLS
        self.world = KernelWorld()
        self._last_ns = 0
        self._last_mac = 0

    def new_netns(self, name: str) -> Netns:
        """Make a namespace."""
        self._last_ns += 1
        net = self.namespaces[self._last_ns] = Netns(self, self._last_ns, name)
        return net

    def eth_random_addr(self) -> bytes:
        """Return a locally administered address; "random" as the kernel calls it, but the same in every run."""
        self._last_mac += 1
        return b"\x02\x00\x00" + self._last_mac.to_bytes(3, "big")

    def send(self, net: Netns, request: SendRequest, n: int = 1) -> list[Trace]:
        """Send the same packet ``n`` times, let everything come to rest, return the records.

        Several packets leave back to back with softirqs disabled, as from a sender that runs in softirq itself: the
        backlog fills before anyone empties it. A program's fault, or any other error, leaves the machine at rest too.
        """
        sendmsg = SENDMSG.get(request.via)
        if sendmsg is None:
            raise UsageError(f"no socket called {request.via!r}; there are {', '.join(SENDMSG)}")
        if request.gso_size and request.via not in ("udp", "packet"):
            raise UsageError("a GSO packet leaves through a UDP socket, or as a frame: via='udp' or via='packet'")
        if request.via == "raw" and request.packet[:1] and request.packet[0] >> 4 == 6:
            raise UsageError("the simulator's stack is IPv4; as a frame IPv6 crosses devices: Ether()/IPv6(), dev=...")
        if not 0 <= request.cpu < len(self.cpus):
            raise UsageError(f"no CPU {request.cpu}: this machine has {len(self.cpus)}, counted from 0")
        cpu = self.cpus[request.cpu]
        self.driver_budget = DRIVER_CALLS * n
        try:
            if n > 1:
                local_bh_disable(cpu)
            traces = [self._sendmsg(sendmsg, net, request, cpu) for _ in range(n)]
            if n > 1:
                local_bh_enable(cpu)
            self.settle()
        except BaseException:
            self.reset()
            raise
        finally:
            net.ping_idents.clear()
            net.udp_senders.clear()
        return traces

    def _sendmsg(self, sendmsg, net: Netns, request: SendRequest, cpu: Cpu) -> Trace:
        """One system call of the sender."""
        depth = cpu.bh_disabled
        trace = Trace(cpu, request.packet, request.label)
        sk = Sock(
            net,
            mark=request.mark,
            priority=request.priority,
            recverr=request.recverr,
            bound_dev_if=request.ifindex,
            gso_size=request.gso_size,
        )
        try:
            err = sendmsg(sk, trace, request.packet)
        except KernelError as refused:
            if cpu.bh_disabled != depth or cpu.context is not Context.PROCESS:
                raise  # not the stack refusing, but a driver's own error on the way
            trace.sender_error = refused.name
            trace.end(FateKind.NOT_SENT, net, refused.name)
        else:
            trace.sender_error = errno_name(err) if err else None
        return trace

    def settle(self) -> None:
        """Take the interrupts of the cards, then of the clock, until none is left.

        What is incomplete then never will be, and is given up.
        """
        cpu = self.cpus[0]
        while True:
            if self.interrupts:
                nic_interrupt(cpu, self.interrupts.popleft())
            elif self.neigh_timers:
                self._second_passes(cpu)
            elif any(net.fragments for net in self.namespaces.values()):
                self._fragments_expire(cpu)
            else:
                return
            irq_exit(cpu)

    def _second_passes(self, cpu: Cpu) -> None:
        """All that wait for an answer have waited long enough: run their timers, which is softirq work."""
        self.world.now += RETRANS_TIME
        waiting, self.neigh_timers = self.neigh_timers, deque()
        cpu.context = Context.SOFTIRQ
        for neigh in waiting:
            neigh_timer_handler(neigh, cpu)
        cpu.context = Context.PROCESS

    def _fragments_expire(self, cpu: Cpu) -> None:
        """The time for reassembly is over (net.ipv4.ipfrag_time): its timer runs, in softirq context."""
        cpu.context = Context.SOFTIRQ
        for net in self.namespaces.values():
            if net.fragments:
                ip_expire(net)
        cpu.context = Context.PROCESS

    def reset(self) -> None:
        """Throw away everything in flight."""
        self.interrupts.clear()
        self.neigh_timers.clear()
        for cpu in self.cpus:
            cpu.reset()
        for net in self.namespaces.values():
            net.fragments.clear()
            for dev in net.devices.values():
                dev.neighbours = {ip: neigh for ip, neigh in dev.neighbours.items() if neigh.ha is not None}
                if dev.kind == "nic":
                    dev.priv.ring.clear()
                    dev.priv.napi.scheduled = False

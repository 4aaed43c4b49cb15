"""Who a kernel charges for the work of sending: the task that sends, and the machine's books by kind of time.

A kernel without CONFIG_IRQ_TIME_ACCOUNTING (Debian's) keeps these books by its timer's tick: 250 times a second it
looks who runs and in which context. /proc/stat counts in hundredths of a second, getrusage(2) scales a task's ticks to
the exact time it ran (kernel/sched/cputime.c, Linux 6.12). So a figure needs some thousand packets to mean something.
The machine has a book for each CPU; the one that counts here is that of the sender's, on which all of its packets' work
is done.
And in a machine whose clock counts instructions, packets and ticks would march in step and every tick find the same
function: between batches of packets a pause of random length takes them out of it.
"""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address

from netkit_edu.backend import CpuTime, SendRequest
from netkit_edu.errors import KernelError
from netkit_edu.linux.counting import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM
from netkit_edu.linux.door import Batch, Data
from netkit_edu.linux.measure import datagram
from netkit_edu.linux.netns import open_file

RUSAGE_SELF = 0
TICKS = 100  # USER_HZ: what /proc/stat counts, a second
_RUSAGE, _STAT = 144, 1 << 15  # bytes: struct rusage; enough of /proc/stat for the lines of all CPUs
_MASK = 128  # bytes of a set of CPUs
_AT_ONCE, _PAUSE = 200, 100  # packets in less time than a tick; cheap calls that take as long as a few packets
_TIMEOUT_S = 60.0


class CpuTimeCalls:
    """What it needs of the backend: ``door``, ``cpus``, ``name``, ``_net`` and ``_silence``."""

    def cpu_time(self, ns: int, request: SendRequest, n: int) -> CpuTime:
        """Send a datagram ``n`` times, each by a system call of its own, and return who was charged for how long.

        Args:
            ns: who sends.
            request: an IPv4 packet with UDP; its destination, port and payload count.
            n: how often.

        Raises:
            KernelError: nothing of it can be sent.
        """
        _, (dst, port), payload = datagram(request.packet)
        self._silence()
        cpu = self.cpus[request.cpu]
        batch = self.door.batch()
        if len(self.cpus) > 1:
            batch.call("sched_setaffinity", 0, _MASK, (1 << cpu).to_bytes(_MASK, "little"))
        batch.setns(self._net(ns).fd)
        sock = batch.call("socket", AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
        to = batch.put(struct.pack("=H", AF_INET) + port.to_bytes(2, "big") + IPv4Address(dst).packed + bytes(8))
        data = batch.put(payload)
        first = batch.call("sendto", sock, data, len(payload), 0, to, 16, must=False)
        before = _read(batch)
        rng = random.Random(n)
        for left in range(n, 0, -_AT_ONCE):
            with batch.loop(min(left, _AT_ONCE)):
                batch.call("sendto", sock, data, len(payload), 0, to, 16, must=False)
            with batch.loop(rng.randrange(1, _PAUSE)):
                batch.call("getpid")
        after = _read(batch)
        batch.call("close", sock)
        batch.run(_TIMEOUT_S)
        if first.errno:
            raise KernelError(first.errno)
        return CpuTime(*(round(b - a, 6) for a, b in zip(_seconds(before, cpu), _seconds(after, cpu), strict=True)))


def _read(batch: Batch) -> tuple[Data, Data]:
    """Append the reading of both books."""
    stat = open_file(batch, "/proc/stat")
    room = batch.room(_STAT)
    machine = batch.read(room, batch.call("read", stat, room, _STAT), _STAT)
    batch.call("close", stat)
    usage = batch.room(_RUSAGE)
    batch.call("getrusage", RUSAGE_SELF, usage)
    return machine, batch.read(usage, _RUSAGE)


def _seconds(books: tuple[Data, Data], cpu: int) -> tuple[float, ...]:
    """Return what `CpuTime` has, counted from the CPU's and the task's beginning."""
    machine, usage = books
    line = next(line for line in machine.value.splitlines() if line.startswith(b"cpu%d " % cpu))
    user, nice, system, idle, _iowait, irq, softirq = map(int, line.split()[1:8])
    task = struct.unpack_from("<4q", usage.value)
    sender = task[0] + task[2] + (task[1] + task[3]) / 1e6
    return sender, (user + nice) / TICKS, system / TICKS, (irq + softirq) / TICKS, idle / TICKS

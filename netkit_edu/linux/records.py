"""The records of the log, read back: one for each event, in the order in which they happened on all CPUs."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netkit_edu.linux.trace_probe import BYTES_MOST, HEAD, LOG, RECORD
from netkit_edu.uapi import Context

_SOFTIRQ_OFFSET = 0x100  # of preempt_count: a softirq is being served (include/linux/preempt.h)


class Record(NamedTuple):
    """One event.

    ``number`` says what it is (`trace_table.FUNCTIONS`, or one of the numbers behind them); ``skb`` the packet's
    address in the kernel, 0 without one; ``also`` and ``second`` what was read besides; ``ifindex``, ``inode`` and
    ``flags`` the device, its namespace and its IFF_*; ``length`` and ``ethertype`` the packet's; ``task`` the process
    in whose time it happened; ``bytes`` of the packet as far as they were asked for.
    """

    skb: int
    also: int
    ifindex: int
    inode: int
    number: int
    cpu: int
    preempt: int
    length: int
    ethertype: int
    size: int
    second: int
    task: int
    flags: int
    bytes: bytes = b""

    @property
    def context(self) -> Context:
        """In whose time: the task's, or a softirq's."""
        return Context.SOFTIRQ if self.preempt & _SOFTIRQ_OFFSET else Context.PROCESS


def read_records(log: bytes) -> list[Record]:
    """Return the records of a log from behind its head; one that is cut off ends it."""
    records, at, step = [], 0, RECORD.size
    while at + step <= len(log):
        fields = RECORD.unpack_from(log, at)
        size = fields[9]
        start = at + step
        at = start + (size + 7 & ~7)
        if at > len(log):
            break
        records.append(Record(*fields, log[start : start + size]) if size else Record(*fields))
    return records


def overflowed(head: bytes) -> bool:
    """Return whether something happened for which the log had no more room."""
    return struct.unpack_from("<Q", head)[0] > LOG - HEAD - BYTES_MOST - RECORD.size - 8

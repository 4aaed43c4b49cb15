"""Helpers on ring buffers: kernel/bpf/ringbuf.c, Linux 6.12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine.helpers.registry import buffer_size, helper, map_of
from netkit_edu.engine.maps import RingBufMap
from netkit_edu.engine.memory import Fault
from netkit_edu.errors import KernelError
from netkit_edu.uapi import Errno

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine

_WAKEUP_FLAGS = 1 << 0 | 1 << 1  # BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP


def _ring_of(m: Machine, handle: int) -> RingBufMap:
    found = map_of(m, handle)
    if not isinstance(found, RingBufMap):
        raise Fault(f"map {found.spec.name} (type {found.spec.type}) is no ring buffer")
    return found


@helper
def bpf_ringbuf_output(m: Machine, ringbuf: int, data: int, size: int, flags: int) -> int:
    """Append a record with a copy of ``size`` bytes; 0, -EINVAL for unknown flags, -EAGAIN without room for it."""
    ring = _ring_of(m, ringbuf)
    copied = m.memory.read(data, buffer_size(size)) if size else b""
    if flags & ~_WAKEUP_FLAGS:
        return -Errno.EINVAL
    try:
        ring.output(copied)
    except KernelError as refusal:
        return -refusal.errno
    return 0


@helper
def bpf_ringbuf_reserve(m: Machine, ringbuf: int, size: int, flags: int) -> int:
    """Return a pointer to a record of ``size`` bytes to fill, NULL without room for it or with any flag."""
    ring = _ring_of(m, ringbuf)
    record = None if flags else ring.reserve(size)
    if record is None:
        return 0
    address = m.memory.pointer(f"record of {ring.spec.name}", record.data)
    m.reserved[address] = ring, record
    return address


@helper
def bpf_ringbuf_submit(m: Machine, record: int, flags: int) -> int:
    """Hand a reserved record over to user space."""
    return _commit(m, record, discard=False)


@helper
def bpf_ringbuf_discard(m: Machine, record: int, flags: int) -> int:
    """Have a reserved record skipped."""
    return _commit(m, record, discard=True)


def _commit(m: Machine, address: int, *, discard: bool) -> int:
    if address not in m.reserved:
        raise Fault("a pointer that bpf_ringbuf_reserve returned, tested against NULL, is wanted here", address)
    ring, record = m.reserved.pop(address)
    ring.commit(record, discard=discard)
    done = "discarded" if discard else "submitted"
    m.memory.retire(address, f"the record was {done}: it is no longer the program's")
    return 0


@helper
def bpf_ringbuf_query(m: Machine, ringbuf: int, what: int) -> int:
    """Return bytes not yet read (0), the buffer's size (1), where the reader is (2), where the writers are (3)."""
    return _ring_of(m, ringbuf).query(what)

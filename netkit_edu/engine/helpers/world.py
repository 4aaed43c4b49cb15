"""Helpers that ask for what lies outside a program: clock, random numbers, CPU, trace pipe. See `engine.world`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from netkit_edu.engine import printk
from netkit_edu.engine.helpers.registry import U32, buffer_size, helper

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine


@helper
def bpf_ktime_get_ns(m: Machine) -> int:
    """Return CLOCK_MONOTONIC in ns."""
    return m.world.ktime_get_ns()


@helper
def bpf_get_prandom_u32(m: Machine) -> int:
    """Return a pseudo-random number of 32 bits."""
    return m.world.get_prandom_u32() & U32


@helper
def bpf_get_smp_processor_id(m: Machine) -> int:
    """Return the number of the CPU."""
    return m.world.get_smp_processor_id()


@helper
def bpf_trace_printk(m: Machine, fmt: int, fmt_size: int, arg1: int, arg2: int, arg3: int) -> int:
    """Print a formatted text into the trace pipe; return its length in bytes, or -EINVAL for a format it refuses."""
    text = m.memory.read(fmt, buffer_size(fmt_size & U32))
    printed = printk.bstr_printf(text, (arg1, arg2, arg3), m.memory)
    if printed is None:
        return -errno.EINVAL
    length, line = printed
    m.world.trace_printk(line.removesuffix("\n"))
    return length

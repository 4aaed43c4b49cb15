"""Helpers that ask for what lies outside a program: clock, random numbers, CPU, trace pipe. See `engine.world`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine import printk
from netkit_edu.engine.helpers.registry import U32, buffer_size, helper
from netkit_edu.uapi import Errno

if TYPE_CHECKING:
    from netkit_edu.engine.machine import Machine

TICK = 4_000_000  # ns


@helper
def bpf_ktime_get_ns(m: Machine) -> int:
    """Return CLOCK_MONOTONIC in ns."""
    return m.world.ktime_get_ns()


@helper
def bpf_ktime_get_boot_ns(m: Machine) -> int:
    """Return CLOCK_BOOTTIME in ns: the monotonic clock and the time asleep, of which there is none here."""
    return m.world.ktime_get_ns()


@helper
def bpf_ktime_get_coarse_ns(m: Machine) -> int:
    """Return CLOCK_MONOTONIC_COARSE in ns: the monotonic clock as it stood at the last tick."""
    return m.world.ktime_get_ns() // TICK * TICK


@helper
def bpf_jiffies64(m: Machine) -> int:
    """Return how many ticks of 4 ms (CONFIG_HZ=250) the clock has made since it stood at 0."""
    return m.world.ktime_get_ns() // TICK


@helper
def bpf_get_current_pid_tgid(m: Machine) -> int:
    """Return the process id of the running task in the upper half, its thread id in the lower."""
    return m.world.get_current_pid_tgid()


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
        return -Errno.EINVAL
    length, line = printed
    m.world.trace_printk(line.removesuffix("\n"))
    return length


@helper
def bpf_strncmp(m: Machine, text: int, size: int, other: int) -> int:
    """Compare at most ``size`` bytes of a text with one that ends in a zero byte; -1, 0 or 1."""
    ours = m.memory.read(text, buffer_size(size & U32)).partition(b"\0")[0]
    theirs = m.memory.string(other, size & U32)
    return (ours > theirs) - (ours < theirs)

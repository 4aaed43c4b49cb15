"""``World``: what lies outside a program: clock, random numbers, the CPU it runs on, the trace pipe, the network.

Helpers ask the world and nothing else, so that the simulator can hand in its own clock and CPU by a subclass. This one
is deterministic: two runs from a fresh world see the same numbers. It has no network: no device but the packet's own,
and no routes.
"""

from __future__ import annotations

import random
from collections import deque
from errno import EAFNOSUPPORT, EINVAL, ENODEV
from typing import TYPE_CHECKING

from netkit_edu.uapi import ETH_HLEN

if TYPE_CHECKING:
    from netkit_edu.engine.skb import SkBuff

TRACE_LINES = 10_000
_AF_INET, _AF_INET6 = 2, 10


class World:
    """A world of one CPU.

    Args:
        now: where the clock stands, in ns; every look at it lets one microsecond pass.
        seed: where the random numbers start.
        cpu: the CPU that programs run on.

    ``trace`` keeps the last lines printed by bpf_trace_printk.
    """

    def __init__(self, *, now: int = 0, seed: int = 0, cpu: int = 0):
        self.now = now
        self.cpu = cpu
        self.trace: deque[str] = deque(maxlen=TRACE_LINES)
        self._seed = seed
        self._random: random.Random | None = None

    def ktime_get_ns(self) -> int:
        """Return CLOCK_MONOTONIC in ns."""
        self.now += 1000
        return self.now

    def get_prandom_u32(self) -> int:
        """Return a pseudo-random number of 32 bits."""
        if self._random is None:  # most programs never ask, and seeding takes longer than running them
            self._random = random.Random(self._seed)
        return self._random.getrandbits(32)

    def get_smp_processor_id(self) -> int:
        """Return the number of the CPU that the program runs on."""
        return self.cpu

    def get_current_pid_tgid(self) -> int:
        """Return the task's process id (upper 32 bits) and thread id: on a transmit path, the sender's."""
        return 1 << 32 | 1

    def trace_printk(self, text: str) -> None:
        """Take one formatted text, as trace_pipe shows it, without its last newline."""
        self.trace.append(text)

    def clone_redirect(self, skb: SkBuff, ifindex: int, flags: int) -> int:
        """Send a copy of a packet at once: transmit it on a device, or with flag 1 let it be received there.

        Args:
            ifindex: in the namespace of ``skb.dev``.
            flags: 0 or BPF_F_INGRESS (1); the helper has refused all others.

        Returns:
            What transmission said: 0, NET_XMIT_DROP 1 and so on; a negative errno, -EINVAL where there is no device.
        """
        return -EINVAL

    def fib_lookup(self, skb: SkBuff, params: bytes, flags: int) -> tuple[int, bytes]:
        """Look up a route in the namespace of ``skb.dev``.

        Args:
            params: the 64 bytes of struct bpf_fib_lookup (include/uapi/linux/bpf.h) as the program filled them in.
            flags: BPF_FIB_LOOKUP_*; the helper has refused unknown ones.

        Returns:
            BPF_FIB_LKUP_RET_* or a negative errno, and the struct's 64 bytes afterwards.
        """
        family = params[0]
        return -ENODEV if family in (_AF_INET, _AF_INET6) else -EAFNOSUPPORT, params

    def device_mtu(self, skb: SkBuff, ifindex: int) -> tuple[int, int] | None:
        """Return a device's MTU and the length of its hardware header in bytes, None where there is no such device.

        Args:
            ifindex: in the namespace of ``skb.dev``; 0 for that device itself.
        """
        if skb.dev is None or ifindex not in (0, skb.ifindex):
            return None
        return skb.dev.mtu, ETH_HLEN  # as for loopback, veth, netkit, dummy and every Ethernet card

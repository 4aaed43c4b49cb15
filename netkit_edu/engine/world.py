"""``World``: what lies outside a program: clock, random numbers, the CPU it runs on, the trace pipe.

Helpers ask the world and nothing else, so that the simulator can hand in its own clock and CPU by a subclass. This one
is deterministic: two runs from a fresh world see the same numbers.
"""

from __future__ import annotations

import random
from collections import deque

TRACE_LINES = 10_000


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

    def trace_printk(self, text: str) -> None:
        """Take one formatted text, as trace_pipe shows it, without its last newline."""
        self.trace.append(text)

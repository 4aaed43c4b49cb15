"""From an edited cell to the drawn journey: compile, load, attach, send one packet, draw; median of 20.

Bars: 0.15 s on the simulator, 0.3 s on Linux in the virtual machine, whose verifier is asked as well. Each round
changes the C text, so that no cache answers for the compiler.
"""

from __future__ import annotations

import statistics
import time

import netkit_edu as nk
from netkit_edu import draw

ROUNDS = 20
TEXT = """
SEC("netkit/peer")
int edited(struct __sk_buff *skb)
{{
	skb->mark = {number};
	return skb->len > {number} ? NETKIT_DROP : NETKIT_PASS;
}}
"""
# IPv4, UDP 4096 -> 53, from the first pod to the outside; checksums are the simulator's business.
PACKET = bytes.fromhex("4500001c00004000401100000a000102c00002021000003500080000")


def one_round(pod, number: int) -> dict[str, float]:
    """Seconds of each stage of one edit."""
    times, start = {}, time.perf_counter()

    def mark(stage: str) -> None:
        nonlocal start
        now = time.perf_counter()
        times[stage], start = now - start, now

    program = nk.compile(TEXT.format(number=number))["edited"]
    mark("compile")
    attachment = pod.pair.attach(program, at="peer")
    mark("load, attach")
    journey = pod.send(PACKET)
    mark("send")
    draw.journey(journey)
    mark("draw")
    attachment.detach()
    return times


def measure(backend: str) -> None:
    """One round to warm up (the first finds the compiler), then twenty that count."""
    with nk.Lab(backend) as lab:
        pod = lab.pod("db", device="netkit")
        seed = time.time_ns() % 1_000_000  # a text that no earlier run has left in the disk cache
        one_round(pod, seed + ROUNDS)
        rounds = [one_round(pod, seed + n) for n in range(ROUNDS)]
        totals = sorted(sum(times.values()) for times in rounds)
        print(f"  {backend} (Linux {lab.kernel})")
        print(f"    median {statistics.median(totals):.3f} s   fastest {totals[0]:.3f} s   slowest {totals[-1]:.3f} s")
    for stage in rounds[0]:
        print(f"      {stage:<13} {statistics.median(times[stage] for times in rounds) * 1000:7.1f} ms")


def main() -> None:
    """The simulator, then the virtual machine if this machine can run one."""
    measure("sim")
    try:
        measure("vm")
    except nk.BackendUnavailable as why:
        print(f"  vm: {why}")


if __name__ == "__main__":
    main()

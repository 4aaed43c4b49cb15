"""Full journeys a second through the simulator, from 1 000 to 100 000 packets. Bars: 5 000/s, growth 20 %.

Bytes in, `Journey` out, no scapy: a datagram from a container over a pair, through the host's stack, to a device.
CPU time, in slices of 1 000 packets; the calibration loop beside each tells a slow machine from a slow simulator.
"""

from __future__ import annotations

import statistics
import time

from netkit_edu.backend import SendRequest
from netkit_edu.sim.backend import SimBackend

SLICES, SLICE = 100, 1_000
LOOPS = 50_000
# IPv4, UDP 4000 -> 9 with 100 bytes, DF, from the container to an address beyond the host; the stack fills the rest.
PACKET = bytes.fromhex("45000080000040004011000000000000c0000209") + bytes.fromhex("0fa00009006c0000")
PACKET += bytes(100)


def two_stacks(kind: str) -> tuple[SimBackend, int]:
    """A host that forwards, with a device for a card, and a container on a pair; returns the container's number."""
    sim = SimBackend()
    host, pod = sim.netns_add("host"), sim.netns_add("pod")
    sim.sysctl(host, "net.ipv4.ip_forward", 1)
    nic = sim.link_add(host, "dummy", "dummy0", attrs={"qdisc": "pfifo"})
    end = sim.link_add(host, kind, "pod", peer_ns=pod, peer={"name": "eth0"})
    peer = sim.link_get(host, end).peer
    for ns, ifindex, address in ((host, nic, "192.0.2.1"), (host, end, "10.0.1.1"), (pod, peer, "10.0.1.2")):
        sim.link_set(ns, ifindex, up=True)
        sim.addr_add(ns, ifindex, f"{address}/24")
    sim.route_add(pod, "default", via="10.0.1.1")
    if kind == "veth":
        sim.neigh_add(pod, peer, "10.0.1.1", sim.link_get(host, end).mac)
    return sim, pod


def calibrate() -> float:
    """Millions of rounds a second of an empty Python loop with one addition."""
    total, start = 0, time.process_time()
    for i in range(LOOPS):
        total += i
    return LOOPS / (time.process_time() - start) / 1e6


def main() -> None:
    """Send 100 slices of 1 000 packets, print the rate early, later and at the end, and how the cost grew."""
    request = SendRequest(PACKET)
    for kind in ("veth", "netkit"):
        sim, pod = two_stacks(kind)
        hops = len(sim.send(pod, request).hops)
        costs, loops = [], []
        for _ in range(SLICES):
            loops.append(calibrate())
            start = time.process_time()
            for _ in range(SLICE):
                journey = sim.send(pod, request)
            costs.append((time.process_time() - start) / SLICE)
            assert journey.fate.kind == "transmitted", journey.fate
        for first, last in ((0, 5), (5, 15), (SLICES - 15, SLICES)):
            cost, loop = statistics.median(costs[first:last]), statistics.median(loops[first:last])
            print(f"  {kind:6} {hops} hops, up to packet {last * SLICE:6}: {1 / cost:6.0f} journeys/s", end="")
            print(f"   (calibration {loop:.1f} M/s)")
        relative = [cost * loop for cost, loop in zip(costs, loops, strict=True)]
        growth = statistics.median(relative[-15:]) / statistics.median(relative[:5]) - 1
        print(f"  {kind:6} cost of a packet, in calibration loops, end against start: {growth:+.1%}")


if __name__ == "__main__":
    main()

"""Instructions per second of the reference interpreter, beside a plain Python loop on the same machine. Bar: 1.0 M/s.

Two programs: a loop of arithmetic, jumps, loads and stores on the stack; and a compiled policy that parses Ethernet, IP
and UDP, looks up a hash, and counts in two maps. The calibration loop is one addition, one mask and one decrement per
turn; the ratio of both speeds says more than either on a busy machine. Each figure is the best of seven rounds of
processor time. A run includes making the machine it runs in, but not the packet.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from netkit_edu.engine import maps
from netkit_edu.engine.interpreter import Executable, load
from netkit_edu.engine.world import World
from netkit_edu.program.compiler import compile_c, find_compiler
from netkit_edu.program.isa import assemble
from netkit_edu.program.object import ProgramCode
from netkit_edu.programs import skb_for_run

ROUNDS = 7
BAR = 1.0e6
LOOP = """
r0 = 0
r1 = 20000
again:
r0 += r1
r0 ^= 5
w0 *= 31
*(u64 *)(r10 -8) = r0
r2 = *(u32 *)(r10 -8)
if r2 > 100 goto less
r0 += 7
less:
r1 += -1
if r1 != 0 goto again
exit
"""
POLICY = """
#include "netkit_edu.h"
struct rule { __u32 verdict; __u64 packets; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("netkit/peer")
int policy(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 key = 0, kind = 1;
	struct rule *rule;
	__u64 *count;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;
	key = ip->daddr;
	if (ip->protocol == 17 && (void *)(udp + 1) <= data_end) {
		key ^= udp->dest;
		kind = 2;
	}
	count = bpf_map_lookup_elem(&counts, &kind);
	if (count)
		__sync_fetch_and_add(count, 1);
	rule = bpf_map_lookup_elem(&rules, &key);
	if (!rule) {
		struct rule fresh = { .verdict = NETKIT_PASS, .packets = 1 };

		bpf_map_update_elem(&rules, &key, &fresh, BPF_ANY);
		return NETKIT_PASS;
	}
	rule->packets++;
	skb->mark = rule->packets & 0xff;
	return rule->verdict;
}
"""
PACKET = bytes(12) + bytes.fromhex("08004500002100010000401100000a000102c00002029c400035000d0000") + b"hello"


def best(action: Callable[[], int]) -> float:
    """Return the highest rate of several rounds; ``action`` returns how many steps it made."""
    rates = []
    for _ in range(ROUNDS):
        start = time.process_time()
        steps = action()
        rates.append(steps / (time.process_time() - start))
    return max(rates)


def calibration() -> int:
    """The plain Python loop to compare with."""
    number, turns = 0, 300_000
    for turn in range(turns):
        number = number + turn & 0xFFFFFFFFFFFFFFFF
    return turns


def runner(executable: Executable, runs: int) -> Callable[[], int]:
    """Return an action that runs a program some times and counts its instructions."""
    world, skb = World(), skb_for_run(PACKET)

    def action() -> int:
        executed = 0
        for _ in range(runs):
            m = executable.machine(skb, world)
            executable.execute(m)
            executed += m.executed
        return executed

    return action


def main() -> None:
    turns = best(calibration)
    print(f"calibration loop               {turns / 1e6:6.2f} M turns/s")
    programs = [("arithmetic, stack, jumps", load(ProgramCode("loop", "tc", assemble(LOOP)), {}), 1)]
    if find_compiler() is None:
        print("no compiler for BPF here: the compiled policy is left out")
    else:
        compiled = compile_c(POLICY, name="policy.c")
        own = {name: maps.create(spec) for name, spec in compiled.maps.items()}
        programs.append(("compiled policy, one packet", load(compiled.programs["policy"], own), 2000))
    for name, executable, runs in programs:
        action = runner(executable, runs)
        action()
        rate = best(action)
        said = f"{name:30} {rate / 1e6:6.2f} M instructions/s, {rate / turns:.2f} a turn"
        if runs > 1:
            each = action() / runs
            said += f"; {each:.0f} instructions a packet, {rate / each / 1e3:.0f} thousand packets/s"
        print(said)
        if rate < BAR:
            print(f"{'':30} below the bar of {BAR / 1e6:.1f} M instructions/s")


if __name__ == "__main__":
    main()

"""Exercise 09.repair: a program that the verifier refuses for three reasons, one after the other."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from netkit_edu import uapi
from netkit_edu.course.ch03 import Frame
from netkit_edu.course.datagrams import random_datagram
from netkit_edu.course.exercise import CASES, Misses, ProgramExercise, Raised
from netkit_edu.course.slips import NO_ADDRESS, NO_ETHERTYPE, TOO_FAR, Slip, begin_with, explain
from netkit_edu.uapi import Verdict

BUCKETS, WIDTH = 8, 256  # bytes of packet that one bucket is wide
IP_END = 34  # bytes up to the end of an IP header without options
OTHER = (uapi.ETH_P_ARP, uapi.ETH_P_IPV6, 0x88CC)
SHORT, ENDS, OTHER_PROTOCOL, UNWATCHED, LARGE, KINDS = 0, 1, 2, 3, 4, 9  # kinds of frames; those behind: of any size
TOO_HIGH = (
    "`n` may be 8 and more, and there are eight buckets. In the verifier's words: *invalid access to map value*, "
    "*max value is outside of the allowed memory range*. Of `n` it knows only what the program has compared it with."
)


@dataclass(frozen=True)
class Stream:
    """Packets, one after the other, and the addresses that are watched: each has an entry of zeros beforehand."""

    watched: tuple[str, ...]
    frames: tuple[Frame, ...]

    def __str__(self) -> str:
        return f"watched {', '.join(self.watched)}; packets: " + "; ".join(map(str, self.frames))


class Repair(ProgramExercise):
    """Make a program safe in the verifier's eyes, and right."""

    id = "09.repair"
    slips = (
        Slip(
            "wrapped",
            "The verifier is content with `n & 7`, and the answer is wrong: a packet of bucket 9 is counted in 1. "
            "Accepted means harmless, not right. What is too large belongs into the last bucket.",
        ),
        Slip("left_out", "Packets too large for the other buckets belong into the last one: they are left out."),
        Slip("one_less", "The last bucket is number 7: there are eight of them, from 0."),
        Slip("entries", "It makes entries of its own: a destination without one is not watched, and stays out."),
        Slip("too_strict", "The IP header is all it reads: a packet that ends right behind it still counts."),
        Slip("drops_short", "It only counts: a packet too short to tell goes on as well, NETKIT_NEXT."),
        Slip("drops_others", "It only counts: a packet to an address without entry goes on as well, NETKIT_NEXT."),
        NO_ETHERTYPE,
    )
    solution = """\
%%bpf count_sizes
struct histogram {
	__u64 bucket[8];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct histogram);
} sizes SEC(".maps");

SEC("netkit/peer")
int count_sizes(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct histogram *seen;
	__u32 to, n;

	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;
	to = ip->daddr;
	n = bpf_ntohs(ip->tot_len) / 256;
	if (n > 7)
		n = 7;
	seen = bpf_map_lookup_elem(&sizes, &to);
	if (!seen)
		return NETKIT_NEXT;
	seen->bucket[n] += 1;
	return NETKIT_NEXT;
}
"""

    def wants(self, answer: object) -> str:
        """Refuse what has no map called sizes."""
        if refusal := super().wants(answer):
            return refusal
        return "" if "sizes" in answer.maps else 'keep the map called "sizes": the check fills it, and reads it'

    def cases(self, rng: random.Random) -> Iterable[Stream]:
        """Yield streams of every size, short packets, others than IPv4, and addresses that nobody watches.

        The first three meet one fault each, in the order in which the verifier names them.
        """
        yield _stream(rng, (SHORT,))
        yield _stream(rng, (UNWATCHED,))
        yield _stream(rng, (LARGE,))
        for n in range(CASES - 3):
            yield _stream(rng, [rng.randrange(KINDS) for _ in range(1 + n * 8 // CASES)])

    def expected(self, case: Stream) -> str:
        """Return the map's content afterwards."""
        return model(case)

    def got(self, answer: object, case: Stream) -> object:
        """Empty the map, give it the watched addresses, run the stream through the program, and read the map."""
        table = answer.maps["sizes"]
        for key in list(table):
            del table[key]
        for address in case.watched:
            table[_key(address)] = {"bucket": [0] * BUCKETS}
        for frame in case.frames:
            verdict = answer.run(frame.bytes).verdict
            if verdict not in (Verdict.NEXT, Verdict.PASS):
                return _stopped(verdict, frame)
        return _content({_address(key): list(table[key]["bucket"]) for key in table})

    def diagnose(self, misses: Misses) -> str:
        """Name the fault that stopped the program, in the verifier's words, or the slips that explain every miss."""
        if fault := next((miss.got for miss in misses if isinstance(miss.got, Raised)), None):
            said = str(fault)
            known = {"null pointer": NO_ADDRESS, "at packet+": TOO_FAR, "at value of map": TOO_HIGH}
            return next((words for sign, words in known.items() if sign in said), "")
        if all(one.got == _content({address: [0] * BUCKETS for address in one.case.watched}) for one in misses.every):
            return "Nothing is counted: does the program still reach `seen->bucket[n] += 1`?"
        return explain(misses, self.slips, model) or begin_with(misses, self.slips, model)


def model(case: Stream, *, wrapped=False, left_out=False, one_less=False, entries=False, too_strict=False,
          drops_short=False, drops_others=False, any_ethertype=False) -> str:  # fmt: skip
    """Return the content of the map that a program with these slips leaves; without any, what is right."""
    counts = {address: [0] * BUCKETS for address in case.watched}
    for frame in case.frames:
        if not frame.has(IP_END + 8 if too_strict else IP_END):
            if drops_short:
                return _stopped(Verdict.DROP, frame)
            continue
        if not (frame.is_ip or any_ethertype):
            continue
        to, n = frame.datagram.dst, len(frame.datagram.ip) // WIDTH
        if to not in counts:
            if drops_others:
                return _stopped(Verdict.DROP, frame)
            if not entries:
                continue
            counts[to] = [0] * BUCKETS
        if n >= BUCKETS - one_less:
            if left_out:
                continue
            n = n % BUCKETS if wrapped else BUCKETS - 1 - one_less
        counts[to][n] += 1
    return _content(counts)


def _stream(rng: random.Random, kinds: Sequence[int]) -> Stream:
    watched = tuple(f"198.51.100.{rng.randrange(1, 255)}" for _ in range(2))
    return Stream(watched, tuple(_frame(rng, kind, watched) for kind in kinds))


def _frame(rng: random.Random, kind: int, watched: Sequence[str]) -> Frame:
    dst = "203.0.113.9" if kind == UNWATCHED else rng.choice(watched)
    lengths = (0, rng.randrange(1500), rng.randrange(1500, 2100), rng.randrange(2100, 9000))
    datagram = random_datagram(rng, dst=dst, payload=bytes(lengths[3] if kind == LARGE else rng.choice(lengths)))
    if kind == OTHER_PROTOCOL:
        return Frame(replace(datagram, ethertype=rng.choice(OTHER)))
    if kind in (SHORT, ENDS):
        return Frame(datagram, keep=IP_END if kind == ENDS else rng.randrange(14, IP_END))
    return Frame(datagram)


def _content(counts: dict[str, list[int]]) -> str:
    return "; ".join(f"{address}: {' '.join(map(str, numbers))}" for address, numbers in sorted(counts.items()))


def _stopped(verdict: object, frame: Frame) -> str:
    return f"{getattr(verdict, 'name', verdict)} for {frame}"


def _key(address: str) -> int:
    return int.from_bytes(IPv4Address(address).packed, "little")


def _address(key: int) -> str:
    return str(IPv4Address(int(key).to_bytes(4, "little")))

"""Exercises of chapter 05: a model of netkit's verdicts, a diagnosis from counters, two programs that share a mark.

The first two take their truth from the lab: each case is sent through a real chain, and what happened is the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from netkit_edu import uapi
from netkit_edu.course.ch03 import Frame
from netkit_edu.course.datagrams import Datagram, random_datagram
from netkit_edu.course.exercise import CASES, Exercise, FunctionExercise, Misses, Raised, collect
from netkit_edu.course.slips import NO_ETHERTYPE, XDP_WORDS, Slip, explain, of_fault
from netkit_edu.journey import FateKind
from netkit_edu.lab import Lab
from netkit_edu.program import isa
from netkit_edu.program.object import Object, ProgramCode
from netkit_edu.programs import Program
from netkit_edu.uapi import Verdict

UNKNOWN = (1, 3, 4, 5, 6, 8, 100, -2)
DELIVERED, DROPPED, LOST = (str(kind) for kind in (FateKind.DELIVERED, FateKind.DROPPED, FateKind.LOST))


def say(code: int) -> Program:
    """Return a new program whose only act is to return ``code``."""
    name = f"say_{Verdict(code).name.lower()}" if code in set(Verdict) else f"say_{code}".replace("-", "minus_")
    text = ProgramCode(name, "netkit/peer", isa.assemble(f"r0 = {code}\nexit"))
    return Program(text, Object({name: text}, {}))


@dataclass(frozen=True)
class Chain:
    """A hook's programs by what they return, the policy beside them, and what happened to a packet in the lab."""

    codes: tuple[int, ...]
    policy: str
    happened: str = ""

    def __str__(self) -> str:
        names = [Verdict(c).name if c in set(Verdict) else str(c) for c in self.codes]
        return f"fate([{', '.join(names)}], {self.policy!r})"


class FateOfChain(FunctionExercise):
    """A function that says what becomes of a packet at a hook."""

    id = "05.fate"
    arguments = ("codes", "policy")
    slips = (
        Slip(
            "end_asks_policy",
            "With programs attached the policy is never asked: where the last one says NEXT, the packet passes.",
        ),
        Slip("policy_first", "A policy of drop stops nothing while a program is attached."),
        Slip("no_policy", "With no program attached, the policy decides."),
        Slip("unknown_passes", "A code that netkit does not know drops the packet."),
        Slip(
            "unknown_is_next",
            "A code that netkit does not know ends the chain and drops. (tcx goes on to the next program there.)",
        ),
        Slip("last_decides", "PASS, DROP and REDIRECT end the chain: what the programs after them would say is moot."),
        Slip("first_decides", "NEXT decides nothing: it hands the packet to the next program."),
        Slip("any_drop", "A DROP after a PASS never runs."),
        Slip("redirect_drops", "A REDIRECT without a target loses the packet, but it counts as sent: not as dropped."),
        Slip("redirect_passes", "A REDIRECT without a target delivers nothing: the packet is lost."),
    )
    solution = """\
def fate(codes, policy):
    if not codes:
        return "delivered" if policy == "pass" else "dropped"
    for code in codes:
        if code != nk.Verdict.NEXT:
            break
    if code in (nk.Verdict.NEXT, nk.Verdict.PASS):
        return "delivered"
    if code == nk.Verdict.REDIRECT:
        return "lost"
    return "dropped"
"""

    def cases(self, rng: random.Random) -> Iterable[Chain]:
        """Send a packet through each chain in a lab, and yield the chain with what happened."""
        with Lab("sim") as lab:
            pod = lab.pod("pod", device="netkit")
            packet = Datagram(src=pod.ip, dst=lab.outside.ip).ip
            for chain in _chains(rng):
                pod.pair.set_policy(peer_policy=chain.policy)
                attached = [pod.pair.attach(say(code), at="peer") for code in chain.codes]
                journey = pod.send(packet)
                for attachment in attached:
                    attachment.detach()
                yield Chain(chain.codes, chain.policy, str(journey.fate.kind))

    def expected(self, case: Chain) -> str:
        """Return what happened in the lab."""
        return case.happened

    def got(self, answer: object, case: Chain) -> object:
        """Ask the learner's function."""
        return answer(list(case.codes), case.policy)

    def diagnose(self, misses: Misses) -> str:
        """Name an answer outside the three words, or the misunderstandings that give every wrong one."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return "There may be no program at all, and a program may return any number."
        if any(miss.got not in (DELIVERED, DROPPED, LOST) for miss in misses):
            return f'Return one of three words: "{DELIVERED}", "{DROPPED}" or "{LOST}".'
        return explain(misses, self.slips, _fate_model)


def _chains(rng: random.Random) -> list[Chain]:
    """Return `CASES` chains: those that tell the misunderstandings apart, and random ones."""
    made = [Chain(codes, policy) for policy in ("pass", "drop") for codes in ((), (-1,), (-1, -1, -1), (0,), (7,))]
    made += [
        Chain((0, 2, 0), "pass"),
        Chain((0, rng.choice([2, 7, *UNKNOWN])), "drop"),
        Chain((2, 0), "pass"),
        Chain((-1, 2, 0), "pass"),
    ]
    made += [Chain((-1,) * rng.randrange(3) + (code, 0), "pass") for code in rng.sample(UNKNOWN, 4)]
    while len(made) < CASES:
        pool = [-1, -1, -1, 0, 2, 7, rng.choice(UNKNOWN)]
        made.append(Chain(tuple(rng.choices(pool, k=rng.randrange(1, 6))), rng.choice(["pass", "drop"])))
    rng.shuffle(made)
    return made


def _fate_model(case: Chain, *, end_asks_policy=False, policy_first=False, no_policy=False, unknown_passes=False,
                unknown_is_next=False, last_decides=False, first_decides=False, any_drop=False,
                redirect_drops=False, redirect_passes=False) -> str:  # fmt: skip
    """Return what someone with these misunderstandings says of a chain; without any, what is right."""
    by_policy = DELIVERED if case.policy == "pass" or no_policy else DROPPED
    if not case.codes:
        return by_policy
    if policy_first and case.policy == "drop" or any_drop and Verdict.DROP in case.codes:
        return DROPPED
    on = {Verdict.NEXT, *(UNKNOWN if unknown_is_next else ())}
    ends = (
        case.codes[-1:]
        if last_decides
        else case.codes[:1]
        if first_decides
        else [code for code in case.codes if code not in on]
    )
    code = ends[0] if ends else Verdict.NEXT
    if code in on:
        return by_policy if end_asks_policy else DELIVERED
    if code == Verdict.PASS or code in UNKNOWN and unknown_passes:
        return DELIVERED
    if code == Verdict.REDIRECT:
        return DROPPED if redirect_drops else DELIVERED if redirect_passes else LOST
    return DROPPED


@dataclass(frozen=True)
class Traffic:
    """What the counters of both ends moved by while packets met a mixture of verdicts."""

    passed: int
    dropped: int
    redirected: int
    pod: dict = field(default_factory=dict)
    host: dict = field(default_factory=dict)

    def __str__(self) -> str:
        return f"diagnose({self.pod}, {self.host})"


class DiagnoseCounters(FunctionExercise):
    """A function that tells from the counters of both ends how many packets met which verdict."""

    id = "05.diagnose"
    arguments = ("pod", "host")
    slips = (
        Slip("sent_is_passed", "The pod's tx_packets counts redirected packets too; the other end only what came."),
        Slip("ignores_direction", "The pod's rx_packets and the host's tx_packets belong to the other direction."),
        Slip("drops_at_host", "A drop is counted where the packet was sent from: at the pod's end."),
        Slip(
            "drops_are_gaps", "tx_packets has no dropped packet in it: what is missing at the other end was redirected."
        ),
    )
    solution = """\
def diagnose(pod, host):
    passed = host["rx_packets"]
    dropped = pod["tx_dropped"]
    redirected = pod["tx_packets"] - host["rx_packets"]
    return passed, dropped, redirected
"""

    def cases(self, rng: random.Random) -> Iterable[Traffic]:
        """Send a mixture both ways in a lab, and yield what the counters of both ends moved by."""
        with Lab("sim") as lab:
            pod = lab.pod("pod", device="netkit")
            pod.listen(udp=7)
            out = Datagram(src=pod.ip, dst=lab.outside.ip).ip
            back = Datagram(src=lab.outside.ip, dst=pod.ip, dport=7).ip
            for _ in range(CASES):
                mixture = {code: rng.randrange(0, 5) for code in (0, 2, 7)}
                mixture[rng.choice([-1, *UNKNOWN])] = rng.randrange(0, 3)
                before = _counters(pod)
                for code, times in mixture.items():
                    with pod.pair.attach(say(code), at="peer"):
                        for _ in range(times):
                            pod.send(out)
                for _ in range(rng.randrange(0, 5)):
                    lab.outside.send(back)
                after = _counters(pod)
                yield _traffic(mixture, before, after)

    def expected(self, case: Traffic) -> tuple[int, int, int]:
        """Return what the mixture was."""
        return case.passed, case.dropped, case.redirected

    def got(self, answer: object, case: Traffic) -> object:
        """Ask the learner's function."""
        said = answer(dict(case.pod), dict(case.host))
        return tuple(said) if isinstance(said, (tuple, list)) else said

    def diagnose(self, misses: Misses) -> str:
        """Name an answer that is no triple, or the misunderstandings that give every wrong one."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return 'Both are dictionaries: read `pod["tx_packets"]` and the like.'
        if any(not isinstance(miss.got, tuple) or len(miss.got) != 3 for miss in misses):
            return "Return three numbers: passed, dropped, redirected."
        if words := explain(misses, self.slips, _diagnosis_model):
            return words
        names = ("passed", "dropped", "redirected")
        wrong = [name for n, name in enumerate(names) if any(miss.got[n] != miss.expected[n] for miss in misses)]
        return f"Look again at the number of packets {' and '.join(wrong)}; what you do not find here is right."


def _traffic(mixture: dict[int, int], before: Sequence[dict], after: Sequence[dict]) -> Traffic:
    moved = [{name: now[name] - old[name] for name in now} for old, now in zip(before, after, strict=True)]
    passed = sum(times for code, times in mixture.items() if code in (Verdict.NEXT, Verdict.PASS))
    redirected = mixture[Verdict.REDIRECT]
    return Traffic(passed, sum(mixture.values()) - passed - redirected, redirected, *moved)


def _counters(pod) -> tuple[dict, dict]:
    """Return the counters of the pod's end and of the host's."""
    names = ("tx_packets", "rx_packets", "tx_dropped", "rx_dropped")
    return tuple({n: getattr(end.stats, n) for n in names} for end in (pod.pair.peer, pod.pair.primary))


def _diagnosis_model(case: Traffic, *, sent_is_passed=False, ignores_direction=False, drops_at_host=False,
                     drops_are_gaps=False) -> tuple[int, int, int]:  # fmt: skip
    """Return what someone with these misunderstandings reads from the counters."""
    pod, host = case.pod, case.host
    arrived = host["tx_packets"] if ignores_direction else host["rx_packets"]
    passed = pod["tx_packets"] if sent_is_passed else arrived
    missing = pod["tx_packets"] - arrived
    dropped = missing if drops_are_gaps else host["rx_dropped"] if drops_at_host else pod["tx_dropped"]
    return passed, dropped, pod["tx_dropped"] if drops_are_gaps else missing


class TwoGuards(Exercise):
    """Two programs of one chain: the first marks ICMP, the second drops what is marked, and both let others work."""

    id = "05.two-guards"
    solution = """\
%%bpf guards
SEC("netkit/peer")
int label(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(ip + 1) > data_end)
		return NETKIT_NEXT;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_ICMP)
		skb->mark = 1;
	return NETKIT_NEXT;
}

SEC("netkit/peer")
int enforce(struct __sk_buff *skb)
{
	if (skb->mark == 1)
		return NETKIT_DROP;
	return NETKIT_NEXT;
}
"""

    def wants(self, answer: object) -> str:
        """Refuse what is not an object with the two programs."""
        for name in ("label", "enforce"):
            if not callable(getattr(getattr(answer, name, None), "run", None)):
                return f"give what your %%bpf cell made: an object with the programs label and enforce, not {answer!r}"
        return ""

    def cases(self, rng: random.Random) -> Iterable[Frame]:
        """Yield packets of three protocols, one of another ethertype, and some that end inside the IP header."""
        protocols = (uapi.IPPROTO_ICMP, uapi.IPPROTO_UDP, uapi.IPPROTO_TCP)
        ping = {"protocol": uapi.IPPROTO_ICMP}
        made = [Frame(random_datagram(rng, **ping), keep=rng.randrange(14, 24)) for _ in range(4)]
        made += [Frame(random_datagram(rng, **ping, ethertype=uapi.ETH_P_ARP)) for _ in range(2)]
        made += [Frame(random_datagram(rng, protocol=rng.choice(protocols))) for _ in range(CASES - len(made))]
        rng.shuffle(made)
        return made

    def expected(self, case: Frame) -> str:
        """Return what the team is to do with the packet."""
        ping = case.is_ip and case.has(34) and case.datagram.protocol == uapi.IPPROTO_ICMP
        return "dropped by enforce" if ping else "passed on to the auditor"

    def got(self, answer: object, case: Frame) -> object:
        """Run the programs as a chain would, an auditor last, and say where the packet's way ended."""
        frame, mark = case.bytes, 0
        for name in ("label", "enforce"):
            result = getattr(answer, name).run(frame, mark=mark)
            if result.verdict != Verdict.NEXT:
                return {
                    Verdict.DROP: f"dropped by {name}",
                    Verdict.PASS: f"passed by {name}: the auditor never saw it",
                }.get(result.verdict, f"{name} returned {result.code}")
            mark = result.mark
        return "passed on to the auditor"

    def diagnose(self, misses: Misses) -> str:
        """Name what ends the chain too early, or what lets ICMP through."""
        if fault := next((m.got for m in misses if isinstance(m.got, Raised)), None):
            return of_fault(fault)
        said = " ".join(str(miss.got) for miss in misses)
        if "never saw it" in said:
            return "PASS ends the chain at once. A program that leaves the decision to those after it returns NEXT."
        if "dropped by label" in said:
            return "label only marks: what becomes of a marked packet is for enforce to say."
        if "returned 1" in said:
            return XDP_WORDS
        if all(miss.got == "passed on to the auditor" for miss in misses):
            return "ICMP gets through: does label set `skb->mark`, and does enforce compare the same value?"
        if all(miss.got == "dropped by enforce" for miss in misses):
            others = [miss for miss in misses if miss.case.is_ip]
            return "label marks more than the ICMP packets." if others else NO_ETHERTYPE.words
        return ""


EXERCISES = collect(FateOfChain, DiagnoseCounters, TwoGuards)

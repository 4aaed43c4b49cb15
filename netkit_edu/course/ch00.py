"""Exercises of chapter 00: what the counters of a pair tell, and which policy guards which direction."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netkit_edu.course.datagrams import random_datagram
from netkit_edu.course.exercise import CASES, Exercise, FunctionExercise, Miss, Raised, collect
from netkit_edu.lab import Lab
from netkit_edu.program.isa import assemble
from netkit_edu.program.object import Object, ProgramCode
from netkit_edu.programs import Program
from netkit_edu.uapi import IPPROTO_UDP, Verdict

CROSSED, DROPPED, VANISHED = "crossed", "dropped", "vanished"


class Answered(NamedTuple):
    """A packet that leaves the pod while the one program on its way returns ``code``."""

    code: int
    payload: bytes
    port: int


class ReadFate(FunctionExercise):
    """From the counters alone, tell what became of a packet."""

    id = "00.read-fate"
    arguments = ("sending", "receiving")
    solution = """\
def read_fate(sending, receiving):
    if "rx_packets" in receiving:
        return "crossed"
    if "tx_packets" in sending:
        return "vanished"
    return "dropped"
"""

    def cases(self, rng: random.Random) -> Iterable[Answered]:
        """Yield each verdict often, and codes that netkit does not know, which drop."""
        codes = [Verdict.NEXT, Verdict.PASS, Verdict.DROP, Verdict.REDIRECT] * (CASES // 5)
        codes += rng.choices([1, 3, 6, 100, -2], k=CASES - len(codes))
        rng.shuffle(codes)
        return [Answered(int(code), rng.randbytes(rng.randrange(100)), rng.randrange(1, 65536)) for code in codes]

    def expected(self, case: Answered) -> str:
        """Answer from the program's code: nothing else decides."""
        if case.code in (Verdict.NEXT, Verdict.PASS):
            return CROSSED
        return VANISHED if case.code == Verdict.REDIRECT else DROPPED

    def got(self, answer: object, case: Answered) -> object:
        """Ask for the fate, given what moved at the two ends."""
        return answer(*self.counters(case))

    def counters(self, case: Answered) -> tuple[dict, dict]:
        """Send the packet; return what moved at the sending end and at the receiving one."""
        with Lab("sim") as lab:
            pod = lab.pod("pod", device="netkit")
            pod.pair.attach(always(case.code), at="peer")
            packet = random_datagram(
                random.Random(case.port), src=pod.ip, dst=lab.outside.ip,
                protocol=IPPROTO_UDP, dport=case.port, payload=case.payload,
            )  # fmt: skip
            moved = pod.send(packet.ip).counters
            return dict(moved.get("pod/eth0", {})), dict(moved.get("host/pod", {}))

    def show(self, case: Answered) -> str:
        """Show the call as the learner can repeat it."""
        sending, receiving = self.counters(case)
        return f"sending={sending}, receiving={receiving}"

    def diagnose(self, misses: Sequence[Miss]) -> str:
        """Name a key that is not there, a word that was not asked for, or a packet taken for another."""
        if any(isinstance(m.got, Raised) for m in misses):
            return 'A counter that did not move is not there at all: ask `"rx_packets" in receiving` first.'
        if any(m.got not in (CROSSED, DROPPED, VANISHED) for m in misses):
            return f'Return one of the three words: "{CROSSED}", "{DROPPED}" or "{VANISHED}".'
        if all(m.expected == VANISHED and m.got == CROSSED for m in misses):
            return "`tx_packets` says that the packet left this end. Only the other end can say that it arrived."
        if all(m.expected == VANISHED for m in misses):
            return "Let the gate answer `nk.Verdict.REDIRECT` and look at both ends: that is the third case."
        if all(m.expected != CROSSED for m in misses):
            return "Nothing arrived there. `tx_dropped` says that this end freed the packet, `tx_packets` that it left."
        return "Look at the receiving end first: if its `rx_packets` moved, the packet crossed."


class Guarded(NamedTuple):
    """One packet across the pair, out of the pod or into it."""

    outwards: bool
    payload: bytes

    def __str__(self) -> str:
        return f"{'pod to host' if self.outwards else 'host to pod'}, UDP, {len(self.payload)} bytes"


class OneWay(Exercise):
    """Two policies: the host reaches the pod, and nothing leaves it."""

    id = "00.one-way"
    solution = """\
policy, peer_policy = "pass", "drop"
"""

    def wants(self, answer: object) -> str:
        """Ask for the two words."""
        words = ("pass", "drop")
        if not isinstance(answer, tuple) or len(answer) != 2 or any(a not in words for a in answer):
            return f'give (policy, peer_policy), each "pass" or "drop", not {answer!r}'
        return ""

    def cases(self, rng: random.Random) -> Iterable[Guarded]:
        """Yield packets in both directions."""
        return [Guarded(n % 2 == 0, rng.randbytes(rng.randrange(100))) for n in range(CASES)]

    def prepare(self, answer: object) -> object:
        """Make a pod whose pair has these policies."""
        policy, peer_policy = answer
        lab = Lab("sim")
        pod = lab.pod("pod", device="netkit", policy=policy, peer_policy=peer_policy)
        pod.listen(udp=7)
        return lab, pod

    def expected(self, case: Guarded) -> str:
        """What leaves is dropped, what enters is delivered."""
        return "dropped" if case.outwards else "delivered"

    def got(self, answer: object, case: Guarded) -> str:
        """Send the packet; return its fate in one word."""
        lab, pod = answer
        sender, to = (pod, lab.outside.ip) if case.outwards else (lab.host, pod.ip)
        packet = random_datagram(
            random.Random(0), src="0.0.0.0", dst=to, protocol=IPPROTO_UDP, dport=7, payload=case.payload
        )
        return str(sender.send(packet.ip).fate.kind)

    def diagnose(self, misses: Sequence[Miss]) -> str:
        """Name the direction that is wrong."""
        wrong_outwards = {miss.case.outwards for miss in misses}
        if wrong_outwards == {True, False}:
            return "Both directions are the wrong way round: each policy belongs to the end that transmits."
        if wrong_outwards == {True}:
            return "The pod still gets out: `policy` guards what the host's end transmits, not what leaves the pod."
        return "The host does not get in any more: each end has a policy of its own, and one drop was enough."


def always(code: int) -> Program:
    """Return a program that answers every packet with ``code``; no compiler is needed for it."""
    insns = assemble(f"r0 = {code}\nexit")
    return Program(ProgramCode("always", "netkit/peer", tuple(insns), license="GPL"), Object({}, {}))


EXERCISES = collect(ReadFate, OneWay)

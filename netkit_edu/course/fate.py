"""The exercise of chapter 08 that asks what becomes of a redirected packet; the lab knows."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from netkit_edu.course.datagrams import Datagram
from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised
from netkit_edu.course.slips import Slip, begin_with, explain
from netkit_edu.journey import FateKind
from netkit_edu.lab import Lab
from netkit_edu.program import isa
from netkit_edu.program.object import Object, ProgramCode
from netkit_edu.programs import Program

DELIVERED, DROPPED, LOST = (str(kind) for kind in (FateKind.DELIVERED, FateKind.DROPPED, FateKind.LOST))
HELPERS = {"redirect": 23, "redirect_neigh": 152, "redirect_peer": 155}


@dataclass(frozen=True)
class Redirect:
    """One redirect: where the program sits, what it calls, with which target, for a packet with which TTL."""

    hook: str
    helper: str
    target: str
    ttl: int

    def __str__(self) -> str:
        return f"fate({self.hook!r}, {self.helper!r}, {self.target!r}, {self.ttl})"


def calling(helper: str, ifindex: int) -> Program:
    """Return a program that redirects everything to the device of that number, and is nothing but the call."""
    name = f"{helper}_{ifindex}"
    text = f"r1 = {ifindex}\nr2 = 0\nr3 = 0\nr4 = 0\ncall {HELPERS[helper]}\nexit"
    code = ProgramCode(name, "netkit/peer", isa.assemble(text))
    return Program(code, Object({name: code}, {}))


@cache
def happened(case: Redirect) -> str:
    """Play a redirect in a lab; return the packet's fate."""
    with Lab("sim") as lab:
        web, db = lab.pod("web", device="netkit"), lab.pod("db", device="netkit")
        for pod in (web, db):
            pod.listen(udp=7)
        if case.target == "db down":
            db.device.down()
        ifindex = {"nic": lab.nic.ifindex, "gone": 99}.get(case.target, db.pair.ifindex)
        program = calling(case.helper, ifindex)
        if case.hook == "ingress":
            lab.nic.attach_tcx(program, "ingress")
        else:
            web.pair.attach(program, at=case.hook)
        sender = {"peer": web, "primary": lab.host, "ingress": lab.outside}[case.hook]
        dst = web.ip if case.hook == "primary" else lab.outside.ip if case.target == "nic" else "10.0.2.2"
        return str(sender.send(Datagram(src=sender.ip, dst=dst, dport=7, ttl=case.ttl).ip).fate.kind)


class FateOfRedirect(FunctionExercise):
    """A function that says what becomes of a redirected packet."""

    id = "08.fate"
    arguments = ("hook", "helper", "target", "ttl")
    slips = (
        Slip(
            "macs_right",
            "bpf_redirect leaves the MAC addresses as they are: an L3 pod's frame has none, and what came in at the "
            "card has the card's. Only between two L3 pairs do they fit.",
        ),
        Slip("macs_wrong", "Between two pairs in L3 mode, all MAC addresses are zero, and so they fit."),
        Slip("peer_anywhere", "bpf_redirect_peer works at tcx ingress only: from a program of netkit's, never."),
        Slip("peer_nowhere", "At tcx ingress, bpf_redirect_peer works: that is the place it was made for."),
        Slip(
            "primary_names_host",
            "A program at the primary speaks of the pod's devices: none of these numbers is one of them.",
        ),
        Slip("ttl_counts", "No router decrements the TTL on these ways: 1 is as good as 64."),
        Slip(
            "down_is_lost",
            "With db's eth0 down, the host's end is still there to be transmitted on. It has no carrier, and counts "
            "the packet as dropped.",
        ),
        Slip(
            "peer_down_is_dropped",
            "bpf_redirect_peer transmits on no device: nobody counts the packet that finds the other end down.",
        ),
        Slip(
            "otherhost_is_lost",
            "A frame with the wrong MAC address is not lost: the receiver's stack drops it, and says so (OTHERHOST).",
        ),
        Slip("gone_is_dropped", "Where there is no target, there is no counter either: the packet is lost."),
    )
    solution = """\
def fate(hook, helper, target, ttl):
    if hook == "primary" or target == "gone":
        return "lost"
    if helper == "redirect_peer":
        return "delivered" if hook == "ingress" and target == "db" else "lost"
    if target == "db down":
        return "dropped"
    fits = helper == "redirect_neigh" or (hook == "peer" and target == "db")
    return "delivered" if fits else "dropped"
"""

    def cases(self, rng: random.Random) -> Iterable[Redirect]:
        """Yield every combination that there is once, with either TTL, and some again until there are `CASES`."""
        both = [
            ways for ways in itertools.product(("peer", "primary", "ingress"), HELPERS, TARGETS) if _possible(*ways)
        ]
        made = [Redirect(*ways, rng.choice((1, 64))) for ways in both]
        made += [Redirect(*ways, ttl) for ways in (("peer", "redirect_neigh", "nic"),) for ttl in (1, 64)]
        made += [Redirect(*rng.choice(both), rng.choice((1, 2, 64))) for _ in range(CASES - len(made))]
        rng.shuffle(made)
        return made

    def expected(self, case: Redirect) -> str:
        """Return what happens in the lab."""
        return happened(case)

    def got(self, answer: object, case: Redirect) -> object:
        """Ask the learner's function."""
        return answer(case.hook, case.helper, case.target, case.ttl)

    def diagnose(self, misses: Misses) -> str:
        """Name an answer outside the three words, or the misunderstandings that give every wrong one."""
        if any(not isinstance(miss.got, Raised) and miss.got not in (DELIVERED, DROPPED, LOST) for miss in misses):
            return f'Return one of three words: "{DELIVERED}", "{DROPPED}" or "{LOST}".'
        return explain(misses, self.slips, _fate_model) or begin_with(misses, self.slips, _fate_model)


TARGETS = ("nic", "db", "db down", "gone")


def _possible(hook: str, helper: str, target: str) -> bool:
    """Leave out what the exercise does not ask: the card as a target from its own ingress, or from inside a pod."""
    return target != "nic" or hook == "peer"


def _fate_model(case: Redirect, *, macs_right=False, macs_wrong=False, peer_anywhere=False, peer_nowhere=False,
                primary_names_host=False, ttl_counts=False, down_is_lost=False, peer_down_is_dropped=False,
                otherhost_is_lost=False, gone_is_dropped=False) -> str:  # fmt: skip
    """Return what someone with these misunderstandings says of a redirect; without any, what is right."""
    if case.target == "gone" or (case.hook == "primary" and not primary_names_host):
        return DROPPED if gone_is_dropped else LOST
    if case.helper == "redirect_peer":
        if peer_nowhere or (case.hook != "ingress" and not peer_anywhere) or case.target == "nic":
            return LOST
        if case.target == "db down":
            return DROPPED if peer_down_is_dropped else LOST
    elif case.target == "db down":
        return LOST if down_is_lost else DROPPED
    if ttl_counts and case.ttl == 1:
        return DROPPED
    if case.helper == "redirect":
        between_pairs = case.hook != "ingress" and case.target == "db"
        fits = (between_pairs and not macs_wrong) or (macs_right and not between_pairs)
        return DELIVERED if fits else LOST if otherhost_is_lost else DROPPED
    return DELIVERED

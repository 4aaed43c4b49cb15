"""Exercises of chapter 06: what a bring-up lets through, step by step, and one that lets nothing through.

Both take their truth from the lab. In the first the order of steps is generated and played; in the second the learner's
own function is played, with traffic after every call it makes to the kernel.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netkit_edu.course.ch00 import always
from netkit_edu.course.datagrams import Datagram
from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised, collect
from netkit_edu.course.slips import Slip, begin_with, explain
from netkit_edu.errors import KernelError
from netkit_edu.journey import Journey
from netkit_edu.lab import Lab
from netkit_edu.node import Node
from netkit_edu.uapi import Hook, Verdict

HOST_IP, POD_IP, PORT = "10.0.9.1", "10.0.9.2", 7
SET_UP = ("addresses", "host up", "pod up", "route")
GUARD, LOG = "attach guard", "attach log"
POLICIES = tuple(f"{which} {what}" for which in ("policy", "peer_policy") for what in ("drop", "pass"))


@dataclass(frozen=True)
class Steps:
    """The steps after the creation of a pair, and how many packets then went out of the pod and into it."""

    steps: tuple[str, ...]
    leaked: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        return f"leaks({list(self.steps)})"


class Leaks(FunctionExercise):
    """A function that counts what gets through in each direction, from the order of the steps."""

    id = "06.leaks"
    arguments = ("steps",)
    slips = (
        Slip("swapped", "The other way round: peer_policy is for what the pod sends, policy for what the host sends."),
        Slip("one_for_both", "Each policy closes one direction only: drop in one of them leaves the other open."),
        Slip("into_needs_route", "What comes into the pod needs no route in the pod: only an answer would."),
        Slip("no_route", "Out of the pod: before it has a route, its own stack refuses to send."),
        Slip("one_end_up", "While one end is down, the other has no carrier: nothing crosses in either direction."),
        Slip("end_asks_policy", "log says NEXT: with a program attached, the policy is not asked, and NEXT passes."),
        Slip("guards_both", "The programs here sit at the pod's end. What the host sends never meets them."),
        Slip("log_drops", "log says NEXT, and no program stands behind it: a NEXT that is left over passes."),
        Slip("log_lets_in", "The programs here sit at the pod's end: into the pod, `policy` decides with or without."),
        Slip("no_addresses", "Before the addresses, the host has no route to the pod: what is for it goes elsewhere."),
        Slip("no_set_up", "Nothing crosses before addresses, host up and pod up are done, all three."),
        Slip("turned", "Return (out, into), in this order: first what went out of the pod."),
        Slip("detached_stays", "Once the guard is detached, the policy decides again."),
    )
    solution = """\
def leaks(steps):
    policy = peer_policy = "pass"
    program, done, out, into = None, set(), 0, 0
    for step in steps:
        done.add(step)
        first, _, second = step.partition(" ")
        if first == "policy":
            policy = second
        elif first == "peer_policy":
            peer_policy = second
        elif first in ("attach", "detach"):
            program = second
        connected = {"addresses", "host up", "pod up"} <= done
        let_out = program == "log" if program else peer_policy == "pass"
        out += connected and "route" in done and let_out
        into += connected and policy == "pass"
    return out, into
"""

    def cases(self, rng: random.Random) -> Iterable[Steps]:
        """Play each order of steps in a lab of its own, and yield it with what got through."""
        for _ in range(CASES):
            steps = tuple(_steps(rng))
            yield Steps(steps, played(steps))

    def expected(self, case: Steps) -> tuple[int, int]:
        """Return what got through in the lab."""
        return case.leaked

    def got(self, answer: object, case: Steps) -> object:
        """Ask the learner's function."""
        said = answer(list(case.steps))
        return tuple(said) if isinstance(said, list) else said

    def diagnose(self, misses: Misses) -> str:
        """Name an answer that is no pair, or the misunderstandings that give every wrong one."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return ""
        if any(not isinstance(miss.got, tuple) or len(miss.got) != 2 for miss in misses):
            return "Return two numbers: how many packets went out of the pod, and how many into it."
        return explain(misses, self.slips, _leaks_model) or begin_with(misses, self.slips, _leaks_model)


def _steps(rng: random.Random) -> list[str]:
    """Return an order of steps that the kernel takes: a route needs its address and device, a detach its program."""
    ends = list(SET_UP[:-1])
    rng.shuffle(ends)
    if rng.random() < 0.15:
        ends.pop()
    order = [*ends, "route"] if len(ends) == 3 and rng.random() < 0.85 else ends
    for step in [*rng.sample(POLICIES, rng.randrange(3)), *["program"] * rng.randrange(1, 4)]:
        order.insert(rng.randrange(len(order) + 1), step)
    attached = False
    for i, step in enumerate(order):
        if step == "program":
            order[i] = "detach" if attached else rng.choice((GUARD, LOG))
            attached = not attached
    return order


def played(steps: Iterable[str]) -> tuple[int, int]:
    """Create a pair, take the steps, send one packet each way after each; return how many arrived."""
    with Lab("sim") as lab:
        pod = lab.node("pod")
        pod.listen(udp=PORT)
        pair = lab.pair("pod", peer_in=pod)
        programs = {GUARD: always(Verdict.DROP), LOG: always(Verdict.NEXT)}
        out = into = 0
        for step in steps:
            if step in programs:
                pair.attach(programs[step], at="peer")
            elif step == "detach":
                pair.detach(at="peer")
            else:
                _take(step, pair, pod)
            out += pod.send(Datagram(src="0.0.0.0", dst=lab.outside.ip, dport=9).ip).fate.delivered
            into += lab.outside.send(Datagram(src=lab.outside.ip, dst=POD_IP, dport=PORT).ip).fate.delivered
        return out, into


def _take(step: str, pair, pod: Node) -> None:
    """Take one step of the set-up, or set one policy."""
    match step.split():
        case ["addresses"]:
            pair.primary.addr(f"{HOST_IP}/24")
            pair.peer.addr(f"{POD_IP}/24")
        case ["host", "up"]:
            pair.primary.up()
        case ["pod", "up"]:
            pair.peer.up()
        case ["route"]:
            pod.route("default", via=HOST_IP)
        case [which, what]:
            pair.set_policy(**{which: what})


def _leaks_model(case: Steps, *, swapped=False, one_for_both=False, into_needs_route=False, no_route=False,
                 one_end_up=False, end_asks_policy=False, guards_both=False, log_drops=False, log_lets_in=False,
                 no_addresses=False, no_set_up=False, turned=False, detached_stays=False):  # fmt: skip
    """Return what someone with these misunderstandings counts; without any, what is right."""
    policy = {"policy": "pass", "peer_policy": "pass"}
    program, done, out, into = "", set(), 0, 0
    for step in case.steps:
        done.add(step)
        first, _, second = step.partition(" ")
        if first in policy:
            policy[first] = second
        elif first == "attach" or step == "detach" and not (detached_stays and program == "guard"):
            program = second
        ends = sum(end in done for end in ("host up", "pod up"))
        crosses = ends == 2 or one_end_up and ends == 1
        connected = no_set_up or crosses and ("addresses" in done or no_addresses)
        inwards, outwards = policy["policy"] == "pass", policy["peer_policy"] == "pass"
        if swapped:
            inwards, outwards = outwards, inwards
        if one_for_both:
            inwards = outwards = inwards and outwards
        asked = program == "log" and end_asks_policy
        let_out = outwards if asked or not program else program == "log" and not log_drops
        let_in = program == "log" if program == "guard" and guards_both or program == "log" and log_lets_in else inwards
        out += connected and let_out and ("route" in done or no_route)
        into += connected and let_in and ("route" in done or not into_needs_route)
    return (into, out) if turned else (out, into)


# a bring-up of the learner's own ------------------------------------------------------------------------------------

ATTACH = ("prog_attach", "bpf_link_create")
CHANGES = {
    "netns_add": "node", "link_add": "pair", "link_set": "set", "addr_add": "addr", "route_add": "route",
    "neigh_add": "neigh", "prog_attach": "attach", "prog_detach": "detach", "bpf_link_create": "attach",
    "bpf_link_update": "update", "bpf_link_detach": "detach", "bpf_link_close": "close",
}  # fmt: skip
OUT, FRAME, INTO = "UDP out of the pod", "a frame out of the pod", "UDP into the pod"
WELL, REFUSED, TAKEN_OFF = "", "the kernel refuses an attach", "later the program is taken off"


@dataclass(frozen=True)
class Scenario:
    """What is sent after every step, what the program answers, and what else happens."""

    traffic: str
    code: int
    event: str = WELL
    attach: int = 1

    def __str__(self) -> str:
        event = f"; {self.event} (number {self.attach})" if self.event == REFUSED else self.event and f"; {self.event}"
        return f"{self.traffic} after every step; the program says {Verdict(self.code).name}{event}"


@dataclass(frozen=True)
class Leak:
    """What crossed the pair without meeting the program: how many, the first's direction, and after which step."""

    packets: int
    traffic: str
    after: str

    def __str__(self) -> str:
        return f"{self.packets} × {self.traffic} crossed without meeting the program, first after {self.after}"


SAFE = "nothing crosses without meeting the program"


class _Calls:
    """The lab's calls, with traffic after each that changes something, and one attach refused if asked for."""

    def __init__(self, calls, after: Callable[[str], None], refuse: int):
        self.calls, self.after, self.left = calls, after, refuse

    def __getattr__(self, name: str):
        call = getattr(self.calls, name)
        if name not in CHANGES:
            return call

        def changing(*args, **kwargs):
            try:
                if name in ATTACH:
                    self.left -= 1
                    if self.left == 0:
                        raise KernelError("ENOMEM")
                return call(*args, **kwargs)
            finally:
                self.after(_words(name, kwargs))

        return changing


def _words(call: str, kwargs: dict) -> str:
    """Return the method of a device, node or lab that a learner called."""
    if call == "link_set" and kwargs.get("up"):
        return "up"
    return "set_policy" if call == "link_set" and kwargs.get("info") is not None else CHANGES[call]


class _WatchedLab(Lab):
    """A lab in which traffic flows whenever something changes; it counts what crosses a pair unseen."""

    def __init__(self, case: Scenario):
        self._watched = None
        super().__init__("sim")
        self.case, self.leaks = case, []
        self._watched = _Calls(super().kernel_calls, self.traffic, case.attach if case.event == REFUSED else 0)

    @property
    def kernel_calls(self):
        """The backend, watched once the lab stands."""
        return self._watched or super().kernel_calls

    @property
    def pods(self) -> list[Node]:
        """The nodes that the learner made."""
        return [node for node in self.nodes.values() if node not in (self.host, self.outside)]

    def traffic(self, after: str) -> None:
        """Send once, for every pod there is."""
        for pod in self.pods:
            for journey in self.packets(pod, self.case.traffic):
                if crossed(journey) and not journey.verdicts:
                    self.leaks.append(after)

    def packets(self, pod: Node, traffic: str) -> list[Journey]:
        """Send a packet of this kind out of the pod, or into it."""
        ip = pod.ip if pod.addresses else POD_IP
        out = Datagram(src=ip, dst=self.outside.ip, dport=9).ip
        if traffic == FRAME:
            return [pod.send(out, via="packet", dev=device) for device in pod.links[1:]]
        if traffic == OUT:
            return [pod.send(out, via="raw")]
        return [node.send(Datagram(src=node.ip, dst=ip, dport=PORT).ip) for node in (self.host, self.outside)]


def crossed(journey: Journey) -> bool:
    """Return whether the packet came out at the other end of a pair."""
    wires = ("host/eth0", "outside/eth0")
    return any(moved.get("rx_packets") for name, moved in journey.counters.items() if name not in wires)


class BringUp(FunctionExercise):
    """A bring-up through which nothing passes that the program has not seen, in either direction."""

    id = "06.bring-up"
    arguments = ("lab", "guard")
    solution = """\
def bring_up(lab, guard):
    shop = lab.node("shop")
    pair = lab.pair("shop", peer_in=shop, policy="drop", peer_policy="drop")
    pair.attach(guard, at="peer")
    pair.attach(guard, at="primary")
    pair.primary.addr("10.0.9.1/24")
    pair.peer.addr("10.0.9.2/24")
    pair.primary.up()
    pair.peer.up()
    shop.route("default", via="10.0.9.1")
    return pair
"""

    def cases(self, rng: random.Random) -> Iterable[Scenario]:
        """Yield every kind of traffic with every event, and programs that pass, drop and hand on."""
        made = [
            Scenario(traffic, code, event, attach)
            for traffic in (OUT, FRAME, INTO)
            for event, attach in ((WELL, 1), (REFUSED, 1), (REFUSED, 2), (TAKEN_OFF, 1))
            for code in (Verdict.PASS, Verdict.NEXT, Verdict.DROP)
        ]
        rng.shuffle(made)
        made.sort(key=lambda case: (case.event != WELL, case.event == TAKEN_OFF))
        return made + rng.choices(made, k=CASES - len(made))

    def expected(self, case: Scenario) -> str:
        """Return what is to be said of it: that it is safe, and where nothing went wrong that the pod works."""
        return SAFE if case.event else f"{SAFE}; it decides both directions"

    def got(self, answer: object, case: Scenario) -> object:
        """Let the learner's function bring a pod up amid traffic, and say what crossed."""
        with _WatchedLab(case) as lab:
            try:
                answer(lab, always(case.code))
            except KernelError as error:
                if case.event != REFUSED or error.name != "ENOMEM":
                    raise
            if case.event == TAKEN_OFF:
                _take_off(lab)
            lab.traffic("the program was taken off" if case.event == TAKEN_OFF else "the last step")
            if lab.leaks:
                return Leak(len(lab.leaks), case.traffic, lab.leaks[0])
            return SAFE if case.event else f"{SAFE}; {_works(lab, case)}"

    def diagnose(self, misses: Misses) -> str:
        """Name the window, the direction left open, or the policy that comes back."""
        leaks = [miss for miss in misses if isinstance(miss.got, Leak)]
        if any(isinstance(miss.got, Raised) for miss in misses):
            return ""
        if not leaks:
            return "At the end the pod is to work: both ends up, addresses and a route, the program at both hooks."
        early = {miss.case.traffic for miss in leaks if miss.case.event != TAKEN_OFF}
        if not early:
            return "The bring-up is tight. But a pair without programs falls back on its policies: which has yours?"
        if early == {INTO}:
            return "Out of the pod nothing leaks. What the host's end sends into it meets `policy`, and another hook."
        if INTO not in early:
            return "Into the pod nothing leaks. What the pod's end sends meets `peer_policy`, and a hook of its own."
        return "From that step on the pair is open, and the program comes later. Close it first, or attach first."


def _take_off(lab: _WatchedLab) -> None:
    """Detach every program from every pair of the host, as an agent that dies would."""
    for device in [d for d in lab.host.links if d.kind == "netkit"]:
        for hook in Hook:
            for entry in reversed(device.chain(hook).entries):
                if entry.link_id:
                    lab.kernel_calls.bpf_link_detach(entry.link_id)
                else:
                    device.detach(at=hook)


def _works(lab: _WatchedLab, case: Scenario) -> str:
    """Say whether the program decides in both directions, and the packet's fate is what it says."""
    fate = case.code != Verdict.DROP
    wrong = []
    for traffic in (OUT, INTO):
        journeys = [journey for pod in lab.pods for journey in lab.packets(pod, traffic)]
        if not journeys or any(len(j.verdicts) != 1 or crossed(j) != fate for j in journeys):
            wrong.append(traffic)
    return f"but {' and '.join(wrong)} never meets it" if wrong else "it decides both directions"


EXERCISES = collect(Leaks, BringUp)

"""Exercises of chapter 04: who is refused what, and in which order programs end up.

Both take their truth from the lab: each case is tried there, and what the kernel said or kept is the answer.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass

from netkit_edu.course.ch00 import always
from netkit_edu.course.exercise import CASES, FunctionExercise, Misses, Raised, collect
from netkit_edu.course.slips import Slip, begin_with, explain
from netkit_edu.device import ANY, Device
from netkit_edu.errors import KernelError
from netkit_edu.lab import Lab
from netkit_edu.node import Node
from netkit_edu.uapi import Hook, Mode, Verdict

ACTIONS = ("attach at primary", "attach at peer", "look", "set_policy", "set_mode", "set_mtu", "delete")
PLACES = ("host", "pod")
DONE = '"" (it is done)'
PRIMARY_NUMBER, PEER_NUMBER = 50, 60  # ifindexes that are free in every namespace


@dataclass(frozen=True)
class Try:
    """Someone in a namespace names a device by its number and wants something of it, and what the kernel said."""

    inside: str
    primary_in: str
    device: str
    action: str
    said: str = ""

    @property
    def visible(self) -> bool:
        """Whether the device is in the namespace of who asks."""
        if self.device == "veth":
            return True
        return (self.device == "primary") == (self.inside == self.primary_in)

    def __str__(self) -> str:
        return f"refusal({self.inside!r}, {self.primary_in!r}, {self.device!r}, {self.action!r})"


class Refusal(FunctionExercise):
    """A function that says what the kernel answers to whom."""

    id = "04.refusal"
    arguments = ("inside", "primary_in", "device", "action")
    slips = (
        Slip("host_rules", "Being on the host decides nothing: authority is the primary's, wherever it lives."),
        Slip("sees_all", "An ifindex is looked up in the asker's own namespace: what is not there is ENODEV."),
        Slip("unseen_is_denied", "What is not in the asker's namespace is not forbidden but unknown: ENODEV."),
        Slip("own_hook", "The peer's hook too is managed through the primary: through the peer, nothing is attached."),
        Slip("look_is_free", "Even looking at a chain goes through the primary."),
        Slip("no_delete", "Whoever sees an end may delete it, the peer's owner included."),
        Slip("no_mtu", "MTU is an ordinary attribute: each end's own, for whoever sees it."),
        Slip("mode_changes", "The mode is chosen at creation: afterwards EACCES, through the primary as well."),
        Slip("foreign_kind", "A device that is there but is no netkit device answers ENXIO."),
        Slip("only_netkit", "ENXIO is the answer to what only netkit knows. MTU and deletion are any device's."),
    )
    solution = """\
def refusal(inside, primary_in, device, action):
    in_its_own_place = inside == primary_in if device == "primary" else inside != primary_in
    if device != "veth" and not in_its_own_place:
        return "ENODEV"
    if action in ("set_mtu", "delete"):
        return ""
    if device == "veth":
        return "ENXIO"
    if device == "peer" or action == "set_mode":
        return "EACCES"
    return ""
"""

    def cases(self, rng: random.Random) -> Iterable[Try]:
        """Try combinations in labs of their own; yield each with the kernel's answer."""
        made = [
            Try(inside, primary_in, device, action)
            for inside, primary_in, device, action in itertools.product(
                PLACES, PLACES, ("primary", "peer", "veth"), ACTIONS
            )
            if device != "veth" or action not in ("set_policy", "set_mode")
        ]
        seen = [case for case in made if case.visible and case.device != "veth"]
        unseen = _of_each_action([case for case in made if not case.visible], 10, rng)
        others = _of_each_action([case for case in made if case.device == "veth"], 6, rng)
        chosen = seen + unseen + others
        rng.shuffle(chosen)
        for case in chosen:
            yield Try(case.inside, case.primary_in, case.device, case.action, tried(case))

    def expected(self, case: Try) -> str:
        """Return what the kernel said."""
        return case.said or DONE

    def got(self, answer: object, case: Try) -> object:
        """Ask the learner's function."""
        said = answer(case.inside, case.primary_in, case.device, case.action)
        return DONE if said == "" else said

    def diagnose(self, misses: Misses) -> str:
        """Name an answer that is no text, or the misunderstandings that give every wrong one."""
        if any(isinstance(miss.got, Raised) for miss in misses):
            return ""
        if any(not isinstance(miss.got, str) for miss in misses):
            return 'Return text: "" where the kernel does it, else the errno, such as "EACCES".'
        named = explain(misses, self.slips, lambda case, **slips: _refusal_model(case, **slips) or DONE)
        return named or next(slip.words for slip in self.slips if slip.flag == _about(misses[0].case))


def _of_each_action(cases: list[Try], count: int, rng: random.Random) -> list[Try]:
    """Return so many of the cases, each action among them at least once."""
    rng.shuffle(cases)
    first = list({case.action: case for case in cases}.values())
    return first + [case for case in cases if case not in first][: count - len(first)]


def _about(case: Try) -> str:
    """Return the flag of the misunderstanding that a single wrong case is most likely about."""
    if case.said == "ENODEV":
        return "sees_all"
    if case.said == "ENXIO":
        return "foreign_kind"
    if case.action in ("set_mtu", "delete"):
        if case.device == "veth":
            return "only_netkit"
        return "no_mtu" if case.action == "set_mtu" else "no_delete"
    return "mode_changes" if case.action == "set_mode" and case.device == "primary" else "host_rules"


def tried(case: Try) -> str:
    """Do it in a lab; return "" or the errno."""
    with Lab("sim") as lab:
        pod = lab.node("pod")
        places = {"host": lab.host, "pod": pod}
        there = places[case.primary_in]
        pair = lab.pair(
            "primary", primary_in=there, peer_in=pod if there is lab.host else lab.host, peer_name="peer",
            attrs={"ifindex": PRIMARY_NUMBER}, peer_attrs={"ifindex": PEER_NUMBER},
        )  # fmt: skip
        veth = lab.pair("veth", primary_in=places[case.inside], peer_in=lab.node("other"), kind="veth")
        number = {"primary": pair.primary, "peer": pair.peer, "veth": veth.primary}[case.device].ifindex
        try:
            _act(lab, places[case.inside], number, case.action)
        except KernelError as error:
            return error.name
        return ""


def _act(lab: Lab, node: Node, number: int, action: str) -> None:
    """Do something, acting in a node, to the device of this number."""
    device = Device(node, number)
    match action.split():
        case ["attach", "at", hook]:
            device.attach(always(Verdict.PASS), at=hook)
        case ["look"]:
            device.chain(Hook.PEER)
        case ["set_policy"]:
            device.set_policy(peer_policy="drop")
        case ["set_mode"]:
            lab.kernel_calls.link_set(node.ns, number, info={"mode": int(Mode.L3)})
        case ["set_mtu"]:
            device.set(mtu=1400)
        case ["delete"]:
            device.delete()


def _refusal_model(case: Try, *, host_rules=False, sees_all=False, unseen_is_denied=False, own_hook=False,
                   look_is_free=False, no_delete=False, no_mtu=False, mode_changes=False,
                   foreign_kind=False, only_netkit=False) -> str:  # fmt: skip
    """Return what someone with these misunderstandings says; without any, what is right."""
    peer = case.device == "peer"
    denied = case.inside == "pod" if host_rules else peer
    if not case.visible and not sees_all:
        return "EACCES" if unseen_is_denied else "ENODEV"
    if case.device == "veth":
        done = case.action in ("set_mtu", "delete") and not only_netkit
        return "" if done else "EACCES" if foreign_kind else "ENXIO"
    if case.action in ("set_mtu", "delete"):
        return "EACCES" if peer and (no_delete if case.action == "delete" else no_mtu) else ""
    if peer and (own_hook and case.action == "attach at peer" or look_is_free and case.action == "look"):
        return ""
    return "EACCES" if denied or case.action == "set_mode" and not mode_changes else ""


# the order of programs ----------------------------------------------------------------------------------------------

NAMES = "abcdef"
ASK_FIRST = (
    "Python stops where the kernel only refuses: at a program that is not there, or at an empty list. "
    "Ask first whether it is there, and else go on with the next operation."
)
PLAY_IT = "Play it by hand, one operation at a time: where is your list another than the expected one?"


@dataclass(frozen=True)
class Operations:
    """What was asked of a hook, in order, and which programs sit there afterwards."""

    operations: tuple[tuple, ...]
    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"order({list(self.operations)})"


class Order(FunctionExercise):
    """A function that says which programs a hook has, in which order, after some operations."""

    id = "04.order"
    arguments = ("operations",)
    slips = (
        Slip("newest_first", "Without a place, a program goes behind those already there: to the back."),
        Slip("duplicates_move", "A program that is at the hook already is refused, EEXIST: it stays where it is."),
        Slip("duplicates_stay", "A program is at a hook once only: a second attach is refused, EEXIST."),
        Slip("lost_goes_last", "before or after a program that is not there: refused, ENOENT. Nothing is attached."),
        Slip("replaced_goes_last", "replace keeps the place: the new program stands where the old one stood."),
        Slip("first_goes", "Without a name, detach takes the last program of the list."),
        Slip("replaced_anyway", "replace of a program that is not there: refused, ENOENT. Nothing is attached."),
        Slip("none_is_back", "before None is the front of the list, not its back."),
        Slip("after_is_at", "`insert` puts a program before the one that has that index: after it is one further."),
        Slip("ends_swapped", "before None is the front of the list, after None the back."),
    )
    solution = """\
def order(operations):
    chain = []
    for what, name, *rest in operations:
        if what == "detach":
            if name is None:
                chain[-1:] = []
            elif name in chain:
                chain.remove(name)
        elif name in chain:
            continue  # EEXIST
        elif what == "replace":
            if rest[0] in chain:
                chain[chain.index(rest[0])] = name
        else:
            place, other = rest
            if other is not None and other not in chain:
                continue  # ENOENT
            if place == "before":
                chain.insert(0 if other is None else chain.index(other), name)
            elif place == "after" and other is not None:
                chain.insert(chain.index(other) + 1, name)
            else:
                chain.append(name)
    return chain
"""

    def cases(self, rng: random.Random) -> Iterable[Operations]:
        """Play operations, some of which the kernel refuses, and yield them with the order they leave."""
        for _ in range(CASES):
            operations = _operations(rng)
            yield Operations(operations, ordered(operations))

    def expected(self, case: Operations) -> list[str]:
        """Return the order in the lab."""
        return list(case.left)

    def got(self, answer: object, case: Operations) -> object:
        """Ask the learner's function."""
        said = answer(list(case.operations))
        return list(said) if isinstance(said, tuple | str) else said

    def diagnose(self, misses: Misses) -> str:
        """Name an answer that is no list, or the misunderstandings that give every wrong one."""
        if raised := [miss.got.error for miss in misses if isinstance(miss.got, Raised)]:
            return ASK_FIRST if isinstance(raised[0], ValueError | IndexError) else ""
        if any(not isinstance(miss.got, list) for miss in misses):
            return 'Return a list of names, such as ["a", "c"].'
        if named := explain(misses, self.slips, _order_model):
            return named
        if any(len(set(miss.got)) < len(miss.got) for miss in misses):
            return next(slip.words for slip in self.slips if slip.flag == "duplicates_stay")
        return begin_with(misses, self.slips, _order_model) or PLAY_IT


def _operations(rng: random.Random) -> tuple[tuple, ...]:
    """Return operations that mostly succeed, on programs that are mostly there."""
    made: list[tuple] = []
    while len(made) < rng.randrange(5, 10):
        chain = _order_model(Operations(tuple(made)))
        new = [name for name in NAMES if name not in chain]
        name = rng.choice(new if new and rng.random() < 0.85 else NAMES)
        near = rng.choice([None, *chain] if rng.random() < 0.8 else NAMES)
        kind = rng.choice(["attach"] * 6 + ["replace", "detach"]) if len(chain) > 1 else "attach"
        if kind == "replace":
            made.append((kind, name, near or chain[0]))
        elif kind == "detach":
            made.append((kind, rng.choice([None, rng.choice(NAMES)])))
        else:
            place = rng.choice([None, "before", "after"])
            made.append((kind, name, place, near if place else None))
    return tuple(made)


def ordered(operations: Iterable[tuple]) -> tuple[str, ...]:
    """Ask all that of a hook in a lab; return the names of the programs it is left with."""
    with Lab("sim") as lab:
        pair = lab.pair("pair", peer_in=lab.node("pod"))
        loaded = {name: lab.load(always(Verdict.NEXT)) for name in NAMES}
        for what, name, *rest in operations:
            try:
                _ask(pair, loaded, what, name, *rest)
            except KernelError as error:
                if error.name not in ("EEXIST", "ENOENT"):
                    raise
        names = {program.id: name for name, program in loaded.items()}
        return tuple(names[entry.prog_id] for entry in pair.chain("peer").entries)


def _ask(pair, loaded: dict, what: str, name: str | None, *rest) -> None:
    if what == "detach":
        pair.detach(loaded.get(name), at="peer")
    elif what == "replace":
        pair.attach(loaded[name], at="peer", replace=loaded[rest[0]])
    else:
        place, other = rest
        where = {} if place is None else {place: ANY if other is None else loaded[other]}
        pair.attach(loaded[name], at="peer", **where)


def _order_model(case: Operations, *, newest_first=False, duplicates_move=False, duplicates_stay=False,
                 lost_goes_last=False, replaced_goes_last=False, first_goes=False, replaced_anyway=False,
                 none_is_back=False, after_is_at=False, ends_swapped=False) -> list[str]:  # fmt: skip
    """Return what someone with these misunderstandings says; without any, what is right."""
    chain: list[str] = []
    for what, name, *rest in case.operations:
        if what == "detach":
            if name is None:
                del chain[: 1 if first_goes else 0], chain[len(chain) if first_goes else len(chain) - 1 :]
            elif name in chain:
                chain.remove(name)
            continue
        if name in chain and not duplicates_stay:
            if not (duplicates_move and what == "attach"):
                continue
            chain.remove(name)
        place = rest[0] if what == "attach" else None
        at = _place(chain, what, rest, newest_first, lost_goes_last, ends_swapped)
        if at is None and not (replaced_anyway and what == "replace"):
            continue
        if at is None or none_is_back and place and rest[1] is None:
            at = len(chain)
        elif after_is_at and place == "after" and rest[1] in chain:
            at -= 1
        elif what == "replace":
            del chain[at]
            at = len(chain) if replaced_goes_last else at
        chain.insert(at, name)
    return chain


def _place(chain: list, what: str, rest: list, newest_first, lost_goes_last, ends_swapped) -> int | None:
    """Return the index at which a program goes in, None for nowhere."""
    if what == "replace":
        return chain.index(rest[0]) if rest[0] in chain else None
    place, other = rest
    if place is None:
        return 0 if newest_first else len(chain)
    if other is None:
        return 0 if (place == "before") != ends_swapped else len(chain)
    if other not in chain:
        return len(chain) if lost_goes_last else None
    return chain.index(other) + (place == "after")


EXERCISES = collect(Refusal, Order)

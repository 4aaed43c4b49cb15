"""Executing a scenario on one machine: one outcome per step, as plain data.

An outcome names devices, programs and links as the scenario does, so that two machines' outcomes can be compared as
they are. What Linux chooses freely (the IP identification of a socket's datagram, and with it the header's checksum)
is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from netkit_edu.backend import Chain, SendRequest
from netkit_edu.compare import hops, raw
from netkit_edu.compare.frames import frame_of, packet_of
from netkit_edu.compare.machine import Machine
from netkit_edu.compare.scenario import Scenario
from netkit_edu.errors import KernelError, ProgramFault, UsageError
from netkit_edu.journey import Journey
from netkit_edu.uapi import BPF_F_LINK, BPF_NETKIT_PEER, BPF_NETKIT_PRIMARY, BPF_TCX_EGRESS, BPF_TCX_INGRESS

Outcome = dict[str, Any]
NOWHERE = 99_999_999  # the number of no program and no link
_HOOKS = {"primary": ("a", BPF_NETKIT_PRIMARY), "peer": ("a", BPF_NETKIT_PEER)}
_HOOKS |= {"b primary": ("b", BPF_NETKIT_PRIMARY), "b peer": ("b", BPF_NETKIT_PEER)}
_TCX = {"in": BPF_TCX_INGRESS, "out": BPF_TCX_EGRESS}


class Endless(Exception):
    """The scenario's packet goes round for ever."""


def hook_of(name: str) -> tuple[str, int]:
    """Return the device through which a hook is reached, and its attach type."""
    if name in _HOOKS:
        return _HOOKS[name]
    where, _, device = name.partition(" ")
    return device, _TCX[where]


def execute(scenario: Scenario, machine: Machine, *, with_hops: bool = False) -> list[Outcome]:
    """Build the scenario's network, take its steps, and take the network down again.

    Args:
        with_hops: say of each packet which functions it went through.

    Returns:
        one outcome per step; before them one of the network as it was built, after them what the sockets received and
        the stacks counted.

    Raises:
        Endless: a packet would go round for ever.
    """
    run = _Run(scenario, machine, with_hops)
    outcomes = []
    try:
        outcomes.append(run.attempt(lambda: machine.build(scenario) or {}))
        if "error" not in outcomes[0]:
            outcomes += [run.step(step) for step in scenario.steps]
            outcomes.append({"received": machine.received(), "counted": machine.counted()})
    except (UsageError, ProgramFault) as error:
        raise Endless(str(error)) from error
    finally:
        machine.tear_down(scenario)
    return outcomes


class _Run:
    def __init__(self, scenario: Scenario, machine: Machine, with_hops: bool):
        self.scenario, self.machine, self.with_hops = scenario, machine, with_hops
        self.calls = machine.calls
        self.revisions: dict[str, int] = {}

    def attempt(self, do: Callable[[], Outcome]) -> Outcome:
        try:
            return do()
        except KernelError as refused:
            return {"error": refused.name, "extack": refused.extack}

    def step(self, step: dict) -> Outcome:
        return self.attempt(partial(getattr(self, step["do"]), **{k: v for k, v in step.items() if k != "do"}))

    # names to numbers -----------------------------------------------------------------------------------------------

    def device(self, name: str, **_) -> tuple[int, int]:
        place = self.scenario.place(name)
        return self.machine.nodes[place.node].ns, place.ifindex

    def number(self, name: str) -> int:
        """The number of a program or a link; 0 for "", one that nothing has for "nowhere"."""
        if not name:
            return 0
        if name[0] == "l":
            return self.machine.links.get(name, 0)
        return self.machine.program(name) if name[0] == "p" else NOWHERE

    def relative(self, name: str, flags: int) -> int:
        """The number by which a place is named: a program's is no link's, though the kernel may have such a link."""
        return self.number(name) if not name or (name[0] == "l") == bool(flags & BPF_F_LINK) else NOWHERE

    def revision(self, hook: str, wanted) -> int:
        """A number as it is; "now" is what the last query said, "next" one more."""
        now = self.revisions.get(hook, 1)
        return {"now": now, "next": now + 1}.get(wanted, wanted)

    def named(self, link: int) -> str:
        return next((name for name, number in self.machine.links.items() if link and number == link), "")

    def after(self, hook: str, via: str, do: Callable[[], Any]) -> Outcome:
        """What a change of a hook's list leaves: the answer, and the list."""
        outcome = self.attempt(lambda: do() or {})
        return outcome | self.attempt(partial(self.query, hook, via if "error" not in outcome else ""))

    # the steps that change a hook's list ------------------------------------------------------------------------------

    def attach(self, hook, prog, flags=0, rel="", replace="", revision=0, link="", via="") -> Outcome:
        device, kind = hook_of(hook)
        ns, ifindex = self.device(via or device)
        how = {
            "flags": flags,
            "relative": self.relative(rel, flags),
            "expected_revision": self.revision(hook, revision),
        }

        def do():
            if link:
                number = self.calls.bpf_link_create(ns, ifindex, kind, self.number(prog), **how)
                self.machine.links[link] = number
            else:
                self.calls.prog_attach(ns, ifindex, kind, self.number(prog), replace=self.number(replace), **how)

        return self.after(hook, via, do)

    def detach(self, hook, prog="", flags=0, rel="", revision=0, via="") -> Outcome:
        device, kind = hook_of(hook)
        ns, ifindex = self.device(via or device)
        how = {
            "flags": flags,
            "relative": self.relative(rel, flags),
            "expected_revision": self.revision(hook, revision),
        }
        return self.after(hook, via, lambda: self.calls.prog_detach(ns, ifindex, kind, self.number(prog), **how))

    def query(self, hook, via="") -> Outcome:
        device, kind = hook_of(hook)
        chain: Chain = self.calls.prog_query(*self.device(via or device), kind)
        self.revisions[hook] = chain.revision
        entries = [[self.machine.name_of(e.prog_id), self.named(e.link_id)] for e in chain.entries]
        return {"revision": chain.revision, "chain": entries}

    def update(self, link, prog, flags=0, old="") -> Outcome:
        number = self.number(link)
        return self.link_state(
            link, lambda: self.calls.bpf_link_update(number, self.number(prog), flags=flags, old=self.number(old))
        )

    def unlink(self, link) -> Outcome:
        return self.link_state(link, lambda: self.calls.bpf_link_detach(self.number(link)))

    def close(self, link) -> Outcome:
        return self.attempt(lambda: self.calls.bpf_link_close(self.machine.links.pop(link, 0)) or {})

    def link_state(self, link: str, do: Callable[[], Any]) -> Outcome:
        outcome = self.attempt(lambda: do() or {})
        return outcome | {"link": self.attempt(lambda: self.link_info(link))}

    def link_info(self, link: str) -> Outcome:
        info = self.calls.bpf_link_info(self.number(link))
        return {
            "type": info.type, "program": self.machine.name_of(info.prog_id), "ifindex": info.ifindex,
            "hook": info.attach_type,
        }  # fmt: skip

    # the steps that change devices ------------------------------------------------------------------------------------

    def policy(self, via="a", **info) -> Outcome:
        ns, ifindex = self.device(via)
        outcome = self.attempt(lambda: self.calls.link_set(ns, ifindex, info=info) or {})
        return outcome | self.attempt(partial(self.state, "a"))

    def up(self, device) -> Outcome:
        ns, ifindex = self.device(device)
        self.calls.link_set(ns, ifindex, up=True)
        self.machine.neighbours(self.scenario, device)
        return self.state(device)

    def down(self, device) -> Outcome:
        ns, ifindex = self.device(device)
        self.calls.link_set(ns, ifindex, up=False)
        return self.state(device)

    def mtu(self, device, value) -> Outcome:
        ns, ifindex = self.device(device)
        outcome = self.attempt(lambda: self.calls.link_set(ns, ifindex, mtu=value) or {})
        return outcome | self.attempt(partial(self.state, device))

    def mac(self, device, value) -> Outcome:
        ns, ifindex = self.device(device)
        outcome = self.attempt(lambda: self.calls.link_set(ns, ifindex, mac=value) or {})
        return outcome | self.attempt(partial(self.state, device))

    def delete(self, device) -> Outcome:
        self.calls.link_del(*self.device(device))
        return {}

    def newlink(self, kind, **message) -> Outcome:
        return raw.newlink(self.machine, kind, **message)

    def changelink(self, device, **message) -> Outcome:
        outcome = self.attempt(lambda: raw.changelink(self.machine, self.scenario, device, **message))
        return outcome | self.attempt(partial(self.state, "a"))

    def bpf(self, cmd, **fields) -> Outcome:
        return raw.bpf(self.machine, self.number, cmd, **fields)

    def backlog(self, value) -> Outcome:
        self.machine.sysctl("net.core.netdev_max_backlog", value)
        return {}

    def forward(self, value) -> Outcome:
        self.machine.sysctl("net.ipv4.ip_forward", value)
        return {}

    def state(self, device) -> Outcome:
        """What RTM_GETLINK says of a device and, if it is one end of a pair, nothing of the other."""
        info = self.calls.link_get(*self.device(device))
        return {
            "flags": info.flags, "mtu": info.mtu, "carrier": info.carrier, "operstate": info.operstate,
            "qdisc": info.qdisc, "peer": info.peer, "info": dict(sorted(info.info.items())), "mac": info.mac,
        }  # fmt: skip

    # sending ----------------------------------------------------------------------------------------------------------

    def send(self, device, via="udp", mark=0, priority=0, recverr=False, bind=False, burst=1, **packet) -> Outcome:
        place = self.scenario.place(device)
        ns = self.machine.nodes[place.node].ns
        data = (frame_of if via == "packet" else packet_of)(self.scenario, device, via=via, **packet)
        ifindex = place.ifindex if via == "packet" or bind else 0
        request = SendRequest(data, via, ifindex, mark, priority, recverr, label="compare")
        if burst == 1:
            journeys = [self.calls.send(ns, request)]
        else:
            journeys = list(self.calls.send_many(ns, request, burst))
        told = [self.told(journey, via) for journey in journeys]
        return (told[0] if burst == 1 else {"burst": together(told)}) | {"seen": self.machine.sights()}

    def told(self, journey: Journey, via: str) -> Outcome:
        outcome = {
            "sender": journey.sender_error,
            "fate": str(journey.fate.kind),
            "counters": {path: dict(sorted(moved.items())) for path, moved in sorted(journey.counters.items())},
            "arrived": same_words(journey.arrived, via),
            "runs": [[run.program, int(run.verdict), run.device] for run in journey.verdicts],
        }
        if self.with_hops:
            outcome |= hops.of(journey)
        return outcome


def together(told: list[Outcome]) -> Outcome:
    """What became of packets sent back to back: whose counters moved when is not for the sender to know."""
    counters: dict[str, Counter] = {}
    for one in told:
        for path, moved in one["counters"].items():
            counters.setdefault(path, Counter()).update(moved)
    counted = {path: dict(sorted(moved.items())) for path, moved in sorted(counters.items())}
    return {key: sorted(str(one[key]) for one in told) for key in ("sender", "fate", "arrived")} | {"counters": counted}


def same_words(arrived: bytes, via: str) -> str:
    """Return a packet's bytes as hex, without the identification that a kernel chose, nor the checksum over it."""
    if via in ("udp", "icmp") and len(arrived) >= 20 and arrived[0] >> 4 == 4:
        arrived = arrived[:4] + b"\0\0" + arrived[6:10] + b"\0\0" + arrived[12:]
    return arrived.hex()

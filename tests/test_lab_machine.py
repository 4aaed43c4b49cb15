"""Any sequence of what a learner can do with a lab, by hypothesis: nothing breaks that must always hold.

After every step the machine is at rest, counters have only grown by what the journeys tell, every sending gave a
`Journey` or one of the package's own errors, and no other exception came out.
"""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import netkit_edu as nk
from netkit_edu.errors import KernelError, NetkitEduError, ProgramFault
from netkit_edu.journey import FateKind
from netkit_edu.program.object import Insn, Object, ProgramCode
from netkit_edu.programs import CompiledObject
from tests.sim.topologies import at_rest, stats

LONG = os.environ.get("NETKIT_EDU_LONG")  # a longer search, by hand: NETKIT_EDU_LONG=1 pytest tests/test_lab_machine.py
CODES = (-1, 0, 2, 7, 3, 100, -2)
PORTS = (7, 9)


def program(name: str, *insns: Insn):
    code = ProgramCode(name, "tc", insns)
    return CompiledObject(Object(programs={name: code}, maps={}))[name]


RETURNING = {code: program(f"returns_{code}", Insn(0xB7, 0, 0, 0, code), Insn(0x95, 0, 0, 0, 0)) for code in CODES}
MARKING = program("marks", Insn(0x62, 1, 0, 8, 5), Insn(0xB7, 0, 0, 0, -1), Insn(0x95, 0, 0, 0, 0))
FAULTING = program("faults", Insn(0xB7, 1, 0, 0, 0), Insn(0x61, 0, 1, 0, 0), Insn(0x95, 0, 0, 0, 0))
PROGRAMS = [*RETURNING.values(), MARKING, FAULTING]

payloads = st.integers(0, 4000).map(bytes)
some_program = st.integers(0, len(PROGRAMS) - 1)
sockets = st.sampled_from(("auto", "raw", "udp", "icmp", "packet"))
places = st.sampled_from((None, None, None, "before", "after", "any", "replace"))
hooks = st.sampled_from(("primary", "peer"))
policies = st.sampled_from(("pass", "drop", 0, 2, 7, None))


class LabMachine(RuleBasedStateMachine):
    @initialize(backlog=st.sampled_from((0, 1, 5, 1000)), cpus=st.integers(1, 2))
    def start(self, backlog, cpus):
        self.lab = nk.Lab("sim", backlog=backlog, cpus=cpus)
        self.made = 0
        for name, device in (("veth", "veth"), ("netkit", "netkit")):
            self.lab.pod(name, device=device).listen(udp=PORTS[0])
        self.before, self.gained = stats(self.lab.kernel_calls), Counter()

    def teardown(self):
        if hasattr(self, "lab"):
            self.lab.close()

    # choosing: numbers stand for whatever there is at the time

    def node(self, number: int):
        nodes = list(self.lab.nodes.values())
        return nodes[number % len(nodes)]

    def pods(self) -> list:
        return [node for node in self.lab.nodes.values() if isinstance(node, nk.Pod)]

    def pod(self, number: int):
        return self.pods()[number % len(self.pods())]

    def managed(self, number: int):
        """A pair to attach to: mostly a netkit pair, through its primary."""
        pairs = [
            pod.pair for pod in self.pods() if number == 9 or pod.device in pod.links and pod.device.kind == "netkit"
        ]
        return pairs[number % len(pairs)] if pairs else self.pod(number).pair

    def allowed(self, call):
        """Do it; the package's own refusals are an answer too."""
        try:
            return call()
        except NetkitEduError as refusal:
            assert str(refusal) and not isinstance(refusal, ProgramFault)
            return None

    # making and unmaking

    @precondition(lambda self: len(self.pods()) < 5)
    @rule(kind=st.sampled_from(("veth", "netkit")), mode=st.sampled_from((None, "l2", "l3")), policy=policies,
          peer_policy=policies, scrub=st.sampled_from((None, "none", "default")), up=st.booleans())  # fmt: skip
    def add_pod(self, kind, mode, policy, peer_policy, scrub, up):
        self.made += 1
        options = (
            {"mode": mode, "policy": policy, "peer_policy": peer_policy, "scrub": scrub} if kind == "netkit" else {}
        )
        nodes, links = list(self.lab.nodes), [device.name for device in self.lab.host.links]
        pod = self.allowed(lambda: self.lab.pod(f"p{self.made}", device=kind, up=up, **options))
        if pod is None:
            assert (list(self.lab.nodes), [device.name for device in self.lab.host.links]) == (nodes, links)
        self.before |= {path: now for path, now in stats(self.lab.kernel_calls).items() if path not in self.before}

    @precondition(lambda self: self.pods())
    @rule(number=st.integers(0, 9), how=st.sampled_from(("pod", "primary", "peer")))
    def delete_pod(self, number, how):
        pod = self.pod(number)
        if how != "pod":
            self.allowed(getattr(pod.pair, how).delete)
        self.allowed(pod.delete)
        gone = [path for path in self.before if path not in stats(self.lab.kernel_calls)]
        for path in gone:  # what a deleted device had counted is gone with it
            del self.before[path]
            self.gained = Counter({key: n for key, n in self.gained.items() if key[0] != path})

    @precondition(lambda self: self.pods())
    @rule(number=st.integers(0, 9), peer=st.booleans(), up=st.booleans())
    def link(self, number, peer, up):
        device = self.pod(number).pair.peer if peer else self.pod(number).pair.primary
        (device.up if up else device.down)()
        assert device.is_up is up
        assert device.carrier == device.other.carrier == (device.is_up and device.other.is_up)

    @precondition(lambda self: self.pods())
    @rule(number=st.integers(0, 9), mtu=st.sampled_from((67, 68, 576, 1500, 9000, 65536)))
    def mtu(self, number, mtu):
        self.allowed(lambda: self.pod(number).device.set(mtu=mtu))

    @rule(number=st.integers(0, 9), port=st.sampled_from(PORTS))
    def listen(self, number, port):
        self.allowed(lambda: self.node(number).listen(udp=port))

    # programs and policies

    @precondition(lambda self: self.pods())
    @rule(number=st.integers(0, 9), which=some_program, at=hooks, through=st.integers(0, 5),
          near=places, other=some_program)  # fmt: skip
    def attach(self, number, which, at, through, near, other):
        pair = self.managed(number)
        place = {"before": nk.ANY} if near == "any" else {near: PROGRAMS[other]} if near else {}
        chain = self.allowed(lambda: pair.chain(at))
        device = pair.peer if through == 0 else pair.primary
        if self.allowed(lambda: device.attach(PROGRAMS[which], at=at, **place)) is None:
            assert self.allowed(lambda: pair.chain(at)) == chain
        else:
            assert len(pair.chain(at).entries) == len(chain.entries) + (near != "replace")
            assert pair.revision(at) > chain.revision
            sender, to = (pair.primary, pair.peer) if at == "primary" else (pair.peer, pair.primary)
            for ip in [address.partition("/")[0] for address in to.info.addresses]:
                self.sent(lambda ip=ip: sender.node.ping(ip, recverr=True))

    @precondition(lambda self: self.pods())
    @rule(number=st.integers(0, 9), at=hooks, which=st.none() | some_program)
    def detach(self, number, at, which):
        self.allowed(lambda: self.managed(number).detach(None if which is None else PROGRAMS[which], at=at))

    @precondition(lambda self: self.pods())
    @rule(number=st.integers(0, 9), policy=policies, peer_policy=policies, through=st.integers(0, 5))
    def set_policy(self, number, policy, peer_policy, through):
        pair = self.managed(number)
        device = pair.peer if through == 0 else pair.primary
        self.allowed(lambda: device.set_policy(policy=policy, peer_policy=peer_policy))

    # packets

    def sent(self, call):
        try:
            answer = call()
        except ProgramFault:  # what was counted before the fault is nobody's journey
            self.gained = Counter()
            self.before = stats(self.lab.kernel_calls)
            return
        except KernelError as refusal:
            raise AssertionError(f"a sender's errno belongs into its journey: {refusal}") from refusal
        except NetkitEduError:
            return
        for journey in answer.journeys if isinstance(answer, nk.Summary) else (answer,):
            self.judge(journey)

    def judge(self, journey):
        assert journey.fate.kind in FateKind and journey.hops
        assert journey.fate.delivered == bool(journey.arrived)
        if journey.fate.kind is FateKind.NOT_SENT:
            assert journey.sender_error and not journey.counters
        elif journey.sender_error:
            assert journey.sender_error in ("ENOBUFS", "EMSGSIZE")
        assert str(journey.fate) and repr(journey) and journey.counts.hops == len(journey.hops)
        for path, counters in journey.counters.items():
            self.gained.update({(path, name): n for name, n in counters.items()})

    @rule(sender=st.integers(0, 9), to=st.integers(0, 9), port=st.sampled_from(PORTS), payload=payloads,
          ttl=st.sampled_from((1, 2, 64)), df=st.booleans(), via=st.sampled_from(("auto", "udp", "raw", "packet")),
          mark=st.integers(0, 9), recverr=st.booleans(), cpu=st.integers(0, 1),
          repeat=st.none() | st.integers(1, 12))  # fmt: skip
    def send(self, sender, to, port, payload, ttl, df, via, mark, recverr, cpu, repeat):
        sender, to = self.node(sender), self.node(to)
        dst = self.allowed(lambda: to.ip) or "203.0.113.9"
        packet = nk.IP(dst=dst, ttl=ttl, flags="DF" if df else 0) / nk.UDP(dport=port) / payload
        self.sent(lambda: sender.send(packet, via=via, mark=mark, recverr=recverr, cpu=cpu, repeat=repeat))

    @rule(sender=st.integers(0, 9), to=st.integers(0, 9))
    def ping(self, sender, to):
        dst = self.allowed(lambda: self.node(to).ip) or "203.0.113.9"
        self.sent(lambda: self.node(sender).ping(dst))

    @rule(
        sender=st.integers(0, 9),
        data=st.binary(max_size=80),
        via=sockets,
    )
    def send_anything(self, sender, data, via):
        self.sent(lambda: self.node(sender).send(data, via=via))

    @rule(
        sender=st.integers(0, 9),
        head=st.integers(20, 60),
        data=st.binary(max_size=40),
        ethertype=st.sampled_from((0x0800, 0x0806, 0x86DD, 5)),
    )
    def send_a_damaged_frame(self, sender, head, data, ethertype):
        start = bytes(nk.IP(src="10.0.1.2", dst="10.0.1.1") / nk.UDP(dport=9) / (b"x" * 20))[:head]
        frame = bytes(12) + ethertype.to_bytes(2, "big") + start + data
        self.sent(lambda: self.node(sender).send(nk.to_bytes(frame, ethernet=True)))

    # what must always hold

    @invariant()
    def the_machine_is_at_rest(self):
        if hasattr(self, "lab"):
            assert at_rest(self.lab.kernel_calls)

    @invariant()
    def counters_are_what_the_journeys_tell(self):
        if hasattr(self, "lab"):
            moved = {}
            for path, counters in stats(self.lab.kernel_calls).items():
                before = self.before[path]
                moved |= {(path, name): n - before[name] for name, n in counters.items() if n != before[name]}
            assert moved == dict(self.gained)

    @invariant()
    def everything_can_be_shown(self):
        if hasattr(self, "lab"):
            assert repr(self.lab)
            for pod in self.pods():
                assert repr(pod.pair)


LabMachine.TestCase.settings = settings(
    max_examples=400 if LONG else 40, stateful_step_count=60 if LONG else 30, deadline=None
)
test_in_any_order_of_what_a_learner_may_do_nothing_breaks = LabMachine.TestCase

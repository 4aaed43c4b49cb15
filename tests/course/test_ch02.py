"""The exercises of chapter 02: right drivers pass, each misunderstanding is named, and the oracles are the kernel's."""

from __future__ import annotations

import random

import pytest

import netkit_edu as nk
from netkit_edu.course import check
from netkit_edu.course.ch00 import always
from netkit_edu.course.ch02 import Burst, Chain, Decided, Limited, Limiter, MiniNetkit, PairOfOnesOwn, bench
from netkit_edu.course.exercise import find
from netkit_edu.sim.netdevice import NetDeviceOps
from netkit_edu.sim.netkit import NETKIT_OPS
from netkit_edu.sim.veth import VETH_OPS

NEXT, PASS, DROP = nk.Verdict.NEXT, nk.Verdict.PASS, nk.Verdict.DROP


def test_a_driver_is_a_table_of_functions():
    for table in (VETH_OPS, NETKIT_OPS):
        assert isinstance(table, NetDeviceOps) and table.ndo_start_xmit.__name__.endswith("_xmit")


def solved(identifier: str) -> type:
    """Return the class that an exercise's own solution makes."""
    space = {"nk": nk}
    exec(find(identifier).solution, space)
    return next(v for v in space.values() if isinstance(v, type) and issubclass(v, nk.NetDevice))


@pytest.mark.parametrize("identifier", ["02.pair", "02.limiter", "02.policy"])
@pytest.mark.parametrize("seed", range(3))
def test_the_solutions_do_what_the_oracles_say(identifier, seed):
    count, misses = find(identifier).misses(solved(identifier), random.Random(seed))
    assert count >= 32 and not misses


@pytest.mark.parametrize("answer", [None, object, 7, nk.NetDevice])
def test_what_is_no_driver_is_refused_in_words(answer):
    assert not check("02.pair", answer).passed
    assert find("02.pair").wants(answer)


# 02.pair --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_books_are_those_that_veth_keeps(seed):
    lab = nk.Lab("sim", backlog=2)
    pod = lab.pod("toy", device="veth")
    for node in (lab.host, pod):
        node.listen(udp=7)
    for case in PairOfOnesOwn().cases(random.Random(seed)):
        tx, rx = (pod.pair.peer, pod.pair.primary) if case.upward else (pod.pair.primary, pod.pair.peer)
        src, dst = (pod, pod.gateway) if case.upward else (lab.host, pod.ip)
        before, was = tx.stats, rx.stats
        packet = nk.IP(dst=dst) / nk.UDP(dport=7) / bytes(case.payload)
        summary = src.send(packet, repeat=case.packets, mark=case.mark)
        after, now = tx.stats, rx.stats
        expected = PairOfOnesOwn().expected(case)
        assert summary.fates.get("delivered", 0) == expected.delivered
        assert after.tx_packets - before.tx_packets == expected.tx_packets
        assert after.tx_bytes - before.tx_bytes == expected.tx_bytes
        assert after.tx_dropped - before.tx_dropped == expected.tx_dropped
        assert now.rx_packets - was.rx_packets == expected.rx_packets
        assert now.rx_bytes - was.rx_bytes == expected.rx_bytes


def pair(*, late=False, blind=False, tx=True, rx=True, swapped=False, leak=False, silent=False,
         short=False, long=False):  # fmt: skip
    """Make a pair with some of the mistakes."""

    class Pair(nk.NetDevice):
        def ndo_start_xmit(self, skb):
            length = len(skb) - 14 * short + 4 * long
            if not silent:
                skb.dev = self.peer
            if leak:
                skb.pull(14)
                skb.dst = None
            full = self.netif_rx(skb)
            length = len(skb) if late else length
            if full and not blind:
                self.dev_core_stats_tx_dropped_inc(skb)
                return 1
            here, there = (self.peer, self) if swapped else (self, self.peer)
            if tx:
                here.dev_sw_netstats_tx_add(skb, length)
            if rx:
                there.dev_sw_netstats_rx_add(skb, length)
            return nk.NETDEV_TX_OK

    return Pair


@pytest.mark.parametrize(
    ("mistake", "thought"),
    [
        ({"silent": True}, "Which device is to receive"),
        ({"leak": True}, "scrubs by hand"),
        ({"tx": False, "rx": False}, "stay 0"),
        ({"late": True}, "14 bytes are missing"),
        ({"short": True}, "14 bytes are missing"),
        ({"long": True}, "the bytes are not"),
        ({"blind": True}, "netif_rx returns 1"),
        ({"rx": False}, "has received"),
        ({"tx": False}, "tx is for self"),
        ({"swapped": True}, "for self, and for self.peer"),
    ],
)
def test_a_misunderstanding_of_the_pair_is_named(mistake, thought):
    assert thought in check("02.pair", pair(**mistake)).thought


def test_either_answer_for_a_dropped_packet_is_right():
    assert check("02.pair", pair()).passed


# 02.limiter -----------------------------------------------------------------------------------------------------------


def limiter(too_long, *, counts=True, counter="self", lets=True):
    """Make a limiter that asks ``too_long(self, length of the frame)``."""

    class Limiter(nk.NetDevice):
        limit = 200

        def ndo_start_xmit(self, skb):
            if too_long(self, len(skb)) or not lets:
                if counts:
                    (self if counter == "self" else self.peer).dev_core_stats_tx_dropped_inc(skb)
                self.kfree_skb(skb)
                return nk.NETDEV_TX_OK
            skb.dev = self.peer
            self.netif_rx(skb)
            return nk.NETDEV_TX_OK

    return Limiter


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (limiter(lambda self, n: n > self.limit), "14 bytes"),
        (limiter(lambda self, n: n - 14 >= self.limit), "exactly as long"),
        (limiter(lambda self, n: n - 14 > self.limit, counts=False), "count each"),
        (limiter(lambda self, n: n - 14 > self.limit, counter="peer"), "would have sent it"),
        (limiter(lambda self, n: False), "Nothing is dropped yet"),
        (limiter(lambda self, n: n - 14 > self.limit + 20), "gets through"),
        (limiter(lambda self, n: n - 14 > 200), "self.limit"),
        (limiter(lambda self, n: False, lets=False), "Nothing gets through"),
    ],
)
def test_a_misunderstanding_of_the_limiter_is_named(answer, thought):
    assert thought in check("02.limiter", answer).thought


def test_the_lengths_lie_about_the_limit():
    cases = list(Limiter().cases(random.Random(0)))
    assert {c.length - c.limit for c in cases} >= {-14, 0, 1, 14} and len(cases) >= 32
    assert {Limiter().expected(c) for c in cases} == {Limited("delivered", 0), Limited("dropped", 1)}


# 02.policy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["pass", "drop"])
@pytest.mark.parametrize("codes", [(), (NEXT,), (PASS,), (DROP,), (1,), (NEXT, 9), (PASS, DROP), (NEXT, NEXT, DROP)])
def test_the_policy_oracle_is_what_netkit_does(policy, codes):
    lab = nk.Lab("sim")
    pod = lab.pod("pod", device="netkit", policy=policy)
    pod.listen(udp=7)
    for code in codes:
        pod.pair.primary.attach(always(int(code)), nk.Hook.PRIMARY)
    journey = lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=7))
    case = Chain(False, tuple(map(int, codes)), int(PASS if policy == "pass" else DROP))
    dropped = pod.pair.primary.stats.tx_dropped
    assert Decided(str(journey.fate.kind), len(journey.verdicts), dropped) == MiniNetkit().expected(case)


def mini(
    *,
    late_dev=False,
    first_only=False,
    to_end=False,
    policy_last=False,
    open_=False,
    counts=True,
    blind=False,
    none=False,
):
    """Make a small netkit with some of the mistakes."""

    class MiniNetkit(nk.NetDevice):
        programs, policy = [], PASS

        def ndo_start_xmit(self, skb):
            if not late_dev:
                skb.dev = self.peer
            verdict = PASS if blind else self.policy
            for program in [] if none else self.programs:
                said = program(skb)
                verdict = said if said != NEXT or not policy_last else verdict
                if first_only or (said != NEXT and not to_end):
                    break
            skb.dev = self.peer
            if verdict in (NEXT, PASS) or (open_ and verdict != DROP):
                self.netif_rx(skb)
                return nk.NETDEV_TX_OK
            if counts:
                self.dev_core_stats_tx_dropped_inc(skb)
            self.kfree_skb(skb)
            return nk.NETDEV_TX_OK

    return MiniNetkit


@pytest.mark.parametrize(
    ("mistake", "thought"),
    [
        ({"late_dev": True}, "other end already"),
        ({"none": True}, "No program was asked"),
        ({"first_only": True}, "ask the next program"),
        ({"to_end": True}, "no further program"),
        ({"policy_last": True}, "Behind the last NEXT"),
        ({"open_": True}, "does not know"),
        ({"counts": False}, "Count each"),
        ({"blind": True}, "the policy decides"),
    ],
)
def test_a_misunderstanding_of_the_policy_is_named(mistake, thought):
    assert check("02.policy", mini()).passed
    assert thought in check("02.policy", mini(**mistake)).thought


def test_a_check_leaves_the_learners_class_alone():
    answer = solved("02.policy")
    assert check("02.policy", answer).passed
    assert (answer.programs, answer.policy) == ([], PASS)


def test_a_case_says_what_was_sent():
    assert str(Burst(True, 2, 10, 7)) == "pod to host: 2 × 10 bytes of payload, mark 7, backlog 2"
    assert bench(solved("02.pair")).lab.nodes["toy"].device.kind == "Pair"

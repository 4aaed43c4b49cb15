"""The comparison on the simulator alone: it agrees with itself, and a simulator with one thing wrong is found out."""

from __future__ import annotations

import random

import pytest

from netkit_edu.compare import generator
from netkit_edu.compare.campaign import Comparison, features, report, show
from netkit_edu.compare.judge import differences
from netkit_edu.compare.machine import Machine
from netkit_edu.compare.run import Endless, execute
from netkit_edu.compare.scenario import Scenario
from netkit_edu.compare.surprises import Surprise
from netkit_edu.sim import dev, filter, netkit
from tests.requires import a_compiler

pytestmark = a_compiler()
SEED = 7


@pytest.fixture(scope="module")
def machine():
    machine = Machine("sim")
    yield machine
    machine.close()


class Mutated(Comparison):
    """The right side's simulator has something else in one place."""

    def __init__(self, where, name: str, value, **options):
        super().__init__("sim", "sim", **options)
        self.mutation = where, name, value

    def execute(self, scenario, machine):
        with pytest.MonkeyPatch.context() as patch:
            if machine is self.right:
                patch.setattr(*self.mutation)
            return super().execute(scenario, machine)


def keep_mark(skb):
    skb.priority = 0


def anything_passes(entry, skb, ret, dev, run=netkit.netkit_run):
    ret, name = run(entry, skb, ret, dev)
    return (ret if ret in (-1, 0, 2, 7) else 0), name


def ingress_never(skb, dev, flags, redirect=filter.__bpf_redirect):
    return redirect(skb, dev, 0)


def headless(skb, dev, length, count=dev.dev_sw_netstats_rx_add):
    count(skb, dev, length - 14)


MUTATIONS = {
    "unknown codes pass": (netkit, "netkit_run", anything_passes),
    "marks cross namespaces": (netkit, "netkit_xnet", keep_mark),
    "the carrier stays": (dev, "netif_carrier_off", lambda dev: None),
    "redirect never goes in": (filter, "__bpf_redirect", ingress_never),
    "rx counts without header": (dev, "dev_sw_netstats_rx_add", headless),
}


@pytest.mark.parametrize("which", MUTATIONS)
def test_one_thing_wrong_is_found_and_shrunk(which):
    comparison = Mutated(*MUTATIONS[which])
    tally = comparison.run(SEED, range(300))
    comparison.close()
    assert tally.disagreements, f"not found in {tally.scenarios} scenarios"
    smallest = tally.disagreements[0].scenario
    assert smallest.length <= 12 and len(smallest.steps) <= 2, str(smallest)
    told = show(tally.disagreements[0], "sim", "other")
    assert str(smallest) in told and "other" in told


def test_the_simulator_agrees_with_itself_and_most_features_occur():
    comparison = Comparison("sim", "sim")
    tally = comparison.run(SEED, range(500))
    comparison.close()
    assert tally.scenarios + tally.endless == 500 and tally.steps > 4000
    assert not tally.disagreements, report(tally, "sim", "sim")
    assert not WANTED - tally.features.keys()


WANTED = {
    *(f"verdict {code}" for code in (-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100)),
    *(f"program sets {what}" for what in ("mark", "priority", "type", "store", "ethertype", "length", "cb")),
    *(f"fate {kind}" for kind in ("delivered", "dropped", "lost", "transmitted", "not sent")),
    *(f"{what} {answer}" for what, answers in {
        "attach": ("ok", "EEXIST", "ENOENT", "EINVAL", "ERANGE", "ESTALE", "EACCES", "EBUSY"),
        "detach": ("ok", "ENOENT", "EINVAL", "EBUSY", "ERANGE", "ESTALE", "EACCES"),
        "update": ("ok", "EEXIST", "EPERM", "ENOLINK"),
        "policy": ("ok", "EINVAL", "EACCES"),
    }.items() for answer in answers),
    *(f"{helper} to {target}" for helper in ("redirect", "redirect_neigh", "clone_redirect") for target in (
        "a", "a.peer", "b", "nic", "missing", "zero", "lo")),
    "redirect_peer to a", "redirect to d", "redirect to v", "device v", "device d1", "a same=True", "a mode=0",
    "newlink ok", "newlink EINVAL", "changelink EACCES", "bpf EINVAL", "bpf ok", "forward ok", "backlog ok",
    "send via=raw", "send via=packet", "send via=icmp", "sender told ENOBUFS", "send mac=foreign", "delete ok",
}  # fmt: skip


def test_a_scenario_comes_from_its_seed_alone():
    random.seed(1)
    one = generator.scenario(3, 17).to_json()
    random.seed(2)
    assert generator.scenario(3, 17).to_json() == one
    assert generator.scenario(3, 18).to_json() != one != generator.scenario(4, 17).to_json()


def test_a_scenario_is_read_as_it_was_written(machine):
    for number in range(20):
        scenario = generator.scenario(SEED, number)
        again = Scenario.from_json(scenario.to_json())
        assert again.to_json() == scenario.to_json() and str(again) == str(scenario)
        assert not differences(execute(scenario, machine), execute(again, machine))


def test_nothing_is_left_of_a_scenario_on_its_lab(machine):
    links = [device.name for node in machine.nodes.values() for device in node.links]
    for number in range(40):
        execute(generator.scenario(SEED, number), machine)
    assert [device.name for node in machine.nodes.values() for device in node.links] == links
    assert not machine.links


ROUND = Scenario(
    {"a": {}},
    {"p0": {"verdict": 7, "redirect": ["redirect", "a.peer", 1]}},
    [{"do": "attach", "hook": "in a.peer", "prog": "p0"}, {"do": "send", "device": "a"}],
)


def test_what_goes_round_for_ever_is_left_out(machine):
    with pytest.raises(Endless):
        execute(ROUND, machine)
    comparison = Comparison("sim", "sim")
    assert comparison.take(ROUND) is None
    assert comparison.tally.endless == 1 and comparison.tally.scenarios == 0
    comparison.close()


def test_what_came_before_a_packet_went_round_is_not_found_with_the_next_scenario():
    send = {"do": "send", "device": "a.peer"}
    comparison = Comparison("sim", "sim")
    assert comparison.take(Scenario({"a": {}}, ROUND.programs, [send, *ROUND.steps])) is None
    assert comparison.take(Scenario({"a": {}}, {}, [send])) is None and comparison.tally.endless == 1
    comparison.close()


def test_an_explained_difference_is_counted_apart_and_what_follows_from_it_too():
    known = Surprise("short counters", "a test's", lambda s, d, found: "counters" in d.field, ROUND, ends=True)
    comparison = Mutated(dev, "dev_sw_netstats_rx_add", headless, known=(known,))
    tally = comparison.run(SEED, range(40))
    comparison.close()
    assert not tally.disagreements and tally.explained["short counters"] > 5
    assert "explained: short counters" in report(tally, "sim", "other")


def test_features_name_what_a_scenario_did(machine):
    scenario = Scenario({"a": {}}, {"p0": {"verdict": 2}}, [{"do": "attach", "hook": "peer", "prog": "p0"}])
    assert {"attach ok", "verdict 2", "device a"} <= set(features(scenario, execute(scenario, machine)))

"""A netkit pair's life: how it starts, when it has carrier, what may be changed (drivers/net/netkit.c, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.uapi import (
    IF_OPER_DOWN,
    IF_OPER_LOWERLAYERDOWN,
    IF_OPER_UP,
    IFF_BROADCAST,
    IFF_LOWER_UP,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_RUNNING,
    IFF_UP,
    Mode,
    Policy,
    Scrub,
)
from tests.contract.conftest import answer


@pytest.fixture
def pair(lab):
    return lab.pair("hst", peer_in=lab.node("n1"))


def test_a_fresh_pair_is_down_without_arp_or_addresses(pair):
    for device in (pair.primary, pair.peer):
        info = device.info
        assert info.kind == "netkit"
        assert info.flags == IFF_BROADCAST | IFF_MULTICAST | IFF_NOARP
        assert (info.mac, info.mtu, info.addresses) == ("00:00:00:00:00:00", 1500, ())
        assert (info.operstate, info.carrier, info.qdisc) == (IF_OPER_DOWN, False, "noop")


def test_a_fresh_l2_pair_has_mac_addresses_and_arp(lab):
    pair = lab.pair("hst", peer_in=lab.node("n1"), mode="l2")
    macs = set()
    for device in (pair.primary, pair.peer):
        assert (device.mode, device.info.flags) == (Mode.L2, IFF_BROADCAST | IFF_MULTICAST)
        first = int(device.mac[:2], 16)
        assert first & 1 == 0 and device.mac != "00:00:00:00:00:00"
        macs.add(device.mac)
    assert len(macs) == 2


def test_an_mtu_asked_for_the_primary_is_not_the_peers(lab):
    pair = lab.pair("hst", peer_in=lab.node("n1"), attrs={"mtu": 9000})
    assert (pair.primary.mtu, pair.peer.mtu) == (9000, 1500)
    pair = lab.pair("hst2", peer_in=lab.node("n2"), peer_attrs={"mtu": 1400})
    assert (pair.primary.mtu, pair.peer.mtu) == (1500, 1400)


def test_a_fresh_pair_has_the_kernels_defaults(pair):
    for device in (pair.primary, pair.peer):
        assert (device.mode, device.policy, device.peer_policy) == (Mode.L3, Policy.PASS, Policy.PASS)
        assert (device.scrub, device.peer_scrub) == (Scrub.DEFAULT, Scrub.DEFAULT)
    assert (pair.primary.info.info["primary"], pair.peer.info.info["primary"]) == (1, 0)


def test_each_end_knows_the_others_number(pair):
    assert pair.primary.info.peer == pair.peer.ifindex
    assert pair.peer.info.peer == pair.primary.ifindex


def test_each_end_tells_the_others_namespace_where_it_is_another(lab, pair):
    """IFLA_LINK_NETNSID"""
    assert (pair.primary.info.peer_netns, pair.peer.info.peer_netns) == (pair.peer.node.ns, pair.primary.node.ns)
    assert lab.pair("same").info.peer_netns == -1


def test_the_peer_is_registered_first(lab):
    pair = lab.pair("hst", peer_name="con")
    assert pair.peer.ifindex < pair.primary.ifindex


def test_policies_show_mirrored_on_the_two_ends(lab):
    pair = lab.pair("hst", peer_in=lab.node("n1"), policy="drop", peer_scrub="none")
    assert (pair.primary.policy, pair.primary.peer_policy) == (Policy.DROP, Policy.PASS)
    assert (pair.peer.policy, pair.peer.peer_policy) == (Policy.PASS, Policy.DROP)
    assert (pair.primary.scrub, pair.peer.scrub) == (Scrub.DEFAULT, Scrub.NONE)


def state(device) -> tuple[int, bool, int]:
    info = device.info
    return info.flags & (IFF_UP | IFF_RUNNING | IFF_LOWER_UP), info.carrier, info.operstate


RUNNING = (IFF_UP | IFF_RUNNING | IFF_LOWER_UP, True, IF_OPER_UP)
WAITING = (IFF_UP, False, IF_OPER_DOWN)


def test_who_waits_for_an_end_of_its_own_namespace_says_so(lab):
    """LOWERLAYERDOWN"""
    pair = lab.pair("nk1")
    for one in (pair.primary, pair.peer):
        one.up()
        assert state(one) == (IFF_UP, False, IF_OPER_LOWERLAYERDOWN)
        one.down()


def test_an_end_takes_whatever_has_the_other_ends_number_for_it(lab):
    """The kernel looks that number up in the end's own namespace (net/core/link_watch.c:default_operstate)."""
    node = lab.node("n1")
    lab.pair("nk2", peer_in=node, peer_name="eth1", attrs={"ifindex": 79}, peer_attrs={"ifindex": 77})
    pair = lab.pair("nk1", peer_in=node, attrs={"ifindex": 77}, peer_attrs={"ifindex": 88})
    assert state(pair.peer.up()) == (IFF_UP, False, IF_OPER_LOWERLAYERDOWN)
    pair.peer.down()
    assert state(pair.primary.up()) == WAITING


@pytest.mark.parametrize("first", ["primary", "peer"])
def test_both_ends_up_give_carrier_to_both(pair, first):
    one, two = (pair.primary, pair.peer) if first == "primary" else (pair.peer, pair.primary)
    one.up()
    assert state(one) == WAITING
    two.up()
    assert state(one) == state(two) == RUNNING
    assert one.info.qdisc == "noqueue"


@pytest.mark.parametrize("end", ["primary", "peer"])
def test_one_end_down_takes_the_carrier_from_both(pair, end):
    pair.primary.up()
    pair.peer.up()
    down, still_up = (pair.primary, pair.peer) if end == "primary" else (pair.peer, pair.primary)
    down.down()
    assert state(still_up) == WAITING
    assert not down.carrier and not down.is_up


@pytest.mark.parametrize("end", ["primary", "peer"])
def test_deleting_either_end_deletes_both(pair, end):
    getattr(pair, end).delete()
    for device in (pair.primary, pair.peer):
        with pytest.raises(KernelError) as refusal:
            device.info  # noqa: B018
        assert refusal.value.name == "ENODEV"
        assert "deleted" in repr(device)


def test_a_namespace_takes_the_pair_with_it(lab, pair):
    pair.peer.node.delete()
    assert "hst" not in [device.name for device in lab.host.links]


@pytest.mark.parametrize("mtu", [67, 65536])
def test_an_mtu_outside_68_to_65535_is_refused(pair, mtu):
    with pytest.raises(KernelError) as refusal:
        pair.primary.set(mtu=mtu)
    assert refusal.value.name == "EINVAL"
    assert pair.primary.mtu == 1500


def test_an_mtu_change_stays_on_its_end(pair):
    pair.primary.set(mtu=9000)
    assert (pair.primary.mtu, pair.peer.mtu) == (9000, 1500)


def test_an_l3_device_takes_no_mac_address(pair):
    with pytest.raises(KernelError) as refusal:
        pair.primary.set(mac="02:00:00:00:00:01")
    assert refusal.value.name == "EOPNOTSUPP"


@pytest.mark.parametrize(
    ("options", "errno"),
    [
        ({"policy": 1}, "EINVAL"),
        ({"policy": 7}, "EINVAL"),
        ({"peer_policy": -1}, "EINVAL"),
        ({"mode": 2}, "mode"),
        ({"scrub": 2}, "ERANGE"),
        ({"peer_scrub": 2}, "ERANGE"),
        ({"attrs": {"mac": "02:00:00:00:00:01"}}, "EOPNOTSUPP"),
        ({"peer_attrs": {"mac": "02:00:00:00:00:01"}}, "EOPNOTSUPP"),
        ({"peer_name": "hst2"}, "EEXIST"),
    ],
)
def test_a_refused_pair_leaves_nothing_behind(lab, options, errno):
    before = [device.name for device in lab.host.links]
    with pytest.raises(KernelError) as refusal:
        lab.pair("hst2", **options)
    assert refusal.value.name == answer(lab, errno)[0]
    assert [device.name for device in lab.host.links] == before


def test_a_name_that_is_taken_is_refused(lab, pair):
    with pytest.raises(KernelError) as refusal:
        lab.pair("hst", peer_name="con")
    assert refusal.value.name == "EEXIST"


def test_a_refused_change_of_policies_may_be_done_by_half(pair):
    with pytest.raises(KernelError) as refusal:
        pair.set_policy(policy="drop", peer_policy=7)
    assert (refusal.value.name, refusal.value.extack) == ("EINVAL", "Provided default xmit policy not supported")
    assert (pair.primary.policy, pair.primary.peer_policy) == (Policy.DROP, Policy.PASS)


@pytest.mark.parametrize("mode", ["l3", "l2"])
def test_the_address_that_an_end_has_it_may_be_given(lab, mode):
    """The driver is not even asked (net/core/dev.c:dev_set_mac_address)."""
    pair = lab.pair("nk1", mode=mode)
    for end in (pair.primary, pair.peer):
        end.set(mac=end.mac)

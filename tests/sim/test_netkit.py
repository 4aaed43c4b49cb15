"""An end whose other end is gone: a moment during deletion, which no user meets but every call must survive (6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.journey import FateKind
from netkit_edu.sim.netkit import netkit_open
from netkit_edu.uapi import BPF_NETKIT_PEER, BPF_NETKIT_PRIMARY
from tests.sim.topologies import POD_IP, machine


@pytest.fixture
def m():
    return machine("netkit")


@pytest.fixture
def alone(m):
    """The primary; nobody is told that its peer has gone."""
    dev = m.sim._kernel.namespaces[m.host].devices[m.primary]
    dev.priv.peer = None
    return dev


def refused(errno: str, call) -> None:
    with pytest.raises(KernelError) as refusal:
        call()
    assert refusal.value.name == errno


def test_an_end_alone_cannot_go_up(alone):
    refused("ENOTCONN", lambda: netkit_open(alone))


def test_an_end_alone_has_its_own_hook_and_policy_only(m, alone):
    assert m.sim.prog_query(m.host, m.primary, BPF_NETKIT_PRIMARY).entries == ()
    refused("ENODEV", lambda: m.sim.prog_query(m.host, m.primary, BPF_NETKIT_PEER))
    m.sim.link_set(m.host, m.primary, info={"policy": 2})
    refused("EOPNOTSUPP", lambda: m.sim.link_set(m.host, m.primary, info={"policy": 0, "peer_policy": 0}))
    shown = m.sim.link_get(m.host, m.primary).info
    assert shown["policy"] == 0 and not shown.keys() & {"peer_policy", "peer_scrub"}


def test_an_end_alone_drops_what_it_is_given(m, alone):
    journey = m.send(m.host, POD_IP, recverr=True)
    assert (journey.fate.kind, journey.sender_error) == (FateKind.DROPPED, "ENOBUFS")
    assert journey.counters == {"host/pod": {"tx_dropped": 1}}

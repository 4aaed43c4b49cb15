"""Who may do what: authority follows the primary (drivers/net/netkit.c:netkit_dev_fetch, netkit_change_link, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.errors import KernelError
from netkit_edu.uapi import BPF_NETKIT_PEER, Policy
from tests.contract.conftest import refused


@pytest.mark.parametrize("at", ["primary", "peer"])
def test_the_primary_manages_both_hooks(con, programs, at):
    att = con.pair.attach(programs["pass"], at=at)
    assert [entry.prog_id for entry in con.pair.chain(at).entries] == [att.id]
    att.detach()
    assert con.pair.chain(at).entries == ()


@pytest.mark.parametrize("at", ["primary", "peer"])
def test_through_the_peer_nobody_attaches_detaches_or_looks(con, programs, at):
    att = con.pair.attach(programs["pass"], at=at)
    refused("EACCES", lambda: con.pair.peer.attach(programs["drop"], at=at))
    refused("EACCES", lambda: con.pair.peer.detach(att.program, at=at))
    refused("EACCES", lambda: con.pair.peer.detach(at=at))
    refused("EACCES", lambda: con.pair.peer.chain(at))
    assert att.attached


def test_through_the_peer_nobody_changes_policies(con):
    for change in ({"policy": "drop"}, {"peer_policy": "drop"}, {}):
        refused("EACCES", lambda change=change: con.pair.peer.set_policy(**change))
    assert (con.pair.policy, con.pair.peer_policy) == (Policy.PASS, Policy.PASS)


def test_the_refusal_is_in_the_kernels_words(con):
    with pytest.raises(KernelError) as refusal:
        con.pair.peer.set_policy(policy="drop")
    assert refusal.value.extack == "netkit link settings can be changed only through the primary device"


def test_the_container_does_not_see_the_primary(lab, con, hst, programs):
    loaded = lab.load(programs["pass"])
    beyond = 1 + max(device.ifindex for device in (*con.links, hst))
    for ifindex in {hst.ifindex, beyond} - {device.ifindex for device in con.links}:
        refused("ENODEV", lambda i=ifindex: lab.kernel_calls.prog_attach(con.ns, i, BPF_NETKIT_PEER, loaded.id))


def test_the_container_governs_its_own_end(con):
    con.device.set(mtu=1400).down().up()
    con.device.addr("10.0.77.2/24")
    assert con.device.mtu == 1400 and "10.0.77.2/24" in con.device.info.addresses


def test_the_container_may_delete_the_pair(lab, con):
    con.device.delete()
    assert "con" not in [device.name for device in lab.host.links]


def test_authority_follows_the_primary_into_a_container(lab, programs):
    inside = lab.node("inside")
    pair = lab.pair("mine", primary_in=inside, peer_in=lab.host, peer_name="theirs")
    pair.attach(programs["pass"], at="peer")
    pair.set_policy(policy="drop")
    refused("EACCES", lambda: pair.peer.attach(programs["drop"], at="peer"))
    refused("EACCES", lambda: pair.peer.set_policy(policy="pass"))


def test_only_netkit_devices_have_the_hooks(lab, programs):
    web = lab.pod("web", device="veth")
    refused("ENXIO", lambda: web.pair.attach(programs["pass"], at="peer"))
    refused("ENXIO", lambda: lab.nic.chain("primary"))


def test_a_program_is_at_a_hook_once(con, programs):
    con.pair.attach(programs["pass"], at="peer")
    refused("EEXIST", lambda: con.pair.attach(programs["pass"], at="peer"))
    con.pair.attach(programs["pass"], at="primary")


def test_an_attach_can_insist_on_a_revision(con, programs):
    assert con.pair.revision("peer") == 1
    con.pair.attach(programs["pass"], at="peer", expected_revision=1)
    assert con.pair.revision("peer") == 2
    refused("ESTALE", lambda: con.pair.attach(programs["drop"], at="peer", expected_revision=1))
    assert con.pair.revision("peer") == 2


def test_what_is_not_there_cannot_be_detached(con, programs):
    refused("ENOENT", lambda: con.pair.detach(programs["pass"], at="peer"))
    att = con.pair.attach(programs["pass"], at="peer")
    att.detach()
    refused("ENOENT", att.detach)


def test_without_a_name_the_last_program_is_detached(con, programs):
    for name in ("pass", "drop"):
        con.pair.attach(programs[name], at="peer")
    con.pair.detach(at="peer")
    assert [entry.name for entry in con.pair.chain("peer").entries] == ["pass"]

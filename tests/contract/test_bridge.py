"""A pair's end as a port of a bridge (net/bridge, do_set_master; Linux 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.sys import u32
from netkit_edu.uapi import Ifla
from tests.contract.conftest import PAYLOAD, PORT, refused


@pytest.fixture
def br0(lab):
    return lab.bridge("br0").up()


@pytest.fixture
def pods(lab, br0):
    """Three containers on one bridge, which has an address itself: netkit in L2 mode twice, and veth."""
    made = []
    for n, kind in ((1, "netkit"), (2, "netkit"), (3, "veth")):
        node = lab.node(f"n{n}")
        pair = lab.pair(f"p{n}", peer_in=node, kind=kind, **({"mode": "l2"} if kind == "netkit" else {}))
        pair.primary.set_master(br0).up()
        pair.peer.addr(f"10.5.0.{n}/24").up()
        node.listen(udp=PORT)
        made.append(node)
    br0.addr("10.5.0.254/24")
    return made


@pytest.mark.parametrize("end", ["primary", "peer"])
def test_netkit_in_l3_mode_is_no_port_of_a_bridge(lab, br0, end):
    pair = lab.pair("nk1", peer_name="nk0", mode="l3")
    refused("EINVAL", lambda: getattr(pair, end).set_master(br0))
    assert getattr(pair, end).info.master == 0


@pytest.mark.parametrize("end", ["primary", "peer"])
def test_netkit_in_l2_mode_is_one(lab, br0, end):
    port = getattr(lab.pair("nk1", peer_name="nk0", mode="l2"), end)
    assert port.set_master(br0).info.master == br0.ifindex
    assert br0.mac == port.mac
    assert port.set_master(br0).set_master(None).info.master == 0


def test_what_is_no_bridge_has_no_ports_and_a_bridge_is_none(lab, br0):
    pair = lab.pair("nk1", peer_name="nk0", mode="l2")
    refused("EOPNOTSUPP", lambda: pair.set_master(lab.nic))
    refused("ELOOP", lambda: br0.set_master(lab.bridge("br1")))
    refused("EINVAL", lambda: lab.host.links[0].set_master(br0))
    refused("EINVAL", lambda: lab.host.sys.link_change(pair.primary, attrs={Ifla.MASTER: u32(99)}))
    with pytest.raises(nk.UsageError):
        pair.set_master(lab.node("far").links[0])


def test_the_raw_door_makes_ports_too_or_nothing(lab, br0):
    made = lab.host.sys.link_create("dummy", attrs={Ifla.IFNAME: b"d0", Ifla.MASTER: u32(br0.ifindex)})
    assert made.info.master == br0.ifindex
    refused("EINVAL", lambda: lab.host.sys.link_create("netkit", attrs={Ifla.MASTER: u32(br0.ifindex)}))
    assert [d.name for d in lab.host.links] == ["lo", "eth0", "br0", "d0"]
    assert lab.host.sys.link_create("bridge", attrs={Ifla.IFNAME: b"br7"}).kind == "bridge"


def test_everyone_on_a_bridge_reaches_everyone_and_the_host(lab, pods):
    for sender in (*pods, lab.host):
        for to in ("10.5.0.1", "10.5.0.2", "10.5.0.3", "10.5.0.254"):
            assert sender.ping(to).fate.delivered, (sender, to)


def test_a_bridge_learns_where_a_frame_goes(lab, pods):
    one, two, three = pods
    packet = nk.IP(dst=two.ip) / nk.UDP(dport=PORT) / PAYLOAD
    one.ping(two)
    with three.links[1].capture() as seen:
        journey = one.send(packet)
    assert journey.fate.delivered and journey.fate.node == "n2" and not seen.frames
    assert set(journey.counters) == {"n1/eth0", "host/p1", "host/p2", "n2/eth0"}
    assert "ip_forward" not in [hop.function for hop in journey.hops]


def test_a_frame_for_nobody_known_goes_to_every_other_port(lab, pods):
    one, two, three = pods
    frame = nk.Ether(dst="02:00:00:00:00:77") / nk.IP(dst="10.5.0.77") / nk.UDP(dport=PORT)
    with two.links[1].capture() as at_two, three.links[1].capture() as at_three, one.links[1].capture() as back:
        one.send(frame, dev=one.links[1])
    assert (len(at_two.frames), len(at_three.frames)) == (1, 1)
    assert [frame.direction for frame in back.frames] == ["out"]


def test_a_program_of_a_port_still_decides(lab, pods, programs):
    port = next(d for d in lab.host.links if d.name == "p2")
    port.attach(programs["drop"], at="primary")
    pods[0].ping(pods[1])
    journey = pods[0].send(nk.IP(dst=pods[1].ip) / nk.UDP(dport=PORT))
    assert not journey.fate.delivered and not pods[1].received


def test_a_bridge_has_the_lowest_address_and_the_least_mtu_of_its_ports(lab, br0):
    ports = [lab.dummy(f"d{n}").set(mac=f"02:00:00:00:00:0{n}", mtu=1500 - n).set_master(br0) for n in (3, 1, 2)]
    assert (br0.mac, br0.mtu) == (ports[1].mac, 1497)
    ports[1].delete()
    ports[0].set(mtu=1300)
    assert (br0.mac, br0.mtu) == (ports[2].mac, 1300)
    br0.set(mac="02:00:00:00:00:99", mtu=1400)
    ports[2].set_master(None)
    assert (br0.mac, br0.mtu) == ("02:00:00:00:00:99", 1400)


def test_a_bridge_has_a_carrier_while_one_port_has(lab, br0):
    port = lab.pair("nk1", peer_name="nk0", mode="l2").primary.set_master(br0)
    assert not br0.carrier
    port.up(), port.other.up()
    assert br0.carrier
    port.other.down()
    assert not br0.carrier


def test_a_port_that_moves_or_goes_and_a_bridge_that_goes_leave_nothing_behind(lab, br0):
    moving, going = (lab.pair(name, mode="l2").primary.set_master(br0) for name in ("nk1", "nk2"))
    moving.move(lab.node("far"))
    assert moving.info.master == 0
    refused("EINVAL", lambda: br0.move(lab.node("further")))
    br0.delete()
    assert going.info.master == 0

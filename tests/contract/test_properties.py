"""What a fresh device says of itself: RTM_GETLINK and ethtool (netkit_setup, netkit_get_drvinfo; Linux 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.journey import HopKind
from netkit_edu.kernels import ROWS
from netkit_edu.sys import ifinfomsg, u32
from netkit_edu.uapi import Ifla, VethInfo
from tests.contract.conftest import PAYLOAD, PORT, refused

SEGMENTATION = {
    "tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
    "tx-sctp-segmentation", "tx-udp-segmentation", "tx-gso-list", "tx-generic-segmentation",
}  # fmt: skip
CHECKSUMS = {"tx-checksum-ip-generic", "tx-checksum-sctp", "rx-checksum"}
PIECES = {"tx-scatter-gather", "tx-scatter-gather-fraglist", "highdma"}


@pytest.fixture(params=["l3", "l2"])
def pair(request, lab):
    return lab.pair("nk1", peer_name="nk0", mode=request.param)


def test_both_ends_of_a_pair_take_packets_of_big_tcp_and_have_a_queue_each_way(pair):
    for end in (pair.primary, pair.peer):
        info = end.info
        assert (info.mtu, info.min_mtu, info.max_mtu) == (1500, 68, 65535)
        assert (info.num_tx_queues, info.num_rx_queues, info.tso_max_size) == (1, 1, 524280)


def test_both_ends_promise_everything_that_software_can_do(pair):
    for end in (pair.primary, pair.peer):
        driver, features = end.ethtool
        assert driver == "netkit"
        assert SEGMENTATION | CHECKSUMS | PIECES <= features
        assert not features & {"rx-lro", "tx-gso-partial", "hw-tc-offload"}


def test_dummy_and_veth_name_their_drivers_too(lab):
    veth = lab.pair("ve0", kind="veth")
    assert [d.ethtool.driver for d in (veth.primary, lab.dummy("d0"))] == ["veth", "dummy"]
    assert "rx-gro" not in veth.ethtool.features


@pytest.mark.parametrize(
    ("attr", "number", "row"),
    [("num_tx_queues", 2, "tx-queues"), ("num_rx_queues", 2, ""), ("num_rx_queues", 1025, "rx-queues")],
)
def test_more_queues_may_be_asked_for_but_not_any_number(lab, attr, number, row):
    if refusal := ROWS[row].on(lab.kernel) if row else None:
        for attrs in ({"attrs": {attr: number}}, {"peer_attrs": {attr: number}}):
            refused(refusal[0], lambda attrs=attrs: lab.pair("nk1", **attrs), refusal[1])
    else:
        pair = lab.pair("nk1", peer_name="nk0", attrs={attr: number + 2}, peer_attrs={attr: number})
        assert [getattr(end.info, attr) for end in (pair.primary, pair.peer)] == [number + 2, number]
    before = lab.host.links
    for wrong in (0, 4097):
        assert "Invalid number of" in refused("EINVAL", lambda n=wrong: lab.pair("nk3", attrs={attr: n})).extack
    assert lab.host.links == before


def test_a_device_that_is_gone_says_nothing(pair):
    pair.delete()
    with pytest.raises(nk.KernelError) as refusal:
        pair.peer.ethtool  # noqa: B018
    assert refusal.value.name == "ENODEV"


@pytest.mark.parametrize("qdisc", ["fq", "pfifo", "fq_codel"])
def test_a_real_qdisc_stands_before_the_program_and_hands_on_at_once(lab, programs, qdisc):
    try:
        pair = lab.pair("hst", peer_in=lab.node("inside"), attrs={"qdisc": qdisc})
    except nk.KernelError as refused:
        if refused.extack != "Specified qdisc kind is unknown":
            raise
        pytest.skip(f"this kernel has no {qdisc}")
    hst = pair.primary.addr("10.0.9.1/24").up()
    pair.peer.addr("10.0.9.2/24").up()
    pair.peer.node.listen(udp=PORT)
    record = hst.attach(programs["record"], at="primary")
    journey = lab.host.send(nk.IP(dst="10.0.9.2") / nk.UDP(dport=PORT) / PAYLOAD)
    assert journey.fate.delivered and hst.info.qdisc == qdisc and record.maps["seen"][0]["runs"] == 1
    functions = [hop.function for hop in journey.hops]
    assert functions.index("sch_direct_xmit") < functions.index("netkit_xmit")
    assert any(hop.kind is HopKind.QUEUE and hop.device == "hst" for hop in journey.hops)


# the raw door makes other kinds too -----------------------------------------------------------------------------------


def test_the_raw_door_makes_a_dummy(lab):
    dummy = lab.host.sys.link_create("dummy", attrs={Ifla.IFNAME: b"d0", Ifla.MTU: u32(9000)})
    assert (dummy.kind, dummy.name, dummy.mtu) == ("dummy", "d0", 9000)
    assert lab.host.sys.link_create("dummy").name == "dummy0"


def test_the_raw_door_makes_a_veth_pair(lab):
    far = lab.node("far")
    peer = ifinfomsg({Ifla.IFNAME: b"eth0", Ifla.NET_NS_FD: u32(far.ns), Ifla.NUM_TX_QUEUES: u32(3)})
    made = lab.host.sys.link_create("veth", attrs={Ifla.IFNAME: b"ve0"}, data={VethInfo.PEER: peer, 9: b"unknown"})
    assert (made.kind, made.name) == ("veth", "ve0")
    assert [(d.name, d.kind, d.info.num_tx_queues) for d in far.links[1:]] == [("eth0", "veth", 3)]


@pytest.mark.parametrize(
    ("kind", "attrs", "data", "errno"),
    [
        ("veth", {}, {VethInfo.PEER: bytes(15)}, "ERANGE"),
        ("veth", {Ifla.ADDRESS: b"\1\0\0\0\0\1"}, {}, "EADDRNOTAVAIL"),
        ("veth", {Ifla.IFNAME: b"eth0"}, {}, "EEXIST"),
        ("veth", {}, {VethInfo.PEER: ifinfomsg({Ifla.NET_NS_FD: u32(9999)})}, "EBADF"),
        ("dummy", {Ifla.ADDRESS: b"\1"}, {}, "EINVAL"),
        ("dummy", {Ifla.NUM_TX_QUEUES: u32(0)}, {}, "EINVAL"),
        ("dummy", {Ifla.NUM_RX_QUEUES: b"\1"}, {}, "ERANGE"),
        ("nosuch", {}, {}, "EOPNOTSUPP"),
    ],
)
def test_the_raw_door_refuses_of_them_what_the_kernel_does(lab, kind, attrs, data, errno):
    before = lab.host.links
    with pytest.raises(nk.KernelError) as refusal:
        lab.host.sys.link_create(kind, attrs=attrs, data=data)
    assert refusal.value.name == errno and lab.host.links == before


@pytest.mark.parametrize("kind", ["veth", "dummy"])
def test_the_raw_door_changes_ordinary_attributes_of_any_kind_but_their_own_of_netkit_only(lab, kind):
    made = lab.host.sys.link_create(kind, attrs={Ifla.IFNAME: b"x0"})
    lab.host.sys.link_change(made, kind, attrs={Ifla.MTU: u32(1400)})
    assert made.mtu == 1400
    with pytest.raises(nk.KernelError) as refusal:
        lab.host.sys.link_change(made, kind, data={})
    assert refusal.value.name == "EOPNOTSUPP"

"""Datagrams to groups: which device they leave by, and to which hardware address (net/ipv4/route.c, arp.c)."""

from __future__ import annotations

import pytest

import netkit_edu as nk

GROUP, GROUP_MAC = "224.0.0.5", "01:00:5e:00:00:05"


def left_by(device, journey) -> bool:
    return "tx_packets" in journey.counters.get(f"{device.node.name}/{device.name}", {})


def test_a_source_address_chooses_the_device_and_not_the_default_route(lab, con, hst):
    to_group = nk.UDP(dport=7) / b"hi"
    assert left_by(hst, lab.host.send(nk.IP(src=con.gateway, dst=GROUP) / to_group, via="udp"))
    assert left_by(lab.nic, lab.host.send(nk.IP(src=lab.host.ip, dst=GROUP) / to_group, via="udp"))


@pytest.mark.parametrize("mode", ["l3", "l2"])
@pytest.mark.parametrize("via", ["udp", "raw"])
def test_a_frame_to_a_group_has_the_groups_address_even_without_arp(lab, mode, via):
    """Also where the default route has a gateway: a group is not reached by one."""
    pod = lab.pod("pod", device="netkit", mode=mode)
    with pod.device.capture() as seen:
        pod.send(nk.IP(src=pod.ip, dst=GROUP) / nk.UDP(dport=7) / b"hi", via=via)
    assert [frame.bytes[:6].hex(":") for frame in seen.frames] == [GROUP_MAC]


@pytest.mark.parametrize("device", ["veth", "netkit"])
def test_a_subnets_broadcast_is_one_on_every_device(lab, con, device):
    """arp_constructor asks the local table, whichever device the address belongs to (inet_addr_type_dev_table)."""
    other = lab.pod("other", device=device, mode="l2" if device == "netkit" else None)
    with other.pair.primary.capture() as seen:
        lab.host.send(nk.IP(dst="10.0.1.255") / nk.UDP(dport=7) / b"hi", dev=other.pair.primary)
    assert [frame.bytes[:6].hex(":") for frame in seen.frames] == ["ff:ff:ff:ff:ff:ff"]

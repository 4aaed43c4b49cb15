"""How long an ICMP error is: it quotes as much as fits into the way back, and never more than 576 bytes in all."""

from __future__ import annotations

import pytest

import netkit_edu as nk


@pytest.mark.parametrize(("mtu", "length"), [(68, 68), (500, 500), (1500, 576)])
def test_an_error_fits_the_way_back(lab, con, hst, mtu, length):
    """net/ipv4/icmp.c:__icmp_send"""
    con.device.set(mtu=mtu)
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=4321) / bytes(1000))
    assert hst.stats.rx_bytes == 14 + length
    assert con.snmp["IcmpOutDestUnreachs"] == 1

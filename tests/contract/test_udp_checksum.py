"""A datagram with a wrong checksum: a socket takes it, and who reads throws it away (net/ipv4/udp.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from tests.contract.conftest import PORT


def datagram(con, checksum):
    return nk.IP(src=con.ip, dst=con.gateway) / nk.UDP(sport=4000, dport=PORT, chksum=checksum) / b"hello"


@pytest.mark.parametrize("before", [0, 20])
def test_a_wrong_checksum_is_found_out_by_who_reads(lab, con, before):
    """Also if others wait to be read first."""
    if before:
        con.send(nk.IP(dst=con.gateway) / nk.UDP(dport=PORT) / b"good", repeat=before)
    journey = con.send(datagram(con, 0x1234), via="raw")
    assert (journey.fate.node, journey.fate.reason) == ("host", "UDP_CSUM")
    assert journey.arrived == b"" and len(lab.host.received) == before
    counted = {name: n for name, n in lab.host.snmp.items() if n and name.startswith("Udp")}
    assert counted == {"UdpInErrors": 1, "UdpInCsumErrors": 1} | ({"UdpInDatagrams": before} if before else {})


def test_a_right_one_and_none_are_taken(lab, con):
    assert con.send(datagram(con, 0), via="raw").fate.delivered
    assert con.send(datagram(con, None), via="raw").fate.delivered
    assert [received.payload for received in lab.host.received] == [b"hello"] * 2


def test_to_a_port_where_nobody_listens_it_is_found_out_at_once(lab, con):
    packet = datagram(con, 0x1234)
    packet[nk.UDP].dport = PORT + 1
    journey = con.send(packet, via="raw")
    assert (journey.fate.reason, journey.replies) == ("UDP_CSUM", ())

from __future__ import annotations

import random

import pytest

from netkit_edu.course.datagrams import Datagram, random_datagram


@pytest.mark.parametrize("seed", range(20))
def test_scapy_reads_the_same_fields_and_checksums(seed):
    from scapy.layers.inet import ICMP, IP, TCP, UDP

    packet = random_datagram(random.Random(seed), options=bytes(4 * (seed % 3)))
    read = IP(packet.ip)
    assert (read.src, read.dst, read.proto, read.ttl) == (packet.src, packet.dst, packet.protocol, packet.ttl)
    layer = {1: ICMP, 6: TCP, 17: UDP}[packet.protocol]
    assert bytes(read[layer].payload) == packet.payload
    if layer is not ICMP:
        assert (read[layer].sport, read[layer].dport) == (packet.sport, packet.dport)
    again = IP(packet.ip)
    del again.chksum
    assert IP(bytes(again)).chksum == read.chksum


def test_the_ethernet_header_carries_the_ethertype():
    assert Datagram(ethertype=0x86DD).bytes[12:14] == b"\x86\xdd"
    assert len(Datagram().bytes) == 14 + 28

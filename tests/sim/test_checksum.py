"""Checksums against scapy's, and the TTL's incremental update against computing anew."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.sim.inet import ip_compute_csum, ip_decrease_ttl, ip_send_check, pseudo_header
from tests.sim.topologies import BEYOND, echo, machine, udp


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_the_checksum_is_scapys(data):
    from scapy.utils import checksum

    assert ip_compute_csum(data) == checksum(data)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_pseudo_header_counts_as_if_it_stood_before_the_data(data, saddr, daddr):
    header = struct.pack("!IIBBH", saddr, daddr, 0, 17, len(data))
    assert ip_compute_csum(data, pseudo_header(saddr, daddr, 17, len(data))) == ip_compute_csum(header + data)


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=20).filter(lambda header: header[8] > 0))
def test_taking_one_from_the_ttl_keeps_the_header_intact(header):
    buf = bytearray(header)
    ip_send_check(buf, 0, 20)
    ip_decrease_ttl(buf, 0)
    assert buf[8] == header[8] - 1
    assert ip_compute_csum(bytes(buf)) == 0


def test_what_is_sent_and_what_arrives_carry_the_checksums_that_scapy_computes():
    from scapy.layers.inet import IP

    m = machine("netkit")
    for packet, via in ((udp("10.0.1.1"), "udp"), (udp("10.0.1.1", bytes(5001)), "udp"), (echo("10.0.1.1"), "icmp")):
        journey = m.send(m.pod, "", packet=packet, via=via)
        assert journey.fate.delivered
        for data in (journey.packet, journey.arrived, *(reply.packet for reply in journey.replies)):
            again = IP(data)
            del again.chksum, again.payload.chksum
            assert bytes(again) == data


def test_a_wrong_udp_checksum_is_found_at_the_receiving_socket():
    m = machine()
    packet = bytearray(m.send(m.pod, "10.0.1.1").packet)
    assert m.send(m.pod, "", packet=bytes(packet), via="raw").fate.delivered
    packet[-1] ^= 1
    assert m.send(m.pod, "", packet=bytes(packet), via="raw").fate.reason == "UDP_CSUM"
    packet[26:28] = b"\0\0"  # no checksum at all
    assert m.send(m.pod, "", packet=bytes(packet), via="raw").fate.delivered


def test_a_damaged_ip_header_is_dropped_on_arrival():
    m = machine()
    frame = bytearray(bytes(14) + m.send(m.pod, BEYOND).packet)
    frame[0:14] = bytes.fromhex(m.sim.link_get(m.host, m.primary).mac.replace(":", "")) + bytes(6) + b"\x08\x00"
    good = m.send(m.pod, "", packet=bytes(frame), via="packet", ifindex=m.peer)
    assert good.fate.kind == "transmitted"
    frame[14 + 8] ^= 1
    assert m.send(m.pod, "", packet=bytes(frame), via="packet", ifindex=m.peer).fate.reason == "IP_CSUM"

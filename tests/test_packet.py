"""Packets at the edge: scapy in, bytes out, and nothing of this machine in them. Scapy is the oracle for bytes."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netkit_edu as nk
from netkit_edu import packet
from netkit_edu.errors import PacketError
from netkit_edu.packet import Change, Wire
from tests.requires import ROOT

HERE, THERE = "10.0.1.2", "192.0.2.2"


def test_bytes_are_taken_as_they_are():
    frame = bytes(nk.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / nk.IP(src=HERE, dst=THERE))
    assert packet.to_bytes(frame) == Wire(frame, True)
    assert packet.to_bytes(frame[14:]) == Wire(frame[14:], False)
    assert packet.to_bytes(bytearray(frame)) == packet.to_bytes(memoryview(frame)) == Wire(frame, True)


def test_a_netkit_l3_header_of_zeros_is_ethernet():
    ip = bytes(nk.IP(src=HERE, dst=THERE))
    assert packet.to_bytes(bytes(12) + b"\x08\x00" + ip).ethernet


def test_a_frame_whose_mac_begins_like_an_ip_header_is_ethernet():
    frame = bytes(nk.Ether(src="02:00:00:00:00:01", dst="45:00:00:1c:00:01") / nk.IP(src=HERE, dst=THERE) / bytes(9))
    assert packet.to_bytes(frame).ethernet
    assert not packet.to_bytes(frame, ethernet=False).ethernet


def test_lengths_and_checksums_are_those_that_scapy_builds():
    written = nk.IP(src=HERE, dst=THERE, id=0, flags="DF") / nk.UDP(sport=packet.EPHEMERAL_PORT, dport=53) / b"hi"
    assert packet.to_bytes(nk.IP(dst=THERE) / nk.UDP(dport=53) / b"hi", src=HERE).data == bytes(written)


def test_a_missing_source_is_left_to_the_sending_stack():
    data = packet.to_bytes(nk.IP(dst=THERE) / nk.UDP(dport=53)).data
    assert data[12:16] == bytes(4)


def test_a_missing_source_port_is_an_ephemeral_one_and_a_given_one_stays():
    assert packet.ipv4(packet.to_bytes(nk.IP(dst=THERE) / nk.UDP(dport=53))).sport == packet.EPHEMERAL_PORT
    assert packet.ipv4(packet.to_bytes(nk.IP(dst=THERE) / nk.TCP(sport=7, dport=53))).sport == 7


def test_a_packet_may_not_be_fragmented_unless_its_writer_says_something_about_fragments():
    def flags(header):
        found = packet.fields(header / nk.UDP())
        return found["IP.flags"], found["IP.id"]

    assert flags(nk.IP(dst=THERE)) == ("DF", 0)
    assert flags(nk.IP(dst=THERE, flags=0, id=7)) == ("", 7)
    assert flags(nk.IP(dst=THERE, flags="MF")) == ("MF", 0)
    assert flags(nk.IP(dst=THERE, frag=3)) == ("", 0)


def test_missing_addresses_of_a_frame_are_those_given():
    data = packet.to_bytes(nk.Ether() / nk.ARP(pdst="10.0.0.1"), src=HERE, mac="02:00:00:00:00:01",
                           dst_mac="ff:ff:ff:ff:ff:ff").data  # fmt: skip
    assert packet.summary(data) == (
        "Ethernet 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP who has 10.0.0.1? tell 10.0.1.2"
    )
    assert data[22:28] == bytes.fromhex("020000000001")


def test_a_header_quoted_in_an_icmp_error_gets_no_source_of_this_machine():
    quoted = nk.IP(dst=THERE) / nk.ICMP(type=3, code=3) / nk.IP(dst="10.9.9.9") / nk.UDP(dport=7)
    assert packet.fields(packet.to_bytes(quoted, src=HERE).data)["IPerror.src"] == "0.0.0.0"


def test_the_learners_packet_is_not_changed():
    written = nk.IP(dst=THERE) / nk.UDP(dport=53)
    packet.to_bytes(written, src=HERE)
    assert "src" not in written.fields and "sport" not in written[nk.UDP].fields


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda: 3, "bytes or a scapy packet"),
        (lambda: None, "bytes or a scapy packet"),
        (lambda: "10.0.0.1", "bytes or a scapy packet"),
        (lambda: b"", "0 bytes"),
        (lambda: b"x" * 13, "13 bytes"),
        (lambda: Wire(b"\x45" + bytes(18), False), "19 bytes"),
        (lambda: b"\x45" + bytes(70_000), "70001 bytes"),
        (lambda: Wire(b"\x15" + bytes(30), False), "version 4 or 6"),
        (lambda: nk.UDP(dport=53), "starts with IP, IPv6 or Ether"),
        (lambda: nk.Raw(b"x" * 40), "starts with IP, IPv6 or Ether"),
        (lambda: nk.IP(dst="10.0.0.0/8"), "several packets"),
        (lambda: nk.IP(dst=[HERE, THERE]), "several packets"),
        (lambda: nk.IP(dst=THERE) / nk.UDP(dport=(1, 60_000)), "several packets"),
        (lambda: nk.IP(dst=THERE, ttl=1000), "ttl"),
        (lambda: nk.IP(dst=THERE) / nk.UDP() / bytes(65_508), "cannot build"),
    ],
)
def test_what_is_no_packet_is_refused_in_one_sentence(bad, says):
    with pytest.raises(PacketError, match=says):
        packet.to_bytes(bad())


def test_building_never_asks_this_machine_for_routes_neighbours_or_names():
    """An audit hook sees every socket, ioctl and child process: after scapy's import there are none."""
    code = """
        import sys
        import netkit_edu as nk
        from netkit_edu import packet
        nk.IP, nk.IPv6, nk.Ether
        seen = []
        sys.addaudithook(lambda event, args: seen.append(event)
                         if event.split(".")[0] in ("socket", "fcntl", "subprocess", "os") else None)
        import scapy.config
        class NoRoute:
            def route(self, *args, **kwargs):
                seen.append("route")
                return ("lo", "127.0.0.1", "0.0.0.0")
        scapy.config.conf.route = scapy.config.conf.route6 = NoRoute()
        for p in (nk.IP(dst="192.0.2.2") / nk.UDP(dport=53), nk.IP(dst="192.0.2.2") / nk.ICMP(),
                  nk.IP(dst="192.0.2.2") / nk.TCP(), nk.Ether() / nk.IP(dst="192.0.2.2") / nk.UDP(),
                  nk.Ether() / nk.ARP(pdst="10.0.0.1"), nk.IPv6(dst="2001:db8::1") / nk.UDP(),
                  nk.Ether() / nk.IPv6(dst="2001:db8::1"), nk.Ether() / nk.Dot1Q(vlan=3) / nk.IP(dst="192.0.2.2"),
                  nk.IP(dst="192.0.2.2") / nk.ICMP(type=11) / nk.IP(dst="10.0.0.9") / nk.UDP()):
            data = packet.to_bytes(p)
            packet.summary(p), packet.fields(data), packet.diff(p, data)
        print(seen)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout.strip() == "[]"
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("built", "line"),
    [
        (lambda: nk.IP(src=HERE, dst=THERE) / nk.UDP(sport=40000, dport=53) / b"hi",
         "IP 10.0.1.2 > 192.0.2.2 UDP 40000 > 53, 2 bytes"),
        (lambda: nk.IP(src=HERE, dst=THERE) / nk.TCP(sport=1, dport=80, flags="SA") / b"hello",
         "IP 10.0.1.2 > 192.0.2.2 TCP 1 > 80 [SA], 5 bytes"),
        (lambda: nk.IP(src=HERE, dst=THERE) / nk.ICMP(id=3, seq=4) / bytes(56),
         "IP 10.0.1.2 > 192.0.2.2 ICMP echo request id 3 seq 4, 56 bytes"),
        (lambda: nk.IP(src=HERE, dst=THERE) / nk.ICMP(type=3, code=3) / bytes(28),
         "IP 10.0.1.2 > 192.0.2.2 ICMP unreachable code 3, 28 bytes"),
        (lambda: nk.IP(src=HERE, dst=THERE, proto=17, frag=185) / bytes(100),
         "IP 10.0.1.2 > 192.0.2.2 UDP fragment at 1480, 100 bytes"),
        (lambda: nk.IP(src=HERE, dst=THERE, proto=132) / bytes(8), "IP 10.0.1.2 > 192.0.2.2 protocol 132, 8 bytes"),
        (lambda: nk.IPv6(src="fd00::1", dst="fd00::2") / nk.UDP(sport=1, dport=2),
         "IPv6 fd00::1 > fd00::2 UDP 1 > 2, 0 bytes"),
        (lambda: nk.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88CC) / bytes(10),
         "Ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02, type 0x88cc, 10 bytes"),
    ],
)  # fmt: skip
def test_a_summary_is_one_line(built, line):
    assert packet.summary(packet.to_bytes(built()).data) == line


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_a_summary_never_raises_on_bytes(data):
    for ethernet in (None, True, False):
        assert "\n" not in packet.summary(data, ethernet=ethernet)


def test_a_diff_names_the_fields_that_changed():
    before = nk.IP(src=HERE, dst=THERE, ttl=64) / nk.UDP(sport=1, dport=53) / b"hi"
    after = nk.IP(src=HERE, dst=THERE, ttl=63, chksum=packet.fields(before)["IP.chksum"]) / nk.UDP(
        sport=1, dport=53, chksum=packet.fields(before)["UDP.chksum"]
    ) / b"ho"  # fmt: skip
    assert packet.diff(before, after) == [Change("IP.ttl", 64, 63), Change("Raw.load", b"hi", b"ho")]
    assert packet.diff(before, before) == []


def test_a_diff_shows_a_header_that_came_and_one_that_went():
    plain = nk.IP(src=HERE, dst=THERE, proto=17)
    changes = {c.field: (c.before, c.after) for c in packet.diff(plain, plain / nk.UDP(sport=1, dport=2))}
    assert changes["UDP.dport"] == (None, 2)


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None)
def test_an_echo_request_is_what_scapy_builds(payload):
    built = nk.IP(src=HERE, dst=THERE, id=0, flags="DF") / nk.ICMP(id=7, seq=9) / payload
    assert packet.icmp_echo(THERE, src=HERE, ident=7, seq=9, payload=payload) == bytes(built)


def test_an_echo_request_to_a_name_is_refused():
    with pytest.raises(PacketError, match="not an IPv4 address"):
        packet.icmp_echo("example.invalid")


def test_ports_are_read_from_the_first_fragment_only():
    whole = packet.ipv4(packet.to_bytes(nk.IP(src=HERE, dst=THERE) / nk.UDP(sport=5, dport=6)))
    later = packet.ipv4(packet.to_bytes(nk.IP(src=HERE, dst=THERE, proto=17, frag=1) / b"abcdefgh"))
    assert (whole.src, whole.dst, whole.sport, whole.dport) == (HERE, THERE, 5, 6)
    assert (later.offset, later.dport) == (8, 0)
    assert packet.ipv4(packet.to_bytes(nk.IPv6(dst="::1"))) is None

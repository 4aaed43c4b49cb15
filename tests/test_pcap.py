"""Captures: scapy writes what we read and reads what we write; nothing broken gets through, whatever breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netkit_edu as nk
from netkit_edu import pcap
from netkit_edu.errors import PacketError
from netkit_edu.packet import Wire, to_bytes

FRAMES = [
    Wire(bytes.fromhex("020000000002020000000001") + b"\x08\x00" + b"\x45" + bytes(n), True) for n in (20, 31, 1400)
]


@pytest.fixture(scope="module")
def packets():
    return [nk.IP(src="10.0.1.2", dst="192.0.2.2") / nk.UDP(dport=n) / bytes(n) for n in (1, 2, 53)]


def scapy_file(folder, writer, packets) -> bytes:
    with writer(str(folder / "written")) as out:
        for packet in packets:
            out.write(packet)
    return (folder / "written").read_bytes()


@pytest.mark.parametrize("name", ["PcapWriter", "PcapNgWriter"])
def test_what_scapy_writes_is_read_back(tmp_path, name, packets):
    from scapy import utils

    for given_packets in (packets, [nk.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / p for p in packets]):
        wires = [to_bytes(p) for p in given_packets]
        filled = [type(p)(w.data) for p, w in zip(given_packets, wires, strict=True)]
        assert pcap.read_pcap(scapy_file(tmp_path, getattr(utils, name), filled)) == wires


def test_what_is_written_scapy_reads(tmp_path, packets):
    from scapy.utils import rdpcap

    assert pcap.write_pcap(tmp_path / "a.pcap", packets) == 3
    assert [bytes(p) for p in rdpcap(str(tmp_path / "a.pcap"))] == [to_bytes(p).data for p in packets]
    assert pcap.read_pcap(tmp_path / "a.pcap") == [to_bytes(p) for p in packets]


def test_the_same_packets_make_the_same_file(tmp_path, packets):
    for name in "ab":
        pcap.write_pcap(tmp_path / name, packets)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_capture_holds_no_packets(tmp_path):
    assert pcap.write_pcap(tmp_path / "a.pcap", []) == 0
    assert pcap.read_pcap(tmp_path / "a.pcap") == []


def test_frames_and_ip_packets_do_not_go_into_one_file(tmp_path, packets):
    with pytest.raises(PacketError, match="not both"):
        pcap.write_pcap(tmp_path / "a.pcap", [FRAMES[0], packets[0]])
    assert not (tmp_path / "a.pcap").exists()


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("capture") / "frames.pcap"
    pcap.write_pcap(path, FRAMES)
    return path.read_bytes()


def test_a_capture_cut_anywhere_inside_a_packet_is_refused(capture):
    boundaries = {24}
    for frame in FRAMES:
        boundaries.add(max(boundaries) + 16 + len(frame.data))
    for end in range(len(capture)):
        if end in boundaries:
            assert len(pcap.read_pcap(capture[:end])) == sorted(boundaries).index(end)
        else:
            with pytest.raises(PacketError):
                pcap.read_pcap(capture[:end])


def patched(capture: bytes, at: int, new: bytes) -> bytes:
    return capture[:at] + new + capture[at + len(new) :]


@pytest.mark.parametrize(
    ("at", "new", "says"),
    [
        (0, b"\x1f\x8b", "no pcap"),
        (20, b"\x7f\0", "link type is 127"),
        (32, b"\xff\xff\xff\xff", "says 4294967295 bytes"),
        (36, b"\xff\xff", "only 35 of its"),
        (32, b"\x05\0\0\0\x05\0\0\0", "5 bytes"),
    ],
)
def test_a_broken_capture_says_what_is_wrong(capture, at, new, says):
    with pytest.raises(PacketError, match=says):
        pcap.read_pcap(patched(capture, at, new))


@pytest.mark.parametrize("source", ["/nonexistent/x.pcap", "/proc", "a\0b"])
def test_a_file_that_cannot_be_read_is_named(source):
    with pytest.raises(PacketError, match="cannot read"):
        pcap.read_pcap(source)


def test_a_file_too_large_is_refused_without_reading_it_whole(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PacketError, match="larger than 64 MiB"):
        pcap.read_pcap(path)


def test_too_many_packets_are_refused(capture):
    one = patched(capture[24 : 24 + 16 + 35], 8, b"\x0e\0\0\0\x0e\0\0\0")[: 16 + 14]
    with pytest.raises(PacketError, match="more than 100000 packets"):
        pcap.read_pcap(capture[:24] + one * 100_001)


@pytest.fixture(scope="module")
def pcapng(tmp_path_factory) -> bytes:
    from scapy.utils import PcapNgWriter

    return scapy_file(tmp_path_factory.mktemp("pcapng"), PcapNgWriter, [nk.Ether(f.data) for f in FRAMES[:2]])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_captures_are_read_or_refused(capture, pcapng, data):
    broken = bytearray(data.draw(st.sampled_from([capture[:200], pcapng])))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        pcap.read_pcap(bytes(broken))
    except PacketError:
        pass

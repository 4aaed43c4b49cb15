"""Real traffic, recorded here from a real veth pair, goes through captures, programs and the lab.

The pair has the addresses of a lab's first pod, so that each recorded request can be sent again in the lab, and the
lab's answer laid beside the one that Linux gave.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import pytest

import netkit_edu as nk
from netkit_edu import packet, pcap
from netkit_edu.packet import Wire

pytestmark = pytest.mark.kernel

HERE, THERE = "10.0.1.2", "10.0.1.1"
MAC_HERE, MAC_THERE = "02:00:0a:00:01:02", "02:00:0a:00:01:01"
CLOSED = 4242

# Runs inside the namespace: opens the recorder, then talks. The last echo is answered at once, and ends the recording.
TALK = f"""
import array, fcntl, json, socket, struct
def checksum(data):
    total = sum(struct.unpack(f"!{{len(data) // 2}}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff
def echo(ident, size):
    body = struct.pack("!BBHHH", 8, 0, 0, ident, 1) + bytes(range(256)) * 8
    body = body[:8 + size]
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]
# ETHTOOL_STXCSUM 0 through SIOCETHTOOL: veth leaves UDP checksums to a network card that is not there
off = array.array("I", [0x17, 0])
fcntl.ioctl(socket.socket(), 0x8946, struct.pack("16sP16x", b"eth0", off.buffer_info()[0]))
recorder = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
recorder.bind(("eth0", 0))
recorder.settimeout(10)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (0, 1, 100, 1400):
    udp.sendto(b"u" * size, ("{THERE}", {CLOSED}))
icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
for ident, size in ((1, 0), (2, 56), (3, 1400)):
    icmp.sendto(echo(ident, size), ("{THERE}", 0))
tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
tcp.settimeout(10)
try:
    tcp.connect(("{THERE}", {CLOSED}))
except ConnectionRefusedError:
    pass
icmp.sendto(echo(0xdead, 0), ("{THERE}", 0))
frames = []
while not (frames and frames[-1][12:14] == b"\\x08\\0" and frames[-1][23] == 1 and frames[-1][34] == 0
           and frames[-1][38:40] == b"\\xde\\xad"):
    frames.append(recorder.recv(65535))
print(json.dumps([frame.hex() for frame in frames]))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """What an AF_PACKET socket saw on one end of a veth pair between two namespaces that are gone afterwards."""
    tag = f"nke-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    here, there = f"{tag}-a", f"{tag}-b"
    made = []
    try:
        for name in (here, there):
            ip("netns", "add", name)
            made.append(name)
        ip("-n", here, "link", "add", "eth0", "address", MAC_HERE, "type", "veth",
           "peer", "name", "eth0", "address", MAC_THERE, "netns", there)  # fmt: skip
        for name, address in ((here, HERE), (there, THERE)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        ran = subprocess.run(
            ["ip", "netns", "exec", here, sys.executable, "-c", TALK], capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        return [bytes.fromhex(frame) for frame in json.loads(ran.stdout)]
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.fixture(scope="module")
def capture(frames, tmp_path_factory) -> list[Wire]:
    """The recording, written to a pcap file and read back."""
    path = tmp_path_factory.mktemp("capture") / "veth.pcap"
    assert pcap.write_pcap(path, [Wire(frame, True) for frame in frames]) == len(frames)
    return pcap.read_pcap(path)


def of_protocol(capture, protocol: int, src: str) -> list[Wire]:
    heads = [(wire, packet.ipv4(wire)) for wire in capture]
    return [wire for wire, head in heads if head is not None and head.protocol == protocol and head.src == src]


def test_the_recording_survives_the_file_and_holds_every_kind(frames, capture):
    assert [wire.data for wire in capture] == frames
    assert len(of_protocol(capture, 17, HERE)) == 4
    assert len(of_protocol(capture, 1, HERE)) == len(of_protocol(capture, 1, THERE)) - 4 == 4
    assert len(of_protocol(capture, 6, HERE)) == 1


def test_each_recorded_frame_has_one_line_and_its_fields(capture):
    lines = [packet.summary(wire.data) for wire in capture]
    assert any("ARP who has" in line for line in lines)
    assert any(f"UDP {packet.ipv4(w).sport} > {CLOSED}, 1400 bytes" in packet.summary(w.data)
               for w in of_protocol(capture, 17, HERE))  # fmt: skip
    for wire in capture:
        assert packet.fields(wire.data, ethernet=True)["Ether.src"] in (MAC_HERE, MAC_THERE)


def test_linuxs_own_checksums_are_those_that_scapy_builds(capture):
    for wire in of_protocol(capture, 1, HERE) + of_protocol(capture, 17, HERE):
        rebuilt = nk.Ether(wire.data)
        for part in rebuilt.iterpayloads():
            part.fields.pop("chksum", None)
        assert bytes(nk.Ether(bytes(rebuilt))) == wire.data


def test_a_program_runs_on_each_recorded_frame(capture):
    program = nk.compile("""
#include "netkit_edu.h"
SEC("netkit/peer") int only_udp(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return NETKIT_NEXT;
    return ip->protocol == IPPROTO_UDP ? NETKIT_PASS : NETKIT_DROP;
}
char LICENSE[] SEC("license") = "GPL";
""")["only_udp"]
    for wire in capture:
        head = packet.ipv4(wire)
        expected = nk.Verdict.NEXT if head is None else nk.Verdict.PASS if head.protocol == 17 else nk.Verdict.DROP
        result = program.run(wire.data)
        assert result.verdict is expected and result.packet == wire.data


def without_ids(wire: Wire) -> dict:
    """The fields of an answer that are not the stack's free choice or a checksum over it."""
    free = {"IP.id", "IP.chksum", "IP.tos", "IP.flags"}
    return {name: value for name, value in packet.fields(wire).items() if name not in free}


@pytest.mark.parametrize("device", ["veth", "netkit"])
def test_recorded_pings_sent_in_the_lab_get_the_answers_that_linux_gave(capture, device):
    requests, answers = of_protocol(capture, 1, HERE), of_protocol(capture, 1, THERE)
    answers = [wire for wire in answers if wire.data[34] == 0]
    with nk.Lab("sim") as lab:
        pod = lab.pod("web", device=device)
        assert (pod.ip, pod.gateway) == (HERE, THERE)
        for request, answer in zip(requests, answers, strict=True):
            journey = pod.send(request.data[14:], via="raw")
            assert journey.fate.delivered
            (reply,) = journey.replies
            assert without_ids(Wire(reply.packet, False)) == without_ids(Wire(answer.data[14:], False))


@pytest.mark.parametrize("device", ["veth", "netkit"])
def test_recorded_datagrams_sent_in_the_lab_meet_the_closed_port_that_linux_met(capture, device):
    refusals = [wire for wire in of_protocol(capture, 1, THERE) if wire.data[34] == 3]
    with nk.Lab("sim") as lab:
        pod = lab.pod("web", device=device)
        for request, refusal in zip(of_protocol(capture, 17, HERE), refusals, strict=True):
            journey = pod.send(request.data[14:], via="raw")
            assert journey.fate.reason.endswith("NO_SOCKET")
            (reply,) = journey.replies
            assert packet.summary(reply.packet) == packet.summary(refusal.data[14:])


@pytest.mark.parametrize("device", ["veth", "netkit"])
def test_every_recorded_frame_crosses_the_pair(capture, device):
    with nk.Lab("sim") as lab:
        pod = lab.pod("web", device=device)
        for wire in capture:
            before = pod.device.stats.tx_packets
            journey = pod.send(wire.data)
            assert journey.packet == wire.data
            assert pod.device.stats.tx_packets == before + 1

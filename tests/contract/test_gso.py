"""Packets that stand for many: whole through every device, cut up at the card (net/core/gso.c, 6.12)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.kernels import ROWS
from netkit_edu.packet import checksum
from tests.contract.conftest import PORT, got, sent

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
BULK = 51098 - 66  # bytes of payload behind 14 of Ethernet, 20 of IP and 32 of TCP header


def tcp(dst, length=BULK, **fields):
    return nk.IP(dst=dst) / nk.TCP(dport=PORT, seq=1000, options=TIMESTAMPS, **fields) / bytes(length)


WIDE = """
#include "netkit_edu.h"

struct wide { __u32 len, gso_size, gso_segs, wire_len, window, runs; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct wide); }
    seen SEC(".maps");

SEC("netkit/primary") int wide(struct __sk_buff *skb)
{
    __u32 zero = 0;
    struct wide *now = bpf_map_lookup_elem(&seen, &zero);

    if (!now)
        return NETKIT_DROP;
    now->runs++;
    now->len = skb->len;
    now->gso_size = skb->gso_size;
    now->gso_segs = skb->gso_segs;
    now->wire_len = skb->wire_len;
    now->window = (long)skb->data_end - (long)skb->data;
    return NETKIT_NEXT;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def wide(con):
    return con.pair.attach(nk.compile(WIDE)["wide"], at="primary")


def test_a_program_sees_one_packet_and_of_it_the_headers(lab, con, wide, moved):
    """G18; to an address that nobody has, since who gets a segment answers it."""
    count = moved(con.pair.primary, con.pair.peer)
    journey = lab.host.send(tcp("10.0.1.77"), dev=con.pair.primary, gso_size=1448)
    assert wide.maps["seen"][0] == {
        "len": 51098, "gso_size": 1448, "gso_segs": 36, "wire_len": 53408, "window": 66, "runs": 1,
    }  # fmt: skip
    assert count() == [sent(1, 51098), got(1, 51098)]
    assert journey.sender_error is None
    assert [h.function for h in journey.hops].count("netkit_xmit") == 1


def test_what_fits_into_one_segment_is_an_ordinary_packet(lab, con, wide):
    """Fits as a packet socket reckons it: as if a TCP header had no options (virtio_net_hdr_to_skb)."""
    lab.host.send(tcp(con.ip, 1436), dev=con.pair.primary, gso_size=1448)
    seen = wide.maps["seen"][0]
    assert (seen["gso_size"], seen["gso_segs"], seen["wire_len"], seen["window"]) == (0, 0, 1502, 1502)


def test_without_gso_such_a_frame_is_too_long(lab, con):
    frame = nk.Ether() / tcp(con.ip)
    assert lab.host.send(frame, dev=con.pair.primary).sender_error == "EMSGSIZE"


def test_datagrams_of_one_call_travel_as_one_and_arrive_as_many(lab, con, wide, moved):
    count = moved(con.pair.primary, con.pair.peer)
    payload = bytes(range(250)) * 10
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / payload, gso_size=1000)
    assert journey.fate.delivered
    assert [len(r.payload) for r in con.received] == [1000, 1000, 500]
    assert b"".join(r.payload for r in con.received) == payload
    assert count() == [sent(1, 2542), got(1, 2542)]
    seen = wide.maps["seen"][0]
    assert (seen["gso_size"], seen["gso_segs"], seen["window"], seen["wire_len"]) == (1000, 3, 42, 2542 + 2 * 42)


@pytest.mark.parametrize(
    ("gso_size", "length", "errno"), [(1473, 5000, "EMSGSIZE"), (9000, 1473, "EMSGSIZE"), (100, 12801, "EINVAL")]
)
def test_datagrams_that_cannot_be_are_refused(lab, con, gso_size, length, errno):
    journey = lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / bytes(length), gso_size=gso_size)
    assert journey.sender_error == errno


@pytest.mark.parametrize("device", ["netkit", "veth"])
def test_the_card_gets_segments_and_the_devices_before_it_the_whole(lab, device, moved):
    pod = lab.pod("pod", device=device)
    count = moved(pod.device, pod.pair.primary, lab.nic)
    with lab.nic.capture() as seen:
        journey = pod.send(tcp(lab.outside.ip, 4000, flags="FPA"), dev=pod.device, gso_size=1448)
    out, into, nic = count()
    assert (out["tx_packets"], into["rx_packets"], nic["tx_packets"]) == (1, 1, 3)
    assert "skb_gso_segment" in [h.function for h in journey.hops]
    frames = [frame.bytes for frame in seen.frames if frame.direction == "out"]  # on Linux each is answered
    assert [len(frame) - 66 for frame in frames] == [1448, 1448, 1104]
    assert [int.from_bytes(f[38:42], "big") - 1000 for f in frames] == [0, 1448, 2896]
    assert [f[47] & 0x09 for f in frames] == [0, 0, 0x09]  # FIN and PSH are the last one's
    ids = [int.from_bytes(f[18:20], "big") for f in frames]
    assert ids == [ids[0], ids[0] + 1, ids[0] + 2]
    for frame in frames:
        assert int.from_bytes(frame[16:18], "big") == len(frame) - 14
        assert checksum(frame[14:34]) == 0
        pseudo = frame[26:34] + b"\0\6" + (len(frame) - 34).to_bytes(2, "big")
        assert checksum(pseudo + frame[34:]) == 0


def test_datagrams_are_cut_up_at_the_card_too(lab):
    lab.host.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT) / bytes(2500), gso_size=1000)
    assert [len(r.payload) for r in lab.outside.received] == [1000, 1000, 500]


def test_veth_checks_no_mtu_of_a_gso_packet(lab):
    web = lab.pod("web", device="veth")
    web.listen(udp=PORT)
    web.device.set(mtu=500)
    packet = nk.IP(dst=web.ip) / nk.UDP(dport=PORT) / bytes(2000)
    assert lab.host.send(packet, gso_size=1000).fate.delivered
    assert not lab.host.send(nk.IP(dst=web.ip) / nk.UDP(dport=PORT) / bytes(1000)).fate.delivered


def test_a_router_with_a_smaller_mtu_ahead_says_so_or_cuts(lab, con):
    lab.nic.set(mtu=800)
    cut = con.send(nk.IP(dst=lab.outside.ip, flags=0) / nk.UDP(dport=PORT) / bytes(2000), gso_size=1000)
    assert cut.fate.delivered and [len(r.payload) for r in lab.outside.received] == [1000, 1000]
    packet = nk.IP(dst=lab.outside.ip, flags="DF") / nk.UDP(dport=PORT) / bytes(2000)
    refused = con.send(packet, gso_size=1000)  # the last, for Linux learns from it
    assert refused.fate.reason == "PKT_TOO_BIG" and refused.replies[0].packet[20:22] == b"\3\4"


def looks(journey) -> list[str]:
    return [f"{hop.node}/{hop.device}" for hop in journey.hops if hop.function == "skb_gso_segment"]


def test_what_comes_from_outside_the_kernel_is_looked_at_before_every_device(lab, con):
    """SKB_GSO_DODGY; what a UDP socket makes is known to be right, and only the card must have it cut up."""
    ways = [f"con/{con.device.name}", "host/eth0"]
    frame = nk.Ether(dst=con.device.mac, src=con.device.mac) / tcp(lab.outside.ip, 4000)
    assert looks(con.send(frame, dev=con.device, gso_size=1400)) == ways
    datagrams = nk.IP(dst=lab.outside.ip) / nk.UDP(dport=PORT) / bytes(4000)
    assert looks(con.send(datagrams, gso_size=1400)) == ways[1:]


def test_its_segments_are_counted_by_the_first_device_and_not_before(lab, con, wide):
    first = con.pair.primary.attach_tcx(nk.compile(WIDE)["wide"], "egress")
    lab.host.send(tcp("10.0.1.77", 4000), dev=con.pair.primary, gso_size=1448)
    before, after = first.maps["seen"][0], wide.maps["seen"][0]
    assert (before["gso_segs"], after["gso_segs"]) == (ROWS["gso-segs"].on(lab.kernel), 3)
    assert before["wire_len"] == after["wire_len"] == 4066 + 2 * 66


@pytest.mark.parametrize(("length", "segments"), [(1436, 0), (1437, None), (1448, None), (1449, 2)])
def test_a_segment_that_would_do_without_its_options_is_none(lab, con, wide, moved, length, segments):
    """The packet socket takes it for two, the device finds that it is one (net/ipv4/tcp_offload.c: EINVAL)."""
    count = moved(con.pair.primary, con.device)
    journey = lab.host.send(tcp("10.0.1.77", length), dev=con.pair.primary, gso_size=1448)
    if segments is None:
        assert (journey.sender_error, journey.fate.kind) == ("ENOMEM", nk.FateKind.DROPPED)
        assert count() == [{"tx_dropped": 1}, {}] and wide.maps["seen"][0]["runs"] == 0
        assert journey.fate.reason == "a GSO packet of one segment, or with impossible headers"
    else:
        assert journey.sender_error is None and wide.maps["seen"][0]["gso_segs"] == segments


def test_a_card_throws_away_behind_its_queue_and_tells_nobody(lab):
    journey = lab.host.send(tcp("203.0.113.1", 1440), dev=lab.nic, gso_size=1448)
    assert (journey.sender_error, journey.fate.kind) == (None, nk.FateKind.DROPPED)
    assert lab.nic.stats.tx_dropped == 1


@pytest.mark.parametrize(("doff", "length", "errno"), [(4, 3000, "EINVAL"), (15, 30, "EINVAL"), (15, 3000, None)])
def test_a_tcp_header_that_cannot_be_is_no_gso_packets(lab, con, moved, doff, length, errno):
    errno = ROWS["short-tcp-header"].on(lab.kernel) if doff == 4 else errno
    count = moved(con.pair.primary)
    packet = nk.IP(dst="10.0.1.77") / nk.TCP(dport=PORT, dataofs=doff) / bytes(length)
    assert lab.host.send(packet, dev=con.pair.primary, gso_size=1000).sender_error == errno
    assert count()[0] == ({"tx_dropped": 1} if doff == 4 else {} if errno else sent(1, 54 + length))


@pytest.mark.parametrize(("length", "window"), [(3000, 3054), (4025, 4079), (4026, 54), (9000, 54)])
def test_what_is_shorter_than_a_page_lies_in_one_piece(lab, con, wide, length, window):
    packet = nk.IP(dst="10.0.1.77") / nk.TCP(dport=PORT) / bytes(length)
    lab.host.send(packet, dev=con.pair.primary, gso_size=1000)
    assert wide.maps["seen"][0]["window"] == window


@pytest.mark.parametrize(("length", "packets"), [(65493, 1), (65494, 47), (65507, 47)])
def test_what_is_longer_than_devices_take_at_once_is_cut_before_them(lab, con, moved, length, packets):
    """65536 bytes with the Ethernet header are too many (gso_ipv4_max_size)."""
    count = moved(con.pair.primary)
    lab.host.send(nk.IP(dst=con.ip) / nk.UDP(dport=PORT) / bytes(length), gso_size=1400)
    assert count() == [{"tx_packets": packets, "tx_bytes": packets * 42 + length}]


def test_only_what_can_be_cut_is_a_gso_packet(lab, con):
    with pytest.raises(nk.UsageError, match="via='udp'"):
        lab.host.send(nk.IP(dst=con.ip) / nk.ICMP() / bytes(3000), gso_size=1000)
    for frame in (nk.Ether() / nk.IP(dst=con.ip) / nk.ICMP() / bytes(3000), nk.Ether() / bytes(3000)):
        journey = lab.host.send(frame, dev=con.pair.primary, gso_size=1000)
        assert journey.sender_error == "EINVAL"


def test_a_long_frame_arrives_as_it_was_sent(lab, con):
    """Of which the kernel keeps all but the headers in pages of their own."""
    con.pair.primary.set(mtu=9000)
    payload = bytes(range(256)) * 20
    frame = nk.Ether() / nk.IP(src=con.gateway, dst=con.ip) / nk.UDP(dport=PORT) / payload
    journey = lab.host.send(frame, dev=con.pair.primary)
    assert journey.fate.delivered and journey.arrived[28:] == payload == con.received[0].payload

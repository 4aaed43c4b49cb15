"""What a packet socket makes of a frame's headers shows in how far a program may cut it (net/packet/af_packet.c)."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.backend import SendRequest
from netkit_edu.kernels import ROWS

CUT = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __s64); }
    numbers SEC(".maps");

SEC("netkit/primary") int cut(struct __sk_buff *skb)
{
    __u32 zero = 0, one = 1;
    __s64 *length = bpf_map_lookup_elem(&numbers, &zero), *answer = bpf_map_lookup_elem(&numbers, &one);

    if (!length || !answer)
        return NETKIT_DROP;
    *answer = bpf_skb_change_tail(skb, *length, 0);
    return NETKIT_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""
IPV4 = bytes(nk.IP(src="10.0.1.1", dst="10.0.1.2") / nk.UDP(dport=7) / bytes(60))
OPTIONS = bytes(nk.IP(src="10.0.1.1", dst="10.0.1.2", options=[b"\x01\x01\x01\x01"]) / nk.UDP(dport=7) / bytes(60))
LEAST = {  # ethertype, what follows it -> bytes that must stay, or the row of the table of kernels that says how many
    "IPv4": (0x0800, IPV4, 34),
    "IPv4 with options": (0x0800, OPTIONS, 38),
    "IPv4, a header too short": (0x0800, b"\x44" + IPV4[1:], 14),
    "IPv4, cut": (0x0800, IPV4[:19], 14),
    "IPv6": (0x86DD, b"\x60" + bytes(5) + b"\x11" + bytes(60), 54),
    "IPv6, options": (0x86DD, b"\x60" + bytes(5) + b"\x3c" + bytes(33) + b"\x11\1" + bytes(58), 70),
    "IPv6, hops, route": (0x86DD, b"\x60" + bytes(39) + b"\x2b" + bytes(7) + b"\x11" + bytes(50), 70),
    "IPv6, a fragment": (0x86DD, b"\x60" + bytes(5) + b"\x2c" + bytes(33) + b"\x11" + bytes(50), 62),
    "IPv6, options of options": (0x86DD, b"\x60" + bytes(39) + bytes(160), 182),
    "IPv6, options cut": (0x86DD, b"\x60" + bytes(39) + b"\x11", 14),
    "IPv6, longer options": (0x86DD, b"\x60" + bytes(39) + b"\x11\3" + bytes(6), 62),
    "ARP": (0x0806, bytes(28), 14),
    "one tag": (0x8100, b"\0\1\x08\0" + IPV4, "cut-tag"),
    "two tags": (0x88A8, b"\0\1\x81\0\0\1\x08\0" + IPV4, "cut-tags"),
    "a tag, nothing known": (0x8100, b"\0\1\x12\x34" + bytes(60), 18),
    "half a tag": (0x8100, b"\0\1\x08", 14),
    "nothing known": (0x1234, bytes(60), 14),
}


@pytest.mark.parametrize("what", LEAST)
def test_a_frame_is_cut_no_further_than_its_headers(lab, con, what):
    ethertype, data, least = LEAST[what]
    least = ROWS[least].on(lab.kernel) if least in ROWS else least
    attachment = con.pair.attach(nk.compile(CUT)["cut"])
    frame = bytes(12) + ethertype.to_bytes(2, "big") + data
    numbers = attachment.maps["numbers"]
    for length, answer in ((least - 1, -22), (least, 0)):
        numbers[0] = length
        lab.kernel_calls.send(lab.host.ns, SendRequest(frame, "packet", con.pair.primary.ifindex))
        assert numbers[1] == answer, (what, length)


@pytest.mark.parametrize("via", ["udp", "raw", "icmp"])
def test_a_sockets_packet_is_cut_down_to_its_ip_header(lab, con, via):
    """The checksum that a UDP socket leaves to the device goes with the rest."""
    attachment = con.pair.attach(nk.compile(CUT)["cut"])
    numbers = attachment.maps["numbers"]
    packet = nk.IP(dst=con.ip) / (nk.ICMP() if via == "icmp" else nk.UDP(dport=7)) / bytes(60)
    least = ROWS["cut-datagram"].on(lab.kernel) if via == "udp" else 34
    for length, answer in ((least - 1, -22), (least, 0), (least + 7, 0)):
        numbers[0] = length
        lab.host.send(packet, via=via)
        assert numbers[1] == answer, length


WINDOW = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __s64); }
    window SEC(".maps");

SEC("netkit/primary") int look(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __s64 *seen = bpf_map_lookup_elem(&window, &zero);

    if (seen)
        *seen = (long)skb->data_end - (long)skb->data;
    return NETKIT_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize(("length", "seen"), [(1000, 1000), (4079, 4079), (4080, 14), (5042, 14)])
def test_of_a_frame_longer_than_a_page_a_program_sees_the_device_header_alone(lab, con, hst, length, seen):
    """packet_alloc_skb: what does not fit a page with its reserve lies in fragments (net/packet/af_packet.c)."""
    hst.set(mtu=9000)
    frame = bytes(12) + b"\x88\xb5" + bytes(length - 14)
    with hst.attach(nk.compile(f'#include "netkit_edu.h"\n{WINDOW}')["look"]) as att:
        lab.kernel_calls.send(lab.host.ns, SendRequest(frame, "packet", hst.ifindex))
        assert att.maps["window"][0] == seen


@pytest.mark.parametrize(("tags", "seen"), [
    (b"\x81\0\0\1\x88\xb5", 18), (b"\x88\xa8\0\1\x88\xb5", 18), (b"\x88\xa8\0\1\x81\0\0\1\x88\xb5", 22),
    (b"\x81\0\0\1\0\0", 14),
])  # fmt: skip
def test_of_a_long_frames_tags_a_program_sees_all(lab, con, hst, tags, seen):
    """packet_parse_headers pulls them, unless no protocol is named behind (vlan_get_protocol_and_depth)."""
    hst.set(mtu=9000)
    frame = (bytes(12) + tags).ljust(5000, b"\0")
    with hst.attach(nk.compile(f'#include "netkit_edu.h"\n{WINDOW}')["look"]) as att:
        lab.kernel_calls.send(lab.host.ns, SendRequest(frame, "packet", hst.ifindex))
        assert att.maps["window"][0] == seen


@pytest.mark.parametrize(("ethertype", "length", "error"), [
    (0x8100, 1518, None), (0x8100, 1519, "EMSGSIZE"), (0x88A8, 1514, None), (0x88A8, 1518, "EMSGSIZE"),
])  # fmt: skip
def test_a_tag_may_stand_beyond_the_mtu(lab, con, hst, ethertype, length, error):
    """packet_extra_vlan_len_allowed: four bytes more for an 802.1Q tag (net/packet/af_packet.c)."""
    frame = (bytes(12) + ethertype.to_bytes(2, "big") + b"\0\1\x08\0" + IPV4).ljust(length, b"\0")
    journey = lab.kernel_calls.send(lab.host.ns, SendRequest(frame, "packet", hst.ifindex))
    assert journey.sender_error == error

"""Helpers that move the packet's bytes, against the kernel's: answer, packet, and what the context shows afterwards."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.test_helpers import PACKET, ask, machines

pytestmark = pytest.mark.kernel

IPV4 = bytes.fromhex("02000000000102000000000208004500003200010000401100000a000102c0000202") + bytes(range(100, 140))
IPV6 = bytes(12) + b"\x86\xdd\x60" + bytes(5) + b"\x11\x40" + bytes(range(100, 172))
TAGGED = bytes(range(12)) + b"\x81\x00\x20\x05\x08\x00" + IPV4[14:]
TWICE = bytes(range(12)) + b"\x88\xa8\x00\x07\x81\x00\x20\x05\x08\x00" + IPV4[14:]
PACKETS = {"ARP": PACKET, "IPv4": IPV4, "IPv6": IPV6, "tagged": TAGGED, "tagged twice": TWICE,
           "tagged, short": TAGGED[:16], "802.2": bytes(12) + b"\x81\0\0\1\0\3abc"}  # fmt: skip
every_packet = pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS)

# mix what the context says into mark and priority: length, protocol, tag; and compare data with data_end
SEEN = """
r9 = r0
r1 = *(u32 *)(r6 +0)
r2 = *(u32 *)(r6 +16)
r1 *= 65536
r1 ^= r2
*(u32 *)(r6 +8) = r1
r1 = *(u32 *)(r6 +20)
r2 = *(u32 *)(r6 +24)
r3 = *(u32 *)(r6 +28)
r1 *= 3
r1 += r2
r1 *= 65536
r1 ^= r3
*(u32 *)(r6 +32) = r1
r1 = *(u32 *)(r6 +76)
r2 = *(u32 *)(r6 +80)
r2 -= r1
*(u32 *)(r6 +48) = r2
r0 = r9
"""
TWO = "r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = *(u64 *)(r7 +8)\n"
FLAGS = (0, 1, 1 << 31, 1 << 32, 1 << 63)


@every_packet
def test_change_tail_cuts_and_fills_up_as_the_kernel_does(packet):
    with machines(TWO + "call bpf_skb_change_tail#38" + SEEN) as both:
        for length in (0, 1, 13, 14, 15, 20, 33, 34, 35, 60, 64, 65, 100, 4000, 16063, 16064, 16065, 1 << 16, -1):
            assert ask(both, length, packet=packet) == [], length
        for flags in FLAGS:
            assert ask(both, 40, flags, packet=packet) == [], flags


@every_packet
def test_change_head_puts_zeros_in_front_as_the_kernel_does(packet):
    with machines(TWO + "call bpf_skb_change_head#43" + SEEN) as both:
        for room in (0, 1, 14, 18, 64, 200, 255, 256, 1000, 4000, 15_000, 17_000, 1 << 16, 1 << 31, -1):
            assert ask(both, room, packet=packet) == [], room
        for flags in FLAGS:
            assert ask(both, 14, flags, packet=packet) == [], flags


ADJUST = TWO + "r4 = *(u64 *)(r7 +24)\ncall bpf_skb_adjust_room#50" + SEEN


@every_packet
@pytest.mark.parametrize("mode", [0, 1, 2, 1 << 31])
def test_adjust_room_moves_the_headers_the_kernel_moves(packet, mode):
    diffs = (0, 1, 4, 20, 28, 40, 4095, 4096, -1, -4, -8, -20, -28, -36, -40, -41, -4095, -4096, 1 << 31)
    with machines(ADJUST) as both:
        for diff in diffs:
            assert ask(both, diff, mode, r5=0, packet=packet) == [], diff


@pytest.mark.parametrize("packet", [IPV4, IPV6], ids=["IPv4", "IPv6"])
def test_adjust_room_takes_the_kernels_flags(packet):
    bits = (
        *(1 << bit for bit in range(11)),
        3,
        5,
        0x0A,
        0x1A,
        0x46,
        0x180,
        0x12,
        14 << 56 | 2,
        14 << 56 | 0x42,
        1 << 40,
    )
    with machines(ADJUST) as both:
        for flags, diff, mode in itertools.product(bits, (20, 8, -8, -20), (0, 1)):
            assert ask(both, diff, mode, r5=flags, packet=packet) == [], (hex(flags), diff, mode)


@every_packet
def test_change_proto_makes_room_as_the_kernel_does(packet):
    with machines(TWO + "call bpf_skb_change_proto#31" + SEEN) as both:
        for proto, flags in itertools.product((0x0008, 0xDD86, 0x0800, 0, 0x10008, 0x0081), FLAGS):
            assert ask(both, proto, flags, packet=packet) == [], (hex(proto), flags)


PUSH, POP = "r1 = r6\nr2 = {}\nr3 = {}\ncall bpf_skb_vlan_push#18\n", "r1 = r6\ncall bpf_skb_vlan_pop#19\n"
tags = st.lists(
    st.one_of(
        st.just(POP),
        st.tuples(
            st.sampled_from([0x0081, 0xA888, 0x0008, 0, -1]), st.sampled_from([0, 5, 0xFFF, 0xFFFF, 1 << 16])
        ).map(lambda pair: PUSH.format(*pair)),
    ),
    max_size=6,
)


@every_packet
def test_tags_go_on_and_off_as_in_the_kernel(packet):
    @settings(max_examples=60, deadline=None)
    @given(tags)
    def same(calls):
        with machines("r0 = 0\n" + "".join(calls) + SEEN) as both:
            assert ask(both, packet=packet) == []

    same()


moves = st.lists(
    st.one_of(
        st.sampled_from([POP, PUSH.format(0x81, 7)]),
        st.integers(0, 80).map(lambda n: f"r1 = r6\nr2 = {n}\nr3 = 0\ncall bpf_skb_change_head#43\n"),
        st.tuples(st.integers(-45, 60), st.integers(0, 1), st.sampled_from([0, 0, 1, 2, 4, 0x80, 0x100])).map(
            lambda a: f"r1 = r6\nr2 = {a[0]}\nr3 = {a[1]}\nr4 = {a[2]}\ncall bpf_skb_adjust_room#50\n"
        ),
        st.sampled_from([0x0008, 0xDD86]).map(lambda p: f"r1 = r6\nr2 = {p}\nr3 = 0\ncall bpf_skb_change_proto#31\n"),
        st.tuples(st.integers(0, 80), st.integers(0, 2)).map(
            lambda a: f"r1 = r6\nr2 = {a[0]}\nr3 = r8\nr4 = 16\nr5 = {a[1]}\ncall bpf_skb_load_bytes_relative#68\n"
        ),
    ),
    min_size=1,
    max_size=6,
)
# First only: TEST_RUN sets no transport header, and what the kernel takes for it after a reallocation is an accident.
# And never into the IP header: adjust_room then moves what happens to lie behind the packet's end.
first = st.one_of(
    st.just("r0 = 0\n"), st.integers(60, 200).map(lambda n: f"r1 = r6\nr2 = {n}\nr3 = 0\ncall bpf_skb_change_tail#38\n")
)


@pytest.mark.parametrize("packet", [IPV4, IPV6, TAGGED, PACKET], ids=["IPv4", "IPv6", "tagged", "ARP"])
def test_any_sequence_of_moves_ends_as_in_the_kernel(packet):
    @settings(max_examples=120, deadline=None)
    @given(first, moves)
    def same(cut, calls):
        keep = "r2 = *(u32 *)(r6 +52)\nr2 *= 31\nr2 ^= r0\n*(u32 *)(r6 +52) = r2\n"  # every answer counts
        with machines("".join(call + keep for call in (cut, *calls)) + SEEN) as both:
            assert ask(both, packet=packet) == []

    same()


@every_packet
@pytest.mark.parametrize("size", [1, 16, 40])
def test_load_bytes_relative_counts_from_the_kernels_headers(packet, size):
    text = f"r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = r8\nr4 = {size}\nr5 = *(u64 *)(r7 +8)\n"
    with machines(text + "call bpf_skb_load_bytes_relative#68") as both:
        for offset, start in itertools.product((0, 1, 14, 20, 34, 50, 74, 0xFFFF, 0x10000, -1), (0, 1, 2, -1)):
            assert ask(both, offset, start, packet=packet) == [], (offset, start)

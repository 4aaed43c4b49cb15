"""Redirect helpers: what they write down and ask of the world; tests/oracle holds their answers to the kernel's."""

from __future__ import annotations

import struct

import pytest

from netkit_edu.engine.redirect import EGRESS, INGRESS, NEIGH, PEER, NextHop, RedirectInfo
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from tests.engine.asm import executable

WIDE = "r1 = {:#x} ll\nr2 = {:#x} ll\ncall {}\nexit"
NEIGH_CALL = "r1 = {}\nr2 = {}\nr3 = {}\nr4 = {}\ncall bpf_redirect_neigh#152\nexit"


@pytest.mark.parametrize(
    ("helper", "flags", "kind"),
    [
        ("bpf_redirect#23", 0, EGRESS),
        ("bpf_redirect#23", 1, INGRESS),
        ("bpf_redirect#23", 2, None),
        ("bpf_redirect#23", 1 << 63, None),
        ("bpf_redirect_peer#155", 0, PEER),
        ("bpf_redirect_peer#155", 1, None),
    ],
)
def test_a_redirect_is_written_down_and_bad_flags_are_a_drop(helper, flags, kind):
    skb = SkBuff(bytes(60))
    code = executable(WIDE.format(7 << 32 | 5, flags, helper)).run(skb)
    assert (code, skb.redirect) == ((2, None) if kind is None else (7, RedirectInfo(kind, 5, flags)))


def test_the_last_redirect_counts_and_a_refused_one_changes_nothing():
    skb = SkBuff(bytes(60))
    text = "".join(
        f"r1 = {ifindex}\nr2 = {flags}\ncall bpf_redirect#23\n" for ifindex, flags in ((5, 0), (6, 1), (7, 4))
    )
    assert executable(text + "exit").run(skb) == 2
    assert skb.redirect == RedirectInfo(INGRESS, 6, 1)


@pytest.mark.parametrize(
    ("family", "nexthop"), [(2, NextHop(2, b"\x0a\0\0\1")), (10, NextHop(10, b"\x0a\0\0\1" + bytes(12)))]
)
def test_a_next_hop_goes_along(family, nexthop):
    skb = SkBuff(bytes(60))
    text = (
        f"*(u32 *)(r10 -20) = {family}\n*(u32 *)(r10 -16) = {0x0100000A}\n"
        "*(u64 *)(r10 -8) = 0\n*(u32 *)(r10 -12) = 0\nr2 = r10\nr2 += -20\n"
    )
    assert executable(text + NEIGH_CALL.format(3, "r2", 20, 0)).run(skb) == 7
    assert skb.redirect == RedirectInfo(NEIGH, 3, 0, nexthop)


def test_without_a_next_hop_a_route_is_to_be_looked_up():
    skb = SkBuff(bytes(60))
    assert executable(NEIGH_CALL.format(3, 0, 0, 0)).run(skb) == 7
    assert skb.redirect == RedirectInfo(NEIGH, 3)
    assert executable(NEIGH_CALL.format(4, 0, 0, 1)).run(skb) == 2
    assert skb.redirect.ifindex == 3


class Network(World):
    """Device 9 has an MTU of 1400 and takes copies; every route leads there."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def clone_redirect(self, skb, ifindex, flags):
        self.sent.append((skb.bytes, ifindex, flags))
        return 1

    def fib_lookup(self, skb, params, flags):
        return 7, params[:8] + struct.pack("<I", 9) + params[12:]

    def device_mtu(self, skb, ifindex):
        return (1400, 14) if ifindex == 9 else None


def test_a_copy_is_sent_as_the_packet_is_now():
    world, skb = Network(), SkBuff(bytes(60))
    text = "r6 = r1\nr2 = *(u32 *)(r1 +76)\n*(u8 *)(r2 +0) = 255\nr2 = 9\nr3 = 1\ncall bpf_clone_redirect#13\nexit"
    # the write is behind no bounds check: here every access is checked as it happens
    assert executable(text).run(skb, world) == 1
    assert world.sent == [(b"\xff" + bytes(59), 9, 1)]
    assert skb.redirect is None


def test_what_a_route_lookup_found_is_written_back():
    text = (
        "".join(f"*(u64 *)(r10 {at}) = 0\n" for at in range(-64, 0, 8))
        + "*(u8 *)(r10 -64) = 2\nr2 = r10\nr2 += -64\nr3 = 64\nr4 = 0\ncall bpf_fib_lookup#69\n"
        "r1 = *(u32 *)(r10 -56)\nr0 <<= 8\nr0 |= r1\nexit"
    )
    assert executable(text).run(SkBuff(bytes(60)), Network()) == 7 << 8 | 9


@pytest.mark.parametrize(
    ("packet", "given", "diff", "flags", "answer"),
    [
        (1414, 0, 0, 0, 0), (1415, 0, 0, 0, 1), (1415, 0, -1, 0, 0), (60, 1400, 0, 0, 0), (60, 1401, 0, 0, 1),
        (60, 1401, 0, 1, -22), (60, 0, 1, 1, -22), (60, 0, 0, 2, -22), (1415, 0, 0, 1, 1),
    ],
)  # fmt: skip
def test_a_length_is_compared_with_the_mtu(packet, given, diff, flags, answer):
    text = (
        f"*(u32 *)(r10 -4) = {given}\nr2 = 9\nr3 = r10\nr3 += -4\nr4 = {diff}\nr5 = {flags}\ncall bpf_check_mtu#163\n"
        "r1 = *(u32 *)(r10 -4)\n*(u32 *)(r6 +8) = r1\nexit"
    )
    skb = SkBuff(bytes(packet))
    assert executable("r6 = r1\n" + text).run(skb, Network()) == answer
    assert skb.mark == (given if answer < 0 else 1400)


@pytest.mark.parametrize(("gso_size", "flags", "answer"), [(1348, 1, 0), (1349, 1, 2), (1349, 0, 0)])
def test_segments_are_compared_with_the_mtu_when_asked(gso_size, flags, answer):
    skb = SkBuff(bytes(46) + b"\x80" + bytes(6000))
    skb.network_header, skb.transport_header = skb.data + 14, skb.data + 34
    skb.gso_size, skb.gso_segs, skb.gso_type = gso_size, 5, 1
    text = f"*(u32 *)(r10 -4) = 0\nr2 = 9\nr3 = r10\nr3 += -4\nr4 = 0\nr5 = {flags}\ncall bpf_check_mtu#163\nexit"
    assert executable(text).run(skb, Network()) == answer

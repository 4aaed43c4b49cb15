"""Helpers on the packet's metadata against the kernel's: what they answer, and what the context shows afterwards."""

from __future__ import annotations

import itertools
import random

import pytest

from netkit_edu import uapi
from netkit_edu.program.object import MapSpec
from tests.oracle.test_helpers import KEY, PACKET, ask, machines

pytestmark = pytest.mark.kernel


def test_change_type_takes_the_kernels_types():
    text = "r1 = r6\nr2 = *(u64 *)(r7 +0)\ncall bpf_skb_change_type#32\nr1 = *(u32 *)(r6 +4)\n*(u32 *)(r6 +8) = r1"
    with machines(text) as both:
        for pkt_type in (*range(9), 255, 256, 1 << 31, 1 << 32, -1):
            assert ask(both, pkt_type) == [], pkt_type


SEEN = """
r9 = r0
r1 = *(u64 *)(r6 +152)
*(u32 *)(r6 +8) = r1
r1 = *(u8 *)(r6 +180)
*(u32 *)(r6 +32) = r1
r0 = r9
"""


@pytest.mark.parametrize("ethertype", ["0800", "86dd", "0806"])
def test_set_tstamp_takes_the_kernels_clocks(ethertype):
    packet = bytes(12) + bytes.fromhex(ethertype) + bytes(60)
    text = "r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = *(u64 *)(r7 +8)\ncall bpf_skb_set_tstamp#192"
    with machines(text + SEEN) as both:
        for tstamp, clock in itertools.product((0, 1, 1 << 40, -1), (0, 1, 2, 3, 4, -1, 1 << 32)):
            assert ask(both, tstamp, clock, packet=packet) == [], (tstamp, clock)


def test_csum_level_goes_up_and_down_as_in_the_kernel():
    call = "r1 = r6\nr2 = {}\ncall bpf_csum_level#135\n"
    keep = "r2 = *(u32 *)(r6 +48)\nr2 *= 31\nr2 ^= r0\n*(u32 *)(r6 +48) = r2\n"
    r = random.Random(3)
    for _ in range(60):
        steps = [call.format(r.choice((0, 1, 1, 1, 2, 2, 3, 4))) + keep + call.format(0) + keep for _ in range(8)]
        with machines("".join(steps)) as both:
            assert ask(both) == []


def test_csum_update_wants_a_sum_of_the_device():
    with machines("r1 = r6\nr2 = *(u64 *)(r7 +0)\ncall bpf_csum_update#40") as both:
        assert ask(both, 7) == []


HASHES = {
    "set": "r1 = r6\nr2 = {}\ncall bpf_set_hash#48\n",
    "forget": "r1 = r6\ncall bpf_set_hash_invalid#41\n",
    "write": "r1 = r6\nr2 = 14\nr3 = r8\nr4 = 4\nr5 = 2\ncall bpf_skb_store_bytes#9\n",
}


def test_a_hash_that_was_set_stays_until_it_is_forgotten():
    look = "r9 = *(u32 *)(r6 +68)\nr8 = *(u32 *)(r6 +52)\nr8 *= 31\nr8 ^= r9\n*(u32 *)(r6 +52) = r8\n"
    recalc = "r1 = r6\ncall bpf_get_hash_recalc#34\n"
    r = random.Random(4)
    for _ in range(60):
        text = ""
        for _ in range(5):
            what = r.choice(("set", "forget"))
            text += HASHES[what].format(r.choice((0, 1, -1, r.getrandbits(31)))) + look
            if what == "set":  # one of the kernel's own making is another at every boot
                text += recalc + look
        with machines(text + "r0 = 0") as both:
            assert ask(both) == []


def test_strncmp_orders_texts_as_the_kernel_does():
    words = (b"", b"a", b"b", b"netkit", b"netkiT", b"netkit0", b"netk", b"\xff", b"netkit\0x")
    for size in (1, 4, 6, 7, 16):
        text = f"r1 = r8\nr2 = {size}\nr3 = map[fd:2][0]+0\ncall bpf_strncmp#182"
        for other in words:
            spec = MapSpec("word", uapi.BPF_MAP_TYPE_ARRAY, 4, 16, 1, flags=1 << 7, initial=other, readonly=True)
            with machines(text, spec) as both:
                for word in words:
                    ask(both)
                    both.store("buffer", KEY, word.ljust(64, b"\0"))
                    assert both.differences(PACKET) == [], (word, other, size)

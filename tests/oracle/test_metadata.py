"""Helpers on the packet's metadata against the kernel's: what they answer, and what the context shows afterwards."""

from __future__ import annotations

import pytest

from tests.oracle.test_helpers import ask, machines

pytestmark = pytest.mark.kernel


def test_change_type_takes_the_kernels_types():
    text = "r1 = r6\nr2 = *(u64 *)(r7 +0)\ncall bpf_skb_change_type#32\nr1 = *(u32 *)(r6 +4)\n*(u32 *)(r6 +8) = r1"
    with machines(text) as both:
        for pkt_type in (*range(9), 255, 256, 1 << 31, 1 << 32, -1):
            assert ask(both, pkt_type) == [], pkt_type

"""Redirect helpers against the kernel's: what they answer. TEST_RUN carries no redirect out."""

from __future__ import annotations

import itertools
import struct

import pytest

from tests.oracle.test_helpers import KEY, PACKET, ask, machines

pytestmark = pytest.mark.kernel

FLAGS = (0, 1, 2, 3, 4, 6, 8, 1 << 31, 1 << 32, 1 << 63)
NUMBERS = "r1 = *(u64 *)(r7 +0)\nr2 = *(u64 *)(r7 +8)\n"


@pytest.mark.parametrize("helper", ["bpf_redirect#23", "bpf_redirect_peer#155"])
def test_redirect_takes_the_kernels_flags(helper):
    with machines(NUMBERS + f"call {helper}") as both:
        for ifindex, flags in itertools.product((0, 1, 9999, -1), FLAGS):
            if helper == "bpf_redirect_peer#155" and flags == 2:
                continue  # BPF_F_EGRESS of later kernels
            assert ask(both, ifindex, flags) == [], (ifindex, flags)


@pytest.mark.parametrize("size", [0, 1, 4, 19, 20, 21, 64])
def test_redirect_neigh_takes_the_kernels_sizes_and_flags(size):
    text = f"r1 = *(u64 *)(r7 +0)\nr2 = r8\nr3 = {size}\nr4 = *(u64 *)(r7 +8)\ncall bpf_redirect_neigh#152"
    with machines(text) as both:
        for flags in FLAGS:
            assert ask(both, 1, flags) == [], flags


def test_redirect_neigh_goes_without_parameters():
    with machines("r1 = 1\nr2 = 0\nr3 = 0\nr4 = 0\ncall bpf_redirect_neigh#152") as both:
        assert ask(both) == []


def test_clone_redirect_refuses_flags_and_devices_that_are_not_there():
    text = "r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = *(u64 *)(r7 +8)\ncall bpf_clone_redirect#13"
    with machines(text) as both:
        for ifindex, flags in itertools.product((0, 99_999, -1), FLAGS):
            assert ask(both, ifindex, flags) == [], (ifindex, flags)


@pytest.mark.parametrize("size", [1, 63, 64])
def test_fib_lookup_refuses_what_the_kernel_refuses(size):
    text = f"r1 = r6\nr2 = r8\nr3 = {size}\nr4 = *(u64 *)(r7 +0)\ncall bpf_fib_lookup#69"
    with machines(text) as both:
        for family, flags in itertools.product((0, 2, 10, 11, 255), (0, 1, 2, 3, 4, 16, 63, 64, 1 << 31)):
            params = struct.pack("<BBHHHi", family, 17, 0, 0, 0, 99_999).ljust(64, b"\0")
            ask(both, flags)
            both.store("buffer", KEY, params)
            assert both.differences(PACKET) == [], (family, flags)


def test_check_mtu_answers_as_the_kernel_for_the_loopback():
    text = "r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = r8\nr4 = *(u64 *)(r7 +8)\nr5 = *(u64 *)(r7 +16)\ncall bpf_check_mtu#163"
    with machines(text) as both:
        for ifindex, given, diff, flags in itertools.product(
            (0, 1, 99_999), (0, 1, 65535, 65536, 65537), (0, 1, -1, 65486, 65487, -1000, 0x7FFFFFFF), (0, 1, 2, 1 << 32)
        ):
            ask(both, ifindex, diff, flags)
            both.store("buffer", KEY, struct.pack("<I", given).ljust(64, b"\0"))
            assert both.differences(PACKET) == [], (ifindex, given, diff, flags)

"""Each helper against the kernel's own: return code, packet, buffer, map, for arguments in and out of range."""

from __future__ import annotations

import itertools
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu import uapi
from netkit_edu.program.object import MapSpec
from tests.engine.asm import program
from tests.oracle.differential import TwoMachines

pytestmark = pytest.mark.kernel

KEY = bytes(4)
ARGUMENTS = MapSpec(
    "arguments", uapi.BPF_MAP_TYPE_ARRAY, 4, 40, 1
)  # what r2, r3, r4, r5 are to be, and one number more
BUFFER = MapSpec("buffer", uapi.BPF_MAP_TYPE_ARRAY, 4, 64, 1)
PACKET = bytes(12) + b"\x88\xb5" + bytes(range(50))  # 64 bytes
OFFSETS = (
    0,
    1,
    13,
    14,
    15,
    24,
    31,
    32,
    48,
    60,
    61,
    62,
    63,
    64,
    65,
    0xFFFE,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)
# r6 is the context, r7 the arguments, r8 a buffer of 64 bytes in a map
START = """
r6 = r1
*(u32 *)(r10 -4) = 0
r1 = map[fd:0]
r2 = r10
r2 += -4
call bpf_map_lookup_elem#1
if r0 != 0x0 goto +1
exit
r7 = r0
r1 = map[fd:1]
r2 = r10
r2 += -4
call bpf_map_lookup_elem#1
if r0 != 0x0 goto +1
exit
r8 = r0
"""


def machines(text: str, *more: MapSpec) -> TwoMachines:
    specs = (ARGUMENTS, BUFFER, *more)
    return TwoMachines(program(START + text + "\nexit", *(spec.name for spec in specs)), specs)


def ask(both: TwoMachines, r2: int = 0, r3: int = 0, r4: int = 0, r5: int = 0, packet: bytes = PACKET) -> list[str]:
    """Run with these arguments and a buffer full of 0xaa; return the differences."""
    both.store("arguments", KEY, struct.pack("<5Q", *(number & (1 << 64) - 1 for number in (r2, r3, r4, r5, 0))))
    both.store("buffer", KEY, b"\xaa" * 64)
    return both.differences(packet)


@pytest.mark.parametrize("size", [1, 2, 4, 13, 40, 64])
def test_load_bytes_copies_or_fills_with_zeros(size):
    text = f"r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = r8\nr4 = {size}\ncall bpf_skb_load_bytes#26"
    with machines(text) as both:
        for offset in OFFSETS:
            assert ask(both, offset) == [], offset


@pytest.mark.parametrize("size", [1, 2, 4, 13, 40, 64])
def test_store_bytes_takes_the_kernels_flags_and_offsets(size):
    text = f"r1 = r6\nr2 = *(u64 *)(r7 +0)\nr3 = r8\nr4 = {size}\nr5 = *(u64 *)(r7 +24)\ncall bpf_skb_store_bytes#9"
    with machines(text) as both:
        for offset, flags in itertools.product(OFFSETS, (0, 1, 2, 3, 4, 7, 8, 1 << 31, 1 << 32, 1 << 63)):
            assert ask(both, offset, r5=flags) == [], (offset, flags)


def test_pull_data_tells_whether_the_packet_is_long_enough():
    with machines("r1 = r6\nr2 = *(u64 *)(r7 +0)\ncall bpf_skb_pull_data#39") as both:
        for size in (0, 1, 14, 63, 64, 65, 1000, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32):
            assert ask(both, size) == [], size


CSUM_REPLACE = """
r1 = r6
r2 = *(u64 *)(r7 +0)
r3 = *(u64 *)(r7 +8)
r4 = *(u64 *)(r7 +16)
r5 = *(u64 *)(r7 +24)
"""
L3, L4 = CSUM_REPLACE + "call bpf_l3_csum_replace#10", CSUM_REPLACE + "call bpf_l4_csum_replace#11"


@pytest.mark.parametrize("text", [L3, L4], ids=["l3", "l4"])
def test_csum_replace_takes_the_kernels_flags_and_offsets(text):
    with machines(text) as both:
        for offset in OFFSETS:
            assert ask(both, offset, 0x0102, 0x0304, 2) == [], offset
        for flags in (*range(0x200), 1 << 16, 1 << 32, 1 << 63):
            for old in (0, 0x1234):
                assert ask(both, 24, old, 0xABCD5678, flags) == [], (old, hex(flags))


numbers = st.one_of(
    st.sampled_from([0, 1, 0xFFFF, 0xFFFF0000, 0xFFFFFFFF, 0xFFFE, 1 << 16]), st.integers(0, (1 << 64) - 1)
)
fields = st.one_of(st.sampled_from([0, 1, 0xFFFF, 0xFFFE, 0xFF]), st.integers(0, 0xFFFF))


@pytest.mark.parametrize("text", [L3, L4], ids=["l3", "l4"])
def test_csum_replace_computes_the_kernels_sum(text):
    sizes = st.sampled_from([0, 2, 4, 0x10, 0x12, 0x14, 0x22, 0x24, 0x20, 0x62, 0x74, 0x92])
    with machines(text) as both:

        @settings(max_examples=1500, deadline=None)
        @given(field=fields, old=numbers, new=numbers, flags=sizes)
        def same(field, old, new, flags):
            packet = PACKET[:24] + field.to_bytes(2, "little") + PACKET[26:]
            old = old if flags & 15 else 0
            assert ask(both, 24, old, new, flags, packet) == []

        same()


@pytest.mark.parametrize(("old_size", "new_size"), list(itertools.product((0, 4, 8, 32), repeat=2)))
def test_csum_diff_computes_the_kernels_sum(old_size, new_size):
    text = f"""
r1 = r8
r2 = {old_size}
r3 = r8
r3 += 32
r4 = {new_size}
r5 = *(u64 *)(r7 +0)
call bpf_csum_diff#28
"""
    r = random.Random(old_size * 64 + new_size)
    words = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\0\0", b"\0\0\xff\xff")
    with machines(text) as both:
        for _ in range(60):
            ask(both, r.choice((0, 1, 0xFFFFFFFF, 0xFFFF, 0xFFFF0000, r.getrandbits(64))))
            filled = b"".join(r.choice((*words, r.randbytes(4))) for _ in range(16))
            both.store("buffer", KEY, filled)
            assert both.differences(PACKET) == [], filled


MAP_CALLS = """
r1 = map[fd:2]
r2 = r7
r3 = r8
r4 = *(u64 *)(r7 +24)
r5 = *(u64 *)(r7 +16)
if r5 == 0x0 goto +2
call bpf_map_update_elem#2
exit
call bpf_map_delete_elem#3
"""


@pytest.mark.parametrize(
    "spec",
    [
        MapSpec("used", uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 3),
        MapSpec("used", uapi.BPF_MAP_TYPE_HASH, 4, 8, 3),
        MapSpec("used", uapi.BPF_MAP_TYPE_HASH, 8, 16, 2, flags=1),
        MapSpec("used", uapi.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 3),
        MapSpec("used", uapi.BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 3, flags=1),
        MapSpec("used", uapi.BPF_MAP_TYPE_LRU_HASH, 4, 8, 1000),
        MapSpec("used", uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 1000),
        MapSpec("used", uapi.BPF_MAP_TYPE_LPM_TRIE, 8, 4, 3, flags=1),
    ],
    ids=["array", "hash", "hash without preallocation", "per-CPU array", "per-CPU hash", "LRU", "per-CPU LRU", "trie"],
)
def test_map_helpers_return_the_kernels_errors(spec):
    r = random.Random(spec.key_size * spec.value_size)
    look_up = "*(u32 *)(r6 +8) = 77\nr1 = map[fd:2]\nr2 = r7\ncall bpf_map_lookup_elem#1\nif r0 == 0x0 goto +2\n"
    look_up += "r1 = *(u32 *)(r0 +0)\n*(u32 *)(r6 +8) = r1\n"
    with machines(look_up + MAP_CALLS, spec) as both:
        for _ in range(600):
            flags = r.choice((0, 0, 1, 2, 2, 3, 4, 5, 6, 8, 1 << 32, (1 << 64) - 1))
            assert ask(both, r.randrange(5), 0, r.randrange(3), flags) == []


FORMATS = (
    "plain", "", "%d", "%i %u %x", "%X", "%ld %lu %lx", "%lld %llu %llx", "100%% sure", "%%%d", "%5d|", "%-5d|",
    "%05d|", "%+d", "% d", "%+5d|", "%20llx|", "%-20llx|", "%020lld|", "%2d|", "%s", "%s and %s", "%10s|", "%-10s|",
    "%c", "%c%c", "%p", "%px", "%pK", "%pI4", "%pi4", "%pI6", "%pi6", "%d %d %d", "%d %d %d %d", "%h", "%hd", "%f", "%",
    "% ", "%5", "%l", "%lll", "%.3d", "%#x", "%*d", "%sx", "%s.", "%s_", "%pq", "%p.", "%p_", "tab\there", "line\n",
    "two\nlines\n", "\x01", "%ks", "%pks", "%0", "%-", "%5%", "%03d %-4u!", "%3000d", "%99999x|",
)  # fmt: skip


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("number", [0, 7, -1, 0x123456789ABCDEF0], ids=hex)
def test_trace_printk_returns_the_kernels_length(text, number):
    raw = text.encode("latin-1") + b"\0"
    raw += bytes(-len(raw) % 8)
    stores = "".join(
        f"r1 = {int.from_bytes(raw[at : at + 8], 'little'):#x} ll\n*(u64 *)(r10 {-64 + at:+d}) = r1\n"
        for at in range(0, len(raw), 8)
    )
    argument = "r5 = r10\nr5 += -8\nr4 = r5\nr3 = r5" if any(k in text for k in ("s", "pI", "pi")) else (
        f"r3 = {number & (1 << 64) - 1:#x} ll\nr4 = r3\nr5 = r3"
    )  # fmt: skip
    with machines(
        f"r1 = 0x21006968 ll\n*(u64 *)(r10 -8) = r1\n{stores}r1 = r10\nr1 += -64\nr2 = {len(raw)}\n{argument}\n"
        "call bpf_trace_printk#6"
    ) as both:
        assert ask(both) == []


def test_trace_printk_refuses_a_format_without_its_end():
    with machines("r1 = r8\nr2 = 64\nr3 = 0\nr4 = 0\nr5 = 0\ncall bpf_trace_printk#6") as both:
        assert ask(both) == []

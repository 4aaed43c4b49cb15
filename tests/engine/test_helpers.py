"""Helpers by themselves: what reaches packet and world. tests/oracle holds their return codes to the kernel's."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu.engine import checksum, printk
from netkit_edu.engine.helpers import HELPERS
from netkit_edu.engine.memory import FRAME, Frame, Memory, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.program.opcodes import HELPER_NAMES
from tests.engine.asm import executable


def printed(fmt: str, *numbers: int) -> str:
    result = printk.bstr_printf(fmt.encode() + b"\0", numbers, Memory({}))
    assert result is not None and result[0] == len(result[1])
    return result[1]


def test_helpers_are_registered_under_their_numbers():
    assert HELPERS.keys() >= {*range(1, 4), *range(5, 12), 13, 23, 26, 28, 39, 69, 152, 155, 163}
    assert {number: helper.name for number, helper in HELPERS.items()}.items() <= HELPER_NAMES.items()
    assert HELPERS[9].arguments == 5


i32, i64 = st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 63), (1 << 63) - 1)


@settings(max_examples=200)
@given(st.sampled_from(["%d", "%5d", "%-12d|", "%012d", "%+d", "% d", "%i"]), i32)
def test_printk_formats_signed_numbers_as_c_does(fmt, number):
    assert printed(fmt, number & (1 << 64) - 1) == fmt % number


@settings(max_examples=200)
@given(st.sampled_from(["%u", "%x", "%X", "%08x", "%-20x|", "%20u"]), st.integers(0, (1 << 32) - 1))
def test_printk_formats_unsigned_numbers_as_c_does(fmt, number):
    assert printed(fmt, number | 7 << 32) == fmt % number


@settings(max_examples=200)
@given(i64)
def test_printk_formats_long_numbers_as_c_does(number):
    assert printed("%ld %lld %llx", number, number, number) == f"{number} {number} {number & (1 << 64) - 1:x}"


def test_printk_reads_strings_and_addresses_from_memory():
    frame = Frame(0)
    frame.write(0, b"netkit\0" + bytes(9) + bytes([192, 0, 2, 1]))
    memory = Memory({FRAME: frame})
    text, ip = address_of(FRAME), address_of(FRAME, 16)
    assert (
        printk.bstr_printf(b"%s at %pI4, %pi4\0", (text, ip, ip), memory)[1] == "netkit at 192.0.2.1, 192.000.002.001"
    )
    assert printk.bstr_printf(b"[%s]\0", (0,), memory) == (2, "[]")


def test_printk_keeps_the_text_short_and_counts_all_of_it():
    length, text = printk.bstr_printf(b"%2000000000d\0", (1,), Memory({}))
    assert (length, len(text)) == (2_000_000_000, 1023)


def test_trace_printk_goes_to_the_world_line_by_line():
    words = struct.unpack("<2Q", b"len %d\n\0".ljust(16, b"\0"))
    text = f"""
r3 = *(u32 *)(r1 +0)
r2 = {words[0]:#x} ll
*(u64 *)(r10 -8) = r2
r1 = r10
r1 += -8
r2 = 8
call bpf_trace_printk#6
exit
"""
    world = World()
    assert executable(text).run(SkBuff(bytes(99)), world) == len("len 99\n")
    assert list(world.trace) == ["len 99"]


def test_the_worlds_own_clock_cpu_and_numbers_reach_the_program():
    class Other(World):
        def ktime_get_ns(self):
            return 1 << 40

        def get_prandom_u32(self):
            return 0xFFFFFFFF

        def get_smp_processor_id(self):
            return 3

    text = "call {}\nr0 >>= {}\nexit"
    for helper, shift, value in (("bpf_ktime_get_ns#5", 30, 1 << 10), ("bpf_get_prandom_u32#7", 1, (1 << 31) - 1),
                                 ("bpf_get_smp_processor_id#8", 0, 3)):  # fmt: skip
        assert executable(text.format(helper, shift)).run(SkBuff(bytes(14)), Other()) == value


def test_store_bytes_makes_what_it_writes_linear():
    skb = SkBuff(bytes(200))
    skb.linear, skb.hash = 50, 77
    text = "*(u32 *)(r10 -4) = -1\nr2 = 100\nr3 = r10\nr3 += -4\nr4 = 4\nr5 = 2\ncall bpf_skb_store_bytes#9\nexit"
    assert executable(text).run(skb) == 0
    assert skb.bytes[98:106] == b"\0\0\xff\xff\xff\xff\0\0"
    assert (skb.headlen, skb.hash) == (104, 0)


def test_load_bytes_reaches_beyond_the_linear_part():
    skb = SkBuff(bytes(range(200)))
    skb.linear = 20
    text = "r2 = 150\nr3 = r10\nr3 += -1\nr4 = 1\ncall bpf_skb_load_bytes#26\nr0 = *(u8 *)(r10 -1)\nexit"
    assert executable(text).run(skb) == 150
    assert skb.headlen == 20


def internet_checksum(data: bytes) -> int:
    """RFC 1071, straight from its text, in network byte order."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@settings(max_examples=300)
@given(st.binary(min_size=20, max_size=20), st.binary(min_size=4, max_size=4))
def test_a_mended_checksum_is_the_one_computed_afresh(header, new):
    header = header[:10] + b"\0\0" + header[12:]
    before = internet_checksum(header)
    old, changed = header[12:16], header[:12] + new + header[16:]
    little = struct.unpack("<H", struct.pack(">H", before))[0]
    mended = checksum.replace4(little, int.from_bytes(old, "little"), int.from_bytes(new, "little"))
    afresh = struct.unpack("<H", struct.pack(">H", internet_checksum(changed)))[0]
    assert mended % 0xFFFF == afresh % 0xFFFF
    by_diff = checksum.replace_by_diff(little, checksum.diff(old, new, 0))
    assert by_diff % 0xFFFF == afresh % 0xFFFF


def test_a_partial_checksum_is_mended_for_the_pseudo_header_only():
    text = "r2 = 24\nr3 = 1\nr4 = 2\nr5 = {}\ncall bpf_l4_csum_replace#11\nexit"
    for flags, changed in ((4, False), (0x14, True)):
        skb = SkBuff(bytes(range(64)))
        skb.ip_summed = checksum.PARTIAL
        assert executable(text.format(flags)).run(skb) == 0
        assert (skb.bytes[24:26] != b"\x18\x19") == changed


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_csum_diff_takes_whole_words_only(size):
    text = f"r1 = r10\nr1 += -8\nr2 = {size}\nr3 = 0\nr4 = 0\nr5 = 0\ncall bpf_csum_diff#28\nexit"
    assert executable(text).run(SkBuff(bytes(14))) == -22


def test_the_type_of_an_outgoing_packet_stays():
    skb = SkBuff(bytes(60))
    skb.pkt_type = 4
    assert executable("r2 = 0\ncall bpf_skb_change_type#32\nexit").run(skb) == -22
    assert skb.pkt_type == 4

"""Memory faults: each says in plain words what was touched, how much of it, and why that is not there."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.memory import FRAME, PACKET, Bytes, Fault, Frame, Memory, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import ProgramFault
from netkit_edu.program.object import MapSpec
from tests.engine.asm import executable

DATA = "r2 = *(u32 *)(r1 +76)\n"
LOOKUP = "*(u32 *)(r10 -4) = 0\nr1 = map[fd:0]\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem#1\n"


def array(**options) -> dict:
    return {"counts": maps.create(MapSpec("counts", uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 3, **options))}


def fault(text: str, skb: SkBuff | None = None, used: dict | None = None) -> ProgramFault:
    with pytest.raises(ProgramFault) as caught:
        executable(text + "\nexit", used).run(skb or SkBuff(bytes(14)))
    return caught.value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DATA + "r0 = *(u32 *)(r2 +14)", "read of 4 bytes at packet+14: the packet has 14 bytes"),
        (DATA + "r0 = *(u32 *)(r2 +11)", "read of 4 bytes at packet+11: the packet has 14 bytes"),
        (DATA + "r0 = *(u8 *)(r2 -1)", "read of 1 byte at packet-1: the packet has 14 bytes"),
        (DATA + "*(u16 *)(r2 +13) = 1", "write of 2 bytes at packet+13: the packet has 14 bytes"),
        ("r0 = *(u64 *)(r10 +0)", "read of 8 bytes at fp+0 (stack): a stack frame is the 512 bytes from fp-512"),
        ("*(u64 *)(r10 -520) = 1", "write of 8 bytes at fp-520 (stack)"),
        ("r0 = 0\nr0 = *(u32 *)(r0 +8)", "read of 4 bytes at address 0x8: a null pointer"),
        ("r0 = 0x123456789abc ll\nr0 = *(u32 *)(r0 +0)", "read of 4 bytes at 0x123456789abc: this number is no"),
        ("r0 = -1\n*(u8 *)(r0 +0) = 1", "write of 1 byte at 0xffffffffffffffff: this number is no address"),
        ("r0 = *(u32 *)(r1 +92)", "invalid bpf_context access off=92 size=4: remote_ip4 is not for programs"),
        ("*(u32 *)(r1 +4) = 1", "invalid bpf_context access off=4 size=4: pkt_type is read-only"),
        ("r0 = *(u64 *)(r1 +76)", "invalid bpf_context access off=76 size=8: a read of data takes 4 bytes"),
        ("r0 = *(u32 *)(r1 +192)", "invalid bpf_context access off=192 size=4: struct __sk_buff has 192 bytes"),
        ("r0 = *(u32 *)(r1 -4)", "invalid bpf_context access off=-4 size=4: struct __sk_buff has 192 bytes"),
        (DATA + "r3 = 1\nlock *(u32 *)(r2 +0) += r3", "atomic operation on packet: only stack and map values take one"),
        ("r3 = 1\nlock *(u32 *)(r1 +8) += r3", "atomic operation on context"),
    ],
)  # fmt: skip
def test_a_fault_says_what_is_not_there(text, said):
    assert said in fault(text).reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LOOKUP + "r0 = *(u64 *)(r0 +8)", "read of 8 bytes at value of map counts+8: value of map counts has 8 bytes"),
        (LOOKUP + "*(u32 *)(r0 -4) = 1", "write of 4 bytes at value of map counts-4"),
        ("r0 = map[fd:0]\nr0 = *(u64 *)(r0 +0)", "a map itself is not memory: bpf_map_lookup_elem gives a pointer"),
        (LOOKUP.replace("= 0\n", "= 3\n", 1) + "r0 = *(u64 *)(r0 +0)", "a null pointer (a map lookup that finds"),
        ("r1 = r10\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem#1", "the first argument is to be a map"),
        ("r1 = map[fd:0]\nr2 = r10\nr2 += -2\ncall bpf_map_lookup_elem#1", "read of 4 bytes at fp-2 (stack)"),
        ("r1 = 0\nr2 = 0\nr3 = r10\nr4 = 1\ncall bpf_skb_load_bytes#26", "the context pointer that the program"),
        ("r2 = 0\nr3 = r10\nr3 += -8\nr4 = 9\ncall bpf_skb_load_bytes#26", "read of 9 bytes at fp-8 (stack)"),
        ("r2 = 0\nr3 = r10\nr3 += -8\nr4 = 0\ncall bpf_skb_load_bytes#26", "a size of 0 bytes"),
        ("r2 = 0\nr3 = r10\nr3 += -8\nr4 = -1\ncall bpf_skb_load_bytes#26", "a size of 4294967295 bytes"),
        ("r2 = 0\nr3 = r1\nr4 = 4\ncall bpf_skb_load_bytes#26", "the context is not memory that a helper can read"),
    ],
)  # fmt: skip
def test_a_fault_of_maps_and_helpers_says_what_was_wanted(text, said):
    assert said in fault(text, used=array()).reason


def test_a_fault_carries_address_and_region():
    caught = fault(DATA + "r0 = *(u32 *)(r2 +14)")
    assert (caught.address, caught.region) == (address_of(PACKET, 14), "packet")


def test_only_the_linear_part_of_a_packet_can_be_touched():
    skb = SkBuff(bytes(1000))
    skb.linear = 66
    said = fault(DATA + "r0 = *(u8 *)(r2 +66)", skb).reason
    assert "the linear part of the packet has 66 bytes of 1000 (bpf_skb_pull_data makes more of it linear)" in said
    length = executable("r0 = *(u32 *)(r1 +80)\nr1 = *(u32 *)(r1 +76)\nr0 -= r1\nexit").run(skb)
    assert length == 66


def test_pull_data_makes_the_rest_reachable_for_who_reads_data_again():
    skb = SkBuff(bytes(range(200)))
    skb.linear = 66
    text = "r6 = r1\nr2 = 150\ncall bpf_skb_pull_data#39\nr2 = *(u32 *)(r6 +76)\nr0 = *(u8 *)(r2 +149)\nexit"
    assert executable(text).run(skb) == 149
    assert skb.headlen == 150


def test_a_read_only_value_cannot_be_written():
    used = {"counts": maps.create(MapSpec("counts", uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 1, initial=b"\x07", readonly=True))}
    assert executable("r1 = map[fd:0][0]+0\nr0 = *(u64 *)(r1 +0)\nexit", used).run(SkBuff(bytes(14))) == 7
    assert "counts is read-only" in fault("r1 = map[fd:0][0]+0\n*(u64 *)(r1 +0) = 1", used=used).reason
    assert "is read-only" in fault(LOOKUP + "*(u64 *)(r0 +0) = 1", used=used).reason
    update = "*(u64 *)(r10 -8) = 0\nr1 = map[fd:0]\nr2 = r10\nr2 += -8\nr3 = r2\nr4 = 0\ncall bpf_map_update_elem#2"
    assert "write into map forbidden" in fault(update, used=used).reason


def test_the_packet_pointer_fits_the_32_bit_field():
    assert address_of(PACKET, 65535 + 14) < 1 << 32


@settings(max_examples=400, deadline=None)
@given(st.integers(-600, 600), st.sampled_from([1, 2, 4, 8]), st.integers(0, (1 << 64) - 1))
def test_a_store_is_read_back_inside_a_region_and_faults_outside(offset, size, value):
    memory = Memory({FRAME: Frame(0), FRAME + 1: Bytes(FRAME + 1, "neighbour", bytearray(b"\x55" * 64))})
    address = address_of(FRAME, offset)
    if 0 <= offset <= 512 - size:
        memory.store(address, size, value)
        assert memory.load(address, size) == value & (1 << 8 * size) - 1
        assert memory.read(address, size) == (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    else:
        for action in (memory.load, memory.read):
            with pytest.raises(Fault, match=re.escape(f"fp{offset - 512:+d}")):
                action(address, size)
        with pytest.raises(Fault):
            memory.store(address, size, value)
    assert memory.read(address_of(FRAME + 1), 64) == b"\x55" * 64

"""What resizing does to packets that TEST_RUN cannot make: paged, segmented, tunnelled, half summed."""

from __future__ import annotations

import pytest

from netkit_edu.engine import checksum
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from tests.engine.asm import executable

TAIL = "r2 = {}\nr3 = 0\ncall bpf_skb_change_tail#38\nexit"
ROOM = "r2 = {}\nr3 = {}\nr4 = {}\ncall bpf_skb_adjust_room#50\nexit"


def ip_packet(length: int = 200) -> SkBuff:
    skb = SkBuff(bytes(12) + b"\x08\x00\x45" + bytes(length - 15), protocol=0x0800)
    skb.network_header, skb.transport_header = skb.data + 14, skb.data + 34
    return skb


@pytest.mark.parametrize(("length", "answer"), [(33, -22), (34, 0), (300, 0)])
def test_the_headers_of_a_packet_cannot_be_cut_off(length, answer):
    skb = ip_packet()
    skb.linear = 60
    assert executable(TAIL.format(length)).run(skb) == answer
    assert (len(skb), skb.headlen) == ((length, length) if answer == 0 else (200, 60))


def test_a_checksum_that_the_device_is_to_fill_in_may_be_cut_off():
    skb = ip_packet()
    skb.ip_summed, skb.csum_start, skb.csum_offset = checksum.PARTIAL, skb.transport_header, 6
    assert executable(TAIL.format(33)).run(skb) == -22
    assert executable(TAIL.format(34)).run(skb) == 0


def test_cutting_ends_segmentation():
    skb = ip_packet()
    skb.gso_size, skb.gso_segs, skb.gso_type = 50, 4, 1
    assert executable(TAIL.format(100)).run(skb) == 0
    assert (skb.gso_size, skb.gso_segs, skb.gso_type) == (0, 0, 0)


@pytest.mark.parametrize(
    ("gso_type", "flags", "answer", "gso_size"),
    [(1, 0, 0, 1428), (1, 1, 0, 1448), (1 << 17, 0, -524, 1448), (1 << 17, 1, 0, 1448)],
)  # fmt: skip
def test_room_in_a_packet_of_many_segments_makes_each_shorter(gso_type, flags, answer, gso_size):
    skb = ip_packet(3000)
    skb.gso_size, skb.gso_segs, skb.gso_type = 1448, 2, gso_type
    assert executable(ROOM.format(20, 1, flags)).run(skb) == answer
    assert (skb.gso_size, skb.gso_segs) == (gso_size, 2 if answer else 0)


def test_a_packet_is_put_into_one_tunnel_only():
    skb = ip_packet()
    assert executable(ROOM.format(40, 1, 4)).run(skb) == 0
    assert (skb.protocol, skb.network_header - skb.data, len(skb)) == (0x86DD, 14, 240)
    assert executable(ROOM.format(20, 1, 2)).run(skb) == -114
    assert executable(TAIL.format(100)).run(skb) == -524


def test_headers_behind_new_room_are_where_they_were():
    skb = ip_packet()
    transport = skb.buf[skb.transport_header :]
    executable(ROOM.format(8, 0, 0)).run(skb)
    assert skb.buf[skb.transport_header :] == transport
    assert skb.network_header - skb.data == 14


def test_flows_have_hashes():
    def flow_hash(port: int, ttl: int) -> int:
        skb = ip_packet()
        skb.buf[skb.network_header + 8], skb.buf[skb.network_header + 9] = ttl, 17
        skb.buf[skb.transport_header + 1] = port
        hashed = executable("call bpf_get_hash_recalc#34\nexit").run(skb)
        assert skb.hash == hashed & 0xFFFF_FFFF
        return hashed

    assert flow_hash(1, 64) == flow_hash(1, 63) != flow_hash(2, 64)


def test_clocks_and_the_current_task_are_the_worlds():
    class Other(World):
        def ktime_get_ns(self):
            return 13_000_000

        def get_current_pid_tgid(self):
            return 7 << 32 | 9

    for call, value in (("bpf_jiffies64#118", 3), ("bpf_ktime_get_coarse_ns#160", 12_000_000),
                        ("bpf_ktime_get_boot_ns#125", 13_000_000), ("bpf_get_current_pid_tgid#14", 9)):  # fmt: skip
        assert executable(f"call {call}\nexit").run(SkBuff(bytes(14)), Other()) == value


def test_a_sum_of_the_device_is_added_to():
    skb = ip_packet()
    skb.ip_summed, skb.csum = checksum.COMPLETE, 0xFFFF_FFFF
    assert executable("r2 = 2\ncall bpf_csum_update#40\nexit").run(skb) == 2

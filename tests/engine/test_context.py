"""Every field of ``struct __sk_buff``, read and written alone (net/core/filter.c:bpf_convert_ctx_access, 6.12)."""

from __future__ import annotations

import pytest

from netkit_edu.engine.context import Context
from netkit_edu.engine.memory import SOCKET, Fault, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.uapi import ETH_P_IP

# name: (offset in include/uapi/linux/bpf.h, bytes, a value that the packet has, what a program reads)
READ = {
    "pkt_type": (4, 4, 3, 3),
    "mark": (8, 4, 0x89ABCDEF, 0x89ABCDEF),
    "queue_mapping": (12, 4, 0x1234, 0x1234),
    "protocol": (16, 4, ETH_P_IP, 0x0008),  # network byte order, as a little-endian program sees it
    "vlan_present": (20, 4, 1, 1),
    "vlan_tci": (24, 4, 0x0FFE, 0x0FFE),
    "vlan_proto": (28, 4, 0x8100, 0x0081),
    "priority": (32, 4, 0x89ABCDEF, 0x89ABCDEF),
    "skb_iif": (36, 4, 71, 71),
    "tc_index": (44, 4, 0x4321, 0x4321),
    "hash": (68, 4, 0x13579BDF, 0x13579BDF),
    "tc_classid": (72, 4, 0x2468, 0x2468),
    "napi_id": (84, 4, 99, 99),
    "tstamp": (152, 8, 0x0123456789ABCDEF, 0x0123456789ABCDEF),
    "wire_len": (160, 4, 1514, 1514),
    "gso_segs": (164, 4, 36, 36),
    "gso_size": (176, 4, 1448, 1448),
}
WRITTEN = {"mark": 32, "queue_mapping": 16, "priority": 32, "tc_index": 16, "tc_classid": 16, "tstamp": 64}  # bits kept


class Device:
    ifindex = 42


def packet(**fields) -> SkBuff:
    skb = SkBuff(bytes(100))
    skb.dev = Device()
    for name, value in fields.items():
        setattr(skb, name, value)
    return skb


@pytest.mark.parametrize("name", READ)
def test_a_field_shows_what_the_packet_has_and_no_other_field_does(name):
    offset, size, value, shown = READ[name]
    assert Context(packet(**{name: value})).load(offset, size) == shown
    everything = packet(**{other: v for other, (_, _, v, _) in READ.items()})
    assert Context(everything).load(offset, size) == shown
    assert Context(packet()).load(offset, size) == 0


def test_the_fields_that_are_not_the_packets_alone():
    skb = packet()
    assert Context(skb).load(0, 4) == 100
    assert Context(skb).load(40, 4) == 42
    assert Context(skb).load(80, 4) - Context(skb).load(76, 4) == 100
    skb.linear = 66
    assert (Context(skb).load(0, 4), Context(skb).load(80, 4) - Context(skb).load(76, 4)) == (100, 66)
    assert Context(skb).load(168, 8) == 0
    skb.sk = object()
    assert Context(skb).load(168, 8) == address_of(SOCKET)


@pytest.mark.parametrize("name", READ)
def test_a_field_keeps_what_is_written_to_it_or_refuses_it(name):
    offset, size, _, _ = READ[name]
    skb, value = packet(), (1 << 8 * size) - 2
    if name not in WRITTEN:
        with pytest.raises(Fault, match=f"invalid bpf_context access off={offset} size={size}"):
            Context(skb).store(offset, size, value)
        assert getattr(skb, name) == getattr(packet(), name)
    elif name == "queue_mapping":  # too large a number leaves it alone
        Context(skb).store(offset, size, value)
        assert skb.queue_mapping == 0
        Context(skb).store(offset, size, 0xFFFE)
        assert skb.queue_mapping == 0xFFFE
    else:
        Context(skb).store(offset, size, value)
        assert getattr(skb, name) == value & (1 << WRITTEN[name]) - 1


def test_the_control_block_is_five_numbers_written_one_by_one_or_in_parts():
    skb = packet()
    for number in range(5):
        Context(skb).store(48 + 4 * number, 4, 0x01010101 * (number + 1))
    Context(skb).store(52, 1, 0xFF)
    Context(skb).store(58, 2, 0xABCD)
    assert skb.cb == [0x01010101, 0x020202FF, 0xABCD0303, 0x04040404, 0x05050505]
    assert Context(skb).load(56, 8) == 0x04040404_ABCD0303

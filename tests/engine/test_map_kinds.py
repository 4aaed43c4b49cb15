"""The kinds of map beyond array and hash: what is theirs alone. tests/oracle compares every kind with the kernel's."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.errors import ProgramFault, UsageError
from netkit_edu.program.object import MapSpec
from tests.engine.asm import executable
from tests.engine.test_maps import KEY, LOOKUP, refused

LRU, LPM = uapi.BPF_MAP_TYPE_LRU_HASH, uapi.BPF_MAP_TYPE_LPM_TRIE
PERCPU_HASH, PERCPU_ARRAY = uapi.BPF_MAP_TYPE_PERCPU_HASH, uapi.BPF_MAP_TYPE_PERCPU_ARRAY
COUNT = LOOKUP + "call bpf_map_lookup_elem#1\nif r0 == 0x0 goto +3\nr1 = 1\nlock *(u64 *)(r0 +0) += r1\nr0 = 1\nexit"


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


def make(kind: int, key_size: int = 4, value_size: int = 8, max_entries: int = 3, cpus: int = 1, flags: int = 0):
    return maps.create(MapSpec("m", kind, key_size, value_size, max_entries, flags), cpus=cpus)


# --- LRU ------------------------------------------------------------------------------------------------------------


def test_a_full_lru_hash_forgets_what_programs_used_longest_ago():
    m = make(LRU)
    for key in range(3):
        m.update(number(key), bytes(8))
    executable(LOOKUP.replace("= 1\n", "= 0\n", 1) + "call bpf_map_lookup_elem#1\nr0 = 0\nexit", {"m": m}).run(SkBuff())
    m.lookup(number(1))  # from user space, that is no use
    m.update(number(3), bytes(8))
    assert sorted(m.keys()) == [number(0), number(2), number(3)]


def test_an_update_of_an_lru_hash_that_is_refused_forgets_nothing():
    m = make(LRU)
    for key in range(3):
        m.update(number(key), bytes(8))
    with refused("ENOENT"):
        m.update(number(9), bytes(8), uapi.BPF_EXIST)
    assert len(m) == 3


# --- per CPU --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PERCPU_HASH, PERCPU_ARRAY, uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH])
def test_each_cpu_counts_for_itself(kind):
    m = make(kind, cpus=3)
    m.update(KEY, bytes(24))
    ready = executable(COUNT, {"m": m})
    for cpu in (0, 2, 2):
        assert ready.run(SkBuff(bytes(14)), World(cpu=cpu)) == 1
    assert m.lookup(KEY) == number(1, 8) + number(0, 8) + number(2, 8)


def test_user_space_sees_each_value_filled_up_to_eight_bytes():
    m = make(PERCPU_ARRAY, value_size=5, cpus=2)
    assert m.lookup(KEY) == bytes(16)
    m.update(KEY, b"abcde\0\0\0ABCDE\0\0\0")
    assert (m.value(KEY, 0), m.value(KEY, 1)) == (b"abcde", b"ABCDE")
    with pytest.raises(UsageError, match="a value has 16 bytes, not 5"):
        m.update(KEY, b"abcde")


def test_what_a_program_puts_into_a_per_cpu_hash_is_zero_elsewhere():
    m = make(PERCPU_HASH, cpus=2)
    text = "*(u64 *)(r10 -16) = 7\n" + LOOKUP + "r3 = r10\nr3 += -16\nr4 = 0\ncall bpf_map_update_elem#2\nexit"
    assert executable(text, {"m": m}).run(SkBuff(bytes(14)), World(cpu=1)) == 0
    assert m.lookup(KEY) == bytes(8) + number(7, 8)


def test_a_cpu_that_the_map_was_not_made_for_is_a_fault():
    with pytest.raises(ProgramFault, match="CPU 1 has no value in map m, which was made for 1"):
        executable(COUNT, {"m": make(PERCPU_ARRAY)}).run(SkBuff(bytes(14)), World(cpu=1))


# --- longest prefix match -------------------------------------------------------------------------------------------


def prefix(text: str) -> bytes:
    network = ipaddress.ip_network(text)
    return number(network.prefixlen) + network.network_address.packed


networks = st.tuples(st.integers(0, 32), st.integers(0, (1 << 32) - 1).map(lambda n: n & 0xC0FF0003)).map(
    lambda pair: str(ipaddress.ip_network((pair[1], pair[0]), strict=False))
)


@given(st.lists(networks, unique=True, max_size=20), st.lists(st.integers(0, (1 << 32) - 1), max_size=20))
def test_a_trie_routes_as_a_table_read_line_by_line(routes, addresses):
    m = make(LPM, 8, 4, 20, flags=1)
    for line, route in enumerate(routes):
        m.update(prefix(route), number(line))
    for address in (ipaddress.ip_address(address & 0xC0FF0003) for address in addresses):
        matching = [ipaddress.ip_network(route) for route in routes if address in ipaddress.ip_network(route)]
        best = max(matching, key=lambda network: network.prefixlen, default=None)
        expected = None if best is None else number(routes.index(str(best)))
        assert m.lookup(number(32) + address.packed) == expected


def test_a_trie_wants_no_preallocation_and_has_room_for_its_entries():
    with refused("EINVAL"):
        make(LPM, 8, 4, 1)
    m = make(LPM, 8, 4, 1, flags=1)
    m.update(prefix("10.0.0.0/8"), bytes(4))
    m.update(prefix("10.0.0.0/8"), b"new!")
    with refused("ENOSPC"):
        m.update(prefix("10.1.0.0/16"), bytes(4))
    with refused("EINVAL"):
        m.update(number(33) + bytes(4), bytes(4))
    with refused("ENOENT"):
        m.delete(prefix("10.1.0.0/16"))
    assert m.lookup(prefix("10.1.0.0/16")) == b"new!"


# --- maps that are no memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sizes"), [(uapi.BPF_MAP_TYPE_PROG_ARRAY, (4, 4, 1)), (uapi.BPF_MAP_TYPE_RINGBUF, (0, 0, 4096))]
)
def test_a_program_cannot_look_into_a_map_without_entries(kind, sizes):
    with pytest.raises(ProgramFault, match=r"map m \(type \d+\) has no entries for a program"):
        executable(COUNT, {"m": make(kind, *sizes)}).run(SkBuff(bytes(14)))

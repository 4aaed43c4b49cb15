"""Maps by themselves: values a program writes through, what is kept, what a Python caller is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program.object import MapSpec
from tests.engine.asm import executable

HASH, ARRAY = uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_ARRAY
KEY = (1).to_bytes(4, "little")


def make(kind: int = HASH, **options):
    return maps.create(MapSpec("m", **{"type": kind, "key_size": 4, "value_size": 8, "max_entries": 3} | options))


def refused(name: str):
    return pytest.raises(KernelError, match=f"^{name}")


@pytest.mark.parametrize("kind", [HASH, ARRAY], ids=["hash", "array"])
@pytest.mark.parametrize(
    ("options", "errno"),
    [
        ({"key_size": 0}, "EINVAL"),
        ({"value_size": 0}, "EINVAL"),
        ({"max_entries": 0}, "EINVAL"),
        ({"flags": 1 << 30}, "EINVAL"),
        ({"value_size": 1 << 20, "max_entries": 1000}, "ENOMEM"),
        ({"value_size": 1 << 31}, "E2BIG"),
    ],
)
def test_creation_is_refused_with_the_kernels_errno(kind, options, errno):
    with refused(errno):
        make(kind, **options)


def test_the_key_of_an_array_has_four_bytes():
    with refused("EINVAL"):
        make(ARRAY, key_size=8)


def test_a_type_that_is_not_here_is_refused_by_number():
    with pytest.raises(KernelError, match="not type 4"):
        make(4)


def test_flags_of_an_update():
    m = make(max_entries=1)
    with refused("ENOENT"):
        m.update(KEY, bytes(8), uapi.BPF_EXIST)
    m.update(KEY, b"12345678", uapi.BPF_NOEXIST)
    with refused("EEXIST"):
        m.update(KEY, bytes(8), uapi.BPF_NOEXIST)
    m.update(KEY, b"abcdefgh", uapi.BPF_EXIST)
    with refused("E2BIG"):
        m.update(bytes(4), bytes(8))
    with refused("EINVAL"):
        m.update(KEY, bytes(8), 3)
    assert m.lookup(KEY) == b"abcdefgh"
    m.delete(KEY)
    with refused("ENOENT"):
        m.delete(KEY)
    assert m.lookup(KEY) is None and m.keys() == []


def test_every_entry_of_an_array_is_there_and_zero():
    m = make(ARRAY)
    assert m.keys() == [n.to_bytes(4, "little") for n in range(3)]
    assert m.lookup(KEY) == bytes(8)
    assert m.lookup((3).to_bytes(4, "little")) is None
    with refused("E2BIG"):
        m.update((3).to_bytes(4, "little"), bytes(8))
    with refused("EINVAL"):
        m.delete(KEY)
    with refused("EEXIST"):
        m.update(KEY, bytes(8), uapi.BPF_NOEXIST)


def test_a_big_array_takes_memory_for_what_was_touched_only():
    m = make(ARRAY, max_entries=1 << 21)
    assert m.lookup(KEY) == bytes(8)
    assert len(m._values) == 0


@pytest.mark.parametrize(("key", "value"), [(b"123", bytes(8)), (KEY, bytes(7))])
def test_a_key_or_value_of_the_wrong_length_is_the_callers_mistake(key, value):
    with pytest.raises(UsageError, match="has [48] bytes, not [37]"):
        make().update(key, value)


def test_initial_bytes_fill_the_only_value():
    m = make(ARRAY, max_entries=1, initial=b"ab")
    assert m.lookup(bytes(4)) == b"ab" + bytes(6)
    with pytest.raises(UsageError):
        make(ARRAY, max_entries=1, initial=bytes(9))


LOOKUP = f"*(u32 *)(r10 -4) = {int.from_bytes(KEY, 'little')}\nr1 = map[fd:0]\nr2 = r10\nr2 += -4\n"


@pytest.mark.parametrize("kind", [HASH, ARRAY], ids=["hash", "array"])
def test_a_program_writes_through_the_pointer_of_a_lookup(kind):
    m = make(kind)
    m.update(KEY, (41).to_bytes(8, "little"))
    text = LOOKUP + "call bpf_map_lookup_elem#1\nr1 = 1\nlock *(u64 *)(r0 +0) += r1\nr0 = 0\nexit"
    executable(text, {"m": m}).run(SkBuff(bytes(14)))
    assert m.lookup(KEY) == (42).to_bytes(8, "little")


def test_a_deleted_value_stays_readable_until_the_program_ends():
    m = make()
    m.update(KEY, (7).to_bytes(8, "little"))
    text = (
        LOOKUP
        + "call bpf_map_lookup_elem#1\nr6 = r0\n"
        + LOOKUP
        + "call bpf_map_delete_elem#3\nr0 = *(u64 *)(r6 +0)\nexit"
    )
    assert executable(text, {"m": m}).run(SkBuff(bytes(14))) == 7
    assert m.lookup(KEY) is None


def test_user_space_changes_a_data_section_in_place():
    m = make(ARRAY, max_entries=1, initial=b"\x01")
    ready = executable("r1 = map[fd:0][0]+0\nr0 = *(u64 *)(r1 +0)\nexit", {"m": m})
    m.update(bytes(4), (5).to_bytes(8, "little"))
    assert ready.run(SkBuff(bytes(14))) == 5


@given(st.dictionaries(st.binary(min_size=6, max_size=6), st.binary(min_size=8, max_size=8), max_size=20))
def test_a_hash_is_a_dictionary(entries):
    m = make(key_size=6, max_entries=20)
    for key, value in entries.items():
        m.update(key, value)
    assert {key: m.lookup(key) for key in m.keys()} == entries

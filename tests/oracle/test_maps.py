"""Maps from user space against the kernel's: which creation is refused, what each operation returns and leaves."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.errors import KernelError
from netkit_edu.program.object import MapSpec
from tests.oracle.differential import contents
from tests.oracle.kernel import CPUS, KernelMap

pytestmark = pytest.mark.kernel

KINDS = {
    "hash": uapi.BPF_MAP_TYPE_HASH,
    "array": uapi.BPF_MAP_TYPE_ARRAY,
    "prog array": uapi.BPF_MAP_TYPE_PROG_ARRAY,
    "per-CPU hash": uapi.BPF_MAP_TYPE_PERCPU_HASH,
    "per-CPU array": uapi.BPF_MAP_TYPE_PERCPU_ARRAY,
    "LRU hash": uapi.BPF_MAP_TYPE_LRU_HASH,
    "LRU per-CPU hash": uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH,
    "LPM trie": uapi.BPF_MAP_TYPE_LPM_TRIE,
    "ring buffer": uapi.BPF_MAP_TYPE_RINGBUF,
}
HASH, ARRAY, LPM = KINDS["hash"], KINDS["array"], KINDS["LPM trie"]
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def refusal(action, *arguments) -> tuple:
    """What a call gives back, or the errno it is refused with."""
    try:
        return ("ok", action(*arguments))
    except (KernelError, OSError) as error:
        return ("errno", error.errno)


def creation(make, spec: MapSpec) -> str | int:
    try:
        made = make(spec)
    except (KernelError, OSError) as error:
        return error.errno
    if isinstance(made, KernelMap):
        made.close()
    return "created"


@every_kind
def test_creation_is_refused_as_by_the_kernel(kind):
    keys, values = (0, 1, 4, 5, 8, 260, 261, 512, 1 << 22), (0, 1, 4, 8, 4096, 32768, 32769, 1 << 20, 1 << 31)
    for key_size, value_size, max_entries in itertools.product(keys, values, (0, 1, 3)):
        spec = MapSpec("m", kind, key_size, value_size, max_entries, flags=kind == LPM)
        assert creation(maps.create, spec) == creation(KernelMap, spec), spec


def test_a_ring_buffer_has_the_kernels_sizes():
    for size in (0, 1, 4095, 4096, 4097, 8192, 12288, 1 << 16, 1 << 20):
        spec = MapSpec("m", KINDS["ring buffer"], 0, 0, size)
        assert creation(maps.create, spec) == creation(KernelMap, spec), size


SIZES = {LPM: (8, 8, 2), KINDS["prog array"]: (4, 4, 2), KINDS["ring buffer"]: (0, 0, 4096)}


@every_kind
def test_creation_flags_are_those_of_the_kernel(kind):
    # without 5, 9: of a program's own making; 13: BTF; 16: a token
    for bit in (*range(5), *range(6, 9), *range(10, 13), 15, 17, 18, 19, 31):
        for other in (0, 1, 1 << 7):
            spec = MapSpec("m", kind, *SIZES.get(kind, (4, 8, 2)), flags=1 << bit | other)
            assert creation(maps.create, spec) == creation(KernelMap, spec), hex(spec.flags)


operations = st.lists(
    st.tuples(
        st.sampled_from(["update", "update", "delete", "lookup"]),
        st.integers(0, 4),
        st.integers(0, 255),
        st.sampled_from([0, 0, 1, 2, 3, 4, 5, 8, 1 << 63]),
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    "spec",
    [
        MapSpec("hash", HASH, 4, 12, 3),
        MapSpec("hash without preallocation", HASH, 4, 12, 3, flags=1),
        MapSpec("array", ARRAY, 4, 12, 3),
        MapSpec("per-CPU hash", KINDS["per-CPU hash"], 4, 12, 3, flags=1),
        MapSpec("per-CPU array", KINDS["per-CPU array"], 4, 12, 3),
        MapSpec("LRU hash that is never full", KINDS["LRU hash"], 4, 12, 1000),
        MapSpec("LRU per-CPU hash that is never full", KINDS["LRU per-CPU hash"], 4, 12, 1000),
    ],
    ids=lambda spec: spec.name,
)
def test_any_sequence_of_operations_ends_as_in_the_kernel(spec):
    @settings(max_examples=150, deadline=None)
    @given(operations)
    def same(steps):
        here = maps.create(spec, cpus=CPUS)
        with KernelMap(spec) as there:
            for what, number, byte, flags in steps:
                value = (bytes([byte]) * 12).ljust(there.user_size, bytes([byte ^ 1])) if there.user_size == 12 else (
                    b"".join(bytes([byte + cpu & 255]) * 12 + bytes(4) for cpu in range(CPUS)))  # fmt: skip
                compare(here, there, what, number.to_bytes(4, "little"), value, flags)
            assert contents(here) == contents(there)

    same()


def compare(here, there, what: str, key: bytes, value: bytes, flags: int) -> None:
    arguments = {"update": (key, value, flags)}.get(what, (key,))
    assert refusal(getattr(here, what), *arguments) == refusal(getattr(there, what), *arguments)


prefixes = st.tuples(
    st.sampled_from(["update", "update", "update", "delete", "lookup"]),
    st.sampled_from([0, 1, 2, 7, 8, 9, 14, 15, 16, 17, 255, 1 << 31]),
    st.sampled_from([0x0000, 0x0A00, 0x0A01, 0x0B80, 0x0AFF, 0x8000, 0xFFFF]),
    st.sampled_from([0, 0, 0, 1, 2, 3, 4, 1 << 63]),
)


def test_a_trie_finds_what_the_kernel_finds():
    spec = MapSpec("m", LPM, 6, 4, 5, flags=1)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(prefixes, max_size=40))
    def same(steps):
        here = maps.create(spec)
        with KernelMap(spec) as there:
            for number, (what, length, address, flags) in enumerate(steps):
                key = length.to_bytes(4, "little") + address.to_bytes(2, "big")
                compare(here, there, what, key, number.to_bytes(4, "little"), flags)
            assert here.keys() == there.keys()
            assert contents(here) == contents(there)

    same()


def test_a_full_lru_hash_takes_every_update_and_never_holds_more_than_it_may():
    spec = MapSpec("m", KINDS["LRU hash"], 4, 8, 50)
    with KernelMap(spec) as there:
        for made in (maps.create(spec), there):
            for number in range(500):
                key = number.to_bytes(4, "little")
                made.update(key, bytes(8))
                assert made.lookup(key) == bytes(8)
                assert len(made.keys()) <= 50


@pytest.mark.parametrize("flags", [0, 1, 2, 4, 8])
def test_a_prog_array_refuses_what_the_kernel_refuses(flags):
    spec = MapSpec("m", KINDS["prog array"], 4, 4, 2)
    here = maps.create(spec)
    with KernelMap(spec) as there:
        assert here.keys() == there.keys()
        for index, number in itertools.product((0, 1, 2, 1 << 31), (1 << 20, 0xFFFF_FFFF)):
            key, value = index.to_bytes(4, "little"), number.to_bytes(4, "little")
            for what in ("update", "lookup", "delete"):
                compare(here, there, what, key, value, flags)


def test_a_ring_buffer_has_no_entries():
    spec = MapSpec("m", KINDS["ring buffer"], 0, 0, 4096)
    here = maps.create(spec)
    with KernelMap(spec) as there:
        for what, arguments in (("update", (b"", b"")), ("delete", (b"",)), ("lookup", (b"",)), ("keys", ())):
            assert refusal(getattr(here, what), *arguments) == refusal(getattr(there, what), *arguments), what


def test_a_read_only_map_is_frozen_for_user_space_too():
    spec = MapSpec("m", ARRAY, 4, 8, 1, flags=1 << 7, initial=b"constant", readonly=True)
    here = maps.create(spec)
    with KernelMap(spec) as there:
        for action, arguments in (("update", (bytes(4), bytes(8))), ("delete", (bytes(4),)), ("lookup", (bytes(4),))):
            assert refusal(getattr(here, action), *arguments) == refusal(getattr(there, action), *arguments)

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
from tests.oracle.kernel import KernelMap

pytestmark = pytest.mark.kernel

HASH, ARRAY = uapi.BPF_MAP_TYPE_HASH, uapi.BPF_MAP_TYPE_ARRAY


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


@pytest.mark.parametrize("kind", [HASH, ARRAY], ids=["hash", "array"])
def test_creation_is_refused_as_by_the_kernel(kind):
    sizes = itertools.product((0, 1, 4, 8, 512, 1 << 22), (0, 1, 8, 4096, 1 << 20, 1 << 31), (0, 1, 3))
    for key_size, value_size, max_entries in sizes:
        spec = MapSpec("m", kind, key_size, value_size, max_entries)
        assert creation(maps.create, spec) == creation(KernelMap, spec), spec


@pytest.mark.parametrize("kind", [HASH, ARRAY], ids=["hash", "array"])
def test_creation_flags_are_those_of_the_kernel(kind):
    for bit in (
        *range(5),
        *range(6, 9),
        *range(10, 13),
        *range(15, 20),
        31,
    ):  # 5, 9: of a program's own making; 13: BTF
        for other in (0, 1 << 7):
            spec = MapSpec("m", kind, 4, 8, 2, flags=1 << bit | other)
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
    [MapSpec("m", HASH, 4, 12, 3), MapSpec("m", HASH, 4, 12, 3, flags=1), MapSpec("m", ARRAY, 4, 12, 3)],
    ids=["hash", "hash without preallocation", "array"],
)
def test_any_sequence_of_operations_ends_as_in_the_kernel(spec):
    @settings(max_examples=150, deadline=None)
    @given(operations)
    def same(steps):
        here = maps.create(spec)
        with KernelMap(spec) as there:
            for what, number, byte, flags in steps:
                key = number.to_bytes(4, "little")
                arguments = {"update": (key, bytes([byte]) * 12, flags)}.get(what, (key,))
                assert refusal(getattr(here, what), *arguments) == refusal(getattr(there, what), *arguments)
            assert contents(here) == contents(there)

    same()


def test_a_read_only_map_is_frozen_for_user_space_too():
    spec = MapSpec("m", ARRAY, 4, 8, 1, flags=1 << 7, initial=b"constant", readonly=True)
    here = maps.create(spec)
    with KernelMap(spec) as there:
        for action, arguments in (("update", (bytes(4), bytes(8))), ("delete", (bytes(4),)), ("lookup", (bytes(4),))):
            assert refusal(getattr(here, action), *arguments) == refusal(getattr(there, action), *arguments)

"""Ring buffers against the kernel's: room, records, and what the helpers answer, over any sequence of calls."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netkit_edu import uapi
from netkit_edu.engine import maps
from netkit_edu.engine.interpreter import load
from netkit_edu.program.object import MapSpec
from netkit_edu.programs import skb_for_run
from tests.engine.asm import program
from tests.oracle.kernel import KernelMap, KernelProgram, KernelRing
from tests.oracle.test_helpers import ARGUMENTS, KEY, PACKET, START

pytestmark = pytest.mark.kernel

RING = MapSpec("ring", uapi.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096)
BUFFER = MapSpec("buffer", uapi.BPF_MAP_TYPE_ARRAY, 4, 2048, 1)
SIZES = (0, 1, 7, 8, 9, 100, 1000, 2000, 4072, 4080, 4081, 4088, 4089, 5000, 1 << 30)


def reserve(size: int, end: str) -> str:
    fill = "*(u8 *)(r0 +0) = 7\n" if size else ""
    return f"""
r1 = map[fd:2]
r2 = {size}
r3 = *(u64 *)(r7 +24)
call bpf_ringbuf_reserve#131
if r0 != 0x0 goto +2
r0 = 0
exit
{fill}r1 = r0
r2 = *(u64 *)(r7 +24)
call {end}
r0 = 1
exit
"""


OUTPUT = "r1 = map[fd:2]\nr2 = r8\nr3 = *(u64 *)(r7 +0)\nif r3 > 2048 goto +3\nr4 = *(u64 *)(r7 +24)\ncall bpf_ringbuf_output#130\nexit\nr0 = 9\nexit"  # noqa: E501
QUERY = "r1 = map[fd:2]\nr2 = *(u64 *)(r7 +0)\ncall bpf_ringbuf_query#134\nexit"
TEXTS = {
    **{f"submit {size}": reserve(size, "bpf_ringbuf_submit#132") for size in SIZES},
    **{f"discard {size}": reserve(size, "bpf_ringbuf_discard#133") for size in SIZES},
    "output": OUTPUT,
    "query": QUERY,
}


class Both:
    """The same ring in both machines, and every program loaded for both."""

    def __init__(self):
        specs = (ARGUMENTS, BUFFER, RING)
        kinds = (KernelMap, KernelMap, KernelRing)
        self.there = {spec.name: kind(spec) for spec, kind in zip(specs, kinds, strict=True)}
        self.here = {spec.name: maps.create(spec) for spec in specs}
        codes = {name: program(START + text, *self.here) for name, text in TEXTS.items()}
        self.theirs = {name: KernelProgram(code, self.there) for name, code in codes.items()}
        self.ours = {name: load(code, self.here) for name, code in codes.items()}

    def close(self) -> None:
        for opened in (*self.theirs.values(), *self.there.values()):
            opened.close()

    def same(self, name: str, first: int, flags: int) -> None:
        for made in (self.here, self.there):
            made["arguments"].update(KEY, struct.pack("<5Q", first, 0, 0, flags, 0))
        here = self.ours[name].run(skb_for_run(PACKET))
        assert here == self.theirs[name].run(PACKET).code, (name, first, flags)


@pytest.fixture(scope="module")
def both():
    made = Both()
    for side in (made.here, made.there):
        side["buffer"].update(KEY, bytes(i & 255 for i in range(2048)))
    yield made
    made.close()


steps = st.lists(
    st.tuples(
        st.sampled_from([*TEXTS, "read", "read", "output", "output", "query"]),
        st.sampled_from([0, 1, 2, 3, 4, 8, 100, 500, 2000]),
        st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4, 1 << 32]),
    ),
    max_size=40,
)


def test_any_sequence_of_records_goes_as_in_the_kernel(both):
    @settings(max_examples=150, deadline=None)
    @given(steps)
    def same(sequence):
        for name, first, flags in [*sequence, ("read", 0, 0)]:
            if name == "read":
                here, there = both.here["ring"].read(), both.there["ring"].read()
                # what a program reserves is not cleared by the kernel: of such a record its first byte was written
                assert [(len(a), a[:1]) for a in here] == [(len(a), a[:1]) for a in there]
                outputs = [pair for pair in zip(here, there, strict=True) if pair[0][:1] == b"\0"]
                assert all(a == b for a, b in outputs)
            else:
                both.same(name, first, flags)

    same()

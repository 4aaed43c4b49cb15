"""Maps: the memory that programs share with each other and with user space.

Each kind as the kernel's own file defines it (Linux 6.12): what creation refuses, what each flag means, which errno
comes back. A value is one bytearray that lives as long as someone holds it, so a program writes straight into the map
through the pointer that a lookup returns.
"""

from __future__ import annotations

from netkit_edu import uapi
from netkit_edu.engine.maps.array import ArrayMap
from netkit_edu.engine.maps.base import MEMORY_LIMIT, Map
from netkit_edu.engine.maps.hash import HashMap, LruHashMap
from netkit_edu.engine.maps.lpm import LpmTrieMap
from netkit_edu.engine.maps.percpu import LruPerCpuHashMap, PerCpu, PerCpuArrayMap, PerCpuHashMap
from netkit_edu.engine.maps.progarray import ProgArrayMap, Resolve
from netkit_edu.engine.maps.ringbuf import RingBufMap
from netkit_edu.errors import KernelError
from netkit_edu.program.object import MapSpec

__all__ = [
    "MEMORY_LIMIT", "ArrayMap", "HashMap", "LpmTrieMap", "LruHashMap", "LruPerCpuHashMap", "Map", "PerCpu",
    "PerCpuArrayMap", "PerCpuHashMap", "ProgArrayMap", "RingBufMap", "create",
]  # fmt: skip

_TYPES: dict[int, type[Map]] = {
    uapi.BPF_MAP_TYPE_HASH: HashMap,
    uapi.BPF_MAP_TYPE_ARRAY: ArrayMap,
    uapi.BPF_MAP_TYPE_PROG_ARRAY: ProgArrayMap,
    uapi.BPF_MAP_TYPE_PERCPU_HASH: PerCpuHashMap,
    uapi.BPF_MAP_TYPE_PERCPU_ARRAY: PerCpuArrayMap,
    uapi.BPF_MAP_TYPE_LRU_HASH: LruHashMap,
    uapi.BPF_MAP_TYPE_LRU_PERCPU_HASH: LruPerCpuHashMap,
    uapi.BPF_MAP_TYPE_LPM_TRIE: LpmTrieMap,
    uapi.BPF_MAP_TYPE_RINGBUF: RingBufMap,
}


def create(spec: MapSpec, *, cpus: int = 1, resolve: Resolve | None = None) -> Map:
    """Create a map (BPF_MAP_CREATE), filled with ``spec.initial`` if given.

    Args:
        cpus: how many CPUs there are, for maps with a value for each.
        resolve: number of a program -> its `Executable`, for updates of a prog array from user space.

    Raises:
        KernelError: EINVAL or E2BIG for sizes and flags the kernel refuses; ENOMEM above `MEMORY_LIMIT`; EOPNOTSUPP
            for a map type that this engine does not have.
    """
    kind = _TYPES.get(spec.type)
    if kind is None:
        has = ", ".join(f"{name.__name__.removesuffix('Map')} ({number})" for number, name in _TYPES.items())
        raise KernelError("EOPNOTSUPP", hint=f"map {spec.name}: this engine has {has}, not type {spec.type}")
    made = kind(spec, cpus)
    if resolve is not None and isinstance(made, ProgArrayMap):
        made.resolve = resolve
    return made

"""Hashes: kernel/bpf/hashtab.c, Linux 6.12."""

from __future__ import annotations

from netkit_edu import uapi
from netkit_edu.engine.maps.base import (
    ACCESS,
    ENOTSUPP,
    LOCK,
    MAX_ALLOCATION,
    NO_COMMON_LRU,
    NO_PREALLOC,
    NUMA_NODE,
    ZERO_SEED,
    Map,
)  # fmt: skip
from netkit_edu.errors import KernelError

_ELEMENT = 48  # sizeof(struct htab_elem) without key and value


class HashMap(Map):
    """BPF_MAP_TYPE_HASH: up to ``max_entries`` keys of any size.

    An update of a present key puts a new value in its place: a pointer got before still shows the old one. A deleted
    value stays readable through such a pointer until the program ends.
    """

    flags_allowed = NO_PREALLOC | NUMA_NODE | ZERO_SEED | ACCESS

    def store(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        if flags & ~LOCK > uapi.BPF_EXIST or flags & LOCK:
            raise KernelError("EINVAL")
        present = key in self._values
        if present and flags == uapi.BPF_NOEXIST:
            raise KernelError("EEXIST")
        if not present and flags == uapi.BPF_EXIST:
            raise KernelError("ENOENT")
        if not present and len(self._values) >= self.spec.max_entries:
            self._make_room()
        self._put(key, value, cpu)

    def _put(self, key: bytes, value: bytes, cpu: int) -> None:
        self._values[key] = bytearray(value)

    def _make_room(self) -> None:
        raise KernelError("E2BIG")

    def remove(self, key: bytes) -> None:
        if self._values.pop(key, None) is None:
            raise KernelError("ENOENT")

    def _check_sizes(self) -> None:
        super()._check_sizes()
        if self.spec.key_size + self.spec.value_size >= MAX_ALLOCATION - _ELEMENT or self.spec.max_entries > 1 << 31:
            raise KernelError("E2BIG", hint=f"map {self.spec.name}: the kernel has no hash of this size")


class Lru(HashMap):
    """What the two LRU hashes add: a full one makes room by dropping an entry, so an update never ends in E2BIG.

    Here the entry goes that programs have not looked up or updated for longest. The kernel's choice comes near that,
    and no nearer: it hands out free entries to CPUs in batches, may drop one before the map is full, and looks at a
    single "used" bit (kernel/bpf/bpf_lru_list.c). What both keep: never more than ``max_entries``, and the key just
    updated is there.
    """

    flags_allowed = HashMap.flags_allowed | NO_COMMON_LRU

    def value(self, key: bytes, cpu: int = 0) -> bytearray | None:
        self._touch(key)
        return super().value(key, cpu)

    def _peek(self, key: bytes) -> bytearray | None:
        return self._values.get(key)  # a look from user space is no use (htab_lru_map_lookup_elem_sys)

    def store(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        super().store(key, value, flags, cpu)
        self._touch(key)

    def _touch(self, key: bytes) -> None:
        if key in self._values:
            self._values[key] = self._values.pop(key)  # to the end: dropped last

    def _make_room(self) -> None:
        del self._values[next(iter(self._values))]

    def _check_sizes(self) -> None:
        if self.spec.flags & NO_PREALLOC:
            raise KernelError(ENOTSUPP, hint=f"map {self.spec.name}: an LRU hash has all its entries from the start")
        if self.spec.flags & NUMA_NODE and (self.spec.flags & NO_COMMON_LRU or self.per_cpu):
            raise self._invalid("what each CPU has of its own cannot lie on one NUMA node")
        super()._check_sizes()


class LruHashMap(Lru):
    """BPF_MAP_TYPE_LRU_HASH: a hash that forgets."""

"""Maps with a value for each CPU: a program sees its own CPU's only, so it counts without atomic instructions.

User space reads and writes the values of all CPUs at once, one after the other, each filled up to a multiple of 8
bytes (bpf(2)). kernel/bpf/arraymap.c and kernel/bpf/hashtab.c, Linux 6.12.
"""

from __future__ import annotations

from netkit_edu.engine.maps.array import ArrayMap
from netkit_edu.engine.maps.base import ACCESS, EVERY_CPU, MAX_PERCPU, NUMA_NODE, Map
from netkit_edu.engine.maps.hash import HashMap, Lru
from netkit_edu.engine.memory import Fault
from netkit_edu.errors import KernelError


class PerCpu(Map):
    """What they share: an entry is a list with one bytearray for each CPU."""

    per_cpu = True

    @property
    def user_size(self) -> int:
        return self.cpus * self._stride

    @property
    def _stride(self) -> int:
        return self.spec.value_size + 7 & ~7

    def value(self, key: bytes, cpu: int = 0) -> bytearray | None:
        values = self._entry(key)
        if values is None:
            return None
        if not 0 <= cpu < self.cpus:
            raise Fault(f"CPU {cpu} has no value in map {self.spec.name}, which was made for {self.cpus}")
        return values[cpu]

    def lookup(self, key: bytes) -> bytes | None:
        values = self._values.get(self._key(key))
        if values is None:
            return super().lookup(key)
        return b"".join(value.ljust(self._stride, b"\0") for value in values)

    def _entry(self, key: bytes) -> list[bytearray] | None:
        return super().value(key)

    def _new(self) -> list[bytearray]:
        return [bytearray(self.spec.value_size) for _ in range(self.cpus)]

    def _fill(self, values: list[bytearray], value: bytes, cpu: int) -> None:
        """Write one CPU's value, or from user space that of each, where it lies: pointers to it see the new one."""
        if cpu != EVERY_CPU:
            values[cpu][:] = value
            return
        for number, one in enumerate(values):
            one[:] = value[number * self._stride :][: self.spec.value_size]

    def _memory(self) -> int:
        return (self.spec.key_size + self.user_size) * self.spec.max_entries

    def _check_sizes(self) -> None:
        super()._check_sizes()
        if self._stride > MAX_PERCPU:
            raise KernelError("E2BIG", hint=f"map {self.spec.name}: one CPU's value has at most {MAX_PERCPU} bytes")


class PerCpuArrayMap(PerCpu, ArrayMap):
    """BPF_MAP_TYPE_PERCPU_ARRAY."""

    flags_allowed = ACCESS

    def _put(self, key: bytes, value: bytes, cpu: int) -> None:
        self._fill(self._entry(key), value, cpu)


class _PerCpuHash(PerCpu, HashMap):
    def _put(self, key: bytes, value: bytes, cpu: int) -> None:
        if key not in self._values:
            self._values[key] = self._new()
        self._fill(self._values[key], value, cpu)


class PerCpuHashMap(_PerCpuHash):
    """BPF_MAP_TYPE_PERCPU_HASH: an entry that a program makes is zero for the other CPUs."""

    flags_allowed = HashMap.flags_allowed & ~NUMA_NODE


class LruPerCpuHashMap(Lru, _PerCpuHash):
    """BPF_MAP_TYPE_LRU_PERCPU_HASH: the same, and it forgets."""

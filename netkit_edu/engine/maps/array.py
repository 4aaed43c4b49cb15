"""Arrays: kernel/bpf/arraymap.c, Linux 6.12."""

from __future__ import annotations

from netkit_edu import uapi
from netkit_edu.engine.maps.base import ACCESS, INNER_MAP, LOCK, MMAPABLE, NUMA_NODE, Map
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program.object import MapSpec


class ArrayMap(Map):
    """BPF_MAP_TYPE_ARRAY: keys are the numbers below ``max_entries``; every entry exists, zero until written."""

    flags_allowed = NUMA_NODE | MMAPABLE | ACCESS | INNER_MAP

    def __init__(self, spec: MapSpec, cpus: int = 1):
        super().__init__(spec, cpus)
        if spec.initial is not None:
            if len(spec.initial) > spec.value_size:
                raise UsageError(f"map {spec.name}: {len(spec.initial)} bytes do not fit a value of {spec.value_size}")
            self.value(bytes(4))[: len(spec.initial)] = spec.initial

    def value(self, key: bytes, cpu: int = 0) -> bytearray | None:
        if key not in self._values and self._has(key):
            self._values[key] = self._new()  # memory only for what was looked at
        return self._values.get(key)

    def lookup(self, key: bytes) -> bytes | None:
        key = self._key(key)
        if key not in self._values and self._has(key):
            return bytes(self.user_size)
        return super().lookup(key)

    def keys(self) -> list[bytes]:
        return [index.to_bytes(4, "little") for index in range(self.spec.max_entries)]

    def __len__(self) -> int:
        return self.spec.max_entries

    def store(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        # the order of the checks is that of array_map_update_elem
        if flags & ~LOCK > uapi.BPF_EXIST:
            raise KernelError("EINVAL")
        if not self._has(key):
            raise KernelError("E2BIG")
        if flags & uapi.BPF_NOEXIST:
            raise KernelError("EEXIST")
        if flags & LOCK:
            raise KernelError("EINVAL")
        self._put(key, value, cpu)

    def remove(self, key: bytes) -> None:
        raise KernelError("EINVAL", hint="the entries of an array are always there: store zero instead")

    def _has(self, key: bytes) -> bool:
        return int.from_bytes(key, "little") < self.spec.max_entries

    def _new(self) -> bytearray:
        return bytearray(self.spec.value_size)

    def _put(self, key: bytes, value: bytes, cpu: int) -> None:
        self.value(key)[:] = value

    def _check_sizes(self) -> None:
        super()._check_sizes()
        if self.spec.key_size != 4:
            raise self._invalid("the key of an array has 4 bytes")
        if self.spec.value_size > (1 << 31) - 1:
            raise KernelError("E2BIG")

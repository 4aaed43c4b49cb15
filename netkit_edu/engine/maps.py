"""Maps: the memory that programs share with each other and with user space.

An `ArrayMap` and a `HashMap` as kernel/bpf/arraymap.c and kernel/bpf/hashtab.c define them (Linux 6.12): what creation
refuses, what each flag means, which errno comes back. A value is one bytearray that lives as long as someone holds it,
so a program writes straight into the map through the pointer that a lookup returns.
"""

from __future__ import annotations

from netkit_edu import uapi
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program.object import MapSpec

MEMORY_LIMIT = 32 << 20  # bytes of keys and values of one map; the kernel's limit is its memory (ENOMEM)

_NO_PREALLOC, _NUMA_NODE, _ZERO_SEED, _MMAPABLE = 1 << 0, 1 << 2, 1 << 6, 1 << 10
_ACCESS = 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8  # BPF_F_RDONLY, WRONLY, RDONLY_PROG, WRONLY_PROG
_PROG_ACCESS = 1 << 7 | 1 << 8
_LOCK = 1 << 2  # BPF_F_LOCK of an update: for values with a spin lock, which this engine does not have
_MAX_VALUE = 1 << 22  # KMALLOC_MAX_SIZE, a bound on key and value together in a hash
_ELEMENT = 48  # sizeof(struct htab_elem) without key and value


class Map:
    """What both kinds share. Keys and values are bytes of exactly ``spec.key_size`` and ``spec.value_size``."""

    flags_allowed = 0

    def __init__(self, spec: MapSpec):
        self.spec = spec
        if spec.max_entries <= 0 or spec.key_size <= 0 or spec.value_size <= 0:
            raise KernelError("EINVAL", hint=f"map {spec.name}: sizes and max_entries of a map start at 1")
        if spec.flags & ~self.flags_allowed or spec.flags & _PROG_ACCESS == _PROG_ACCESS:
            raise KernelError("EINVAL", hint=f"map {spec.name}: this type of map does not take flags {spec.flags:#x}")
        self._check_sizes()
        if (spec.key_size + spec.value_size) * spec.max_entries > MEMORY_LIMIT:
            raise KernelError("ENOMEM", hint=f"map {spec.name}: one map may hold {MEMORY_LIMIT >> 20} MiB here")
        self._values: dict[bytes, bytearray] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name}: {len(self)} of {self.spec.max_entries} entries>"

    def __len__(self) -> int:
        return len(self.keys())

    def value(self, key: bytes) -> bytearray | None:
        """Return the value itself, None if the key is absent: writing to it writes to the map."""
        return self._values.get(key)

    def lookup(self, key: bytes) -> bytes | None:
        """Return a copy of the value, None if the key is absent (BPF_MAP_LOOKUP_ELEM)."""
        value = self.value(self._key(key))
        return None if value is None else bytes(value)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value from user space (BPF_MAP_UPDATE_ELEM).

        Args:
            flags: BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2.

        Raises:
            KernelError: EEXIST, ENOENT, E2BIG, EINVAL as the map type says; EPERM for a read-only map (.rodata).
            UsageError: a key or value of the wrong length.
        """
        self._check_frozen()
        if len(value) != self.spec.value_size:
            raise UsageError(f"map {self.spec.name}: a value has {self.spec.value_size} bytes, not {len(value)}")
        if flags & _LOCK:
            raise KernelError("EINVAL", hint=f"map {self.spec.name}: its values have no spin lock")
        self.store(self._key(key), bytes(value), flags)

    def delete(self, key: bytes) -> None:
        """Delete an entry from user space (BPF_MAP_DELETE_ELEM); `KernelError` as the map type says."""
        self._check_frozen()
        self.remove(self._key(key))

    def keys(self) -> list[bytes]:
        """Return every key (BPF_MAP_GET_NEXT_KEY)."""
        return list(self._values)

    def store(self, key: bytes, value: bytes, flags: int) -> None:
        """What a program's bpf_map_update_elem does; sizes are right by then."""
        raise NotImplementedError

    def remove(self, key: bytes) -> None:
        """What a program's bpf_map_delete_elem does."""
        raise NotImplementedError

    def _check_sizes(self) -> None:
        raise NotImplementedError

    def _check_frozen(self) -> None:
        if self.spec.readonly:
            raise KernelError("EPERM", hint=f"map {self.spec.name} is frozen: its values are constants")

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.spec.key_size:
            raise UsageError(f"map {self.spec.name}: a key has {self.spec.key_size} bytes, not {len(key)}")
        return bytes(key)


class ArrayMap(Map):
    """BPF_MAP_TYPE_ARRAY: keys are the numbers below ``max_entries``; every entry exists, zero until written."""

    flags_allowed = _NUMA_NODE | _MMAPABLE | _ACCESS | 1 << 12  # BPF_F_INNER_MAP

    def __init__(self, spec: MapSpec):
        super().__init__(spec)
        if spec.initial is not None:
            if len(spec.initial) > spec.value_size:
                raise UsageError(f"map {spec.name}: {len(spec.initial)} bytes do not fit a value of {spec.value_size}")
            self.value(bytes(4))[: len(spec.initial)] = spec.initial

    def value(self, key: bytes) -> bytearray | None:
        value = self._values.get(key)
        if value is None and int.from_bytes(key, "little") < self.spec.max_entries:
            value = self._values[key] = bytearray(self.spec.value_size)  # memory only for what was looked at
        return value

    def lookup(self, key: bytes) -> bytes | None:
        key = self._key(key)
        if key in self._values or int.from_bytes(key, "little") >= self.spec.max_entries:
            return super().lookup(key)
        return bytes(self.spec.value_size)

    def keys(self) -> list[bytes]:
        return [index.to_bytes(4, "little") for index in range(self.spec.max_entries)]

    def __len__(self) -> int:
        return self.spec.max_entries

    def store(self, key: bytes, value: bytes, flags: int) -> None:
        # the order of the checks is that of array_map_update_elem
        if flags & ~_LOCK > uapi.BPF_EXIST:
            raise KernelError("EINVAL")
        if int.from_bytes(key, "little") >= self.spec.max_entries:
            raise KernelError("E2BIG")
        if flags & uapi.BPF_NOEXIST:
            raise KernelError("EEXIST")
        if flags & _LOCK:
            raise KernelError("EINVAL")
        self.value(key)[:] = value

    def remove(self, key: bytes) -> None:
        raise KernelError("EINVAL", hint="the entries of an array are always there: store zero instead")

    def _check_sizes(self) -> None:
        if self.spec.key_size != 4:
            raise KernelError("EINVAL", hint=f"map {self.spec.name}: the key of an array has 4 bytes")
        if self.spec.value_size > (1 << 31) - 1:
            raise KernelError("E2BIG")


class HashMap(Map):
    """BPF_MAP_TYPE_HASH: up to ``max_entries`` keys of any size.

    An update of a present key puts a new value in its place: a pointer got before still shows the old one. A deleted
    value stays readable through such a pointer until the program ends.
    """

    flags_allowed = _NO_PREALLOC | _NUMA_NODE | _ZERO_SEED | _ACCESS

    def store(self, key: bytes, value: bytes, flags: int) -> None:
        if flags & ~_LOCK > uapi.BPF_EXIST or flags & _LOCK:
            raise KernelError("EINVAL")
        present = key in self._values
        if present and flags == uapi.BPF_NOEXIST:
            raise KernelError("EEXIST")
        if not present and flags == uapi.BPF_EXIST:
            raise KernelError("ENOENT")
        if not present and len(self._values) >= self.spec.max_entries:
            raise KernelError("E2BIG")
        self._values[key] = bytearray(value)

    def remove(self, key: bytes) -> None:
        if self._values.pop(key, None) is None:
            raise KernelError("ENOENT")

    def _check_sizes(self) -> None:
        if self.spec.key_size + self.spec.value_size >= _MAX_VALUE - _ELEMENT or self.spec.max_entries > 1 << 31:
            raise KernelError("E2BIG", hint=f"map {self.spec.name}: the kernel has no hash of this size")


_TYPES: dict[int, type[Map]] = {uapi.BPF_MAP_TYPE_ARRAY: ArrayMap, uapi.BPF_MAP_TYPE_HASH: HashMap}


def create(spec: MapSpec) -> Map:
    """Create a map (BPF_MAP_CREATE), filled with ``spec.initial`` if given.

    Raises:
        KernelError: EINVAL or E2BIG for sizes and flags the kernel refuses; ENOMEM above `MEMORY_LIMIT`; EOPNOTSUPP
            for a map type that this engine does not have.
    """
    kind = _TYPES.get(spec.type)
    if kind is None:
        raise KernelError(
            "EOPNOTSUPP", hint=f"map {spec.name}: this engine has arrays (2) and hashes (1), not type {spec.type}"
        )
    return kind(spec)

"""``Map``: what every kind of map has in common, and how its memory is bounded.

A map refuses what kernel/bpf/syscall.c and the file of its type refuse, with the same errno (Linux 6.12).
"""

from __future__ import annotations

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program.object import MapSpec

MEMORY_LIMIT = 32 << 20  # bytes of keys and values of one map; the kernel's limit is its memory (ENOMEM)
MAX_ALLOCATION = 1 << 22  # KMALLOC_MAX_SIZE
MAX_PERCPU = 32 << 10  # PCPU_MIN_UNIT_SIZE: bytes of one CPU's value

NO_PREALLOC, NO_COMMON_LRU, NUMA_NODE = 1 << 0, 1 << 1, 1 << 2  # BPF_F_*, include/uapi/linux/bpf.h
ZERO_SEED, MMAPABLE, PRESERVE_ELEMS, INNER_MAP = 1 << 6, 1 << 10, 1 << 11, 1 << 12
ACCESS = 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8  # BPF_F_RDONLY, WRONLY, RDONLY_PROG, WRONLY_PROG
PROG_ACCESS = 1 << 7 | 1 << 8
LOCK = 1 << 2  # BPF_F_LOCK of an update: for values with a spin lock, which this engine does not have
EVERY_CPU = -1  # in place of a CPU's number: an update from user space
ENOTSUPP = 524  # an errno of the kernel's own (include/linux/errno.h), which the C library has no name for


class Map:
    """What all kinds share. Keys and values are bytes of exactly ``spec.key_size`` and ``spec.value_size``."""

    flags_allowed = 0
    per_cpu = False  # whether each CPU has a value of its own
    elements = True  # whether programs may look entries up, update and delete them

    def __init__(self, spec: MapSpec, cpus: int = 1):
        self.spec = spec
        self.cpus = cpus
        if spec.flags & ~self.flags_allowed or spec.flags & PROG_ACCESS == PROG_ACCESS:
            raise KernelError("EINVAL", hint=f"map {spec.name}: this type of map does not take flags {spec.flags:#x}")
        self._check_sizes()
        if self._memory() > MEMORY_LIMIT:
            raise KernelError("ENOMEM", hint=f"map {spec.name}: one map may hold {MEMORY_LIMIT >> 20} MiB here")
        self._values: dict[bytes, bytearray] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name}: {len(self)} of {self.spec.max_entries} entries>"

    def __len__(self) -> int:
        return len(self.keys())

    @property
    def user_size(self) -> int:
        """Bytes of a value as user space reads and writes it."""
        return self.spec.value_size

    def value(self, key: bytes, cpu: int = 0) -> bytearray | None:
        """Return the value itself, None if the key is absent: writing to it writes to the map.

        ``cpu`` is the CPU that asks; it matters to maps with a value for each.
        """
        return self._values.get(key)

    def lookup(self, key: bytes) -> bytes | None:
        """Return a copy of the value, None if the key is absent (BPF_MAP_LOOKUP_ELEM)."""
        value = self._peek(self._key(key))
        return None if value is None else bytes(value)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value from user space (BPF_MAP_UPDATE_ELEM).

        Args:
            flags: BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2.

        Raises:
            KernelError: EEXIST, ENOENT, E2BIG, EINVAL as the map type says; EPERM for a read-only map (.rodata).
            UsageError: a key or value of the wrong length; a map with a value for each CPU wants all of them, each
                filled up to a multiple of 8 bytes.
        """
        self._check_frozen()
        self._check_value(value, self.user_size)
        if flags & LOCK:
            raise KernelError("EINVAL", hint=f"map {self.spec.name}: its values have no spin lock")
        self.store(self._key(key), bytes(value), flags, EVERY_CPU)

    def delete(self, key: bytes) -> None:
        """Delete an entry from user space (BPF_MAP_DELETE_ELEM); `KernelError` as the map type says."""
        self._check_frozen()
        self.remove(self._key(key))

    def keys(self) -> list[bytes]:
        """Return every key (BPF_MAP_GET_NEXT_KEY)."""
        return list(self._values)

    def store(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        """What a program's bpf_map_update_elem does on a CPU; sizes are right by then."""
        raise NotImplementedError

    def remove(self, key: bytes) -> None:
        """What a program's bpf_map_delete_elem does."""
        raise NotImplementedError

    def _check_sizes(self) -> None:
        if self.spec.max_entries <= 0 or self.spec.key_size <= 0 or self.spec.value_size <= 0:
            raise self._invalid("sizes and max_entries of a map start at 1")

    def _memory(self) -> int:
        """Return how many bytes of keys and values the map may hold."""
        return (self.spec.key_size + self.spec.value_size) * self.spec.max_entries

    def _invalid(self, why: str) -> KernelError:
        return KernelError("EINVAL", hint=f"map {self.spec.name}: {why}")

    def _check_value(self, value: bytes, size: int) -> None:
        if len(value) != size:
            raise UsageError(f"map {self.spec.name}: a value has {size} bytes, not {len(value)}")

    def _peek(self, key: bytes) -> bytearray | None:
        """Return the value that user space is shown."""
        return self.value(key)

    def _check_frozen(self) -> None:
        if self.spec.readonly:
            raise KernelError("EPERM", hint=f"map {self.spec.name} is frozen: its values are constants")

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.spec.key_size:
            raise UsageError(f"map {self.spec.name}: a key has {self.spec.key_size} bytes, not {len(key)}")
        return bytes(key)

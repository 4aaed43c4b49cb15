"""The map that routes: kernel/bpf/lpm_trie.c, Linux 6.12.

A key is ``struct bpf_lpm_trie_key``: the length of a prefix in bits, 4 bytes in the machine's order, and then the
address in network byte order. A lookup finds the longest prefix in the map that covers the key.
"""

from __future__ import annotations

from netkit_edu import uapi
from netkit_edu.engine.maps.base import ACCESS, MAX_ALLOCATION, NO_PREALLOC, NUMA_NODE, Map
from netkit_edu.errors import KernelError

_LENGTH = 4  # bytes of a key before the address
_MAX_ADDRESS = 256
_MAX_VALUE = MAX_ALLOCATION - _MAX_ADDRESS - 40  # sizeof(struct lpm_trie_node)


class LpmTrieMap(Map):
    """BPF_MAP_TYPE_LPM_TRIE. Bits behind the prefix do not matter, but come back as they were stored.

    A full map takes new values for prefixes it has, and refuses others with ENOSPC (before Linux 6.13 it refused both).
    """

    flags_allowed = NO_PREALLOC | NUMA_NODE | ACCESS

    def __init__(self, spec, cpus: int = 1):
        super().__init__(spec, cpus)
        self._stored: dict[bytes, bytes] = {}  # key with the bits behind its prefix cleared -> key as it was given

    @property
    def max_prefixlen(self) -> int:
        """Bits of an address."""
        return 8 * (self.spec.key_size - _LENGTH)

    def value(self, key: bytes, cpu: int = 0) -> bytearray | None:
        length, address = self._parts(key)
        if length > self.max_prefixlen:
            return None
        for shorter in range(length, -1, -1):
            value = self._values.get(self._prefix(shorter, address))
            if value is not None:
                return value
        return None

    def keys(self) -> list[bytes]:
        # the kernel's order: a subtree before its root, zeros before ones
        def order(prefix: bytes) -> str:
            length, address = self._parts(prefix)
            return f"{address:0{self.max_prefixlen}b}"[:length] + "2"

        return [self._stored[prefix] for prefix in sorted(self._values, key=order)]

    def store(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        if flags > uapi.BPF_EXIST:
            raise KernelError("EINVAL")
        prefix = self._checked(key)
        if prefix in self._values:
            if flags == uapi.BPF_NOEXIST:
                raise KernelError("EEXIST")
        elif flags == uapi.BPF_EXIST:
            raise KernelError("ENOENT")
        elif len(self._values) >= self.spec.max_entries:
            raise KernelError("ENOSPC", hint=f"map {self.spec.name} is full: it has {self.spec.max_entries} prefixes")
        self._values[prefix] = bytearray(value)
        self._stored[prefix] = key

    def remove(self, key: bytes) -> None:
        prefix = self._checked(key)
        if self._values.pop(prefix, None) is None:
            raise KernelError("ENOENT")
        del self._stored[prefix]

    def _parts(self, key: bytes) -> tuple[int, int]:
        return int.from_bytes(key[:_LENGTH], "little"), int.from_bytes(key[_LENGTH:], "big")

    def _prefix(self, length: int, address: int) -> bytes:
        rest = self.max_prefixlen - length
        cleared = address >> rest << rest
        return length.to_bytes(_LENGTH, "little") + cleared.to_bytes(self.spec.key_size - _LENGTH, "big")

    def _checked(self, key: bytes) -> bytes:
        length, address = self._parts(key)
        if length > self.max_prefixlen:
            raise self._invalid(f"a prefix has at most {self.max_prefixlen} bits, not {length}")
        return self._prefix(length, address)

    def _check_sizes(self) -> None:
        super()._check_sizes()
        if not self.spec.flags & NO_PREALLOC:
            raise self._invalid("a trie wants BPF_F_NO_PREALLOC in its map_flags")
        if not _LENGTH < self.spec.key_size <= _LENGTH + _MAX_ADDRESS or self.spec.value_size > _MAX_VALUE:
            raise self._invalid(f"a key of a trie has 4 bytes for the length and 1 to {_MAX_ADDRESS} for the address")

"""BPF maps as Python sees them: keys and values typed by BTF, whoever keeps the bytes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from netkit_edu.errors import NetkitEduError, ObjectError, UsageError
from netkit_edu.program.object import MapSpec
from netkit_edu.uapi import (
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_HASH,
    BPF_MAP_TYPE_LPM_TRIE,
    BPF_MAP_TYPE_LRU_HASH,
    BPF_MAP_TYPE_LRU_PERCPU_HASH,
    BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_PERCPU_HASH,
    BPF_MAP_TYPE_PROG_ARRAY,
    BPF_MAP_TYPE_RINGBUF,
)  # fmt: skip

_MAP_TYPES = {
    BPF_MAP_TYPE_HASH: "hash", BPF_MAP_TYPE_ARRAY: "array", BPF_MAP_TYPE_PROG_ARRAY: "prog array",
    BPF_MAP_TYPE_PERCPU_HASH: "per-CPU hash", BPF_MAP_TYPE_PERCPU_ARRAY: "per-CPU array",
    BPF_MAP_TYPE_LRU_HASH: "LRU hash", BPF_MAP_TYPE_LRU_PERCPU_HASH: "LRU per-CPU hash",
    BPF_MAP_TYPE_LPM_TRIE: "LPM trie", BPF_MAP_TYPE_RINGBUF: "ring buffer",
}  # fmt: skip
_PER_CPU = (BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_PERCPU_HASH)
_ADDRESS_KEYS = (8, 20)  # bytes of an LPM key with an IPv4 or IPv6 address
_SHOWN_ENTRIES = 8


class MapStore(Protocol):
    """Whatever keeps a map's entries as bytes: the engine's own map, or a map inside a lab's kernel."""

    def lookup(self, key: bytes) -> bytes | None: ...
    def update(self, key: bytes, value: bytes, flags: int = 0) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def keys(self) -> Sequence[bytes]: ...


class TypedMap(MutableMapping):
    """A BPF map with Python keys and values, typed by the object's BTF.

    Integers and enums are ints, structs are dicts, arrays are lists. Where no type is known, or where bytes are given,
    they are the raw bytes. A missing key is a `KeyError`; a refused update or delete is the kernel's `KernelError`.

    A per-CPU map has a list of values, one for each CPU. The keys of an LPM trie over IP addresses are texts such as
    "10.0.0.0/8". A prog array takes programs, and shows numbers. A ring buffer has no entries but records: `read`.
    """

    def __init__(self, spec: MapSpec, store: MapStore, btf=None):
        self.spec = spec
        self.store = store
        self._btf = btf
        self._unread: list[bytes] = []

    @property
    def name(self) -> str:
        """The map's name in the C text."""
        return self.spec.name

    def __getitem__(self, key) -> Any:
        value = self.store.lookup(self._key(key))
        if value is None:
            raise KeyError(key)
        if self.spec.type in _PER_CPU:
            stride = self.spec.value_size + 7 & ~7
            ours = (value[at : at + self.spec.value_size] for at in range(0, len(value), stride))
            return [self._decode(self.spec.value_type, one) for one in ours]
        return self._decode(self.spec.value_type, value)

    def __setitem__(self, key, value) -> None:
        raw = self._key(key)
        if self.spec.type == BPF_MAP_TYPE_PROG_ARRAY:
            self._set_program(raw, value)
        elif self.spec.type in _PER_CPU and not isinstance(value, bytes | bytearray | memoryview):
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise UsageError(f"map {self.name!r} has a value for each CPU: give a list of them, not {value!r}")
            self.store.update(raw, b"".join(self._value(one) + bytes(-self.spec.value_size % 8) for one in value))
        else:
            self.store.update(raw, self._value(value))

    def read(self, struct: str = "") -> list:
        """Take the records of a ring buffer that are complete, oldest first.

        Args:
            struct: the C structure that the records are, if their types are to be known; else they are bytes.

        Raises:
            UsageError: this is no ring buffer, the object's BTF has no such structure, or a record is none; the records
                are there to be read in another way then.
        """
        take = getattr(self.store, "read", None)
        if self.spec.type != BPF_MAP_TYPE_RINGBUF or take is None:
            raise UsageError(f"map {self.name!r} has no records to read: look its entries up, as in a dictionary")
        type_id = self._struct(struct) if struct else 0
        self._unread += take()
        try:
            records = [self._decode(type_id, record) for record in self._unread]
        except ObjectError as error:
            raise UsageError(f"map {self.name!r} has a record that is no `struct {struct}`: {error}") from error
        self._unread = []
        return records

    def _struct(self, name: str) -> int:
        from netkit_edu.program.btf import STRUCT

        type_id = self._btf.find(name, STRUCT) if self._btf is not None else 0
        if not type_id:
            raise UsageError(f"the object's types have no `struct {name}`: let a global variable be of that type")
        return type_id

    def __delitem__(self, key) -> None:
        raw = self._key(key)
        if self.store.lookup(raw) is None:
            raise KeyError(key)
        self.store.delete(raw)

    def __iter__(self) -> Iterator:
        return (self._shown_key(key) for key in self._present_keys())

    def __len__(self) -> int:
        return len(self._present_keys())

    def __repr__(self) -> str:
        kind = _MAP_TYPES.get(self.spec.type, f"type {self.spec.type}")
        if self.spec.type == BPF_MAP_TYPE_RINGBUF:
            return f"<{kind} {self.name!r} of {self.spec.max_entries} bytes>"
        entries = []
        try:
            for shown, key in enumerate(self):
                if shown == _SHOWN_ENTRIES:
                    entries.append("…")
                    break
                entries.append(f"{key!r}: {self.get(key)!r}")
        except UsageError as gone:
            return f"<{kind} map {self.name!r}: {gone}>"
        return f"<{kind} map {self.name!r} of {self.spec.max_entries}: {{{', '.join(entries)}}}>"

    def _present_keys(self) -> Sequence[bytes]:
        if self.spec.type == BPF_MAP_TYPE_RINGBUF:
            return []
        keys = self.store.keys()
        if self.spec.type == BPF_MAP_TYPE_PROG_ARRAY:  # the kernel lists the empty entries too
            return [key for key in keys if self.store.lookup(key) is not None]
        return keys

    @property
    def _of_addresses(self) -> bool:
        return self.spec.type == BPF_MAP_TYPE_LPM_TRIE and self.spec.key_size in _ADDRESS_KEYS

    def _shown_key(self, key: bytes):
        if not self._of_addresses:
            return self._decode(self.spec.key_type, key)
        return f"{ipaddress.ip_address(key[4:])}/{int.from_bytes(key[:4], 'little')}"

    def _set_program(self, key: bytes, program) -> None:
        if isinstance(program, int | bytes | bytearray | memoryview):
            self.store.update(key, self._value(program))
        elif hasattr(self.store, "program_number"):  # a map in a lab's kernel, where programs are loaded
            self.store.update(key, self._value(self.store.program_number(program)))
        elif hasattr(program, "_executable"):
            index = int.from_bytes(key, "little")
            self.store.set(index, program._executable, 1 + index)
        else:
            raise UsageError(f"map {self.name!r} takes a program as compiled, not {type(program).__name__}")

    def _value(self, value) -> bytes:
        return self._encode(self.spec.value_type, self.spec.value_size, value, "value")

    def _key(self, key) -> bytes:
        if self._of_addresses and not isinstance(key, bytes | bytearray | memoryview | Mapping):
            return self._prefix(key)
        return self._encode(self.spec.key_type, self.spec.key_size, key, "key")

    def _prefix(self, key) -> bytes:
        try:
            interface = ipaddress.ip_interface(key)
        except ValueError as error:
            raise UsageError(f"{key!r} is no key of map {self.name!r}, which are as '10.0.0.0/8': {error}") from None
        packed = interface.ip.packed
        if 4 + len(packed) != self.spec.key_size:
            raise UsageError(
                f"{key!r} is no key of map {self.name!r}: its addresses have {self.spec.key_size - 4} bytes"
            )
        return interface.network.prefixlen.to_bytes(4, "little") + packed

    def _decode(self, type_id: int, data: bytes) -> Any:
        return self._btf.decode(type_id, data) if type_id and self._btf is not None else data

    def _encode(self, type_id: int, size: int, value, what: str) -> bytes:
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
        elif type_id and self._btf is not None:
            data = encode(self._btf, type_id, value, f"{what} of map {self.name!r}")
        elif isinstance(value, int):
            data = int_bytes(value, size, f"{what} of map {self.name!r}")
        else:
            raise UsageError(f"the {what} of map {self.name!r} has no known type: give {size} bytes or an int")
        if len(data) != size:
            raise UsageError(f"a {what} of map {self.name!r} has {size} bytes, not {len(data)}")
        return data


def encode(btf, type_id: int, value, what: str) -> bytes:
    """Return the bytes of a Python value as a BTF type; `UsageError` if it does not fit, naming ``what`` it was for."""
    try:
        return btf.encode(type_id, value)
    except (NetkitEduError, TypeError, ValueError, OverflowError, KeyError) as error:
        raise UsageError(f"{value!r} is no {what}: {error}") from error


def int_bytes(value: int, size: int, what: str) -> bytes:
    """Return a number as ``size`` little-endian bytes; `UsageError` if it does not fit, naming ``what`` it was for."""
    if not isinstance(value, int):
        raise UsageError(f"the {what} is a whole number, not {value!r}")
    try:
        return int(value).to_bytes(size, "little", signed=value < 0)
    except OverflowError as error:
        raise UsageError(f"{value} does not fit the {size} bytes of the {what}") from error


class MapsByName(Mapping):
    """Maps by name; a name that is not there says which are."""

    def __init__(self, owner: str, maps: Mapping[str, TypedMap]):
        self._owner = owner
        self._maps = dict(maps)

    def __getitem__(self, name: str) -> TypedMap:
        if name not in self._maps:
            raise KeyError(f"{self._owner!r} uses no map {name!r}; it uses: {', '.join(self._maps) or 'none'}")
        return self._maps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._maps.values())) or f"<{self._owner!r} uses no map>"

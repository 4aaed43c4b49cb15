"""BPF maps as Python sees them: keys and values typed by BTF, whoever keeps the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from netkit_edu.errors import NetkitEduError, UsageError
from netkit_edu.program.object import MapSpec
from netkit_edu.uapi import BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH

_MAP_TYPES = {BPF_MAP_TYPE_HASH: "hash", BPF_MAP_TYPE_ARRAY: "array"}
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
    """

    def __init__(self, spec: MapSpec, store: MapStore, btf=None):
        self.spec = spec
        self.store = store
        self._btf = btf

    @property
    def name(self) -> str:
        """The map's name in the C text."""
        return self.spec.name

    def __getitem__(self, key) -> Any:
        value = self.store.lookup(self._key(key))
        if value is None:
            raise KeyError(key)
        return self._decode(self.spec.value_type, value)

    def __setitem__(self, key, value) -> None:
        self.store.update(self._key(key), self._encode(self.spec.value_type, self.spec.value_size, value, "value"))

    def __delitem__(self, key) -> None:
        raw = self._key(key)
        if self.store.lookup(raw) is None:
            raise KeyError(key)
        self.store.delete(raw)

    def __iter__(self) -> Iterator:
        return (self._decode(self.spec.key_type, key) for key in self.store.keys())

    def __len__(self) -> int:
        return len(self.store.keys())

    def __repr__(self) -> str:
        kind = _MAP_TYPES.get(self.spec.type, f"type {self.spec.type}")
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

    def _key(self, key) -> bytes:
        return self._encode(self.spec.key_type, self.spec.key_size, key, "key")

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

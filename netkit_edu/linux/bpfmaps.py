"""bpf(2), maps: create, fill, look up, list; and ring buffers read through the memory they share."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.btfload import kernel_btf
from netkit_edu.linux.door import Batch
from netkit_edu.linux.ringbuf import RingReader
from netkit_edu.linux.syscalls import AT_FDCWD, O_CLOEXEC
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
)

FIRST_NUMBER = 1 << 30  # maps are numbered from here by their ids, so that no number is a program's and a map's
_PER_CPU = (BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_PERCPU_HASH)
_ARRAYS = (BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PROG_ARRAY)
_TYPED = (BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LPM_TRIE, *_PER_CPU)
_KEYS_AT_ONCE = 64
_POSSIBLE_CPUS = b"/sys/devices/system/cpu/possible\0"


@dataclass
class LinuxMap:
    """A map in the kernel: its number here, its descriptor in the door, how it was made.

    ``user_size`` is the bytes of a value as it is read and written here. ``kernel_size`` is those of bpf(2), which has
    a cell of ``cell`` bytes for each CPU that the machine may have, not only for those of the lab; 0 for one value.
    """

    number: int
    fd: int
    spec: MapSpec
    user_size: int
    kernel_size: int
    cell: int
    reader: RingReader | None = None


class MapCalls:
    """The calls for maps. What a backend must have: ``door`` and ``_fd_of``.

    ``cpus`` are the kernel's numbers of the CPUs whose values maps with one for each show, None for all of them.
    """

    cpus: Sequence[int] | None = None

    def __init__(self):
        self._maps: dict[int, LinuxMap] = {}
        self._map_types: dict[bytes, int] = {}  # BTF as loaded -> its descriptor
        self._possible_cpus = 0

    def map_create(self, spec: MapSpec) -> int:
        """Create a map (BPF_MAP_CREATE), filled and frozen as ``spec`` says; return its number."""
        fd, number = self._create(spec)
        self._maps[FIRST_NUMBER + number] = LinuxMap(FIRST_NUMBER + number, fd, spec, *self._sizes(spec))
        return FIRST_NUMBER + number

    def map_close(self, number: int) -> None:
        """Let go of a map; programs that use it keep it, and a ring buffer that was read stays mapped."""
        self.door.call("close", self._map(number).fd)
        del self._maps[number]

    def map_lookup(self, number: int, key: bytes) -> bytes | None:
        """Return a copy of the value, None if the key is absent."""
        one = self._map(number)
        batch = self.door.batch()
        value = batch.room(max(one.kernel_size, 8))
        found = self._element(batch, a.MAP_LOOKUP_ELEM, one, key, value, must=False)
        data = batch.read(value, one.kernel_size)
        batch.run()
        if found.errno:
            if KernelError(found.errno).name == "ENOENT":
                return None
            raise KernelError(found.errno)
        return b"".join(data.value[at : at + one.cell] for at in self._cells(one)) if one.cell else data.value

    def map_update(self, number: int, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value (BPF_MAP_UPDATE_ELEM); a prog array takes a program's number."""
        one = self._map(number)
        if one.spec.type != BPF_MAP_TYPE_RINGBUF and len(value) != one.user_size:
            raise UsageError(f"a value of map {one.spec.name!r} has {one.user_size} bytes here, not {len(value)}")
        if one.spec.type == BPF_MAP_TYPE_PROG_ARRAY:
            value = struct.pack("<I", self._fd_of(int.from_bytes(value, "little"), "program"))
        if one.cell:
            given, value = value, bytearray(one.kernel_size)
            for n, at in enumerate(self._cells(one)):
                value[at : at + one.cell] = given[n * one.cell : (n + 1) * one.cell]
        batch = self.door.batch()
        self._element(batch, a.MAP_UPDATE_ELEM, one, key, batch.put(bytes(value)), flags)
        batch.run()

    def map_delete(self, number: int, key: bytes) -> None:
        """Delete an entry (BPF_MAP_DELETE_ELEM); ENOENT if absent."""
        batch = self.door.batch()
        self._element(batch, a.MAP_DELETE_ELEM, self._map(number), key, 0)
        batch.run()

    def map_keys(self, number: int) -> list[bytes]:
        """Return all keys (BPF_MAP_GET_NEXT_KEY); an array has all of its own whatever is in it."""
        one = self._map(number)
        if one.spec.type in _ARRAYS:
            return [struct.pack("<I", index) for index in range(one.spec.max_entries)]
        keys: list[bytes] = []
        while True:
            batch, step = self.door.batch(), one.spec.key_size + 15 & ~15
            room = batch.room(step * _KEYS_AT_ONCE)
            last = batch.put(keys[-1]) if keys else 0
            calls = []
            for n in range(_KEYS_AT_ONCE):
                attr = a.ELEMENT_ATTR.pack(one.fd, 0, last, room + n * step, 0)
                calls.append(a.bpf(batch, a.MAP_GET_NEXT_KEY, attr, must=False))
                last = room + n * step
            data = batch.read(room, step * _KEYS_AT_ONCE)
            batch.run()
            for n, call in enumerate(calls):
                if call.errno:
                    if KernelError(call.errno).name == "ENOENT":
                        return keys
                    raise KernelError(call.errno)
                keys.append(data.value[n * step : n * step + one.spec.key_size])

    def ringbuf_read(self, number: int) -> list[bytes]:
        """Take the records of a ring buffer that are complete, oldest first; EINVAL for any other map."""
        one = self._map(number)
        if one.spec.type != BPF_MAP_TYPE_RINGBUF:
            raise KernelError("EINVAL", hint=f"map {one.spec.name} is no ring buffer")
        if one.reader is None:
            one.reader = RingReader(self.door, one.fd, one.spec.max_entries)
        return one.reader.read()

    def _map(self, number: int) -> LinuxMap:
        if number not in self._maps:
            raise KernelError("EBADF")
        return self._maps[number]

    def _element(self, batch: Batch, cmd: int, one: LinuxMap, key: bytes, value: int, flags: int = 0, *,
                 must: bool = True):  # fmt: skip
        if len(key) != one.spec.key_size:
            raise UsageError(f"a key of map {one.spec.name!r} has {one.spec.key_size} bytes, not {len(key)}")
        attr = a.ELEMENT_ATTR.pack(one.fd, 0, batch.put(key) if key else 0, value, flags & (1 << 64) - 1)
        return a.bpf(batch, cmd, attr, must=must)

    # making one -------------------------------------------------------------------------------------------------------

    def _create(self, spec: MapSpec) -> tuple[int, int]:
        """Return descriptor and id of a new map; without types where the kernel does not take those."""
        typed = spec.btf is not None and bool(spec.value_type) and spec.type in _TYPED
        if typed:
            try:
                return self._create_as(spec, self._btf_fd(kernel_btf(spec.btf)))
            except KernelError:
                pass
        return self._create_as(spec, 0)

    def _create_as(self, spec: MapSpec, types: int) -> tuple[int, int]:
        batch = self.door.batch()
        ids = (spec.key_type, spec.value_type) if types else (0, 0)
        made = a.bpf(
            batch, a.MAP_CREATE,
            a.MAP_CREATE_ATTR.pack(
                spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, 0, 0,
                a.object_name(spec.name), 0, types, *ids, 0,
            ),
        )  # fmt: skip
        if spec.initial is not None:
            value = spec.initial.ljust(spec.value_size, b"\0")
            attr = batch.put(a.ELEMENT_ATTR.pack(0, 0, batch.put(bytes(spec.key_size)), batch.put(value), 0))
            a.poke(batch, made, attr)
            a.bpf(batch, a.MAP_UPDATE_ELEM, attr, a.ELEMENT_ATTR.size)
        if spec.readonly:
            attr = batch.put(bytes(4))
            a.poke(batch, made, attr)
            a.bpf(batch, a.MAP_FREEZE, attr, 4)
        told = a.info(batch, made, 8)
        try:
            batch.run()
        except KernelError:
            if made.done and not made.errno:
                self.door.call("close", made.value)
            raise
        return made.value, struct.unpack_from("<I", told.value, 4)[0]

    def _btf_fd(self, btf: bytes) -> int:
        """Return the descriptor of type information, loaded at first use; KernelError if the kernel refuses it."""
        if btf not in self._map_types:
            batch = self.door.batch()
            made = a.bpf(batch, a.BTF_LOAD, a.BTF_LOAD_ATTR.pack(batch.put(btf), 0, len(btf), 0, 0))
            self._map_types[btf] = batch.run() and made.value
        return self._map_types[btf]

    def _sizes(self, spec: MapSpec) -> tuple[int, int, int]:
        """Return the sizes of a value: here, of bpf(2), and of one CPU's cell."""
        if spec.type not in _PER_CPU:
            return spec.value_size, spec.value_size, 0
        cell, possible = spec.value_size + 7 & ~7, self.possible_cpus
        return cell * (possible if self.cpus is None else len(self.cpus)), cell * possible, cell

    def _cells(self, one: LinuxMap) -> list[int]:
        """Return where in a value of bpf(2) the cells lie that are shown."""
        return [cpu * one.cell for cpu in (range(self.possible_cpus) if self.cpus is None else self.cpus)]

    @property
    def possible_cpus(self) -> int:
        """How many CPUs the kernel keeps values for, in maps with one for each."""
        if not self._possible_cpus:
            batch = self.door.batch()
            fd = batch.call("openat", AT_FDCWD, _POSSIBLE_CPUS, O_CLOEXEC, 0)
            room = batch.room(256)
            text = batch.read(room, batch.call("read", fd, room, 256), 256)
            batch.call("close", fd)
            batch.run()
            self._possible_cpus = 1 + int(text.value.decode().strip().replace(",", "-").split("-")[-1])
        return self._possible_cpus

    def _fds(self, maps: Mapping[str, int]) -> dict[str, int]:
        """Return descriptors of maps by the names that a program's relocations give them."""
        return {name: self._map(number).fd for name, number in maps.items()}

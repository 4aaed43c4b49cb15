"""Helpers on maps: kernel/bpf/helpers.c, Linux 6.12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netkit_edu.engine.helpers.registry import helper, map_of
from netkit_edu.engine.maps import Map, ProgArrayMap
from netkit_edu.engine.memory import Fault
from netkit_edu.errors import KernelError

if TYPE_CHECKING:
    from netkit_edu.engine.interpreter import Executable
    from netkit_edu.engine.machine import Machine


@helper
def bpf_map_lookup_elem(m: Machine, map_handle: int, key: int) -> int:
    """Return a pointer to the value inside the map, or NULL."""
    found = _elements_of(m, map_handle)
    value = found.value(m.memory.read(key, found.spec.key_size), m.world.get_smp_processor_id())
    if value is None:
        return 0
    return m.memory.pointer(f"value of map {found.spec.name}", value, readonly=found.spec.readonly)


@helper
def bpf_map_update_elem(m: Machine, map_handle: int, key: int, value: int, flags: int) -> int:
    """Store a value under a key; 0, or -EEXIST, -ENOENT, -E2BIG, -EINVAL."""
    found = _elements_of(m, map_handle)
    _check_writable(found)
    key_bytes = m.memory.read(key, found.spec.key_size)
    value_bytes = m.memory.read(value, found.spec.value_size)
    try:
        found.store(key_bytes, value_bytes, flags, m.world.get_smp_processor_id())
    except KernelError as refusal:
        return -refusal.errno
    return 0


@helper
def bpf_map_delete_elem(m: Machine, map_handle: int, key: int) -> int:
    """Delete a key; 0 or -ENOENT, for an array always -EINVAL."""
    found = _elements_of(m, map_handle)
    _check_writable(found)
    try:
        found.remove(m.memory.read(key, found.spec.key_size))
    except KernelError as refusal:
        return -refusal.errno
    return 0


def _elements_of(m: Machine, handle: int) -> Map:
    found = map_of(m, handle)
    if not found.elements:
        raise Fault(f"map {found.spec.name} (type {found.spec.type}) has no entries for a program to look up or change")
    return found


def _check_writable(found: Map) -> None:
    if found.spec.readonly:
        raise Fault(f"write into map forbidden: {found.spec.name} is read-only", region=f"map {found.spec.name}")


def program_at(m: Machine, handle: int, index: int) -> Executable | None:
    """Return the program in a prog array that a tail call goes to, None where there is none."""
    found = map_of(m, handle)
    if not isinstance(found, ProgArrayMap):
        raise Fault(f"map {found.spec.name} (type {found.spec.type}) is no prog array")
    return found.program(index)

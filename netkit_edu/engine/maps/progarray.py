"""The map of programs, for tail calls: the prog array of kernel/bpf/arraymap.c, Linux 6.12."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from netkit_edu.engine.maps.array import ArrayMap
from netkit_edu.engine.maps.base import ACCESS, NUMA_NODE, PROG_ACCESS
from netkit_edu.errors import KernelError

if TYPE_CHECKING:
    from netkit_edu.engine.interpreter import Executable

Resolve = Callable[[int], "Executable"]


def no_programs(number: int) -> Executable:
    """Find no program behind any number: what a prog array does that was made without a way to find them."""
    raise KernelError("EBADF", hint=f"there is no program {number}")


class ProgArrayMap(ArrayMap):
    """BPF_MAP_TYPE_PROG_ARRAY: programs by index; the entries start empty.

    User space stores a program's number as 4 bytes and reads its id; here both are the number that ``resolve`` knows.
    ``resolve`` returns the `Executable` behind a number, and raises `KernelError` EBADF where there is none.
    ``owner_type`` is the type of its programs, 0 before the first; it is for whoever loads programs to respect.
    """

    flags_allowed = NUMA_NODE | ACCESS & ~PROG_ACCESS
    elements = False
    owner_type = 0
    resolve: Resolve = staticmethod(no_programs)

    def __init__(self, spec, cpus: int = 1):
        super().__init__(spec, cpus)
        self._programs: dict[int, Executable] = {}

    def program(self, index: int) -> Executable | None:
        """Return the program at an index, None where there is none or no such index."""
        return self._programs.get(index)

    def set(self, index: int, program: Executable, number: int = 0) -> None:
        """Put a program at an index; ``number`` is what a lookup from user space shows."""
        if index >= self.spec.max_entries:
            raise KernelError("E2BIG")
        self._programs[index] = program
        self._values[index.to_bytes(4, "little")] = bytearray(number.to_bytes(4, "little"))

    def value(self, key: bytes, cpu: int = 0) -> bytearray | None:
        return self._values.get(key)

    def lookup(self, key: bytes) -> bytes | None:
        value = self._values.get(self._key(key))
        return None if value is None else bytes(value)

    def store(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        if flags:
            raise KernelError("EINVAL", hint="an entry of a prog array is set with BPF_ANY (0) only")
        if not self._has(key):
            raise KernelError("E2BIG")
        number = int.from_bytes(value, "little")
        self.set(int.from_bytes(key, "little"), self.resolve(number), number)

    def remove(self, key: bytes) -> None:
        if not self._has(key):
            raise KernelError("E2BIG")
        if self._values.pop(key, None) is None:
            raise KernelError("ENOENT")
        del self._programs[int.from_bytes(key, "little")]

    def _check_sizes(self) -> None:
        if self.spec.value_size != 4:
            raise self._invalid("a value of a prog array has 4 bytes")
        super()._check_sizes()

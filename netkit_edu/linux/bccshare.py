"""What BCC and a lab's door share: one kernel. Programs of BCC's enter a lab, and a lab's maps show as BCC's tables.

Descriptors belong to a process; BCC works in this one and the door is another. Both reach the same program or map by
its id (BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID; kernel/bpf/syscall.c, Linux 6.12), for which both are privileged.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.linux import bcc
from netkit_edu.linux.bpfmaps import FIRST_NUMBER
from netkit_edu.linux.bpfprogs import LinuxProg
from netkit_edu.linux.syscalls import SYSCALLS
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.uapi import (
    BPF_MAP_TYPE_ARRAY,
    BPF_MAP_TYPE_HASH,
    BPF_MAP_TYPE_LPM_TRIE,
    BPF_MAP_TYPE_LRU_HASH,
    BPF_PROG_TYPE_SCHED_CLS,
)

_PROG_GET_FD_BY_ID, _MAP_GET_FD_BY_ID = 13, 14
_TABLES = {BPF_MAP_TYPE_HASH: "HashTable", BPF_MAP_TYPE_ARRAY: "Array", BPF_MAP_TYPE_LPM_TRIE: "LpmTrie",
           BPF_MAP_TYPE_LRU_HASH: "LruHash"}  # fmt: skip
_NUMBERS = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


def same_kernel(backend) -> None:
    """Raise `UsageError` unless a backend's kernel is the one that BCC works on."""
    if backend.name != "host":
        raise UsageError(f"BCC works on this machine's own kernel: nk.Lab('host') shares it, {backend.name!r} does not")


def adopt(backend, fd: int, name: str) -> int:
    """Have a lab's kernel calls know a program that this process has loaded; return its id.

    Args:
        fd: the program's descriptor in this process.

    Raises:
        UsageError: the backend has another kernel.
        KernelError: the door may not.
    """
    same_kernel(backend)
    number = _fdinfo(fd, "prog_id")
    if number not in backend._progs:
        there = _in_door(backend.door, _PROG_GET_FD_BY_ID, number)
        code = ProgramCode(name, "", ())
        backend._progs[number] = LinuxProg(number, name, there, BPF_PROG_TYPE_SCHED_CLS, 0, code)
    return number


def table(backend, number: int, key: type | None = None, value: type | None = None):
    """Return a map of a lab's as BCC's own table class, working on it through a descriptor of this process.

    Args:
        number: the map's number, as the backend handed it out.
        key, value: ctypes for what is in it; by default unsigned numbers where the size is that of one, else bytes.

    Raises:
        UsageError: the backend has another kernel, or BCC has no class for this kind of map.
    """
    same_kernel(backend)
    spec: MapSpec = backend._map(number).spec
    if spec.type not in _TABLES:
        raise UsageError(f"BCC's tables are shown for arrays and hashes here, not for map type {spec.type}")
    base = getattr(bcc.load_bcc().table, _TABLES[spec.type])
    fd = _in_process(_MAP_GET_FD_BY_ID, number - FIRST_NUMBER)

    def init(self):
        self.bpf, self.map_id, self.map_fd, self._cbs, self._name = None, None, fd, {}, spec.name
        self.Key, self.Leaf = key or _bytes(spec.key_size), value or _bytes(spec.value_size)
        self.ttype, self.flags, self.max_entries = spec.type, spec.flags, spec.max_entries

    return type(base.__name__, (base,), {"__init__": init, "__del__": lambda self: os.close(fd)})()


def _bytes(size: int) -> type:
    return _NUMBERS.get(size) or ctypes.c_ubyte * size


def _fdinfo(fd: int, field: str) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value)
    raise UsageError(f"descriptor {fd} is no program")


def _in_door(door, command: int, number: int) -> int:
    attr = struct.pack("<III", number, 0, 0)
    return door.call("bpf", command, attr, len(attr))


def _in_process(command: int, number: int) -> int:
    attr = struct.pack("<III", number, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYSCALLS["x86_64"]["bpf"], command, attr, len(attr))
    if fd < 0:
        raise KernelError(ctypes.get_errno())
    return fd

"""The machine's own kernel as an oracle: create maps, load a program, run it once on a packet (bpf(2) by ctypes).

For tests that carry the marker ``kernel``. Attributes are laid out as in ``union bpf_attr`` (include/uapi/linux/bpf.h).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from netkit_edu.program import opcodes as op
from netkit_edu.program.isa import encode
from netkit_edu.program.object import Insn, MapSpec, ProgramCode

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD, PROG_TEST_RUN = 0, 1, 2, 3, 4, 5, 10
BTF_LOAD, MAP_FREEZE = 18, 22
SCHED_CLS = 3
SKB_SIZE = 192  # struct __sk_buff
MAX_PACKET = 1 << 15
PER_CPU = (5, 6, 10)  # map types with a value for each CPU


def _possible_cpus() -> int:
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    return 1 + max(int(cpus.split("-")[-1]) for cpus in ranges)


CPUS = _possible_cpus() if Path("/sys/devices/system/cpu/possible").exists() else 1
_SYSCALL = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 321)
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attr: bytes | bytearray) -> int:
    """Call bpf(2); `OSError` with its errno. A bytearray is filled with what the kernel writes back."""
    buffer = (ctypes.c_char * len(attr)).from_buffer(attr) if isinstance(attr, bytearray) else attr
    result = _libc.syscall(_SYSCALL, command, buffer, len(attr))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _address(buffer) -> int:
    return ctypes.addressof(buffer)


class KernelMap:
    """A map in the kernel, with the same methods as an engine's map; refusals are plain `OSError`."""

    def __init__(self, spec: MapSpec):
        self.spec = spec
        self.user_size = CPUS * (spec.value_size + 7 & ~7) if spec.type in PER_CPU else spec.value_size
        attr = struct.pack("<5I", spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)
        self.fd = bpf(MAP_CREATE, attr)
        if spec.initial is not None:
            self.update(bytes(spec.key_size), spec.initial.ljust(spec.value_size, b"\0"))
        if spec.readonly:
            bpf(MAP_FREEZE, struct.pack("<I", self.fd))

    def __enter__(self) -> KernelMap:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    def lookup(self, key: bytes) -> bytes | None:
        out = ctypes.create_string_buffer(max(self.user_size, 8))
        try:
            self._element(MAP_LOOKUP, key, out)
        except FileNotFoundError:
            return None
        return out.raw[: self.user_size]

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self._element(MAP_UPDATE, key, ctypes.create_string_buffer(value, len(value)), flags)

    def delete(self, key: bytes) -> None:
        self._element(MAP_DELETE, key, None)

    def keys(self) -> list[bytes]:
        keys: list[bytes] = []
        out = ctypes.create_string_buffer(self.spec.key_size)
        while True:
            try:
                self._element(MAP_NEXT_KEY, keys[-1] if keys else None, out)
            except FileNotFoundError:
                return keys
            keys.append(out.raw)

    def _element(self, command: int, key: bytes | None, value, flags: int = 0) -> None:
        held = None if not key else ctypes.create_string_buffer(key, len(key))
        attr = struct.pack(
            "<IIQQQ", self.fd, 0, 0 if held is None else _address(held), 0 if value is None else _address(value), flags
        )
        bpf(command, attr)


class KernelRing(KernelMap):
    """A ring buffer in the kernel, read through memory: the reader's position, the writers' position, the data."""

    def __init__(self, spec: MapSpec):
        super().__init__(spec)
        self._consumer = mmap.mmap(self.fd, mmap.PAGESIZE)
        size = mmap.PAGESIZE + 2 * spec.max_entries  # the data twice, so that no record is cut in two
        self._rest = mmap.mmap(self.fd, size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)

    def close(self) -> None:
        self._consumer.close()
        self._rest.close()
        super().close()

    def read(self) -> list[bytes]:
        """Take the records that are complete; without those that were discarded."""
        taken = []
        position, end = struct.unpack_from("<Q", self._consumer)[0], struct.unpack_from("<Q", self._rest)[0]
        while position < end:
            at = mmap.PAGESIZE + position % self.spec.max_entries
            header = struct.unpack_from("<I", self._rest, at)[0]
            if header >> 31:
                break
            size = header & (1 << 30) - 1
            if not header >> 30:
                taken.append(self._rest[at + 8 : at + 8 + size])
            position += size + 8 + 7 & ~7
        struct.pack_into("<Q", self._consumer, 0, position)
        return taken


@dataclass(frozen=True)
class Ran:
    """What BPF_PROG_TEST_RUN gave back: the signed return value, the packet's bytes, and struct __sk_buff."""

    code: int
    packet: bytes
    ctx: bytes

    def field(self, offset: int, size: int = 4) -> int:
        return int.from_bytes(self.ctx[offset : offset + size], "little")


class Refused(Exception):
    """The kernel did not load the program; ``log`` is what its verifier said."""

    def __init__(self, errno: int, log: str):
        super().__init__(f"errno {errno}: {log[-600:]}")
        self.errno = errno
        self.log = log


class KernelProgram:
    """A SCHED_CLS program in the kernel, its relocations filled with the descriptors of ``maps``."""

    def __init__(self, code: ProgramCode, maps: Mapping[str, KernelMap], *, license: str = "GPL"):
        insns = encode(_relocated(code, maps))
        buffer = ctypes.create_string_buffer(insns, len(insns))
        licensed = ctypes.create_string_buffer(license.encode())
        self._packet = ctypes.create_string_buffer(MAX_PACKET)
        self._ctx = ctypes.create_string_buffer(SKB_SIZE)
        self._functions, self._btf = b"", 0
        if code.functions:
            self._btf = _load_btf(code.functions.values())
            records = (struct.pack("<II", slot, 3 + i) for i, slot in enumerate(code.functions))
            self._functions = ctypes.create_string_buffer(b"".join(records), 8 * len(code.functions))
        try:  # without a log first: asking for one costs more than loading
            self.fd = bpf(PROG_LOAD, self._load_attr(buffer, licensed, None))
        except OSError:
            log = ctypes.create_string_buffer(1 << 20)
            try:
                self.fd = bpf(PROG_LOAD, self._load_attr(buffer, licensed, log))
            except OSError as refusal:
                raise Refused(refusal.errno, log.value.decode(errors="replace")) from None
        finally:
            if self._btf:
                os.close(self._btf)

    def __enter__(self) -> KernelProgram:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    def _load_attr(self, insns, license, log) -> bytes:
        log_level, log_size, log_at = (1, len(log), _address(log)) if log is not None else (0, 0, 0)
        return struct.pack(
            "<IIQQIIQII16sIIIIQI4x", SCHED_CLS, len(insns) // 8, _address(insns), _address(license),
            log_level, log_size, log_at, 0, 0, b"oracle", 0, 0,
            self._btf, 8, _address(self._functions) if self._functions else 0, len(self._functions) // 8,
        )  # fmt: skip

    def run(self, packet: bytes, ctx: bytes = b"") -> Ran:
        """Run the program once.

        Args:
            packet: 14 to 3712 bytes, with an IPv4 or IPv6 ethertype at least that header behind it; else EINVAL.
            ctx: struct __sk_buff beforehand, as `sk_buff` makes it.
        """
        data = ctypes.create_string_buffer(packet, len(packet))
        given = ctypes.create_string_buffer(ctx, SKB_SIZE) if ctx else None
        attr = bytearray(
            struct.pack(
                "<IIIIQQIIIIQQIII4x", self.fd, 0, len(packet), MAX_PACKET, _address(data), _address(self._packet), 1, 0,
                SKB_SIZE if given else 0, SKB_SIZE, _address(given) if given else 0, _address(self._ctx), 0, 0, 0,
            )
        )  # fmt: skip
        bpf(PROG_TEST_RUN, attr)
        code, size = struct.unpack_from("<i4xI", attr, 4)
        return Ran(code, self._packet[:size], self._ctx.raw)


def _load_btf(functions: Iterable[str]) -> int:
    """Load type information that says no more than: these are functions that return an int; return its descriptor.

    The kernel wants it of a program whose local functions make tail calls. Type 3 is the first function.
    """
    strings, types = b"\0int\0", struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)  # 1: int, signed
    types += struct.pack("<IIIII", 0, 13 << 24 | 1, 1, 1, 1)  # 2: takes an int, called "int" too
    for name in functions:
        types += struct.pack("<III", len(strings), 12 << 24, 2)
        strings += name.encode() + b"\0"
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    data = ctypes.create_string_buffer(header + types + strings, 24 + len(types) + len(strings))
    return bpf(BTF_LOAD, struct.pack("<QQII", _address(data), 0, len(data), 0))


def sk_buff(*, mark: int = 0, priority: int = 0, ifindex: int = 0, cb=(0, 0, 0, 0, 0), tstamp: int = 0) -> bytes:
    """Return the bytes of a struct __sk_buff for `KernelProgram.run`: the fields that the kernel accepts there."""
    ctx = bytearray(SKB_SIZE)
    struct.pack_into("<I", ctx, 8, mark)
    struct.pack_into("<I", ctx, 32, priority)
    struct.pack_into("<I", ctx, 40, ifindex)
    struct.pack_into("<5I", ctx, 48, *cb)
    struct.pack_into("<Q", ctx, 152, tstamp)
    return bytes(ctx)


def _relocated(code: ProgramCode, maps: Mapping[str, KernelMap]) -> list[Insn]:
    insns = list(code.insns)
    for relocation in code.relocations:
        at, fd = relocation.insn, maps[relocation.map].fd
        kind = op.LDDW_MAP_FD if relocation.offset is None else op.LDDW_MAP_VALUE
        insns[at] = insns[at]._replace(src=kind, imm=fd)
        insns[at + 1] = insns[at + 1]._replace(imm=relocation.offset or 0)
    return insns

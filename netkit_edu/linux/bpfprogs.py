"""bpf(2), programs: load with types and C lines, ask the verifier, run once, tell what the kernel knows of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from netkit_edu.errors import KernelError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.btfload import FUNCTION_LEN, LINE_LEN, Types, types_of
from netkit_edu.program import isa
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn, MapSpec, ProgramCode
from netkit_edu.program.verification import Verification, read_log
from netkit_edu.uapi import BPF_PROG_TYPE_SCHED_CLS

LOG_LEN, LOG_MOST = 1 << 16, 3 << 20  # bytes
LOAD_S = 60.0  # seconds: a verifier in an emulated machine takes its time for a million instructions
SKB_LEN = 192  # bytes of struct __sk_buff
MAX_PACKET = 1 << 16
BPF_STATS_RUN_TIME = 0
_HINT = "the kernel's verifier does not let this program pass: what it says names the C line"


@dataclass(frozen=True)
class LinuxProg:
    """A program in the kernel: its id, its descriptor in the door, its type, and its main function in its own BTF."""

    id: int
    name: str
    fd: int
    type: int
    main: int
    code: ProgramCode


class ProgInfo(NamedTuple):
    """What the kernel knows of a program; runs and nanoseconds are counted only while `run_stats` says so."""

    id: int
    type: int
    name: str
    tag: str
    run_cnt: int
    run_time_ns: int
    xlated: int
    jited: int
    verified: int


class TestRun(NamedTuple):
    """What BPF_PROG_TEST_RUN gave back: the return value, the bytes of the packet and of struct __sk_buff, ns a run."""

    code: int
    packet: bytes
    ctx: bytes
    duration: int


class ProgCalls:
    """The calls for programs. What a backend must have beside `MapCalls`: ``name`` and ``kernel``."""

    def __init__(self):
        self._progs: dict[int, LinuxProg] = {}
        self._plain: set[bytes] = set()  # types that this kernel refused
        self._stats_fd = -1

    def prog_load(self, code: ProgramCode, maps: Mapping[str, int], *,
                  prog_type: int = BPF_PROG_TYPE_SCHED_CLS) -> int:  # fmt: skip
        """Load a program whose relocations name ``maps``; return its id.

        Raises:
            KernelError: the kernel's refusal; if its verifier said why, ``extack`` is its words and ``answer`` the
                `Verification`.
        """
        fds = self._fds(maps)
        try:
            fd, number, main = self._load(code, fds, prog_type)
        except KernelError as refusal:
            raise self._explained(refusal, code, fds, prog_type) from None
        self._progs[number] = LinuxProg(number, code.name, fd, prog_type, main, code)
        watch = getattr(getattr(self, "_tracer", None), "watch", None)
        if watch is not None and prog_type == BPF_PROG_TYPE_SCHED_CLS:
            watch(number, code.name, fd, main)
        return number

    def prog_verify(self, code: ProgramCode, maps: Mapping[str, MapSpec], *, level: int = 1) -> Verification:
        """Ask this kernel's verifier about a program, with maps made for it; nothing of it stays.

        Args:
            level: 1 for the log of the path that fails, 2 for that of all paths.
        """
        fds: dict[str, int] = {}
        try:
            for name, spec in maps.items():
                fds[name], _ = self._create(spec)
            return self._verify(code, fds, BPF_PROG_TYPE_SCHED_CLS, level)
        finally:
            self._close(*fds.values())

    def prog_test_run(self, number: int, packet: bytes, *, ctx: bytes = b"", repeat: int = 1) -> TestRun:
        """Run a program on a packet in the kernel (BPF_PROG_TEST_RUN).

        Args:
            packet: from the Ethernet header; 14 to about 3 700 bytes, with the header that its ethertype announces.
            ctx: struct __sk_buff beforehand: mark, priority, ingress_ifindex, ifindex, cb, tstamp, gso_size, gso_segs.
            repeat: how often; the packet is the same each time.

        Raises:
            KernelError: EINVAL for a packet or a context that the kernel does not take.
        """
        fd = self._prog(number).fd
        batch = self.door.batch()
        data, room, after = batch.put(packet), batch.room(MAX_PACKET), batch.room(SKB_LEN)
        before = batch.put(ctx.ljust(SKB_LEN, b"\0")) if ctx else 0
        attr = batch.put(
            a.TEST_RUN_ATTR.pack(
                fd, 0, len(packet), MAX_PACKET, data, room, repeat, 0, SKB_LEN if ctx else 0, SKB_LEN, before, after,
                0, 0, 0, 0,
            )
        )  # fmt: skip
        a.bpf(batch, a.PROG_TEST_RUN, attr, a.TEST_RUN_ATTR.size)
        answer, out, skb = batch.read(attr, 48), batch.read(room, MAX_PACKET), batch.read(after, SKB_LEN)
        batch.run(LOAD_S)
        code, size, duration = struct.unpack_from("<i4xI20xI", answer.value, 4)
        return TestRun(code, out.value[:size], skb.value, duration)

    def prog_info(self, number: int) -> ProgInfo:
        """Return what the kernel knows of a program (BPF_OBJ_GET_INFO_BY_FD)."""
        batch = self.door.batch()
        told = a.info(batch, self._prog(number).fd)
        batch.run()
        return _prog_info(told.value)

    def run_stats(self, on: bool) -> None:
        """Have the kernel count the runs of all programs and their time, or no longer (BPF_ENABLE_STATS).

        It costs two clock readings a run.
        """
        if on and self._stats_fd < 0:
            self._stats_fd = self.door.call("bpf", a.ENABLE_STATS, struct.pack("<I", BPF_STATS_RUN_TIME), 4)
        elif not on and self._stats_fd >= 0:
            self._close(self._stats_fd)
            self._stats_fd = -1

    def _prog(self, number: int) -> LinuxProg:
        if number not in self._progs:
            raise KernelError("EBADF")
        return self._progs[number]

    def _close(self, *fds: int) -> None:
        batch = self.door.batch()
        for fd in fds:
            batch.call("close", fd, must=False)
        if fds:
            batch.run()

    # loading ----------------------------------------------------------------------------------------------------------

    def _load(self, code: ProgramCode, fds: Mapping[str, int], prog_type: int) -> tuple[int, int, int]:
        """Return descriptor, id and main function of a new program."""
        types = self._types(code)
        for tried in (types, types_of(code, own=False), None):
            batch = self.door.batch()
            attr, typed = self._attr(batch, code, fds, prog_type, tried)
            loaded = a.bpf(batch, a.PROG_LOAD, attr, a.PROG_LOAD_ATTR.size, must=typed is None)
            told = a.info(batch, loaded, 8)
            with suppress(KernelError):
                batch.run(LOAD_S)
            if typed is not None and not typed.errno:
                self._close(typed.value)
            if typed is None or not typed.errno:
                return loaded.value, struct.unpack_from("<I", told.value, 4)[0], tried.main if tried else 0
            self._plain.add(tried.btf)
        raise AssertionError("the last attempt has no types to be refused")

    def _types(self, code: ProgramCode) -> Types:
        types = types_of(code)
        return types_of(code, own=False) if types.btf in self._plain else types

    def _attr(self, batch, code: ProgramCode, fds: Mapping[str, int], prog_type: int, types: Types | None,
              log: tuple[int, int, int] = (0, 0, 0)):  # fmt: skip
        """Write down BPF_BTF_LOAD, and the attributes of BPF_PROG_LOAD; return their address and the first's result."""
        typed, functions, lines = None, b"", b""
        if types is not None:
            functions, lines = types.functions, types.lines
            body = a.BTF_LOAD_ATTR.pack(batch.put(types.btf), 0, len(types.btf), 0, 0)
            typed = a.bpf(batch, a.BTF_LOAD, body, must=False)
        insns = isa.encode(relocated(code, fds))
        name = a.object_name(code.name)
        body = a.PROG_LOAD_ATTR.pack(
            prog_type, len(insns) // 8, batch.put(insns), batch.put(code.license.encode() + b"\0"), *log, 0, 0, name,
            0, 0, 0, FUNCTION_LEN if functions else 0, batch.put(functions) if functions else 0,
            len(functions) // FUNCTION_LEN, LINE_LEN if lines else 0, batch.put(lines) if lines else 0,
            len(lines) // LINE_LEN, 0, 0,
        )  # fmt: skip
        attr = batch.put(body + bytes(160 - len(body)))
        if typed is not None:
            a.poke(batch, typed, attr + a.PROG_BTF_FD)
        return attr, typed

    def _verify(self, code: ProgramCode, fds: Mapping[str, int], prog_type: int, level: int = 1) -> Verification:
        """Load with a log and forget; a log for which there was no room is asked for again."""
        who, size, types = f"Linux {self.kernel} ({self.name})", LOG_LEN, self._types(code)
        while True:
            batch = self.door.batch()
            room = batch.room(size)
            attr, typed = self._attr(batch, code, fds, prog_type, types, (level, size, room))
            loaded = a.bpf(batch, a.PROG_LOAD, attr, 144, must=False)
            log, true_size = batch.read(room, size), batch.read(attr + a.PROG_LOG_TRUE_SIZE, 4)
            batch.run(LOAD_S)
            self._close(*(made.value for made in (loaded, typed) if made is not None and not made.errno))
            if typed is not None and typed.errno:
                types = types_of(code, own=False) if types.btf not in self._plain else None
                self._plain.add(types_of(code).btf)
                continue
            wanted = struct.unpack("<I", true_size.value)[0]
            if KernelError(loaded.errno).name == "ENOSPC" and size < min(wanted, LOG_MOST):
                size = min(wanted + 4096 & ~4095, LOG_MOST)
                continue
            text = log.value.split(b"\0")[0].decode(errors="replace")
            return read_log(code, who, text, loaded.errno)

    def _explained(self, refusal: KernelError, code: ProgramCode, fds, prog_type: int) -> KernelError:
        """Return the refusal with what the verifier says of it."""
        said = self._verify(code, fds, prog_type)
        if said.ok or not said.message:
            return refusal
        said = replace(said, errno=refusal.errno)
        where = f" (line {said.line.line}: {said.line.text.strip()})" if said.line is not None else ""
        return KernelError(refusal.errno, said.message + where, _HINT, answer=said)


def relocated(code: ProgramCode, fds: Mapping[str, int]) -> Sequence[Insn]:
    """Return a program's instructions with descriptors of maps where they are asked for; one that is none if absent."""
    insns = list(code.insns)
    for one in code.relocations:
        kind = op.LDDW_MAP_FD if one.offset is None else op.LDDW_MAP_VALUE
        insns[one.insn] = insns[one.insn]._replace(src=kind, imm=fds.get(one.map, -1))
        insns[one.insn + 1] = insns[one.insn + 1]._replace(imm=one.offset or 0)
    return insns


def _prog_info(data: bytes) -> ProgInfo:
    kind, number, tag, jited, xlated = struct.unpack_from("<II8sII", data)
    name = data[64:80].split(b"\0")[0].decode(errors="replace")
    time_ns, runs, _, verified = struct.unpack_from("<QQQI", data, 192)
    return ProgInfo(number, kind, name, tag.hex(), runs, time_ns, xlated // 8, jited, verified)

"""bpf(2), programs: load with types and C lines, ask the verifier, run once, tell what the kernel knows of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from netkit_edu.errors import DoorError, KernelError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.btfload import FUNCTION_LEN, LINE_LEN, Types, types_of
from netkit_edu.linux.door import Batch, Door, Result
from netkit_edu.program import isa
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn, MapSpec, ProgramCode
from netkit_edu.program.verification import Verification, read_log
from netkit_edu.uapi import BPF_PROG_TYPE_SCHED_CLS

LOG_LEN, LOG_MOST = 1 << 13, 3 << 20  # bytes
RLIMIT_NOFILE, DESCRIPTORS = 7, (1 << 12, 1 << 16)
LOG_VERDICT = 4  # BPF_LOG_STATS: what is wrong and how much was looked at, without the instructions
VERIFY_S = 20  # seconds of the kernel's own time that its verifier has
LOAD_S = 150.0  # seconds to wait for it: in an emulated machine time is slow
SKB_LEN = 192  # bytes of struct __sk_buff
MAX_PACKET = 1 << 16
_ATTR_LEN = 144  # bytes of BPF_PROG_LOAD's part, as far as log_true_size
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


class _Attempt(NamedTuple):
    """What became of a load: descriptor (-1 if refused), id, main function's type, and what the verifier said."""

    fd: int
    id: int
    main: int
    said: Verification


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
        self._refused_types: set[bytes] = set()
        self._stats_fd = -1

    def prog_load(self, code: ProgramCode, maps: Mapping[str, int], *,
                  prog_type: int = BPF_PROG_TYPE_SCHED_CLS) -> int:  # fmt: skip
        """Load a program whose relocations name ``maps``; return its id.

        Raises:
            KernelError: the kernel's refusal; if its verifier said why, ``extack`` is its words and ``answer`` the
                `Verification`.
        """
        if not self._progs:
            widen(self.door)
        fds = self._fds(maps)
        fd, number, main, said = self._attempt(code, fds, prog_type)
        if not said.ok:
            raise self._explained(said, code, fds, prog_type)
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
        progs: list[int] = []
        try:
            for name, spec in maps.items():
                fds[name], _ = self._create(spec)
            fd, _, _, said = self._attempt(code, fds, BPF_PROG_TYPE_SCHED_CLS)
            progs.append(fd)
            if (level > 1 or not said.ok) and KernelError(said.errno).name != "E2BIG":
                fd, _, _, said = self._attempt(code, fds, BPF_PROG_TYPE_SCHED_CLS, level)
                progs.append(fd)
            return said
        finally:
            self._close(*(fd for fd in (*fds.values(), *progs) if fd >= 0))

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

    def _attempt(self, code: ProgramCode, fds: Mapping[str, int], prog_type: int, level: int = LOG_VERDICT,
                 size: int = LOG_LEN, spare: int = 0) -> _Attempt:  # fmt: skip
        """Try to load a program, with a log of ``size`` bytes; the room that a log wants it is given.

        Args:
            spare: how much of the types to spare a kernel that refuses them: 1 those of the object, 2 all.
        """
        types = types_of(code, own=spare == 0) if spare < 2 else None
        if types is not None and types.btf in self._refused_types:
            return self._attempt(code, fds, prog_type, level, size, spare + 1)
        batch = self.door.batch()
        room = batch.room(size)
        attr, typed = self._attr(batch, code, fds, prog_type, types, (level, size, room))
        limit(batch, VERIFY_S)
        loaded = a.bpf(batch, a.PROG_LOAD, attr, _ATTR_LEN, must=False)
        limit(batch, LOAD_S)
        log, true_size = batch.read(room, size), batch.read(attr + a.PROG_LOG_TRUE_SIZE, 4)
        if typed is not None:
            batch.call("close", typed, must=False)
        told = a.info(batch, loaded, 8)
        self._patiently(batch, loaded, code)
        if typed is not None and typed.errno:
            self._refused_types.add(types.btf)
            return self._attempt(code, fds, prog_type, level, size, spare + 1)
        wanted = min(struct.unpack("<I", true_size.value)[0] + 4096 & ~4095, LOG_MOST)
        if KernelError(loaded.errno).name == "ENOSPC" and size < wanted:
            return self._attempt(code, fds, prog_type, level, wanted, spare)
        text = log.value.split(b"\0")[0].decode(errors="replace")
        said = read_log(code, f"Linux {self.kernel} ({self.name})", text, loaded.errno)
        if loaded.errno:
            return _Attempt(-1, 0, 0, said)
        return _Attempt(loaded.value, struct.unpack_from("<I", told.value, 4)[0], types.main if types else 0, said)

    def _patiently(self, batch: Batch, loaded: Result, code: ProgramCode) -> None:
        """Cross once, and wait for a verifier that takes long.

        Raises:
            KernelError: EAGAIN if it was not through in time.
        """
        try:
            batch.run(LOAD_S)
        except KernelError:
            if not loaded.errno:  # else it is what could not be done because of that
                raise
        except DoorError:
            if not loaded.done or KernelError(loaded.errno).name != "EAGAIN":
                raise
            said = f"the verifier was not through with {code.name!r} after {VERIFY_S} s"
            raise KernelError("EAGAIN", said, "it looks at every path: bound the loops, or do less in them") from None

    def _explained(self, said: Verification, code: ProgramCode, fds: Mapping[str, int], prog_type: int) -> KernelError:
        """Return a refusal with the verifier's words, and the C line if a log of instructions can be waited for."""
        errno = said.errno
        if said.message and KernelError(errno).name != "E2BIG":
            said = replace(self._attempt(code, fds, prog_type, level=1).said, errno=errno)
        if not said.message:
            return KernelError(errno)
        where = f" (line {said.line.line}: {said.line.text.strip()})" if said.line is not None else ""
        return KernelError(errno, said.message + where, _HINT, answer=said)

    def _attr(self, batch: Batch, code: ProgramCode, fds: Mapping[str, int], prog_type: int, types: Types | None,
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


def widen(door: Door) -> None:
    """Let the door have many descriptors open, as far as it may: each load takes some (RLIMIT_NOFILE)."""
    batch = door.batch()
    for most in DESCRIPTORS:
        batch.call("prlimit64", 0, RLIMIT_NOFILE, struct.pack("<2Q", most, most), 0, must=False)
    batch.run()


def limit(batch: Batch, seconds: float) -> None:
    """Have the calls that follow interrupted after so many seconds of the kernel's own time (setitimer(2))."""
    layout = "<4q" if batch.door.word == 8 else "<4i"
    batch.call("setitimer", 0, struct.pack(layout, 1, 0, int(seconds), int(seconds % 1 * 1e6)), 0)


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

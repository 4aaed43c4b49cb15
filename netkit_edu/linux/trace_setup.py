"""Setting up the recording in a door's process: the log, the programs, and what is known of the kernel's functions.

All of it hangs on descriptors with numbers of their own, from `FIRST` on, where the next client of the same door finds
them again: that of a virtual machine restored from its snapshot. `FACTS` is a file in memory that says the rest.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from typing import NamedTuple

from netkit_edu.errors import KernelError, ObjectError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.door import Door, Result
from netkit_edu.linux.files import read_file
from netkit_edu.linux.kernelbtf import KernelBtf
from netkit_edu.linux.symbols import find
from netkit_edu.linux.syscalls import O_CLOEXEC
from netkit_edu.linux.trace_assembly import END, START
from netkit_edu.linux.trace_probe import HEAD, LOG, Probes
from netkit_edu.linux.trace_table import CONSUME_SKB, DROPPING, FUNCTIONS, KFREE_SKB
from netkit_edu.program import isa
from netkit_edu.program.assembler import assemble
from netkit_edu.program.object import Insn
from netkit_edu.uapi import Errno

FIRST = 1000
FACTS, MAP, ENTRY, FREED, CONSUMED, FOUND = range(FIRST, FIRST + 6)  # facts, log, and programs
LINKS = range(FIRST + 6, FIRST + 10)  # what keeps them where they are: `attach`, in its order
HEAD_OF_FACTS = 64  # bytes: the log's head while recording, while not, and how many bytes of JSON follow
FINGERPRINT = hashlib.sha256(repr((FUNCTIONS, START, END, HEAD, LOG)).encode()).hexdigest()[:16]  # of what is set up
BTF_FILE, BOOT = "/sys/kernel/btf/vmlinux", "/proc/sys/kernel/random/boot_id"
_BPF_MAP_TYPE_ARRAY, _BPF_F_MMAPABLE = 2, 1 << 10
_KPROBE, _RAW_TRACEPOINT, _TRACING = 2, 17, 26  # BPF_PROG_TYPE_*
_TRACE_FEXIT, _TRACE_KPROBE_MULTI = 25, 42  # BPF_TRACE_*
_LINK_CREATE = 28
_MFD_CLOEXEC, _F_GETFD = 1, 1
_PROT_READ_WRITE, _MAP_SHARED_FIXED = 3, 0x11
_PIECE = 1 << 16
_TIMEOUT = 60.0  # seconds
_SOME_PROGRAM = 0x5A5A_1234  # stands for a program's id


def log_address(door: Door) -> int:
    """Return where the log lies in the door's process: at the end of its arena."""
    return door.base + _ARENA - LOG


_ARENA = 4 << 20  # bytes of a door's arena


def prepare(door: Door) -> dict:
    """Set up the recording in the door's process, as far as it is not; see the module's text. Return its facts.

    Raises:
        KernelError: the kernel refuses: it has no kprobe.multi links (before 5.18, or CONFIG_FPROBE is not set) or no
            BTF, or the door has not the right.
    """
    facts, attached = _look(door)
    if facts is None:
        try:
            return set_up(door)
        except ObjectError as error:
            raise KernelError("EOPNOTSUPP", f"this kernel cannot be recorded: {error}") from None
    if not attached:
        attach(door, [tuple(pair) for pair in facts["functions"]])
    return facts


def set_up(door: Door) -> dict:
    """Make everything, and return the facts; see `prepare`."""
    detach(door)
    _check_links(door)
    plan = _plan(door)
    _map(door)
    _keep(door, ENTRY, _load(door, plan.entry, _KPROBE, _TRACE_KPROBE_MULTI))
    _keep(door, FREED, _load(door, plan.freed, _RAW_TRACEPOINT, 0))
    _keep(door, CONSUMED, _load(door, plan.consumed, _RAW_TRACEPOINT, 0))
    _keep(door, FOUND, _load(door, plan.lookup, _TRACING, _TRACE_FEXIT, plan.looked_up))
    attach(door, plan.functions)
    return _write_facts(door, plan.facts)


class _Plan(NamedTuple):
    """What is to be set up in a kernel: programs, the function that one of them follows, places, and the facts."""

    boot: bytes
    entry: tuple[Insn, ...]
    freed: tuple[Insn, ...]
    consumed: tuple[Insn, ...]
    lookup: tuple[Insn, ...]
    looked_up: int
    functions: list[tuple[int, int]]
    facts: dict


_last: _Plan | None = None


def _plan(door: Door) -> _Plan:
    """Return the plan for the kernel that the door speaks to, made once for each time it has booted."""
    global _last
    boot = read_file(door, BOOT)
    if _last is None or _last.boot != boot:
        btf = KernelBtf(read_file(door, BTF_FILE))
        symbols = find(door, [*(f.symbol for f in FUNCTIONS), *DROPPING])
        probes = Probes(btf, MAP)
        found = [(symbols[f.symbol][0], f.cookie(n)) for n, f in enumerate(FUNCTIONS) if f.symbol in symbols]
        reasons = {n: name.removeprefix("SKB_DROP_REASON_") for n, name in btf.enum("skb_drop_reason").items()}
        facts = {
            "made": FINGERPRINT,
            "reasons": reasons,
            "places": [[*symbols[name], name] for name in DROPPING if name in symbols],
            "missing": [f.symbol for f in FUNCTIONS if f.symbol not in symbols],
            "functions": found,
            "verdict": isa.encode(probes.verdict(_SOME_PROGRAM)).hex(),
        }
        _last = _Plan(
            boot, probes.entry(), probes.freed(KFREE_SKB), probes.freed(CONSUME_SKB), probes.lookup(),
            btf.function("fib_table_lookup"), found, facts,
        )  # fmt: skip
    return _last


def attach(door: Door, found: Iterable[tuple[int, int]]) -> None:
    """Put the recording programs at functions, pairs of an address and a cookie, and at the tracepoints."""
    addresses, cookies = zip(*found, strict=True)
    count = len(addresses)
    batch = door.batch()
    at = batch.put(struct.pack(f"<{count}Q", *addresses))
    given = batch.put(struct.pack(f"<{count}Q", *cookies))
    attr = struct.pack("<IIIIIIQQQ", ENTRY, 0, _TRACE_KPROBE_MULTI, 0, 0, count, 0, at, given)
    links = [a.bpf(batch, _LINK_CREATE, attr)]
    for name, prog in ((b"kfree_skb\0", FREED), (b"consume_skb\0", CONSUMED), (b"", FOUND)):
        attr = a.RAW_TRACEPOINT_ATTR.pack(batch.put(name) if name else 0, prog)
        links.append(a.bpf(batch, a.RAW_TRACEPOINT_OPEN, attr))
    for number, link in zip(LINKS, links, strict=True):
        batch.call("dup3", link, number, O_CLOEXEC)
        batch.call("close", link)
    batch.run(_TIMEOUT)


def detach(door: Door) -> None:
    """Take the recording programs away, which cost nothing then; `attach` puts them back."""
    batch = door.batch()
    for number in LINKS:
        batch.call("close", number, must=False)
    batch.run(_TIMEOUT)


def verdict(code: bytes, number: int) -> tuple[Insn, ...]:
    """Return the program that records what the program with this id returns; ``code`` is that of the facts."""
    return isa.decode(code.replace(struct.pack("<i", _SOME_PROGRAM), struct.pack("<i", number)))


# the log ------------------------------------------------------------------------------------------------------------


def _map(door: Door) -> None:
    batch = door.batch()
    attr = a.MAP_CREATE_ATTR.pack(_BPF_MAP_TYPE_ARRAY, 4, LOG, 1, _BPF_F_MMAPABLE, 0, 0, b"nk_trace", 0, 0, 0, 0, 0)
    made = a.bpf(batch, a.MAP_CREATE, attr)
    batch.run()
    _keep(door, MAP, made.value)


def map_log(door: Door) -> None:
    """Lay the log over the end of the door's arena."""
    door.call("mmap", log_address(door), LOG, _PROT_READ_WRITE, _MAP_SHARED_FIXED, MAP, 0)


# programs -----------------------------------------------------------------------------------------------------------


def _load(door: Door, insns: tuple[Insn, ...], kind: int, attach_type: int, function: int = 0, target: int = 0) -> int:
    """Load a program; return its descriptor. If the verifier refuses, the error holds its last words."""
    code = isa.encode(insns)
    size = 1 << 16
    for level in (0, 1):
        batch = door.batch()
        room = batch.room(size)
        attr = a.PROG_LOAD_ATTR.pack(
            kind, len(code) // 8, batch.put(code), batch.put(b"Dual MIT/GPL\0"), level, size * level, room * level,
            0, 0, b"nk_trace", 0, attach_type, 0, 0, 0, 0, 0, 0, 0, function, target,
        )  # fmt: skip
        made = a.bpf(batch, a.PROG_LOAD, attr, must=False)
        log = batch.read(room, size * level)
        batch.run(_TIMEOUT)
        if not made.errno:
            return made.value
    words = log.value.split(b"\0")[0].decode(errors="replace").strip().splitlines()
    raise KernelError(made.errno, " / ".join(words[-4:]))


def _check_links(door: Door) -> None:
    """Ask for a link to no function at all: what is wrong with it is said only by a kernel that has such links."""
    program = _load(door, assemble("r0 = 0\nexit"), _KPROBE, _TRACE_KPROBE_MULTI)
    batch = door.batch()
    link = a.bpf(batch, _LINK_CREATE, struct.pack("<IIII32x", program, 0, _TRACE_KPROBE_MULTI, 0), must=False)
    batch.call("close", program)
    batch.run()
    if link.errno == Errno.EOPNOTSUPP:
        raise KernelError("EOPNOTSUPP", "this kernel cannot be recorded: it has no kprobe.multi links (CONFIG_FPROBE)")


def _keep(door: Door, number: int, fd: int) -> int:
    """Give a descriptor its place."""
    batch = door.batch()
    batch.call("dup3", fd, number, O_CLOEXEC)
    batch.call("close", fd)
    batch.run()
    return number


# facts --------------------------------------------------------------------------------------------------------------


def _write_facts(door: Door, facts: dict) -> dict:
    """Write them down, and return them as they will be read."""
    data = json.dumps(facts, separators=(",", ":")).encode()
    head = struct.pack("<QQQQQ", 0, 1, 0, 0, len(data)).ljust(HEAD_OF_FACTS, b"\0")
    batch = door.batch()
    made: Result = batch.call("memfd_create", b"nk_trace\0", _MFD_CLOEXEC)
    batch.call("write", made, head + data, HEAD_OF_FACTS + len(data))
    batch.run()
    _keep(door, FACTS, made.value)
    return json.loads(data)


def _look(door: Door) -> tuple[dict | None, bool]:
    """Return what `set_up` wrote down in this door, None if it has not been there, or was another version of it.

    The second is whether the programs are where they record.
    """
    batch = door.batch()
    room = batch.room(_PIECE)
    got = batch.call("pread64", FACTS, room, _PIECE, 0, must=False)
    data = batch.read(room, got, _PIECE)
    link = batch.call("fcntl", LINKS[0], _F_GETFD, must=False)
    batch.run()
    if got.errno:
        return None, False
    size = struct.unpack_from("<Q", data.value, 32)[0]
    facts = json.loads(data.value[HEAD_OF_FACTS : HEAD_OF_FACTS + size])
    return facts if facts.get("made") == FINGERPRINT else None, not link.errno

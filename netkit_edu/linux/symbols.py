"""Where functions of the kernel lie: asked of the kernel by their names, one short program's run for each.

/proc/kallsyms says the same in some 10 MB of text, which is read only where the kernel cannot be asked
(bpf_kallsyms_lookup_name, kernel/bpf/syscall.c since 5.16; sprint_symbol, kernel/kallsyms.c; Linux 6.12).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from netkit_edu.errors import KernelError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.door import Data, Door
from netkit_edu.linux.files import read_file
from netkit_edu.program import isa
from netkit_edu.program.assembler import assemble

SYMBOLS = "/proc/kallsyms"
# What a compiler puts behind the name of a function that it has changed; of several the first is it. What it has moved
# into a part of its own, of unlikely paths (.cold), is not.
SUFFIXES = ("", ".constprop.0", ".isra.0", ".constprop.0.isra.0", ".isra.0.constprop.0", ".part.0")
UNKNOWN_END = 4096  # bytes behind the start of a function of unknown length
_NAME, _TEXT = 64, 96  # bytes
_ASKED = struct.Struct(f"<{_NAME}sqQ{_TEXT}s")  # the name; 0 or -errno, its address, and that address in words
_SIZE = re.compile(rb"\+0x0/0x([0-9a-f]+)")
_SYSCALL, _SLEEPABLE = 31, 1 << 4  # BPF_PROG_TYPE_SYSCALL, BPF_F_SLEEPABLE
_ARRAY, _RDONLY_PROG = 2, 1 << 7


def find(door: Door, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return start and end of those of these functions that the kernel has.

    Args:
        names: without what a compiler puts behind them.

    Raises:
        KernelError: EPERM, it does not tell this door (kernel.kptr_restrict, CAP_SYSLOG).
    """
    wanted = list(dict.fromkeys(names))
    try:
        held = _load(door)
    except KernelError:
        everything = read_symbols(read_file(door, SYMBOLS))
        return {name: everything[name] for name in wanted if name in everything}
    found: dict[str, tuple[int, int]] = {}
    try:
        for suffix in SUFFIXES:
            found |= _ask(door, held[0], suffix, [name for name in wanted if name not in found])
    finally:
        batch = door.batch()
        for fd in held:
            batch.call("close", fd)
        batch.run()
    return found


def _ask(door: Door, program: int, suffix: str, names: list[str]) -> dict[str, tuple[int, int]]:
    batch, asked = door.batch(), []
    for name in names:
        place = batch.put(_ASKED.pack((name + suffix).encode(), 0, 0, b""))
        a.bpf(batch, a.PROG_TEST_RUN, struct.pack("<I36xI4xQ8x", program, _ASKED.size, place))
        asked.append((name, batch.read(place, _ASKED.size)))
    batch.run()
    return {name: span for name, data in asked if (span := _span(data)) is not None}


def _span(data: Data) -> tuple[int, int] | None:
    _, refused, start, text = _ASKED.unpack(data.value)
    if refused == -1:  # EPERM
        raise KernelError("EPERM", hint="the kernel does not tell this door where its functions are: cap_syslog")
    size = _SIZE.search(text)
    return None if refused or not start else (start, start + (int(size[1], 16) if size else UNKNOWN_END))


def _load(door: Door) -> tuple[int, int]:
    """Load the program; return its descriptor, and that of the map with its format."""
    batch = door.batch()
    attr = a.MAP_CREATE_ATTR.pack(_ARRAY, 4, 8, 1, _RDONLY_PROG, 0, 0, b"nk_symbols", 0, 0, 0, 0, 0)
    made = a.bpf(batch, a.MAP_CREATE, attr)
    attr = batch.put(a.ELEMENT_ATTR.pack(0, 0, batch.put(bytes(4)), batch.put(b"%pS\0".ljust(8, b"\0")), 0))
    a.poke(batch, made, attr)
    a.bpf(batch, a.MAP_UPDATE_ELEM, attr, a.ELEMENT_ATTR.size)
    attr = batch.put(bytes(4))
    a.poke(batch, made, attr)
    a.bpf(batch, a.MAP_FREEZE, attr, 4)
    batch.run()
    batch = door.batch()
    code = isa.encode(assemble(_program(made.value)))
    attr = struct.pack("<IIQQ20xI", _SYSCALL, len(code) // 8, batch.put(code), batch.put(b"GPL\0"), _SLEEPABLE)
    loaded = a.bpf(batch, a.PROG_LOAD, attr, must=False)
    batch.run()
    if loaded.errno:
        door.call("close", made.value)
        raise KernelError(loaded.errno)
    return loaded.value, made.value


def _program(texts: int) -> str:
    """Return the program: bpf_kallsyms_lookup_name(name), then bpf_snprintf("%pS", address), into what was asked."""
    name, address, text, argument = -_NAME, -_NAME - 8, -_NAME - 8 - _TEXT, -_NAME - 16 - _TEXT
    take = "\n".join(f"r1 = *(u64 *)(r6 +{n})\n*(u64 *)(r10 {name + n:+}) = r1" for n in range(0, _NAME, 8))
    zero = "\n".join(f"*(u64 *)(r10 {text + n:+}) = r7" for n in range(0, _TEXT, 8))
    give = "\n".join(
        f"r1 = *(u64 *)(r10 {text + n:+})\n*(u64 *)(r6 +{_NAME + 16 + n}) = r1" for n in range(0, _TEXT, 8)
    )
    return f"""
    r6 = r1
    r7 = 0
    {take}
    *(u64 *)(r10 {address:+}) = r7
    {zero}
    r1 = r10
    r1 += {name}
    r2 = {_NAME}
    r3 = 0
    r4 = r10
    r4 += {address}
    call bpf_kallsyms_lookup_name
    *(u64 *)(r6 +{_NAME}) = r0
    r1 = *(u64 *)(r10 {address:+})
    *(u64 *)(r6 +{_NAME + 8}) = r1
    *(u64 *)(r10 {argument:+}) = r1
    r1 = r10
    r1 += {text}
    r2 = {_TEXT}
    r3 = map[fd:{texts}][0]+0
    r4 = r10
    r4 += {argument}
    r5 = 8
    call bpf_snprintf
    {give}
    r0 = 0
    exit
    """


def read_symbols(text: bytes) -> dict[str, tuple[int, int]]:
    """Return start and end of every function by its name without what the compiler put behind it, from kallsyms' text.

    Where a compiler has made parts of their own of a function's unlikely paths (``.cold``), those are not it.
    """
    rows = []
    for line in text.splitlines():
        address, kind, name = line.split(None, 3)[:3]
        if kind in b"tTwW":
            rows.append((int(address, 16), name.decode()))
    rows.sort()
    found: dict[str, tuple[int, int]] = {}
    for n, (start, name) in enumerate(rows):
        plain, _, part = name.partition(".")
        if part.startswith("cold") or ".cold" in part or part.startswith("llvm"):
            continue
        end = next((other for other, _ in rows[n + 1 : n + 20] if other > start), start + UNKNOWN_END)
        if plain not in found or not part:
            found[plain] = (start, end)
    return found

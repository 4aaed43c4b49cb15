"""Broken input for the readers of objects and instructions: mutations of good ones, and plain noise.

``python -m tests.program.mutations [COUNT] [SEED]`` does the long run and prints its figures. Each case may take a
second of CPU time and 100 MB of memory, and end in nothing but success or `ObjectError`; a fault shows its seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from netkit_edu.errors import ObjectError
from netkit_edu.program.elf import read_object
from netkit_edu.program.isa import Insn, assemble, decode, disassemble, encode, validate
from netkit_edu.program.object import Object
from tests.program.compiled import COURSE, KINDS, SAMPLES, compiled

try:
    import resource
except ImportError:
    resource = None

SECONDS = 1.0  # of CPU time for one case
MEMORY = 100 << 20  # bytes of address space beyond what the process has


def objects() -> list[bytes]:
    """Return good objects: every sample and course program by every compiler."""
    return [compiled(path.read_text(), kind).elf for path in SAMPLES + COURSE for kind in KINDS]


def streams() -> list[bytes]:
    """Return good instruction streams: the programs of those objects."""
    found = [read_object(data) for data in objects()]
    return [encode(code.insns) for obj in found for code in obj.programs.values()]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return ``data`` with 1 to 16 bytes changed, sometimes cut off or grown as well."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 16)):
        at = chance.randrange(len(out))
        out[at] = chance.choice((chance.randrange(256), 0, 1, 0x7F, 0x80, 0xFF, out[at] ^ 1 << chance.randrange(8)))
    kind = chance.randrange(20)
    if kind == 0:
        return bytes(out[: chance.randrange(len(out))])
    if kind == 1:
        return bytes(out) + chance.randbytes(chance.randrange(64))
    return bytes(out)


def headers_mutated(data: bytes, chance: random.Random) -> bytes:
    """Like `mutated`, but aimed at the ELF header and the table of sections, where a byte does most."""
    out = bytearray(data)
    table = int.from_bytes(data[0x28:0x30], "little")
    for _ in range(chance.randint(1, 16)):
        at = chance.choice((chance.randrange(64), chance.randrange(table, len(out))))
        out[at] = chance.randrange(256)
    return bytes(out)


def noise(chance: random.Random) -> bytes:
    """Return random bytes, half of them behind a good ELF identification."""
    data = chance.randbytes(chance.randrange(1 << chance.randrange(4, 17)))
    start = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x01\x00\xf7\x00"
    return data if chance.random() < 0.5 else start + data


def use_object(data: bytes) -> bool:
    """Read an object and use all that was read; whether it was taken."""
    try:
        obj = read_object(data, "int source;\n" * 20)
    except ObjectError:
        return False
    for code in obj.programs.values():
        use_insns(code.insns)
    _use_types(obj)
    return True


def _use_types(obj: Object) -> None:
    for type_id in range(len(obj.btf.types) if obj.btf else 0):
        _quietly(obj.btf.spell, type_id)
        _quietly(obj.btf.size, type_id)
    for spec in obj.maps.values():
        if obj.btf and spec.value_type and spec.initial is not None:
            _quietly(obj.btf.decode, spec.value_type, spec.initial)


def _quietly(use: Callable, *args) -> None:
    try:
        use(*args)
    except ObjectError:
        pass


def use_stream(data: bytes) -> bool:
    """Decode and print an instruction stream, and validate it; whether it is valid."""
    try:
        insns = decode(data)
        use_insns(insns)
        validate(insns)
    except ObjectError:
        return False
    return True


def use_insns(insns: tuple[Insn, ...]) -> None:
    """Print instructions and read them back."""
    assert assemble("\n".join(disassemble(insns))) == insns


CASES: dict[str, tuple[Callable[[], list[bytes]], Callable, Callable[[bytes], bool]]] = {
    "objects": (objects, mutated, use_object),
    "object headers": (objects, headers_mutated, use_object),
    "instructions": (streams, mutated, use_stream),
    "noise": (lambda: [b""], lambda data, chance: noise(chance), use_object),
}


def campaign(name: str, count: int, seed: int = 0) -> Counter:
    """Run ``count`` cases of one kind; return how many were taken or refused, and the slowest in microseconds.

    Raises whatever undocumented exception a case ends in, with the case's seed as a note.
    """
    good, change, use = CASES[name]
    originals = good()  # compiled before memory is limited
    figures: Counter = Counter()
    with limited_memory():
        for number in range(count):
            chance = random.Random(f"{name} {seed} {number}")
            data = change(chance.choice(originals), chance)
            began = time.process_time()
            try:
                figures["taken" if use(data) else "refused"] += 1
            except BaseException as error:
                error.add_note(f"case {number} of {name!r}, seed {seed}, {len(data)} bytes")
                raise
            took = time.process_time() - began
            assert took < SECONDS, f"case {number} of {name!r}, seed {seed}, took {took:.2f} s"
            figures["slowest, us"] = max(figures["slowest, us"], int(took * 1e6))
    return figures


@contextlib.contextmanager
def limited_memory():
    """Allow this process `MEMORY` more bytes than it has now, where the system can tell."""
    if resource is None or not os.path.exists("/proc/self/statm"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main(count: int = 100_000, seed: int = 0) -> None:
    """The long run: ``count`` mutations of objects and of instructions, a tenth aimed at headers, a hundredth noise."""
    for name, share in {"objects": 1, "object headers": 10, "instructions": 1, "noise": 100}.items():
        began = time.monotonic()
        figures = campaign(name, count // share, seed)
        print(f"{name}: {count // share} cases in {time.monotonic() - began:.0f} s: {dict(figures)}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

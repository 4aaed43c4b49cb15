"""Programs as a learner holds them: compiled from C, bound, run on one packet, stepped through.

`compile` knows no lab and no device. A `Program` has maps of its own, made at first use; a lab that loads it makes a
kernel object with other maps (`lab.Lab.load`). Running one is what BPF_PROG_TEST_RUN does for SCHED_CLS programs
(net/bpf/test_run.c, Linux 6.12), with the reference interpreter in the kernel's place.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from netkit_edu import packet as wire
from netkit_edu.arguments import whole_number
from netkit_edu.engine.skb import SkBuff
from netkit_edu.errors import CompileWarning, ObjectError, UsageError
from netkit_edu.journey import as_verdict
from netkit_edu.program.object import MapSpec, Object, ProgramCode, Variable
from netkit_edu.program.verification import Verification
from netkit_edu.typedmap import MapsByName, TypedMap, encode, int_bytes
from netkit_edu.uapi import ETH_HLEN, ETH_P_IP, ETH_P_IPV6, Hook, PacketType, Verdict

warnings.filterwarnings("always", category=CompileWarning, append=True)  # a cell that is run again says it again


@dataclass(frozen=True)
class RunResult:
    """What one run of a program left behind.

    Attributes:
        code: the return value as a signed 32-bit number.
        packet: the bytes afterwards, Ethernet header included.
        mark, priority, queue_mapping, tc_index, pkt_type, cb: the packet's metadata afterwards.
        trace: the lines that bpf_printk wrote.
        before: the bytes the program was given.
    """

    code: int
    packet: bytes
    mark: int
    priority: int
    queue_mapping: int
    tc_index: int
    pkt_type: int
    cb: tuple[int, ...]
    trace: tuple[str, ...]
    before: bytes = b""

    @property
    def verdict(self) -> Verdict | int:
        """The return value as netkit names it; a bare int where it has no name for it (netkit then drops)."""
        return as_verdict(self.code)

    def __repr__(self) -> str:
        said = self.verdict
        word = f"{said.name} ({self.code})" if isinstance(said, Verdict) else f"{self.code}, which is no netkit verdict"
        marks = "".join(f", {n} {v:#x}" for n, v in (("mark", self.mark), ("priority", self.priority)) if v)
        return "\n".join([f"returned {word}{marks}: {wire.summary(self.packet, ethernet=True)}", *self.trace])


class _TestDevice(NamedTuple):
    """The device a test run pretends the packet came from: the loopback's number and zero MAC, as in the kernel."""

    ifindex: int
    name: str = "lo"
    mtu: int = 65536


class Program:
    """One program of a compiled object. Immutable but for its maps; `bind` makes another one."""

    def __init__(self, code: ProgramCode, obj: Object, bound: Mapping[str, Any] | None = None):
        self.code = code
        self.bound = MappingProxyType(dict(bound or {}))
        self._object = obj

    @property
    def name(self) -> str:
        """The C function's name."""
        return self.code.name

    @property
    def section(self) -> str:
        """The ELF section, for example ``netkit/peer``."""
        return self.code.section

    @property
    def hook(self) -> Hook | None:
        """The hook its section names (libbpf's ``netkit/primary`` and ``netkit/peer``), or None."""
        return {f"netkit/{hook}": hook for hook in Hook}.get(self.section)

    @property
    def btf(self):
        """The type information of its object, or None."""
        return self._object.btf

    @property
    def source(self) -> str:
        """The C text it was compiled from, "" if it was read from an object file."""
        return self._object.source

    @cached_property
    def map_specs(self) -> Mapping[str, MapSpec]:
        """How to create each map that the program uses, by name, with bound variables filled in."""
        used = dict.fromkeys(r.map for r in self.code.relocations)
        return MappingProxyType({name: self._object.maps[name] for name in used})

    @cached_property
    def _engine_maps(self) -> dict:
        from netkit_edu.engine import maps

        return {name: maps.create(spec) for name, spec in self.map_specs.items()}

    @cached_property
    def maps(self) -> Mapping[str, TypedMap]:
        """The program's own maps, by name; what `run` reads and writes."""
        return MapsByName(
            self.name, {n: TypedMap(self.map_specs[n], store, self.btf) for n, store in self._engine_maps.items()}
        )

    @cached_property
    def _executable(self):
        from netkit_edu.engine import interpreter

        return interpreter.load(self.code, self._engine_maps)

    def bind(self, **values) -> Program:
        """Return a new program, with maps of its own, whose ``volatile const`` variables have these values.

        Raises:
            UsageError: there is no such variable, or the value does not fit it.
        """
        const = {name: v for name, v in self._object.variables.items() if v.const}
        if unknown := sorted(values.keys() - const.keys()):
            has = ", ".join(sorted(const)) or "none; declare one as `volatile const __u32 NAME;`"
            raise UsageError(f"{self.name!r} has no volatile const variable {', '.join(unknown)}; it has: {has}")
        maps = dict(self._object.maps)
        for name, value in values.items():
            maps[const[name].map] = self._filled(maps[const[name].map], const[name], value)
        return Program(self.code, replace(self._object, maps=maps), {**self.bound, **values})

    def _filled(self, spec: MapSpec, variable: Variable, value) -> MapSpec:
        if variable.type and self.btf is not None:
            data = encode(self.btf, variable.type, value, f"value of variable {variable.name!r}")
        else:
            data = int_bytes(value, variable.size, f"variable {variable.name!r}")
        initial = bytearray(spec.initial or bytes(spec.value_size))
        initial[variable.offset : variable.offset + variable.size] = data
        return replace(spec, initial=bytes(initial))

    def run(self, packet, *, world=None, **fields: int) -> RunResult:
        """Run the program once on a packet, with no device and no stack around it, like BPF_PROG_TEST_RUN.

        Args:
            packet: a scapy packet or bytes; one that starts at IP gets the 14-byte header that netkit's L3 mode shows:
                twelve zero bytes and the ethertype.
            world: where clock, random numbers and trace lines come from; deterministic by default.
            fields: mark, priority, ifindex, ingress_ifindex, queue_mapping, tc_index, tstamp, gso_size, gso_segs,
                wire_len, pkt_type, hash, cb (five numbers): the packet's metadata beforehand.

        Raises:
            PacketError: no packet, or too short.
            ProgramFault: the program did what no verifier would let pass.
            UsageError: there is no such field, or the value does not fit it.
        """
        from netkit_edu.engine.world import World

        world = World() if world is None else world
        before = len(world.trace)
        skb = skb_for_run(packet, **fields)
        given = skb.bytes
        code = self._executable.run(skb, world)
        return RunResult(
            code, skb.bytes, skb.mark, skb.priority, skb.queue_mapping, skb.tc_index, skb.pkt_type, tuple(skb.cb),
            tuple(world.trace)[before:], given,
        )  # fmt: skip

    def step(self, packet, *, world=None, **fields: int) -> Iterator:
        """Run as `run` does, one instruction at a time; yields what each saw and changed (`engine.machine.State`)."""
        from netkit_edu.engine.world import World

        return self._executable.step(skb_for_run(packet, **fields), World() if world is None else world)

    def verify(self, lab=None, *, level: int = 1) -> Verification:
        """Ask the verifier of a lab's kernel about the program, without loading it for good.

        Args:
            lab: whose kernel; a lab on "vm" or "host".
            level: 1 for the log of the path that fails, 2 for what the verifier knew at each instruction of all paths.

        Returns:
            the verdict with the log, the C line it stopped at, and who gave it; true if the program may be loaded.

        Raises:
            UsageError: no lab is given, or there is no verifier in it.
        """
        if not hasattr(lab, "kernel_calls"):
            raise UsageError(
                f"say whose verifier is to look at {self.name!r}: prog.verify(nk.Lab('vm')); there is none offline yet"
            )
        whole_number(level, "level", 1, 2)
        return lab.kernel_calls.prog_verify(self.code, self.map_specs, level=level)

    def disassemble(self) -> str:
        """Return the instructions as text, each C line above those that came from it, maps by their names."""
        from netkit_edu.program import isa

        lines = self.code.lines or (None,) * len(self.code.insns)
        named = {r.insn: r.map if r.offset is None else f"{r.map}+{r.offset}" for r in self.code.relocations}
        out, last = [], None
        for slot, text in enumerate(isa.disassemble(self.code.insns)):
            if slot in self.code.functions:
                out.append(f"{self.code.functions[slot]}:")
            if lines[slot] is not None and lines[slot][:2] != last:
                last = lines[slot][:2]
                out.append(f"; {lines[slot].line}: {lines[slot].text.strip()}")
            if slot in named:
                text = f"r{self.code.insns[slot].dst} = map[{named[slot]}]"
            if text:
                out.append(f"{slot:4}: {text}")
        return "\n".join(out)

    def __repr__(self) -> str:
        uses = f", maps: {', '.join(self.map_specs)}" if self.map_specs else ""
        bound = "".join(f", {name}={value!r}" for name, value in self.bound.items())
        where = self.section or "any hook"
        return f"<program {self.name!r} for {where}, {self.code.instructions} instructions{uses}{bound}>"


def skb_for_run(packet, *, ifindex: int = 1, ingress_ifindex: int = 0, pkt_type: int | None = None,
             cb: Sequence[int] = (0, 0, 0, 0, 0), **fields: int) -> SkBuff:  # fmt: skip
    """Return the skb that BPF_PROG_TEST_RUN shows a SCHED_CLS program: data at the Ethernet header, all linear."""
    _check_fields(fields)
    data, ethernet = wire.to_bytes(packet)
    if not ethernet:
        data = bytes(12) + (ETH_P_IPV6 if data[0] >> 4 == 6 else ETH_P_IP).to_bytes(2, "big") + data
    skb = SkBuff(data, protocol=_eth_protocol(data))
    skb.network_header = skb.transport_header = skb.data + ETH_HLEN
    skb.dev = _TestDevice(whole_number(ifindex, "ifindex"))
    skb.skb_iif = whole_number(ingress_ifindex, "ingress_ifindex")
    skb.pkt_type = _pkt_type(data) if pkt_type is None else whole_number(pkt_type, "pkt_type", 0, 7)
    skb.cb = _control_block(cb)
    for name, value in fields.items():
        setattr(skb, name, value)
    return skb


_BITS = {"mark": 32, "priority": 32, "queue_mapping": 16, "tc_index": 16, "tstamp": 64, "gso_size": 16, "gso_segs": 16,
         "wire_len": 32, "hash": 32}  # fmt: skip
_CB_LEN = 5  # numbers of 32 bits in __sk_buff


def _check_fields(fields: Mapping[str, int]) -> None:
    for name, value in fields.items():
        if name not in _BITS:
            has = ", ".join(("ifindex", "ingress_ifindex", "pkt_type", "cb", *_BITS))
            raise UsageError(f"no packet field {name!r}; there are: {has}")
        whole_number(value, name, 0, (1 << _BITS[name]) - 1)


def _control_block(cb: Sequence[int]) -> list[int]:
    if isinstance(cb, str | bytes) or not isinstance(cb, Sequence) or len(cb) > _CB_LEN:
        raise UsageError(f"cb is a list of at most {_CB_LEN} numbers, not {cb!r}")
    return [whole_number(value, "each number of cb") for value in cb] + [0] * (_CB_LEN - len(cb))


def _eth_protocol(data: bytes) -> int:
    """What eth_type_trans makes of a header (net/ethernet/eth.c): the ethertype, or one of the two 802.2 kinds."""
    ethertype = int.from_bytes(data[12:14], "big")
    if ethertype >= 0x0600:
        return ethertype
    return 0x0001 if data[14:16] == b"\xff\xff" else 0x0004


def _pkt_type(data: bytes) -> int:
    """What eth_type_trans says of the destination on the loopback device, whose MAC and broadcast address are zero."""
    to = data[:6]
    if to == bytes(6):
        return PacketType.HOST
    return PacketType.MULTICAST if to[0] & 1 else PacketType.OTHERHOST


class CompiledObject(Mapping):
    """A compiled object: programs by name, as items (``obj["name"]``) and as attributes (``obj.name``)."""

    def __init__(self, obj: Object):
        self._object = obj
        self._programs = {name: Program(code, obj) for name, code in obj.programs.items()}

    @property
    def elf(self) -> bytes:
        """The bytes of the object file."""
        return self._object.elf

    @property
    def maps(self) -> Mapping[str, MapSpec]:
        """How each map of the object is to be created; a program's own maps are ``obj["name"].maps``."""
        return MappingProxyType(dict(self._object.maps))

    def disassemble(self) -> str:
        """Return the instructions of every program as text."""
        return "\n\n".join(program.disassemble() for program in self.values())

    def __getitem__(self, name: str) -> Program:
        if name not in self._programs:
            raise KeyError(f"no program {name!r} in this object; it has: {', '.join(self._programs) or 'none'}")
        return self._programs[name]

    def __getattr__(self, name: str) -> Program:
        if name.startswith("_") or name not in self._programs:
            raise AttributeError(f"no program {name!r} in this object")
        return self._programs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._programs]

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values())) or "<object without programs>"


class BrokenProgram:
    """What a cell that failed binds its name to: it says so wherever it is used, and until then lets the rest run."""

    def __init__(self, name: str, error: Exception):
        self.__dict__.update(name=name, error=error)

    def complain(self) -> None:
        """Raise the `UsageError` that says which cell to correct."""
        first = str(self.error).strip().splitlines()
        raise UsageError(
            f"{self.name!r} cannot be used: its cell failed ({first[0] if first else type(self.error).__name__}). "
            "Correct that cell and run it again."
        ) from self.error

    _executable = property(complain)

    def __getattr__(self, attribute: str):
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        self.complain()

    def __repr__(self) -> str:
        return f"<program {self.name!r} whose cell failed: {self.error}>"


def compile(text: str, *, name: str = "cell", optimize: str = "-O2") -> CompiledObject:
    """Compile C text for eBPF; return its programs by name.

    Args:
        text: the C text; ``netkit_edu.h`` and the usual headers for libbpf programs can be included.
        name: what messages call the text.
        optimize: the compiler's optimization option; ``-O1`` follows the C lines more closely in steps.

    Raises:
        CompileError: the text does not compile; it quotes the lines.
        CompileWarning: as a warning, for lines that compile and hardly mean what they say.
        ObjectError: the compiler's output holds what this package cannot run.
        UsageError: the text is no text.
    """
    for what, value in (("the C text", text), ("name", name), ("optimize", optimize)):
        if not isinstance(value, str):
            raise UsageError(f"{what} is text, not {value!r}: to read a compiled object use nk.read_object(path)")
    from netkit_edu.program.compiler import compile_with_warnings
    from netkit_edu.program.diagnostics import render

    obj, found = compile_with_warnings(text, name=name, optimize=optimize)
    if found:
        warnings.warn("\n".join(render(one, name) for one in found), CompileWarning, stacklevel=2)
    return CompiledObject(obj)


def read_object(source: str | Path | bytes) -> CompiledObject:
    """Read a compiled object from a file or from its bytes: no compiler is needed.

    Raises:
        ObjectError: it cannot be read, or is not an eBPF object that this package can use.
    """
    from netkit_edu.program import elf

    if not isinstance(source, str | Path | bytes | bytearray):
        raise ObjectError(f"an object is a file's name or its bytes, not {source!r}")
    if isinstance(source, bytes | bytearray):
        return CompiledObject(elf.read_object(bytes(source)))
    try:
        data = Path(source).read_bytes()
    except (OSError, ValueError) as error:
        raise ObjectError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error
    return CompiledObject(elf.read_object(data, str(source)))

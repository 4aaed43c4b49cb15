"""The reference interpreter: one instruction at a time, every state visible.

Read it beside RFC 9669: an instruction is decoded once, by the function of its class, into a small ``execute(r, m)``
that changes the registers ``r`` (eleven unsigned 64-bit numbers) and the machine ``m`` around them, and returns the
slot of the next instruction. Running is calling one after the other; stepping is the same with a look in between.

It does what the RFC says and refuses nothing that only a verifier would: shift counts are masked, division by zero
yields zero. What would do harm without a verifier (wild memory accesses, calls, endless loops) is a `ProgramFault`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping

from netkit_edu.engine import helpers
from netkit_edu.engine import memory as mem
from netkit_edu.engine.context import Context
from netkit_edu.engine.machine import CLOBBERED_REGISTERS, Machine, State
from netkit_edu.engine.maps import Map
from netkit_edu.engine.memory import U64, Bytes, Fault, Memory, Packet, Region, WatchedMemory, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.errors import ObjectError, ProgramFault
from netkit_edu.program import opcodes as op
from netkit_edu.program.isa import validate
from netkit_edu.program.object import Insn, ProgramCode, SourceLine

U32 = (1 << 32) - 1
EXIT = -1  # what an instruction returns instead of a next slot when the program is over

Execute = Callable[[list[int], Machine], int]


def signed(value: int, bits: int) -> int:
    """Return the number that the low ``bits`` of ``value`` mean in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


# --- 4.1 arithmetic instructions, 4.2 byte swap instructions ------------------------------------------------------


def _arithmetic(bits: int) -> dict[tuple[int, int], Callable[[int, int], int]]:
    """(operation, offset) -> what it makes of dst and src, unsigned numbers of ``bits``; the caller cuts the result."""
    count = bits - 1  # mask of a shift count

    def sdiv(dst: int, src: int) -> int:
        dst, src = signed(dst, bits), signed(src, bits)
        if src == 0:
            return 0
        quotient = abs(dst) // abs(src)  # truncated toward zero, unlike Python's //
        return quotient if (dst < 0) == (src < 0) else -quotient

    return {
        (op.ADD, 0): operator.add,
        (op.SUB, 0): operator.sub,
        (op.MUL, 0): operator.mul,
        (op.DIV, 0): lambda dst, src: dst // src if src else 0,
        (op.DIV, 1): sdiv,
        (op.OR, 0): operator.or_,
        (op.AND, 0): operator.and_,
        (op.LSH, 0): lambda dst, src: dst << (src & count),
        (op.RSH, 0): lambda dst, src: dst >> (src & count),
        (op.NEG, 0): lambda dst, src: -dst,
        (op.MOD, 0): lambda dst, src: dst % src if src else dst,
        (op.MOD, 1): lambda dst, src: signed(dst, bits) - sdiv(dst, src) * signed(src, bits),
        (op.XOR, 0): operator.xor,
        (op.MOV, 0): lambda dst, src: src,
        (op.MOV, 8): lambda dst, src: signed(src, 8),
        (op.MOV, 16): lambda dst, src: signed(src, 16),
        (op.MOV, 32): lambda dst, src: signed(src, 32),
        (op.ARSH, 0): lambda dst, src: signed(dst, bits) >> (src & count),
    }


ARITHMETIC = {op.ALU: _arithmetic(32), op.ALU64: _arithmetic(64)}


def _alu(insn: Insn, pc: int) -> Execute:
    if insn.opcode & 0xF0 == op.END:
        return _swap(insn, pc)
    operation = ARITHMETIC[insn.opcode & 7][insn.opcode & 0xF0, insn.off]
    mask = U64 if insn.opcode & 7 == op.ALU64 else U32
    dst, src, after = insn.dst, insn.src, pc + 1
    value = insn.imm & mask  # sign-extended to 64 bits

    def with_register(r, m):
        r[dst] = operation(r[dst] & mask, r[src] & mask) & mask
        return after

    def with_immediate(r, m):
        r[dst] = operation(r[dst] & mask, value) & mask
        return after

    return with_register if insn.opcode & op.X else with_immediate


def _swap(insn: Insn, pc: int) -> Execute:
    dst, size, after = insn.dst, insn.imm // 8, pc + 1
    mask = (1 << insn.imm) - 1
    swaps = insn.opcode & 7 == op.ALU64 or insn.opcode & op.X  # bswap, and "to big-endian" on a little-endian machine

    def execute(r, m):
        value = r[dst] & mask
        r[dst] = int.from_bytes(value.to_bytes(size, "little"), "big") if swaps else value
        return after

    return execute


# --- 4.3 jump instructions ------------------------------------------------------------------------------------------


def _conditions(bits: int) -> dict[int, Callable[[int, int], bool]]:
    top = 1 << (bits - 1)  # adding it, modulo 2**bits, maps signed order to unsigned order: so does flipping that bit
    return {
        op.JEQ: operator.eq,
        op.JNE: operator.ne,
        op.JGT: operator.gt,
        op.JGE: operator.ge,
        op.JLT: operator.lt,
        op.JLE: operator.le,
        op.JSET: lambda dst, src: dst & src != 0,
        op.JSGT: lambda dst, src: dst ^ top > src ^ top,
        op.JSGE: lambda dst, src: dst ^ top >= src ^ top,
        op.JSLT: lambda dst, src: dst ^ top < src ^ top,
        op.JSLE: lambda dst, src: dst ^ top <= src ^ top,
    }


CONDITIONS = {op.JMP: _conditions(64), op.JMP32: _conditions(32)}


def _jump(insn: Insn, pc: int) -> Execute:
    kind = insn.opcode & 0xF0
    if kind == op.JA:
        return _goto(pc + 1 + (insn.off if insn.opcode & 7 == op.JMP else insn.imm))
    if kind == op.CALL:
        return _call(insn, pc)
    if kind == op.EXIT:
        return lambda r, m: m.leave() if m.frames else EXIT
    condition = CONDITIONS[insn.opcode & 7][kind]
    mask = U64 if insn.opcode & 7 == op.JMP else U32
    dst, src, after, target = insn.dst, insn.src, pc + 1, pc + 1 + insn.off
    value = insn.imm & mask

    def with_register(r, m):
        return target if condition(r[dst] & mask, r[src] & mask) else after

    def with_immediate(r, m):
        return target if condition(r[dst] & mask, value) else after

    return with_register if insn.opcode & op.X else with_immediate


def _goto(target: int) -> Execute:
    return lambda r, m: target


def _call(insn: Insn, pc: int) -> Execute:
    after = pc + 1
    if insn.src == op.CALL_LOCAL:
        target = after + insn.imm

        def call_local(r, m):
            m.enter(after)
            return target

        return call_local

    helper = helpers.find(insn.imm, kfunc=insn.src == op.CALL_KFUNC)
    last = 1 + helper.arguments

    def call_helper(r, m):
        r[0] = helper.function(m, *r[1:last]) & U64
        r[1:6] = CLOBBERED_REGISTERS
        return after

    return call_helper


# --- 5 load and store instructions ----------------------------------------------------------------------------------


def _load(insn: Insn, pc: int) -> Execute:
    dst, src, off, after = insn.dst, insn.src, insn.off, pc + 1
    size = op.SIZE_BYTES[insn.opcode & 0x18]

    def load(r, m):
        r[dst] = m.memory.load(r[src] + off & U64, size)
        return after

    def load_signed(r, m):
        r[dst] = signed(m.memory.load(r[src] + off & U64, size), 8 * size) & U64
        return after

    return load_signed if insn.opcode & 0xE0 == op.MEMSX else load


def _store(insn: Insn, pc: int) -> Execute:
    dst, src, off, value, after = insn.dst, insn.src, insn.off, insn.imm, pc + 1
    size = op.SIZE_BYTES[insn.opcode & 0x18]
    if insn.opcode & 0xE0 == op.ATOMIC:
        return _atomic(insn, size, after)

    def store_register(r, m):
        m.memory.store(r[dst] + off & U64, size, r[src])
        return after

    def store_immediate(r, m):
        m.memory.store(r[dst] + off & U64, size, value)
        return after

    return store_register if insn.opcode & 7 == op.STX else store_immediate


ATOMIC = {op.ADD: operator.add, op.OR: operator.or_, op.AND: operator.and_, op.XOR: operator.xor}


def _atomic(insn: Insn, size: int, after: int) -> Execute:
    dst, src, off = insn.dst, insn.src, insn.off
    mask = (1 << 8 * size) - 1
    fetch = insn.imm & op.FETCH

    def exchange(r, m):
        r[src] = m.memory.modify(r[dst] + off & U64, size, lambda old: r[src])
        return after

    def compare_and_exchange(r, m):
        r[0] = m.memory.modify(r[dst] + off & U64, size, lambda old: r[src] if old == r[0] & mask else old)
        return after

    operation = ATOMIC.get(insn.imm & ~op.FETCH)

    def modify(r, m):
        old = m.memory.modify(r[dst] + off & U64, size, lambda old: operation(old, r[src]))
        if fetch:
            r[src] = old
        return after

    return {op.XCHG: exchange, op.CMPXCHG: compare_and_exchange}.get(insn.imm, modify)


def _packet_load(insn: Insn, pc: int) -> Execute:
    """5.5, the legacy packet access: r0 = big-endian packet bytes, and past the packet's end the program returns 0."""
    src, imm, after = insn.src, insn.imm, pc + 1
    indirect = insn.opcode & 0xE0 == op.IND
    size = op.SIZE_BYTES[insn.opcode & 0x18]

    def execute(r, m):
        offset = signed(imm + (r[src] if indirect else 0), 32)
        data = helpers.packet_bytes(helpers.skb_of(m, r[6]), offset, size)
        r[1:6] = CLOBBERED_REGISTERS
        r[0] = 0 if data is None else int.from_bytes(data, "big")
        return EXIT if data is None else after

    return execute


# --- the program ----------------------------------------------------------------------------------------------------


class Executable:
    """A program made ready to run, with the maps it uses; ``budget`` is how many instructions one run may take."""

    def __init__(self, code: ProgramCode, maps: Mapping[str, Map], budget: int):
        self.code = code
        self.maps = maps
        self.budget = budget
        clobbered = Region(mem.CLOBBERED, "clobbered register", "r1 to r5 do not survive a call: use r6 to r9")
        socket = Region(mem.SOCKET, "socket", "the fields of a socket are not part of this engine")
        self._regions: dict[int, Region] = {mem.CLOBBERED: clobbered, mem.SOCKET: socket}
        self._handles: dict[int, Map] = {}
        self._slots = _decode(code.insns, self._wide_values())

    def run(self, skb: SkBuff, world: World | None = None) -> int:
        """Run the program on a packet; return what it returns, as a signed 32-bit number.

        Raises:
            ProgramFault: an access out of bounds, a helper that is not there, or the budget used up.
        """
        return signed(self.execute(self.machine(skb, world)), 32)

    def step(self, skb: SkBuff, world: World | None = None) -> Iterator[State]:
        """Run the program one instruction at a time and yield a `State` after each; `ProgramFault` as in `run`."""
        m = self.machine(skb, world, WatchedMemory)
        r, pc = m.registers, 0
        for number in range(self.budget):
            before, calls = tuple(r), tuple(frame[0] for frame in m.frames)
            frame = m.memory.regions[mem.FRAME + len(calls)]
            try:
                after = self._slots[pc](r, m)
            except Fault as fault:
                raise self._program_fault(fault, pc) from None
            touched, m.memory.touched = tuple(m.memory.touched), []
            over = after == EXIT
            yield State(
                number, pc, self.code.insns[pc], self.line(pc), before, tuple(r), touched, calls, bytes(frame.data),
                None if over else after, signed(r[0], 32) if over else None,
            )  # fmt: skip
            if over:
                return
            pc = after
        raise self._program_fault(self._out_of_budget(), pc)

    def machine(self, skb: SkBuff, world: World | None = None, memory: type[Memory] = Memory) -> Machine:
        """Return a machine at the program's start: r1 is the context, r10 the end of an empty stack frame."""
        regions = {mem.CTX: Context(skb), mem.PACKET: Packet(skb), **self._regions}
        m = Machine(memory(regions), skb, world, self._handles)
        m.registers[1] = address_of(mem.CTX)
        return m

    def execute(self, m: Machine) -> int:
        """Run a machine from the program's first slot to its end; return r0, an unsigned 64-bit number."""
        slots, r, pc = self._slots, m.registers, 0
        try:
            for count in range(1, self.budget + 1):
                pc = slots[pc](r, m)
                if pc == EXIT:
                    m.executed = count
                    return r[0]
        except Fault as fault:
            raise self._program_fault(fault, pc) from None
        raise self._program_fault(self._out_of_budget(), pc)

    def line(self, pc: int) -> SourceLine | None:
        """Return the C line that slot ``pc`` comes from, None where that is not known."""
        return self.code.lines[pc] if pc < len(self.code.lines) else None

    def _out_of_budget(self) -> Fault:
        return Fault(f"{self.budget} instructions ran and the program has not ended: a loop without end?")

    def _program_fault(self, fault: Fault, pc: int) -> ProgramFault:
        return ProgramFault(fault.reason, pc=pc, source=self.line(pc), address=fault.address, region=fault.region)

    def _wide_values(self) -> dict[int, int]:
        """Slot of each wide load that is relocated -> the 64-bit number it loads: a map's handle, a value's address."""
        numbers = {name: i for i, name in enumerate(self.maps)}
        values = {}
        for relocation in self.code.relocations:
            used = self.maps.get(relocation.map)
            if used is None:
                raise ObjectError(f"program {self.code.name} uses map {relocation.map!r}, which was not given")
            number = numbers[relocation.map]
            if relocation.offset is None:
                values[relocation.insn] = self._handle(number, used)
            else:
                values[relocation.insn] = self._value_address(number, used, relocation.offset)
        return values

    def _handle(self, number: int, used: Map) -> int:
        why = "a map itself is not memory: bpf_map_lookup_elem gives a pointer to one of its values"
        number += mem.FIRST_HANDLE
        self._regions[number] = Region(number, f"map {used.spec.name}", why)
        self._handles[address_of(number)] = used
        return address_of(number)

    def _value_address(self, number: int, used: Map, offset: int) -> int:
        value = used.value(bytes(used.spec.key_size))
        if value is None or used.spec.max_entries != 1:
            raise ObjectError(f"map {used.spec.name} is no data section: a wide load cannot point into it")
        number += mem.FIRST_VALUE
        self._regions[number] = Bytes(number, used.spec.name, value, readonly=used.spec.readonly)
        return address_of(number, offset)


def _decode(insns: tuple[Insn, ...], wide_values: Mapping[int, int]) -> list[Execute]:
    slots: list[Execute] = []
    for pc, insn in enumerate(insns):
        if pc and insns[pc - 1].opcode == op.LDDW and slots[-1] is not _second_half:
            slots.append(_second_half)
        elif insn.opcode == op.LDDW:
            slots.append(_wide_load(insn, insns[pc + 1], pc, wide_values.get(pc)))
        else:
            slots.append(_DECODERS[insn.opcode & 7](insn, pc))
    return slots


def _second_half(r, m):
    raise Fault("a jump into the middle of a 64-bit load")


def _wide_load(insn: Insn, second: Insn, pc: int, value: int | None) -> Execute:
    """5.4: the one instruction of two slots; map references were resolved to ``value`` by a relocation."""
    if value is None:
        if insn.src != op.LDDW_VALUE:
            raise ObjectError(
                f"instruction {pc}: a 64-bit load refers to a map or a function, and no relocation says which"
            )
        value = (second.imm & U32) << 32 | insn.imm & U32
    dst, after = insn.dst, pc + 2

    def execute(r, m):
        r[dst] = value
        return after

    return execute


_DECODERS = {
    op.LD: _packet_load, op.LDX: _load, op.ST: _store, op.STX: _store,
    op.ALU: _alu, op.JMP: _jump, op.JMP32: _jump, op.ALU64: _alu,
}  # fmt: skip


def load(code: ProgramCode, maps: Mapping[str, Map], *, budget: int = 1_000_000) -> Executable:
    """Make a program ready to run.

    Args:
        code: instructions and relocations; validated first, as any kernel would.
        maps: a map for each name that a relocation uses; more do no harm.
        budget: instructions that one run may take.

    Raises:
        ObjectError: an instruction that no kernel takes, or a map that is missing.
    """
    validate(code.insns, entries=tuple(code.functions))
    return Executable(code, maps, budget)

"""Random eBPF programs that the kernel's verifier accepts, for comparing two machines that run them.

Between two statements every function keeps the same invariant, so that any statement may follow any other: r6 is the
context, r0 to r5 and r7 to r9 hold numbers, and the stack bytes from fp-STACK on are written. A conditional jump skips
a whole list of statements. The last statements mix every register and the context fields that TEST_RUN does not give
back into r0, which goes, all 64 bits of it, into the map ``results``.

Left out: fetching atomic instructions on the stack. After one on a spilled number the verifier of Linux 6.18 may keep
a constant learnt on another path and remove reachable code.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from netkit_edu import uapi
from netkit_edu.program import opcodes as op
from netkit_edu.program.object import Insn, MapSpec, ProgramCode, Relocation

MAPS = (
    MapSpec("hash", uapi.BPF_MAP_TYPE_HASH, 4, 16, 4),
    MapSpec("wide_key", uapi.BPF_MAP_TYPE_HASH, 12, 8, 3, flags=1),
    MapSpec("array", uapi.BPF_MAP_TYPE_ARRAY, 4, 24, 5),
    MapSpec("data", uapi.BPF_MAP_TYPE_ARRAY, 4, 32, 1, initial=bytes(range(200, 232))),
    MapSpec("rodata", uapi.BPF_MAP_TYPE_ARRAY, 4, 16, 1, flags=1 << 7, initial=bytes(range(100, 116)), readonly=True),
    MapSpec("results", uapi.BPF_MAP_TYPE_ARRAY, 4, 8, 1),
)
STACK = 96  # bytes of each frame in use: the kernel allows 512 for the whole chain of calls
SCALARS = (0, 1, 2, 3, 4, 5, 7, 8, 9)
SIZES = (op.B, op.H, op.W, op.DW)
IMMEDIATES = (0, 1, 2, 7, 8, 31, 32, 63, 255, 256, 0xFFFF, 0x7FFFFFFF, -1, -2, -8, -32768, -0x80000000)

READABLE = {  # offset -> size of the context fields that both machines know
    0: 4, 4: 4, 8: 4, 12: 4, 16: 4, 20: 4, 24: 4, 28: 4, 32: 4, 36: 4, 40: 4, 44: 4, 68: 4, 72: 4, 84: 4, 160: 4,
    164: 4, 176: 4, 180: 1, 184: 8,
}  # fmt: skip
WRITABLE = (8, 12, 32, 44, 72)  # mark, queue_mapping, priority, tc_index, tc_classid
CB, CB_SIZE, TSTAMP, DATA, DATA_END = 48, 20, 152, 76, 80


class Item(NamedTuple):
    """An instruction, and what it refers to by name: a map, or the number of a function to call."""

    insn: Insn
    map: str = ""
    offset: int | None = None  # in the value of ``map``; None for the map's handle
    call: int = 0


Code = list[Item]


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Item:
    return Item(Insn(opcode, dst, src, off, imm))


def mov(dst: int, src: int) -> Item:
    return insn(op.ALU64 | op.MOV | op.X, dst, src)


def mov_imm(dst: int, imm: int) -> Item:
    return insn(op.ALU64 | op.MOV, dst, imm=imm)


def add_imm(dst: int, imm: int) -> Item:
    return insn(op.ALU64 | op.ADD, dst, imm=imm)


def wide(dst: int, value: int) -> Code:
    low, high = value & 0xFFFFFFFF, value >> 32
    sign = lambda half: half - (1 << 32) if half >> 31 else half  # noqa: E731
    return [insn(op.LDDW, dst, imm=sign(low)), insn(0, imm=sign(high))]


def map_handle(dst: int, name: str) -> Code:
    return [Item(Insn(op.LDDW, dst, 0, 0, 0), map=name), insn(0)]


class Generator:
    """Programs from one seed: the same seed gives the same programs."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self._functions: list[Code] = []

    def program(self) -> ProgramCode:
        """Return one program of one to three functions."""
        callees = self.random.choice((0, 0, 1, 2))
        self._functions = []
        for number in range(callees, -1, -1):  # a function calls those made before it only
            self._functions.insert(0, self._function(number, callees))
        return self._link(self._functions)

    def packet(self) -> bytes:
        """Return a packet that TEST_RUN takes: most of them IPv4, some of any other ethertype."""
        r = self.random
        macs = r.choice((bytes(12), b"\x02" + r.randbytes(11), b"\xff" * 12, b"\x01\x00\x5e" + r.randbytes(9)))
        if r.random() < 0.7:
            return macs + b"\x08\x00" + r.randbytes(r.choice((20, 28, 46, 100, 1486, 3698)))
        ethertype = r.choice((b"\x08\x06", b"\x88\xb5", b"\x86\xdd", b"\x00\x10"))
        return macs + ethertype + r.randbytes(r.randint(40 if ethertype == b"\x86\xdd" else 0, 120))

    def fields(self) -> dict:
        """Return the context fields of one run that TEST_RUN lets one set."""
        numbers = [self.random.getrandbits(32) for _ in range(7)]
        return {"mark": numbers[0], "priority": numbers[1], "cb": tuple(numbers[2:])}

    # --- functions --------------------------------------------------------------------------------------------------

    def _function(self, number: int, last: int) -> Code:
        self._callable = range(number + 1, last + 1)
        self._alone = last == 0
        body = self._prologue()
        for _ in range(self.random.randint(4, 22 if number == 0 else 8)):
            body += self._statement(0)
        if number < last:  # so that no function is dead code
            body += self._call(number + 1)
        return body + self._epilogue(main=number == 0)

    def _prologue(self) -> Code:
        code = [mov(6, 1)]
        for register in (0, 7, 8, 9, 1, 2, 3, 4, 5):
            code += self._constant(register)
        for slot in range(8, STACK + 1, 8):
            code.append(insn(op.STX | op.MEM | op.DW, 10, self._scalar(), -slot))
        return code

    def _epilogue(self, main: bool) -> Code:
        code: Code = []
        for register in (1, 2, 3, 4, 5, 7, 8, 9):
            code += [insn(op.ALU64 | op.XOR | op.X, 0, register), insn(op.ALU64 | op.MUL, 0, imm=0x01000193)]
        for slot in range(8, STACK + 1, 8):
            code += [insn(op.LDX | op.MEM | op.DW, 1, 10, -slot), insn(op.ALU64 | op.ADD | op.X, 0, 1)]
            code += [insn(op.ALU64 | op.MUL, 0, imm=0x01000193)]
        if main:
            for offset in WRITABLE:
                code += [insn(op.LDX | op.MEM | op.W, 1, 6, offset), insn(op.ALU64 | op.XOR | op.X, 0, 1)]
                code += [insn(op.ALU64 | op.MUL, 0, imm=0x01000193)]
            code += [mov(7, 0), insn(op.STX | op.MEM | op.DW, 10, 0, -8), insn(op.ST | op.MEM | op.W, 10, 0, -12, 0)]
            code += map_handle(1, "results") + [mov(2, 10), add_imm(2, -12), mov(3, 10), add_imm(3, -8), mov_imm(4, 0)]
            code += [insn(op.JMP | op.CALL, imm=2), mov(0, 7)]
        return [*code, insn(op.JMP | op.EXIT)]

    @staticmethod
    def _link(functions: list[Code]) -> ProgramCode:
        starts = [sum(map(len, functions[:number])) for number in range(len(functions))]
        insns: list[Insn] = []
        relocations: list[Relocation] = []
        for item in (item for function in functions for item in function):
            at = len(insns)
            if item.map:
                relocations.append(Relocation(at, item.map, item.offset))
            insns.append(item.insn._replace(imm=starts[item.call] - at - 1) if item.call else item.insn)
        return ProgramCode("random", "tc", tuple(insns), tuple(relocations))

    # --- statements -------------------------------------------------------------------------------------------------

    def _statement(self, depth: int) -> Code:
        kinds: list[tuple[int, Callable[[], Code]]] = [
            (30, self._arithmetic), (10, self._stack), (4, self._stack_atomic), (10, self._packet),
            (8, self._read_context), (6, self._write_context), (8, self._lookup), (5, self._update), (3, self._global),
            (3, self._delete), (4, self._load_bytes),
            (4, self._store_bytes), (2, self._pull), (5, self._csum_replace), (2, self._csum_diff), (2, self._redirect),
            (2, self._metadata), (2, self._room), (1, self._vlan), (2, self._load_relative),
        ]  # fmt: skip
        if depth < 2:
            kinds.append((9, lambda: self._branch(depth)))
        if self._alone:
            kinds.append((1, self._packet_load))
        if self._callable:
            kinds.append((4, self._call))
        return self.random.choices([k for _, k in kinds], [w for w, _ in kinds])[0]()

    def _scalar(self) -> int:
        return self.random.choice(SCALARS)

    def _imm(self) -> int:
        r = self.random
        return r.choice(IMMEDIATES) if r.random() < 0.6 else r.randint(-(1 << 31), (1 << 31) - 1)

    def _constant(self, register: int) -> Code:
        if self.random.random() < 0.5:
            return [mov_imm(register, self._imm())]
        return wide(register, self.random.getrandbits(64))

    def _again(self, registers=(1, 2, 3, 4, 5)) -> Code:
        """Make registers numbers again after pointers or a call were in them."""
        code: Code = []
        for register in registers:
            code += (
                self._constant(register)
                if self.random.random() < 0.4
                else [mov(register, self.random.choice((7, 8, 9)))]
            )
        return code

    def _arithmetic(self) -> Code:
        r = self.random
        cls = r.choice((op.ALU, op.ALU64))
        kind = r.choice((op.ADD, op.SUB, op.MUL, op.DIV, op.OR, op.AND, op.LSH, op.RSH, op.NEG, op.MOD, op.XOR, op.MOV,
                         op.ARSH, op.END))  # fmt: skip
        dst, src = self._scalar(), self._scalar()
        if kind == op.END:
            swap = r.choice((op.ALU | op.END, op.ALU | op.END | op.X, op.ALU64 | op.END))
            return [insn(swap, dst, imm=r.choice((16, 32, 64)))]
        if kind == op.NEG:
            return [insn(cls | kind, dst)]
        off = 0
        if kind in (op.DIV, op.MOD):
            off = r.randint(0, 1)
        if r.random() < 0.5:
            if kind == op.MOV:
                off = r.choice((0, 8, 16, 32) if cls == op.ALU64 else (0, 8, 16))
            return [insn(cls | kind | op.X, dst, src, off)]
        imm = self._imm()
        if kind in (op.DIV, op.MOD):
            imm = imm or 3
        if kind in (op.LSH, op.RSH, op.ARSH):
            imm = r.randrange(64 if cls == op.ALU64 else 32)
        return [insn(cls | kind, dst, 0, off, imm)]

    def _branch(self, depth: int) -> Code:
        r = self.random
        body: Code = []
        for _ in range(r.randint(1, 4)):
            body += self._statement(depth + 1)
        kind = r.choice(
            (op.JEQ, op.JGT, op.JGE, op.JSET, op.JNE, op.JSGT, op.JSGE, op.JLT, op.JLE, op.JSLT, op.JSLE, op.JA)
        )
        cls = r.choice((op.JMP, op.JMP32))
        if kind == op.JA:  # an else branch: jumped over when the first one ran
            other: Code = []
            for _ in range(r.randint(1, 3)):
                other += self._statement(depth + 1)
            over = insn(cls | op.JA, off=len(other)) if cls == op.JMP else insn(cls | op.JA, imm=len(other))
            condition = insn(cls | op.JSET, self._scalar(), 0, len(body) + 1, self._imm())
            return [condition, *body, over, *other]
        if r.random() < 0.5:
            return [insn(cls | kind | op.X, self._scalar(), self._scalar(), len(body)), *body]
        return [insn(cls | kind, self._scalar(), 0, len(body), self._imm()), *body]

    def _place(self, size: int, start: int, length: int) -> int:
        """Return an aligned offset of ``size`` bytes within ``length`` bytes from ``start``."""
        return start + size * self.random.randrange(length // size)

    def _access(self, pointer: int, start: int, length: int) -> Code:
        """One load or store of a number, aligned, in memory that is there."""
        r = self.random
        size = r.choice(SIZES)
        off = self._place(op.SIZE_BYTES[size], start, length)
        number = r.choice((7, 8, 9))
        choice = r.randrange(4)
        if choice == 0:
            return [insn(op.STX | op.MEM | size, pointer, number, off)]
        if choice == 1:
            return [insn(op.ST | op.MEM | size, pointer, 0, off, self._imm())]
        signed = size != op.DW and r.random() < 0.4
        return [insn(op.LDX | (op.MEMSX if signed else op.MEM) | size, number, pointer, off)]

    def _stack(self) -> Code:
        return self._access(10, -STACK, STACK)

    def _stack_atomic(self) -> Code:
        size = self.random.choice((op.W, op.DW))
        off = self._place(op.SIZE_BYTES[size], -STACK, STACK)
        kind = self.random.choice((op.ADD, op.OR, op.AND, op.XOR))
        return [insn(op.STX | op.ATOMIC | size, 10, self._scalar(), off, kind)]

    def _packet(self) -> Code:
        r = self.random
        length = r.choice((1, 2, 14, 15, 34, 60, 200))
        head = [insn(op.LDX | op.MEM | op.W, 1, 6, DATA), insn(op.LDX | op.MEM | op.W, 2, 6, DATA_END)]
        if r.random() < 0.3:  # a distance that only the run knows
            head += [mov(4, r.choice((7, 8, 9))), insn(op.ALU64 | op.AND, 4, imm=r.choice((3, 31, 127)))]
            head += [insn(op.ALU64 | op.ADD | op.X, 1, 4)]
        head += [mov(3, 1), add_imm(3, length)]
        body: Code = []
        for _ in range(r.randint(1, 3)):
            size = r.choice([s for s in SIZES if op.SIZE_BYTES[s] <= length])
            off = r.randint(0, length - op.SIZE_BYTES[size])
            number = r.choice((7, 8, 9))
            body.append(r.choice((
                insn(op.LDX | op.MEM | size, number, 1, off), insn(op.STX | op.MEM | size, 1, number, off),
                insn(op.ST | op.MEM | size, 1, 0, off, self._imm()),
            )))  # fmt: skip
        check = insn(op.JMP | op.JGT | op.X, 3, 2, len(body))
        return [*head, check, *body, *self._again((1, 2, 3, 4))]

    def _read_context(self) -> Code:
        r = self.random
        dst = self._scalar()
        if r.random() < 0.3:
            size = r.choice(SIZES)
            off = CB + self._place(op.SIZE_BYTES[size], 0, 16 if size == op.DW else CB_SIZE)
            return [insn(op.LDX | op.MEM | size, dst, 6, off)]
        if r.random() < 0.1:
            return [insn(op.LDX | op.MEM | op.DW, dst, 6, TSTAMP)]
        offset, width = r.choice(list(READABLE.items()))
        size = {1: op.B, 8: op.DW}.get(width) or r.choice((op.B, op.H, op.W))
        if size != op.DW:
            offset += self._place(op.SIZE_BYTES[size], 0, width)
        return [insn(op.LDX | op.MEM | size, dst, 6, offset)]

    def _write_context(self) -> Code:
        r = self.random
        size, off = op.W, r.choice(WRITABLE)
        if r.random() < 0.4:
            size = r.choice(SIZES)
            off = CB + self._place(op.SIZE_BYTES[size], 0, 16 if size == op.DW else CB_SIZE)
        elif r.random() < 0.15:
            size, off = op.DW, TSTAMP
        if r.random() < 0.3:
            return [insn(op.ST | op.MEM | size, 6, 0, off, self._imm())]
        return [insn(op.STX | op.MEM | size, 6, self._scalar(), off)]

    def _call(self, number: int = 0) -> Code:
        call = Item(Insn(op.JMP | op.CALL, 0, op.CALL_LOCAL, 0, 0), call=number or self.random.choice(self._callable))
        return [mov(1, 6), call, *self._again()]

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _key(self, spec: MapSpec) -> Code:
        """Put a key at fp-16 that is sometimes there; r2 points to it."""
        code: Code = [insn(op.ST | op.MEM | op.W, 10, 0, -16 + at, 0) for at in range(4, spec.key_size, 4)]
        if self.random.random() < 0.5:
            code.append(insn(op.ST | op.MEM | op.W, 10, 0, -16, self.random.randrange(7)))
        else:
            code += [mov(2, self.random.choice((7, 8, 9))), insn(op.ALU64 | op.AND, 2, imm=7)]
            code.append(insn(op.STX | op.MEM | op.W, 10, 2, -16))
        return [*code, *map_handle(1, spec.name), mov(2, 10), add_imm(2, -16)]

    def _lookup(self) -> Code:
        r = self.random
        spec = r.choice(MAPS[:3])
        body: Code = []
        for _ in range(r.randint(1, 3)):
            body += self._access(0, 0, spec.value_size) if r.random() < 0.6 else self._value_atomic(spec)
        code = [*self._key(spec), insn(op.JMP | op.CALL, imm=1), insn(op.JMP | op.JEQ, 0, 0, len(body), 0), *body]
        return [*code, *self._again((0, 1, 2, 3, 4, 5))]

    def _global(self) -> Code:
        """A number in .data or .rodata, through an address in the code."""
        name, length = self.random.choice((("data", 32), ("rodata", 16)))
        access = self._access(1, 0, 16)
        while name == "rodata" and access[0].insn.opcode & 7 != op.LDX:
            access = self._access(1, 0, 16)
        offset = 8 * self.random.randrange(length // 8 - 1)
        return [Item(Insn(op.LDDW, 1, 0, 0, 0), map=name, offset=offset), insn(0), *access, *self._again((1,))]

    def _packet_load(self) -> Code:
        """The legacy access to the packet, which ends the program where the packet is too short."""
        size = self.random.choice((op.B, op.H, op.W))
        if self.random.random() < 0.5:
            return [insn(op.LD | op.ABS | size, imm=self.random.choice((0, 5, 14, 40))), *self._again()]
        index = [mov(7, 8), insn(op.ALU64 | op.AND, 7, imm=31)]
        return [*index, insn(op.LD | op.IND | size, 0, 7, imm=self.random.choice((0, 3, -9))), *self._again()]

    def _value_atomic(self, spec: MapSpec) -> Code:
        size = self.random.choice((op.W, op.DW))
        off = self._place(op.SIZE_BYTES[size], 0, spec.value_size)
        kind = self.random.choice((op.ADD, op.OR, op.AND, op.XOR, op.XCHG, op.CMPXCHG))
        if kind == op.CMPXCHG:  # it compares with r0, where the pointer was
            compared = self.random.choice(([mov_imm(0, 0)], [insn(op.LDX | op.MEM | size, 0, 0, off)]))
            return [mov(5, 0), *compared, insn(op.STX | op.ATOMIC | size, 5, 9, off, kind), mov(4, 0), mov(0, 5)]
        if kind != op.XCHG:
            kind |= self.random.randint(0, 1)
        return [insn(op.STX | op.ATOMIC | size, 0, self.random.choice((7, 8, 9)), off, kind)]

    def _update(self) -> Code:
        spec = self.random.choice(MAPS[:3])
        code = [*self._key(spec), mov(3, 10), add_imm(3, -48), mov_imm(4, self.random.choice((0, 0, 0, 1, 2, 3, 4)))]
        return [*code, insn(op.JMP | op.CALL, imm=2), *self._again()]

    def _delete(self) -> Code:
        return [*self._key(self.random.choice(MAPS[:3])), insn(op.JMP | op.CALL, imm=3), *self._again()]

    def _offset(self, register: int, small: tuple[int, ...]) -> Code:
        if self.random.random() < 0.3:
            return [mov(register, self.random.choice((7, 8, 9))), insn(op.ALU | op.AND, register, imm=0x7F)]
        return [mov_imm(register, self.random.choice((*small, 0, 1, 12, 14, 24, 33, 50, 60, 3700, 0xFFFF, -1)))]

    def _load_bytes(self) -> Code:
        size = self.random.randint(1, 32)
        code = [mov(1, 6), *self._offset(2, (14, 26)), mov(3, 10), add_imm(3, -64), mov_imm(4, size)]
        return [*code, insn(op.JMP | op.CALL, imm=26), *self._again()]

    def _store_bytes(self) -> Code:
        flags = self.random.choice((0, 0, 1, 2, 3, 4, 8, 1 << 20))
        code = [
            mov(1, 6),
            *self._offset(2, (14, 26)),
            mov(3, 10),
            add_imm(3, -64),
            mov_imm(4, self.random.randint(1, 32)),
        ]
        return [*code, mov_imm(5, flags), insn(op.JMP | op.CALL, imm=9), *self._again()]

    def _pull(self) -> Code:
        return [mov(1, 6), *self._offset(2, (14, 34)), insn(op.JMP | op.CALL, imm=39), *self._again()]

    def _csum_replace(self) -> Code:
        r = self.random
        number = r.choice((10, 11))
        size = r.choice((0, 2, 4, 2, 4, 3, 15))
        flags = size | (r.choice((0, 0x10, 0x20, 0x40, 0x60, 0x100)) if number == 11 or r.random() < 0.2 else 0)
        old = [mov_imm(3, 0)] if size == 0 and r.random() < 0.7 else [mov(3, r.choice((7, 8, 9)))]
        code = [mov(1, 6), *self._offset(2, (24, 40, 50)), *old, mov(4, r.choice((7, 8, 9))), mov_imm(5, flags)]
        return [*code, insn(op.JMP | op.CALL, imm=number), *self._again()]

    def _csum_diff(self) -> Code:
        r = self.random
        old_size, new_size = r.choice((0, 4, 8, 16)), r.choice((0, 4, 12, 16))
        code = [mov(1, 10), add_imm(1, -32), mov_imm(2, old_size), mov(3, 10), add_imm(3, -64), mov_imm(4, new_size)]
        return [*code, mov(5, r.choice((7, 8, 9))), insn(op.JMP | op.CALL, imm=28), *self._again()]

    def _redirect(self) -> Code:
        number = self.random.choice((23, 155))
        flags = self.random.choice((0, 0, 1, 4, 1 << 20))
        return [*self._offset(1, (1, 9999)), mov_imm(2, flags), insn(op.JMP | op.CALL, imm=number), *self._again()]

    def _metadata(self) -> Code:
        """change_type, set_hash, set_hash_invalid, csum_level, csum_update."""
        number = self.random.choice((32, 48, 41, 135, 40))
        argument = mov_imm(2, self.random.randrange(6)) if self.random.random() < 0.7 else mov(2, 8)
        nothing = [mov_imm(0, 0)] if number == 41 else []  # the one that answers nothing
        return [mov(1, 6), argument, insn(op.JMP | op.CALL, imm=number), *nothing, *self._again()]

    def _room(self) -> Code:
        r = self.random
        code = [mov(1, 6), mov_imm(2, r.choice((0, 4, 8, 20, 28, -4, -8, -20))), mov_imm(3, r.choice((0, 1, 1, 2)))]
        return [*code, mov_imm(4, r.choice((0, 0, 1, 32, 1 << 20))), insn(op.JMP | op.CALL, imm=50), *self._again()]

    def _vlan(self) -> Code:
        r = self.random
        if r.random() < 0.5:
            return [mov(1, 6), insn(op.JMP | op.CALL, imm=19), *self._again()]
        code = [mov(1, 6), mov_imm(2, r.choice((0x0081, 0xA888, 7))), mov(3, r.choice((7, 8, 9)))]
        return [*code, insn(op.JMP | op.CALL, imm=18), *self._again()]

    def _load_relative(self) -> Code:
        code = [mov(1, 6), *self._offset(2, (0, 12, 20)), mov(3, 10), add_imm(3, -64)]
        code += [mov_imm(4, self.random.randint(1, 32)), mov_imm(5, self.random.choice((0, 1, 1, 2)))]
        return [*code, insn(op.JMP | op.CALL, imm=68), *self._again()]

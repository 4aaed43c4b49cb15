"""The reference interpreter: one instruction at a time, every state visible.

`instructions` makes a function of each instruction. Running is calling one after the other; stepping is the same with
a look in between.

It does what RFC 9669 says and refuses nothing that only a verifier would: shift counts are masked, division by zero
yields zero. What would do harm without a verifier (wild memory accesses, calls, endless loops) is a `ProgramFault`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netkit_edu.engine import memory as mem
from netkit_edu.engine.context import Context
from netkit_edu.engine.instructions import decode, signed
from netkit_edu.engine.machine import EXIT, SWITCH, Machine, State
from netkit_edu.engine.maps import Map
from netkit_edu.engine.memory import Bytes, Fault, Memory, Packet, Region, WatchedMemory, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.errors import ObjectError, ProgramFault
from netkit_edu.program.isa import validate
from netkit_edu.program.object import ProgramCode, SourceLine


class Executable:
    """A program made ready to run, with the maps it uses.

    ``budget`` is how many instructions one run may take, those of programs it tail-calls included. ``slots`` are the
    instructions, ``regions`` the memory that comes with the program, ``handles`` its maps by the number that means one.
    """

    def __init__(self, code: ProgramCode, maps: Mapping[str, Map], budget: int):
        self.code = code
        self.maps = maps
        self.budget = budget
        clobbered = Region(mem.CLOBBERED, "clobbered register", "r1 to r5 do not survive a call: use r6 to r9")
        socket = Region(mem.SOCKET, "socket", "the fields of a socket are not part of this engine")
        self.regions: dict[int, Region] = {mem.CLOBBERED: clobbered, mem.SOCKET: socket}
        self.handles: dict[int, Map] = {}
        self.slots = decode(code.insns, self._wide_values())

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
            program, before, calls = m.program, tuple(r), tuple(frame[0] for frame in m.frames)
            frame = m.memory.regions[mem.FRAME + len(calls)]
            try:
                after = program.slots[pc](r, m)
            except Fault as fault:
                raise program.fault(fault, pc) from None
            touched, m.memory.touched = tuple(m.memory.touched), []
            over = after == EXIT
            if after == SWITCH:
                after = m.resume
            yield State(
                number, pc, program.code.insns[pc], program.line(pc), before, tuple(r), touched, calls,
                bytes(frame.data), None if over else after, signed(r[0], 32) if over else None, program.code.name,
            )  # fmt: skip
            if over:
                return
            pc = after
        raise m.program.fault(self._out_of_budget(), pc)

    def machine(self, skb: SkBuff, world: World | None = None, memory: type[Memory] = Memory) -> Machine:
        """Return a machine at the program's start: r1 is the context, r10 the end of an empty stack frame."""
        packet = Packet(skb)
        m = Machine(memory({mem.CTX: Context(skb, packet), mem.PACKET: packet}), self, skb, world)
        m.registers[1] = address_of(mem.CTX)
        return m

    def execute(self, m: Machine) -> int:
        """Run a machine from the program's first slot to its end; return r0, an unsigned 64-bit number."""
        slots, r, pc = self.slots, m.registers, 0
        try:
            for count in range(1, self.budget + 1):
                after = slots[pc](r, m)
                if after >= 0:
                    pc = after
                elif after == EXIT:
                    m.executed = count
                    return r[0]
                else:
                    slots, pc = m.program.slots, m.resume
        except Fault as fault:
            raise m.program.fault(fault, pc) from None
        raise m.program.fault(self._out_of_budget(), pc)

    def line(self, pc: int) -> SourceLine | None:
        """Return the C line that slot ``pc`` comes from, None where that is not known."""
        return self.code.lines[pc] if pc < len(self.code.lines) else None

    def _out_of_budget(self) -> Fault:
        return Fault(f"{self.budget} instructions ran and the program has not ended: a loop without end?")

    def fault(self, fault: Fault, pc: int) -> ProgramFault:
        """Return the error for a fault at slot ``pc`` of this program."""
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
        self.regions[number] = Region(number, f"map {used.spec.name}", why)
        self.handles[address_of(number)] = used
        return address_of(number)

    def _value_address(self, number: int, used: Map, offset: int) -> int:
        value = used.value(bytes(used.spec.key_size))
        if value is None or used.spec.max_entries != 1:
            raise ObjectError(f"map {used.spec.name} is no data section: a wide load cannot point into it")
        number += mem.FIRST_VALUE
        self.regions[number] = Bytes(number, used.spec.name, value, readonly=used.spec.readonly)
        return address_of(number, offset)


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

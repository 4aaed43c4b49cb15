"""``Machine``: what one run of a program changes. ``State``: what one instruction saw and changed, for those who look.

Eleven registers, the regions of memory, and up to eight frames (MAX_CALL_FRAMES): RFC 9669 section 2 and the calling
convention of the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netkit_edu.engine.maps import Map, RingBufMap
from netkit_edu.engine.maps.ringbuf import Record
from netkit_edu.engine.memory import CLOBBER, CTX, FRAME, PACKET, STACK_SIZE, Fault, Frame, Memory, Touch, address_of
from netkit_edu.engine.skb import SkBuff
from netkit_edu.engine.world import World
from netkit_edu.program.object import Insn, SourceLine
from netkit_edu.program.opcodes import FRAME_POINTER, REGISTERS

if TYPE_CHECKING:
    from netkit_edu.engine.interpreter import Executable

EXIT, SWITCH = -1, -2  # what an instruction returns instead of a next slot: the program is over; look into the machine
MAX_TAIL_CALLS = 33  # MAX_TAIL_CALL_CNT, include/linux/bpf.h
MAX_FRAMES = 8  # MAX_CALL_FRAMES, include/linux/bpf_verifier.h
CLOBBERED_REGISTERS = [CLOBBER] * 5  # r1 to r5 after a call: whoever follows one of them is told so


class Machine:
    """What one run changes: registers, memory, the frames of local calls; and the packet and the world it runs in.

    ``program`` is the `Executable` whose instructions run; after a `SWITCH`, ``resume`` is the slot to go on at.
    ``reserved`` are the ring buffer records that the program still has to hand over, by address.
    """

    def __init__(self, memory: Memory, program: Executable, skb: SkBuff | None = None, world: World | None = None):
        self.memory = memory
        self.program = program
        memory.regions.update(program.regions)
        self.skb = skb
        self.world = world or World()
        self.maps: Mapping[int, Map] = program.handles
        self.frames: list[tuple[int, list[int], Executable]] = []  # where to go back to, the caller's r6 to r10, itself
        self.registers = [0] * REGISTERS
        self.registers[FRAME_POINTER] = self._new_frame(0)
        self.resume = 0
        self.tail_calls = 0
        self.reserved: dict[int, tuple[RingBufMap, Record]] = {}
        self.executed = 0  # instructions of the whole run, once it is over

    def _new_frame(self, depth: int) -> int:
        self.memory.regions[FRAME + depth] = Frame(depth)
        return address_of(FRAME + depth, STACK_SIZE)

    def enter(self, after: int) -> None:
        """Call a local function: a fresh stack frame; r6 to r9 are kept for the caller."""
        if len(self.frames) + 1 >= MAX_FRAMES:
            raise Fault(f"the call stack of {MAX_FRAMES + 1} frames is too deep: a program has at most {MAX_FRAMES}")
        self.frames.append((after, self.registers[6:], self.program))
        self.registers[FRAME_POINTER] = self._new_frame(len(self.frames))

    def leave(self) -> int:
        """Return from a function; say where to go on. A local function's stack frame is gone from now on."""
        if not self.frames:
            return self.over()
        del self.memory.regions[FRAME + len(self.frames)]
        after, self.registers[6:], caller = self.frames.pop()
        self.registers[1:6] = CLOBBERED_REGISTERS
        return after if caller is self.program else self._switch(caller, after)

    def tail_call(self, program: Executable) -> int:
        """Go on at the start of another program, in a fresh stack frame in place of this function's."""
        self._all_handed_over("a tail call")
        self.tail_calls += 1
        self.registers[:] = [0] * REGISTERS
        self.registers[1] = address_of(CTX)
        self.registers[FRAME_POINTER] = self._new_frame(len(self.frames))
        return self._switch(program, 0)

    def packet_moved(self, helper: str) -> None:
        """Make every pointer into the packet stale, whoever holds it, after a helper that may have moved it."""
        self.memory.regions[PACKET].outdate(helper)

    def over(self) -> int:
        """End the program."""
        self._all_handed_over("the end of the program")
        return EXIT

    def _switch(self, program: Executable, pc: int) -> int:
        for number in self.program.regions:
            del self.memory.regions[number]
        self.memory.regions.update(program.regions)
        self.program, self.maps, self.resume = program, program.handles, pc
        return SWITCH

    def _all_handed_over(self, where: str) -> None:
        if self.reserved:
            names = ", ".join(sorted({ring.spec.name for ring, _ in self.reserved.values()}))
            raise Fault(f"unreleased reference at {where}: submit or discard what was reserved in {names}")


@dataclass(frozen=True, slots=True)
class State:
    """One instruction that ran, and everything it saw and changed.

    ``number`` counts the instructions that ran before it; ``before`` and ``after`` are r0 to r10; ``touched`` the
    memory accesses, helpers' included; ``calls`` the slots that local calls will return to, outermost first; ``stack``
    the 512 bytes of its own frame afterwards; ``next_pc`` is None after the last exit, and ``returned`` is set then.
    ``program`` names the program that the instruction is of: a tail call goes on in another.
    """

    number: int
    pc: int
    insn: Insn
    line: SourceLine | None
    before: tuple[int, ...]
    after: tuple[int, ...]
    touched: tuple[Touch, ...]
    calls: tuple[int, ...]
    stack: bytes
    next_pc: int | None
    returned: int | None = None
    program: str = ""

    @property
    def depth(self) -> int:
        """How many local calls are open."""
        return len(self.calls)

    @property
    def changed(self) -> tuple[int, ...]:
        """The numbers of the registers whose value is another one now."""
        return tuple(i for i, (old, new) in enumerate(zip(self.before, self.after, strict=True)) if old != new)

"""Memory as a program sees it: bounds-checked regions, and a fault that says in plain words what went wrong.

An address is ``region << 28 | ORIGIN + offset``. A region starts 16 MiB into its slot, so that a pointer which runs off
either end still names the region it came from. The packet's region lies below 4 GiB, because ``__sk_buff.data`` is a
32-bit field. NULL, and every number that is no address, belong to no region.

Pointers into the packet have a generation as well: after a helper that may move the packet, data and data_end lie
`GENERATION` further on, and an older pointer is known by its address.

What may be touched follows from what the kernel's verifier lets pass (kernel/bpf/verifier.c, Linux 6.12); here it is
checked while the program runs, one access at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from netkit_edu.engine.skb import SkBuff

U64 = (1 << 64) - 1
STACK_SIZE = 512  # bytes of one frame (MAX_BPF_STACK)
MOVE_LIMIT = 32 << 20  # bytes that the helpers of one run may copy: what bounds its time and memory beside the budget

SHIFT = 28
ORIGIN = 1 << 24
_OFFSET = (1 << SHIFT) - 1
# From one generation to the next, with room for data plus any two 16-bit numbers or minus one; the numbers of 960
# generations are distinct, then they return.
GENERATION = 1 << 18
GENERATIONS = ((1 << SHIFT) - ORIGIN) // GENERATION

# Numbers of the regions; FRAME is the outermost of eight frames. From 0x1_0000 on: map handles, data sections, and the
# values that lookups found.
CTX, PACKET, FRAME, SOCKET, CLOBBERED = 1, 2, 3, 12, 0xDEAD
FIRST_HANDLE, FIRST_VALUE, FIRST_LOOKUP = 0x1_0000, 0x2_0000, 0x3_0000

_UNPACK = {n: struct.Struct("<" + c).unpack_from for n, c in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}
_PACK = {n: struct.Struct("<" + c).pack_into for n, c in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))}
_MASK = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF, 8: U64}

STALE_POINTER = "stale packet pointer"  # how a fault names a pointer from before a helper that may move the packet


def address_of(region: int, offset: int = 0) -> int:
    """Return the address of byte ``offset`` of region number ``region``."""
    return region << SHIFT | ORIGIN + offset


CLOBBER = address_of(CLOBBERED)  # what r1 to r5 hold after a call


class Fault(Exception):
    """An access or a call that must stop the program; the interpreter adds where, and raises `ProgramFault`."""

    def __init__(self, reason: str, address: int | None = None, region: str = ""):
        super().__init__(reason)
        self.reason = reason
        self.address = address
        self.region = region


class Touch(NamedTuple):
    """One access of one instruction: ``write`` or not, the region's name, offset in it, and the bytes after it."""

    write: bool
    region: str
    offset: int
    address: int
    data: bytes


class Region:
    """Something an address can point to. This one holds no bytes: touching it is always a fault.

    ``number`` is its place among the addresses; ``why`` explains the fault in a learner's words.
    """

    atomic = False  # the kernel allows atomic instructions on stack and map values only

    def __init__(self, number: int, name: str, why: str):
        self.number = number
        self.name = name
        self.why = why

    def load(self, offset: int, size: int) -> int:
        raise self.fault("read", offset, size)

    def store(self, offset: int, size: int, value: int) -> None:
        raise self.fault("write", offset, size)

    def read(self, offset: int, size: int) -> bytes:
        raise self.fault("read", offset, size)

    def read_up_to(self, offset: int, limit: int) -> bytes:
        raise self.fault("read", offset, 1)

    def write(self, offset: int, data: bytes) -> None:
        raise self.fault("write", offset, len(data))

    def fault(self, verb: str, offset: int, size: int) -> Fault:
        said = f"{verb} of {_bytes(size)} at {self.place(offset)}: {self.why}"
        return Fault(said, address_of(self.number, offset), self.name)

    def place(self, offset: int) -> str:
        return f"{self.name}{self.counted(offset):+d}"

    def counted(self, offset: int) -> int:
        """Return an offset in the region as it is told to people."""
        return offset


class Bytes(Region):
    """The bytes of a bytearray, shared with whoever holds that bytearray."""

    atomic = True

    def __init__(self, number: int, name: str, data: bytearray, *, readonly: bool = False):
        self.number = number
        self.name = name
        self.data = data
        self.end = len(data)
        self.readonly = readonly

    def load(self, offset: int, size: int) -> int:
        if offset < 0 or offset + size > self.end:
            raise self.fault("read", offset, size)
        return _UNPACK[size](self.data, offset)[0]

    def store(self, offset: int, size: int, value: int) -> None:
        if offset < 0 or offset + size > self.end or self.readonly:
            raise self.fault("write", offset, size)
        _PACK[size](self.data, offset, value & _MASK[size])

    def read(self, offset: int, size: int) -> bytes:
        if offset < 0 or offset + size > self.end:
            raise self.fault("read", offset, size)
        return bytes(self.data[offset : offset + size])

    def read_up_to(self, offset: int, limit: int) -> bytes:
        if offset < 0 or offset >= self.end:
            raise self.fault("read", offset, 1)
        return bytes(self.data[offset : min(offset + limit, self.end)])

    def write(self, offset: int, data: bytes) -> None:
        if offset < 0 or offset + len(data) > self.end or self.readonly:
            raise self.fault("write", offset, len(data))
        self.data[offset : offset + len(data)] = data

    @property
    def why(self) -> str:
        if self.readonly:
            return f"{self.name} is read-only and has {_bytes(self.end)}"
        return f"{self.name} has {_bytes(self.end)}"


class Frame(Bytes):
    """The 512 bytes of stack of one function; offsets are told from the frame pointer r10, which is its end."""

    def __init__(self, depth: int):
        name = "stack" if depth == 0 else f"stack of call {depth}"
        super().__init__(FRAME + depth, name, bytearray(STACK_SIZE))

    def place(self, offset: int) -> str:
        return f"fp{offset - STACK_SIZE:+d} ({self.name})"

    @property
    def why(self) -> str:
        return f"a stack frame is the {STACK_SIZE} bytes from fp-{STACK_SIZE} to fp-1"


class Packet(Region):
    """The linear part of an skb: what lies between data and data_end, in its buffer from ``first`` to ``end``.

    ``base`` is where the pointers of this generation count from. To the kernel's verifier those of an earlier one are
    mere numbers (clear_all_pkt_pointers, kernel/bpf/verifier.c, Linux 6.12), so here they point to nothing.
    """

    number, name = PACKET, "packet"

    def __init__(self, skb: SkBuff):
        self.base = 0
        self._ended: dict[int, str] = {}  # base of an earlier generation -> the helper that ended it
        self.refresh(skb)

    def refresh(self, skb: SkBuff) -> None:
        """Take over the buffer's place and length after something may have moved or grown it."""
        self.data = skb.buf
        self.first = skb.data
        self.start = skb.data - self.base
        self.end = skb.data + skb.headlen
        self.total = len(skb)

    def outdate(self, helper: str) -> None:
        """Leave no pointer into the packet valid: those that the program reads from now on are other numbers."""
        self._ended[self.base] = helper
        self.base = (self.base + GENERATION) % (GENERATIONS * GENERATION)
        self._ended.pop(self.base, None)
        self.start = self.first - self.base

    def load(self, offset: int, size: int) -> int:
        at = self.start + offset
        if at < self.first or at + size > self.end:
            raise self.fault("read", offset, size)
        return _UNPACK[size](self.data, at)[0]

    def store(self, offset: int, size: int, value: int) -> None:
        at = self.start + offset
        if at < self.first or at + size > self.end:
            raise self.fault("write", offset, size)
        _PACK[size](self.data, at, value & _MASK[size])

    def read(self, offset: int, size: int) -> bytes:
        at = self._part("read", offset, size)
        return bytes(self.data[at : at + size])

    def read_up_to(self, offset: int, limit: int) -> bytes:
        at = self._part("read", offset, 1)
        return bytes(self.data[at : min(at + limit, self.end)])

    def write(self, offset: int, data: bytes) -> None:
        at = self._part("write", offset, len(data))
        self.data[at : at + len(data)] = data

    def _part(self, verb: str, offset: int, size: int) -> int:
        at = self.start + offset
        if at < self.first or at + size > self.end:
            raise self.fault(verb, offset, size)
        return at

    def counted(self, offset: int) -> int:
        return offset - self.base

    def fault(self, verb: str, offset: int, size: int) -> Fault:
        base = (offset + GENERATION // 4) // GENERATION * GENERATION
        helper = self._ended.get(base)
        if helper is None:
            return super().fault(verb, offset, size)
        said = (
            f"{verb} of {_bytes(size)} at packet{offset - base:+d}: {STALE_POINTER}: {helper} may have moved the"
            " packet; read skb->data and skb->data_end again (Linux 6.12 does not load it: invalid mem access 'scalar')"
        )
        return Fault(said, address_of(PACKET, offset), self.name)

    @property
    def why(self) -> str:
        linear = self.end - self.first
        if linear < self.total:
            return (
                f"the linear part of the packet has {_bytes(linear)} of {self.total}"
                " (bpf_skb_pull_data makes more of it linear)"
            )
        return f"the packet has {_bytes(linear)}"


class Memory:
    """All regions of one run, by number."""

    __slots__ = ("regions", "moved", "_values", "_next")

    def __init__(self, regions: dict[int, Region]):
        self.regions = regions
        self.moved = 0  # bytes that helpers copied so far
        self._values: dict[int, int] = {}
        self._next = FIRST_LOOKUP

    def load(self, address: int, size: int) -> int:
        """Return the little-endian unsigned number of ``size`` bytes at an address."""
        region = self.regions.get(address >> SHIFT)
        if region is None:
            raise nowhere("read", address, size)
        return region.load((address & _OFFSET) - ORIGIN, size)

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of a number."""
        region = self.regions.get(address >> SHIFT)
        if region is None:
            raise nowhere("write", address, size)
        region.store((address & _OFFSET) - ORIGIN, size, value)

    def modify(self, address: int, size: int, change: Callable[[int], int]) -> int:
        """Replace a number by ``change(number)`` in one go, as an atomic instruction does; return the old one."""
        region = self.regions.get(address >> SHIFT)
        if region is not None and not region.atomic:
            raise Fault(f"atomic operation on {region.name}: only stack and map values take one", address, region.name)
        old = self.load(address, size)
        self.store(address, size, change(old))
        return old

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes for a helper that was given a pointer to them."""
        region = self.regions.get(address >> SHIFT)
        if region is None:
            raise nowhere("read", address, size)
        self._charge(size)
        return region.read((address & _OFFSET) - ORIGIN, size)

    def string(self, address: int, limit: int) -> bytes:
        """Return the bytes before the next zero byte, at most ``limit`` and at most to the region's end."""
        region = self.regions.get(address >> SHIFT)
        if region is None:
            raise nowhere("read", address, 1)
        self._charge(limit)
        return region.read_up_to((address & _OFFSET) - ORIGIN, limit).partition(b"\0")[0]

    def write(self, address: int, data: bytes) -> None:
        """Fill the memory that a helper was given a pointer to."""
        region = self.regions.get(address >> SHIFT)
        if region is None:
            raise nowhere("write", address, len(data))
        self._charge(len(data))
        region.write((address & _OFFSET) - ORIGIN, data)

    def _charge(self, size: int) -> None:
        self.moved += size
        if self.moved > MOVE_LIMIT:
            raise Fault(f"helpers were to copy more than {MOVE_LIMIT >> 20} MiB in one run of the program")

    def pointer(self, name: str, value: bytearray, *, readonly: bool = False) -> int:
        """Return the address of a map's value, which becomes a region of its own on first use."""
        number = self._values.get(id(value))
        if number is None:
            number, self._next = self._next, self._next + 1
            self._values[id(value)] = number  # the region keeps the bytearray alive, so its id stays its own
            self.regions[number] = Bytes(number, name, value, readonly=readonly)
        return address_of(number)

    def retire(self, address: int, why: str) -> None:
        """Take back the region that `pointer` gave: touching it is a fault from now on, and ``why`` says so."""
        number = address >> SHIFT
        gone = self.regions[number]
        del self._values[id(gone.data)]
        self.regions[number] = Region(number, gone.name, why)


class WatchedMemory(Memory):
    """The same memory, which also writes down every access; ``touched`` is emptied by whoever reads it."""

    __slots__ = ("touched",)

    def __init__(self, regions: dict[int, Region]):
        super().__init__(regions)
        self.touched: list[Touch] = []

    def load(self, address: int, size: int) -> int:
        value = super().load(address, size)
        self._note(False, address, value.to_bytes(size, "little"))
        return value

    def store(self, address: int, size: int, value: int) -> None:
        super().store(address, size, value)
        self._note(True, address, (value & _MASK[size]).to_bytes(size, "little"))

    def read(self, address: int, size: int) -> bytes:
        data = super().read(address, size)
        self._note(False, address, data)
        return data

    def write(self, address: int, data: bytes) -> None:
        super().write(address, data)
        self._note(True, address, data)

    def _note(self, write: bool, address: int, data: bytes) -> None:
        region = self.regions[address >> SHIFT]
        self.touched.append(Touch(write, region.name, region.counted((address & _OFFSET) - ORIGIN), address, data))


def nowhere(verb: str, address: int, size: int) -> Fault:
    """Return the fault for an address that belongs to no region."""
    if address < 1 << 16:
        said = f"{verb} of {_bytes(size)} at address {address:#x}: a null pointer"
        hint = "a map lookup that finds nothing returns NULL, so test the pointer before using it"
        return Fault(f"{said} ({hint})", address, "null")
    return Fault(f"{verb} of {_bytes(size)} at {address:#x}: this number is no address of anything", address, "nothing")


def _bytes(n: int) -> str:
    return "1 byte" if n == 1 else f"{n} bytes"

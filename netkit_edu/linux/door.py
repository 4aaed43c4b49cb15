"""The client of a syscall door: batches of system calls, executed wherever the door stands.

`door.c` is the other side, PROTOCOL.md what goes over the stream between them. A `Batch` is written down operation by
operation and crosses in one round trip; what a call returns may be an argument of a later one.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from netkit_edu.errors import DoorError, KernelError, UsageError
from netkit_edu.linux.syscalls import CLOCK_MONOTONIC, CLONE_NEWNET, SYSCALLS

REQUEST, REPLY, VERSION = 0x5244_4B4E, 0x4144_4B4E, 1
HELLO, WRITE, FILL, CALL, ADD, READ, TAKE, LOOP, FINALLY = range(1, 10)
OK, REFUSED, BAD_FRAME, BAD_OPERATION, TIMEOUT, NO_ROOM = range(6)
KEEP, MUST = 1, 1
CELLS = 8192  # calls in a batch at most; their results lie at the arena's start
TIMEOUT_S = 4.0  # seconds
PATIENCE_S = 0.9  # seconds that the client waits longer than the door's own watchdog
_REQUEST = struct.Struct("<6I")
_REPLY = struct.Struct("<6I")
_OP = struct.Struct("<4I")
_HELLO = struct.Struct("<IIQ4I")
_U64 = 0xFFFF_FFFF_FFFF_FFFF
_UNTOUCHED = 0x8080_8080_8080_8080
_SAID = {
    BAD_FRAME: "the frame was garbled on its way",
    BAD_OPERATION: "the frame holds an operation that cannot be",
    TIMEOUT: "a call waited too long",
    NO_ROOM: "the answer is longer than a frame can be",
}


def request(body: bytes, number: int, timeout_ms: int = 0, flags: int = 0) -> bytes:
    """Return a frame that asks for the operations in ``body``; the watchdog rings after ``timeout_ms``, 0 for never."""
    return _REQUEST.pack(REQUEST, len(body), zlib.adler32(body), number, timeout_ms, flags) + body


class Result:
    """What a call of a batch will have returned; stands for its value as an argument of later calls."""

    def __init__(self, cell: int, name: str):
        self.cell = cell
        self.name = name
        self._raw: int | None = None

    def _settle(self, raw: int) -> None:
        self._raw = None if raw == _UNTOUCHED else raw - (1 << 64) if raw >> 63 else raw

    @property
    def done(self) -> bool:
        """Whether the call was made: not if one before it, on which it depended, was refused."""
        return self._raw is not None

    @property
    def errno(self) -> int:
        """The errno it was refused with, 0 if it was not."""
        return -self._raw if self._raw is not None and -4096 < self._raw < 0 else 0

    @property
    def value(self) -> int:
        """What it returned.

        Raises:
            KernelError: it was refused.
            DoorError: it was never made.
        """
        if self._raw is None:
            raise DoorError(f"{self.name} was never called: its batch has not run, or stopped before it")
        if self.errno:
            raise KernelError(self.errno)
        return self._raw


class Data:
    """Bytes that a batch brings back: ``value``, empty if it stopped before."""

    def __init__(self):
        self.value = b""


class Batch:
    """Operations that are executed in order, in one round trip. `run` ends the writing down."""

    def __init__(self, door: Door):
        self.door = door
        self._body = bytearray()
        self._results: list[Result] = []
        self._reads: list[tuple[int, Data, int]] = []  # at which byte, into what, length or -1
        self._free = CELLS * 8
        self._looping = 0

    def put(self, data: bytes) -> int:
        """Have bytes copied into the arena before what follows; return their address there, a multiple of 16."""
        off = self._take(len(data))
        if data:
            self._op(WRITE, 0, off, len(data))
            self._body += data + bytes(-len(data) % 8)
        return self.door.base + off

    def room(self, n: int) -> int:
        """Have ``n`` zero bytes in the arena; return their address."""
        off = self._take(n)
        self._op(FILL, 0, off, n)
        return self.door.base + off

    def call(self, name: str, *args: int | bytes | Result, must: bool = True) -> Result:
        """Make a system call.

        Args:
            name: as in `syscalls.SYSCALLS`.
            args: numbers, bytes (put into the arena, and their address given), or results of earlier calls.
            must: what follows depends on it: if it is refused the batch stops, and `run` raises its error.
        """
        if name not in self.door.syscalls:
            raise UsageError(f"no system call {name!r} in the table of {self.door.machine}")
        if len(self._results) == CELLS:
            raise UsageError(f"a batch holds {CELLS} calls at most")
        values, indirect = [], 0
        for n, arg in enumerate(args):
            if isinstance(arg, Result):
                indirect |= 1 << n
                values.append(arg.cell)
            else:
                values.append((self.put(arg) if isinstance(arg, bytes | bytearray) else int(arg)) & _U64)
        result = Result(8 * len(self._results), name)
        self._results.append(result)
        number = self.door.syscalls[name]
        values += [0] * (6 - len(values))
        self._body += struct.pack("<6I6Q", CALL, MUST if must else 0, number, result.cell, indirect, 0, *values)
        return result

    def add(self, result: Result, n: int) -> None:
        """Add ``n`` to a result: a later call that is given it goes on from there, in a loop each time further."""
        self._op(ADD, 0, result.cell, 0)
        self._body += struct.pack("<Q", n & _U64)

    def read(self, address: int, n: int | Result, most: int = 0) -> Data:
        """Bring back ``n`` bytes from there; for a `Result` as many as it returned, ``most`` at most."""
        if self._looping:
            raise UsageError("a loop brings nothing back itself: read behind it")
        data, off = Data(), address - self.door.base
        self._reads.append((len(self._body), data, -1 if isinstance(n, Result) else n))
        if isinstance(n, Result):
            self._op(TAKE, n.cell, off, most)
        else:
            self._op(READ, 0, off, n)
        return data

    def setns(self, fd: int | Result) -> Result:
        """Move the door into the network namespace behind a descriptor."""
        return self.call("setns", fd, CLONE_NEWNET)

    def clock(self, address: int | Result, clock: int = CLOCK_MONOTONIC) -> Result:
        """Write the time there: seconds and nanoseconds, 8 bytes each."""
        return self.call("clock_gettime", clock, address)

    @contextlib.contextmanager
    def loop(self, n: int) -> Iterator[None]:
        """Have the operations written in this block executed ``n`` times."""
        start = len(self._body)
        self._looping += 1
        self._op(LOOP, 0, n, 0)
        try:
            yield
        finally:
            self._looping -= 1
            struct.pack_into("<I", self._body, start + 12, len(self._body) - start - 16)

    def run(self, timeout: float = TIMEOUT_S) -> Batch:
        """Cross once, and give results and data their values; return the batch.

        Args:
            timeout: seconds, by the door's clock, after which a call that waits is interrupted.

        Raises:
            KernelError: a call on which the others depend was refused; those behind it were not made.
            DoorError: there was no answer, or none that can be.
        """
        cells = 8 * len(self._results)
        fill = _OP.pack(FILL, 0x80, 0, cells)
        body = fill + self._body + _OP.pack(FINALLY, 0, 0, 0) + _OP.pack(READ, 0, 0, cells)
        status, at, answer = self.door.exchange(body, timeout)
        if len(answer) < cells:
            raise DoorError(f"{_SAID.get(status, 'the answer is too short')} (status {status} at byte {at})")
        ends = struct.unpack(f"<{len(self._results)}Q", answer[len(answer) - cells :])
        for result, raw in zip(self._results, ends, strict=True):
            result._settle(raw)
        self.door.reusable &= status in (OK, REFUSED)
        self._deliver(answer[: len(answer) - cells], None if status == OK else at - len(fill))
        if status == REFUSED:
            refused = next(r for r in self._results if self._stopped_at(r, at - len(fill)))
            raise KernelError(refused.errno)
        if status != OK:
            raise DoorError(f"{_SAID.get(status, 'unknown status')} (status {status} at byte {at})")
        return self

    def _stopped_at(self, result: Result, at: int) -> bool:
        return struct.unpack_from("<I", self._body, at + 12)[0] == result.cell

    def _deliver(self, answer: bytes, stopped: int | None) -> None:
        pos = 0
        for at, data, n in self._reads:
            if stopped is not None and at >= stopped:
                return
            if n < 0:
                n = struct.unpack_from("<I", answer, pos)[0]
                pos += 4
            data.value = answer[pos : pos + n]
            pos += n

    def _op(self, code: int, flags: int, off: int, n: int) -> None:
        self._body += _OP.pack(code, flags, off, n)

    def _take(self, n: int) -> int:
        off = self._free
        self._free += (n + 15) & ~15
        if n < 0 or self._free > self.door.size:
            raise UsageError(f"a batch has {self.door.size} bytes of room; this one needs more")
        return off


class Door:
    """A syscall door at the other end of a stream.

    ``machine`` and ``word`` (bytes of a long) say what it runs on; ``base`` and ``size`` (bytes) where its arena lies.
    ``reusable`` is whether all that was done in its process is undone by closing descriptors.

    Args:
        stream: a connected socket; it belongs to the door from now on.
        before, after: called around every round trip: a machine that is stopped between them.
        translate: makes the exception that is raised out of a `DoorError`: of a machine that knows more.
    """

    machine = "x86_64"

    def __init__(self, stream, *, before: Callable[[], Any] | None = None, after: Callable[[], Any] | None = None,
                 translate: Callable[[DoorError], Exception] | None = None):  # fmt: skip
        self._stream = stream
        self._buffer = bytearray()
        self._number = 0
        self._lock = threading.RLock()
        self._before, self._after, self._translate = before, after, translate
        self.closed = False
        self.reusable = True
        self.syscalls = SYSCALLS[self.machine]
        self.base = self.size = self.word = self.pid = 0

    def hello(self, timeout: float = TIMEOUT_S) -> Door:
        """Ask the door who it is, and check that we speak its language; return it.

        Raises:
            DoorError: no answer, or of another version.
        """
        _, _, answer = self.exchange(_OP.pack(HELLO, 0, 0, 0), timeout)
        if len(answer) != _HELLO.size:
            raise DoorError(f"it introduced itself with {len(answer)} bytes, not {_HELLO.size}")
        version, self.word, self.base, self.size, _, self.pid, _ = _HELLO.unpack(answer)
        if version != VERSION:
            raise DoorError(f"it speaks version {version} of the protocol, not {VERSION}")
        return self

    def batch(self) -> Batch:
        """Return an empty batch."""
        return Batch(self)

    def call(self, name: str, *args: int | bytes) -> int:
        """Make one call in a round trip of its own; return what it returns.

        Raises:
            KernelError: it was refused.
        """
        batch = self.batch()
        result = batch.call(name, *args)
        batch.run()
        return result.value

    def at_end(self, batch: Batch) -> None:
        """Leave operations with the door that it executes when its stream closes, instead of those left before.

        They do what the end of a process does not: remove what has a name.
        """
        self.reusable = False
        status, _, _ = self.exchange(bytes(batch._body), TIMEOUT_S, KEEP)
        if status != OK:
            raise DoorError(_SAID.get(status, f"status {status}"))

    def exchange(self, body: bytes, timeout: float, flags: int = 0) -> tuple[int, int, bytes]:
        """Send one frame and return its answer: status, the byte of the operation it stopped at, and the data."""
        with self._lock:
            if self.closed:
                raise DoorError("it is closed")
            self._number = self._number % 0xFFFF_FFFF + 1
            try:
                if self._before:
                    self._before()
                self._stream.settimeout(timeout + PATIENCE_S)
                self._stream.sendall(request(body, self._number, int(timeout * 1000), flags))
                answer = self._answer(time.monotonic() + timeout + PATIENCE_S)
                if self._after:
                    self._after()
                return answer
            except (DoorError, OSError) as error:
                self.close()
                said = error if isinstance(error, DoorError) else DoorError(f"no answer: {error or 'timed out'}")
                raise (self._translate(said) if self._translate else said) from None

    def hand_over(self) -> Door:
        """Return another client of this door, which does not notice, and close this one.

        Raises:
            DoorError: it is closed, or its other client is busy with it.
        """
        if not self._lock.acquire(blocking=False):
            raise DoorError("it is busy")
        try:
            if self.closed:
                raise DoorError("it is closed")
            other = Door(self._stream.dup())
            other.child, other._number = self.child, self._number
            self.close()
            return other.hello()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the stream: the door executes what was left with it and exits. A second call does nothing."""
        self.closed = True
        with contextlib.suppress(OSError):
            self._stream.close()

    def _answer(self, deadline: float) -> tuple[int, int, bytes]:
        """Take frames until ours: an earlier one may be the answer to a round trip that was interrupted."""
        while True:
            magic, length, check, number, status, at = _REPLY.unpack(self._receive(_REPLY.size, deadline))
            if magic != REPLY or length > self.size + (1 << 20) and self.size:
                raise DoorError("what came from it is no answer")
            data = self._receive(length, deadline)
            if zlib.adler32(data) != check:
                raise DoorError("its answer was garbled on its way")
            if number == self._number:
                return status, at, data
            if number > self._number or status == BAD_FRAME:
                raise DoorError("its answer is to another question")

    def _receive(self, n: int, deadline: float) -> bytes:
        while len(self._buffer) < n:
            if (left := deadline - time.monotonic()) <= 0:
                raise DoorError("no answer in time")
            self._stream.settimeout(left)
            got = self._stream.recv(1 << 16)
            if not got:
                raise DoorError("it is gone: its stream closed")
            self._buffer += got
        data = bytes(self._buffer[:n])
        del self._buffer[:n]
        return data

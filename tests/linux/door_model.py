"""What the door answers to a body, in Python: the reading of PROTOCOL.md that `door.c` is tested against."""

from __future__ import annotations

import random
import struct

HELLO, WRITE, FILL, CALL, ADD, READ, TAKE, LOOP, FINALLY = range(1, 10)
OK, REFUSED, BAD_FRAME, BAD_OPERATION, TIMEOUT, NO_ROOM = range(6)
ARENA, FRAME, DEPTH = 4 << 20, 4 << 20, 4
GETPID = 39


class TooMuch(Exception):
    """The body loops so often that a model in Python is no match for it."""


class Model:
    """The door's state between frames: its arena."""

    def __init__(self, pid: int):
        self.pid = pid
        self.arena = bytearray(ARENA)

    def answer(self, body: bytes) -> tuple[int, int, bytes]:
        self.body, self.data, self.at, self.steps = body, bytearray(), 0, 0
        status = self.run(0, len(body), 0)
        return status, self.at, bytes(self.data)

    def cell(self, off: int) -> bool:
        return off % 8 == 0 and off + 8 <= ARENA

    def give(self, data: bytes) -> int:
        if len(self.data) + len(data) > FRAME:
            return NO_ROOM
        self.data += data
        return OK

    def run(self, at: int, end: int, depth: int) -> int:
        status = OK
        while at < end:
            self.steps += 1
            if self.steps > 20_000:
                raise TooMuch
            if end - at < 16:
                self.at = at
                return BAD_OPERATION
            code, flags, off, n = struct.unpack_from("<4I", self.body, at)
            extra = {WRITE: (n + 7) & ~7 if n <= FRAME else FRAME, CALL: 56, ADD: 8, LOOP: FRAME if n % 8 else n}
            size = 16 + extra.get(code, 0)
            if end - at < size or not HELLO <= code <= FINALLY:
                self.at = at
                return BAD_OPERATION
            if code == FINALLY:
                last = self.run(at + size, end, depth)
                return status or last
            if not status:
                status = self.one(at, size, code, flags, off, n, depth)
                if status and not (code == LOOP and status != BAD_OPERATION):
                    self.at = at
            at += size
        return status

    def one(self, at: int, size: int, code: int, flags: int, off: int, n: int, depth: int) -> int:
        arena = self.arena
        if code == CALL:
            number, result, indirect, _, *args = struct.unpack_from("<4I6Q", self.body, at + 8)
            if not self.cell(result) or any(indirect >> i & 1 and not self.cell(a) for i, a in enumerate(args)):
                return BAD_OPERATION
            assert number == GETPID, "the model knows one call"
            struct.pack_into("<q", arena, result, self.pid)
        elif code == LOOP:
            for _ in range(off):
                status = self.run(at + 16, at + size, depth + 1) if depth < DEPTH else BAD_OPERATION
                if status:
                    return status
                self.steps += 1
                if self.steps > 20_000:
                    raise TooMuch
        elif code == HELLO:
            return self.give(struct.pack("<IIQ4I", 1, 8, 0x1000_0000, ARENA, FRAME, self.pid, 0))
        elif code == ADD:
            if not self.cell(off):
                return BAD_OPERATION
            (old,) = struct.unpack_from("<Q", arena, off)
            struct.pack_into("<Q", arena, off, old + struct.unpack_from("<Q", self.body, at + 16)[0] & (1 << 64) - 1)
        elif code == TAKE:
            if not self.cell(flags):
                return BAD_OPERATION
            want = max(0, min(struct.unpack_from("<q", arena, flags)[0], n))
            if off + want > ARENA:
                return BAD_OPERATION
            return self.give(struct.pack("<I", want)) or self.give(bytes(arena[off : off + want]))
        elif off + n > ARENA:
            return BAD_OPERATION
        elif code == WRITE:
            arena[off : off + n] = self.body[at + 16 : at + 16 + n]
        elif code == FILL:
            arena[off : off + n] = bytes([flags & 255]) * n
        else:
            return self.give(bytes(arena[off : off + n]))
        return OK


def harmless(body: bytearray) -> bytearray:
    """Have every system call in a body, wherever one can be read, be getpid."""
    for at in range(0, len(body) - 71, 8):
        if struct.unpack_from("<I", body, at)[0] == CALL:
            struct.pack_into("<I", body, at + 8, GETPID)
    return body


def some_body(rng: random.Random) -> bytearray:
    """Return a body of operations, most of them as they should be; lengths are small, so that many are quick."""
    body = bytearray()
    for _ in range(rng.randrange(1, 9)):
        code = rng.choice((WRITE, FILL, CALL, ADD, READ, TAKE, LOOP, FINALLY, HELLO))
        off = rng.choice((0, 8, 64, rng.randrange(4096), ARENA - 8, rng.randrange(1 << 32)))
        n = rng.choice((0, 8, rng.randrange(64), rng.randrange(64), rng.randrange(1 << 32)))
        if code == WRITE:
            n %= 64
            body += struct.pack("<4I", code, 0, off, n) + rng.randbytes((n + 7) & ~7)
        elif code == CALL:
            args = [rng.randrange(0, 64, 8) for _ in range(6)]
            body += struct.pack("<6I6Q", code, rng.randrange(2), GETPID, off, rng.randrange(64), 0, *args)
        elif code == ADD:
            body += struct.pack("<4IQ", code, 0, off, 0, rng.randrange(1 << 64))
        elif code == LOOP:
            inner = struct.pack("<4IQ", ADD, 0, 8 * rng.randrange(8), 0, 1)
            inner += struct.pack("<4I", READ, 0, 0, 8) * rng.randrange(2)
            body += struct.pack("<4I", code, 0, rng.randrange(20), len(inner)) + inner
        else:
            flags = rng.choice((0, 8, 16, rng.randrange(1 << 32)))
            body += struct.pack("<4I", code, flags, off, n)
    return body


def mutated(body: bytearray, rng: random.Random) -> bytes:
    """Return the body with a few bytes changed, words exchanged, or its end cut off."""
    body = bytearray(body)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(body))
        body[at] = rng.choice((0, 1, 255, rng.randrange(256), body[at] ^ 1 << rng.randrange(8)))
    if rng.random() < 0.2:
        del body[rng.randrange(len(body)) & ~7 :]
    return bytes(harmless(body))

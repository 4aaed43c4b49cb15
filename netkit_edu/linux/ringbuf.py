"""Reading a ring buffer (kernel/bpf/ringbuf.c, Linux 6.12) through pages mapped in the door's process.

The first page holds the consumer's position, the second the producers', and behind them lies the data, mapped twice in
a row so that no record is cut in two. Positions count bytes for ever.
"""

from __future__ import annotations

import struct

from netkit_edu.linux.bpfattr import copy
from netkit_edu.linux.door import Door

PAGE = 4096
PROT_READ, PROT_WRITE, MAP_SHARED = 1, 2, 1
BUSY, DISCARD = 1 << 31, 1 << 30
HEADER = 8  # bytes in front of a record: its length with the two flags, and a page number
AT_ONCE = 1 << 16  # bytes that one round trip brings, unless a record is longer
MOST = 1 << 21


class RingReader:
    """The only reader of a ring buffer.

    Args:
        door: where the descriptor is open.
        fd: the ring buffer's descriptor.
        size: its bytes, ``max_entries``.
    """

    def __init__(self, door: Door, fd: int, size: int):
        self._door = door
        self._size = size
        batch = door.batch()
        consumer = batch.call("mmap", 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        producer = batch.call("mmap", 0, PAGE + 2 * size, PROT_READ, MAP_SHARED, fd, PAGE)
        batch.run()
        self._consumer, self._producer = consumer.value, producer.value
        door.reusable = False  # the mappings stay
        self._position = 0

    def read(self) -> list[bytes]:
        """Take the records that are complete, without those that were discarded; oldest first."""
        taken: list[bytes] = []
        n = min(self._size, AT_ONCE)
        while True:
            end, data = self._look(n)
            start = self._position
            self._position = start + self._split(data[: end - start], taken)
            if self._position == start:
                if n == min(self._size, MOST) or end - start <= n:
                    return taken
                n = min(self._size, MOST)
                continue
            batch = self._door.batch()
            copy(batch, self._door, batch.put(struct.pack("<Q", self._position)), self._consumer, 8)
            batch.run()
            if self._position == end:
                return taken

    def _look(self, n: int) -> tuple[int, bytes]:
        """Return the producers' position and ``n`` bytes from the reader's."""
        batch = self._door.batch()
        position, room = batch.room(8), batch.room(n)
        copy(batch, self._door, self._producer, position, 8)
        copy(batch, self._door, self._producer + PAGE + self._position % self._size, room, n)
        end, data = batch.read(position, 8), batch.read(room, n)
        batch.run()
        return struct.unpack("<Q", end.value)[0], data.value

    @staticmethod
    def _split(data: bytes, taken: list[bytes]) -> int:
        """Append the records in ``data`` that are whole and complete; return how many bytes they took."""
        at = 0
        while at + HEADER <= len(data):
            head = struct.unpack_from("<I", data, at)[0]
            size = head & ~(BUSY | DISCARD)
            if head & BUSY or at + HEADER + size > len(data):
                break
            if not head & DISCARD:
                taken.append(data[at + HEADER : at + HEADER + size])
            at += HEADER + size + 7 & ~7
        return at

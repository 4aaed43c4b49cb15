"""The ring buffer, a queue of records from programs to user space: kernel/bpf/ringbuf.c, Linux 6.12.

Positions count bytes since the map was made. A record takes 8 bytes more than its data, filled up to a multiple of 8.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from netkit_edu.engine.maps.base import ENOTSUPP, NUMA_NODE, Map
from netkit_edu.errors import KernelError

PAGE = 4096
HEADER = 8  # BPF_RINGBUF_HDR_SZ
MAX_RECORD = 0xFFFF_FFFF // 4  # RINGBUF_MAX_RECORD_SZ
AVAIL_DATA, RING_SIZE, CONS_POS, PROD_POS = range(4)  # BPF_RB_*, what a query asks for


@dataclass(eq=False)
class Record:
    """One record: its data; ``busy`` until submitted or discarded; ``kept`` unless discarded."""

    data: bytearray
    busy: bool = True
    kept: bool = True

    @property
    def space(self) -> int:
        """Bytes that the record takes in the buffer."""
        return len(self.data) + HEADER + 7 & ~7


class RingBufMap(Map):
    """BPF_MAP_TYPE_RINGBUF: ``max_entries`` is its size in bytes, a power of two and of whole pages."""

    flags_allowed = NUMA_NODE
    elements = False

    def __init__(self, spec, cpus: int = 1):
        super().__init__(spec, cpus)
        self._records: deque[Record] = deque()
        self.consumer = self.producer = 0

    def __repr__(self) -> str:
        used = self.producer - self.consumer
        return f"<{type(self).__name__} {self.spec.name}: {used} of {self.spec.max_entries} bytes>"

    def reserve(self, size: int) -> Record | None:
        """Return room for ``size`` bytes, zero at first; None where the buffer has not that much left.

        Until it is submitted or discarded, user space reads nothing that was reserved after it.
        """
        if size > MAX_RECORD or size + HEADER + 7 & ~7 > self.spec.max_entries:
            return None
        record = Record(bytearray(size))
        if self.producer + record.space - self.consumer > self.spec.max_entries - 1:
            return None
        self.producer += record.space
        self._records.append(record)
        return record

    def commit(self, record: Record, *, discard: bool = False) -> None:
        """Hand a record over, or have it skipped."""
        record.busy, record.kept = False, not discard

    def output(self, data: bytes) -> None:
        """Append one record; `KernelError` EAGAIN where it does not fit."""
        record = self.reserve(len(data))
        if record is None:
            raise KernelError("EAGAIN", hint=f"the ring buffer {self.spec.name} is full: read it more often")
        record.data[:] = data
        self.commit(record)

    def query(self, what: int) -> int:
        """Return what bpf_ringbuf_query is asked for, in bytes; 0 for anything else."""
        answers = {AVAIL_DATA: self.producer - self.consumer, RING_SIZE: self.spec.max_entries,
                   CONS_POS: self.consumer, PROD_POS: self.producer}  # fmt: skip
        return answers.get(what, 0)

    def read(self) -> list[bytes]:
        """Take the records that are complete, oldest first, as user space does through its memory map of the buffer."""
        taken = []
        while self._records and not self._records[0].busy:
            record = self._records.popleft()
            self.consumer += record.space
            if record.kept:
                taken.append(bytes(record.data))
        return taken

    def lookup(self, key: bytes) -> bytes | None:
        raise self._no_entries()

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        raise self._no_entries()

    def delete(self, key: bytes) -> None:
        raise self._no_entries()

    def keys(self) -> list[bytes]:
        raise self._no_entries()

    def __len__(self) -> int:
        return 0

    def _no_entries(self) -> KernelError:
        return KernelError(
            ENOTSUPP, hint=f"a ring buffer has records, not entries: read() takes those of {self.spec.name}"
        )

    def _check_sizes(self) -> None:
        size = self.spec.max_entries
        if self.spec.key_size or self.spec.value_size:
            raise self._invalid("a ring buffer has neither keys nor values")
        if size <= 0 or size & size - 1 or size % PAGE:
            raise self._invalid(f"the size of a ring buffer is a power of two and a multiple of {PAGE} bytes")

    def _memory(self) -> int:
        return self.spec.max_entries

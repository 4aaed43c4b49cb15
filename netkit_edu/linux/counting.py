"""Instructions counted by the guest's own clock: what a datagram, a request with its reply, or a megabyte of TCP costs.

QEMU with ``-icount shift=0`` lets a nanosecond of the guest's time pass for every instruction it executes, on whatever
machine this runs. So two readings of the clock around a system call tell how many instructions lie between them: those
of the whole path, in process context and in the softirqs inside it, on both ends where both are in the guest.

Nothing is subtracted. What the readings themselves cost is in every batch, spread over its calls: `overhead` counts it.
A timer's tick in a batch makes it dearer; the median leaves such a batch out.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from netkit_edu.errors import UsageError
from netkit_edu.linux.door import Batch, Data, Door

AF_INET, SOCK_STREAM, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_CLOEXEC = 2, 1, 2, 0o4000, 0o2000000
SOL_SOCKET, SO_REUSEADDR, SO_MARK, SO_PRIORITY = 1, 2, 36, 12
MSG_DONTWAIT = 0x40
CLOCK_MONOTONIC_RAW = 4  # nanoseconds, not steered
MOST = 1024  # datagrams in one sendmmsg() (UIO_MAXIOV)
MIB = 1 << 20  # bytes
PIECE = 1 << 16  # bytes written to a stream at once
ARRIVE = 64  # more readings of a stream, at most, until all of it has arrived
TIMEOUT_S = 20.0
_MMSGHDR = struct.Struct("<QI4xQQQQI4xI4x")
_TIMESPEC = struct.Struct("<qq")


@dataclass(frozen=True)
class Flow:
    """What is sent from where to where.

    Args:
        sender, receiver: network namespaces, as descriptors of the door's process.
        src, dst: addresses and ports; the receiver's socket is bound to ``dst``. A port of 0 in ``src`` is any.
        payload: bytes of each datagram.
        mark, priority: SO_MARK and SO_PRIORITY of the sender's socket.
    """

    sender: int
    receiver: int | None
    src: tuple[str, int]
    dst: tuple[str, int]
    payload: bytes = bytes(64)
    mark: int = 0
    priority: int = 0


def overhead(door: Door, batches: int = 9) -> list[int]:
    """Return, for each batch, the instructions between two readings of the clock with nothing between them."""
    batch = door.batch()
    pairs = [_between(batch, lambda: None) for _ in range(batches)]
    batch.run()
    return [_elapsed(pair) for pair in pairs]


def one_way(door: Door, flow: Flow, n: int = 64, batches: int = 9) -> list[float]:
    """Return, for each batch, the instructions that sending one datagram takes.

    A batch is one sendmmsg() of ``n`` datagrams between two readings of the clock. All that they set off in the guest
    happens inside that call. A receiver's socket is emptied between batches, not counted.

    Raises:
        KernelError: a socket call was refused.
        UsageError: not every datagram was sent.
    """
    if not 1 <= n <= MOST:
        raise UsageError(f"a batch has 1 to {MOST} datagrams, not {n!r}")
    with _Sockets(door) as sockets:
        sender = sockets.udp(flow.sender, flow.src, mark=flow.mark, priority=flow.priority)
        receiver = None if flow.receiver is None else sockets.udp(flow.receiver, flow.dst, sender)
        batch = door.batch()
        out = _vector(batch, batch.put(flow.payload), len(flow.payload), n, batch.put(_address(flow.dst)))
        into = _vector(batch, batch.room(2048), 2048, n)
        sent, pairs = [], []
        for _ in range(batches + 1):  # the first fills caches: routes, neighbours, slabs
            pairs.append(_between(batch, lambda: sent.append(batch.call("sendmmsg", sender, out, n, 0))))
            if receiver is not None:
                batch.call("recvmmsg", receiver, into, n, MSG_DONTWAIT, 0, must=False)
        batch.run(TIMEOUT_S)
    if any(call.value != n for call in sent):
        raise UsageError(f"of {n} datagrams a batch, {min(call.value for call in sent)} were sent: a buffer is full")
    return [_elapsed(pair) / n for pair in pairs[1:]]


def request_reply(door: Door, flow: Flow, n: int = 64, batches: int = 9) -> list[float]:
    """Return, for each batch, the instructions of one request and its reply, both ends' four socket calls included.

    Raises:
        KernelError: EAGAIN if a request or a reply does not arrive.
    """
    if flow.receiver is None:
        raise UsageError("a reply needs someone who answers")
    with _Sockets(door) as sockets:
        asker = sockets.udp(flow.sender, flow.src, mark=flow.mark, priority=flow.priority)
        answerer = sockets.udp(flow.receiver, flow.dst, asker)
        batch = door.batch()
        data, buffer, size = batch.put(flow.payload), batch.room(2048), len(flow.payload)
        target, source, length = batch.put(_address(flow.dst)), batch.room(16), batch.put(struct.pack("<I4x", 16))

        def turn() -> None:
            with batch.loop(n):
                batch.call("sendto", asker, data, size, 0, target, 16)
                batch.call("recvfrom", answerer, buffer, 2048, MSG_DONTWAIT, source, length)
                batch.call("sendto", answerer, data, size, 0, source, 16)
                batch.call("recvfrom", asker, buffer, 2048, MSG_DONTWAIT, 0, 0)

        pairs = [_between(batch, turn) for _ in range(batches + 1)]
        batch.run(TIMEOUT_S)
    return [_elapsed(pair) / n for pair in pairs[1:]]


def stream(door: Door, flow: Flow, size: int = MIB, batches: int = 5, warm: int = 2) -> list[float]:
    """Return, for each batch, the instructions that a MiB of TCP takes, both ends' socket calls included.

    Two sockets that do not wait: one is written to and the other read, in turn, until ``size`` bytes have arrived. Two
    batches are not counted, in which the windows grow.

    Raises:
        KernelError: a socket call was refused.
        UsageError: not everything arrived.
    """
    with _Sockets(door) as sockets:
        near, far = sockets.tcp(flow)
        counted = []
        for number in range(batches + warm):
            spent = _stream_batch(door, near, far, size)
            if number >= warm:
                counted.append(spent)
    return counted


def _stream_batch(door: Door, near: int, far: int, size: int) -> float:
    """Send ``size`` bytes and read them; return the instructions of a MiB."""
    batch = door.batch()
    data, buffer = batch.room(PIECE), batch.room(4 * PIECE)
    moved = []

    def turns() -> None:
        for _ in range(-(-size // PIECE)):
            moved.append((batch.call("write", near, data, PIECE, must=False),
                          batch.call("read", far, buffer, 4 * PIECE, must=False)))  # fmt: skip

    pair = _between(batch, turns)
    rest = [batch.call("read", far, buffer, 4 * PIECE, must=False) for _ in range(ARRIVE)]
    batch.run(TIMEOUT_S)
    arrived = sum(_count(read) for _, read in moved)
    written = sum(_count(wrote) for wrote, _ in moved)
    late = sum(_count(read) for read in rest)
    if written != arrived + late or not arrived:
        raise UsageError(f"of {written} bytes written {arrived + late} arrived: the path does not carry TCP")
    return _elapsed(pair) / written * MIB


def _count(call) -> int:
    return 0 if call.errno else call.value


def _between(batch: Batch, write) -> tuple[Data, Data]:
    """Put what ``write`` writes down between two readings of the clock."""
    before, after = batch.room(_TIMESPEC.size), batch.room(_TIMESPEC.size)
    batch.clock(before, CLOCK_MONOTONIC_RAW)
    write()
    batch.clock(after, CLOCK_MONOTONIC_RAW)
    return batch.read(before, _TIMESPEC.size), batch.read(after, _TIMESPEC.size)


def _elapsed(pair: Sequence[Data]) -> int:
    """Return nanoseconds, that is instructions."""
    start, end = (seconds * 1_000_000_000 + ns for seconds, ns in (_TIMESPEC.unpack(data.value) for data in pair))
    return end - start


def _vector(batch: Batch, buffer: int, size: int, n: int, address: int = 0) -> int:
    """Put ``n`` struct mmsghdr of one buffer, to one socket address, into the arena; return where they are."""
    iovec = batch.put(struct.pack("<QQ", buffer, size))
    return batch.put(_MMSGHDR.pack(address, 16 if address else 0, iovec, 1, 0, 0, 0, 0) * n)


def _address(where: tuple[str, int]) -> bytes:
    return struct.pack("<H", AF_INET) + struct.pack(">H", where[1]) + socket.inet_aton(where[0]) + bytes(8)


class _Sockets:
    """Sockets in the door's process, in any namespace; all are closed at the end."""

    def __init__(self, door: Door):
        self.door = door
        self.open: list[int] = []

    def udp(self, ns: int, bound: tuple[str, int], hears: int | None = None, *, mark: int = 0,
            priority: int = 0) -> int:  # fmt: skip
        """Open a UDP socket and bind it.

        The sending one is not connected: each datagram says where it goes, and the stack looks its route up. One that
        ``hears`` that one is, so that it is found before any other that takes what comes for its port.
        """
        batch, fd = self._socket(ns, SOCK_DGRAM)
        for option, value in ((SO_MARK, mark), (SO_PRIORITY, priority)):
            if value:
                batch.call("setsockopt", fd, SOL_SOCKET, option, struct.pack("<I", value), 4)
        batch.call("bind", fd, _address(bound), 16)
        if hears is not None:
            name, length = batch.room(16), batch.put(struct.pack("<I4x", 16))
            batch.call("getsockname", hears, name, length)
            batch.call("connect", fd, name, 16)
        return self._opened(batch, fd)

    def tcp(self, flow: Flow) -> tuple[int, int]:
        """Connect a stream from sender to receiver; return both ends. They never wait."""
        batch, listener = self._socket(flow.receiver, SOCK_STREAM)
        batch.call("setsockopt", listener, SOL_SOCKET, SO_REUSEADDR, struct.pack("<I", 1), 4)
        batch.call("bind", listener, _address(flow.dst), 16)
        batch.call("listen", listener, 1)
        listener = self._opened(batch, listener)
        batch, near = self._socket(flow.sender, SOCK_STREAM)
        batch.call("bind", near, _address(flow.src), 16)
        batch.call("connect", near, _address(flow.dst), 16, must=False)  # EINPROGRESS, and done when it returns
        near = self._opened(batch, near)
        far = self.door.call("accept", listener, 0, 0)
        self.open.append(far)
        self.door.call("fcntl", far, 4, 0o4000)  # F_SETFL, O_NONBLOCK
        return near, far

    def _socket(self, ns: int, kind: int):
        batch = self.door.batch()
        batch.setns(ns)
        return batch, batch.call("socket", AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)

    def _opened(self, batch: Batch, fd) -> int:
        try:
            batch.run()
        finally:
            if fd.done and not fd.errno:
                self.open.append(fd.value)
        return fd.value

    def __enter__(self) -> _Sockets:
        return self

    def __exit__(self, *exc) -> None:
        if self.door.closed:
            return
        batch = self.door.batch()
        for fd in self.open:
            batch.call("close", fd, must=False)
        batch.run()

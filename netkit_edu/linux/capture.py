"""Captures: packet sockets that listen on one device, as tcpdump does (packet(7), Linux 6.12)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from netkit_edu.errors import KernelError
from netkit_edu.linux.netlink import u32
from netkit_edu.linux.netns import RECEIVE_BUFFER, SO_RCVBUFFORCE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET
from netkit_edu.linux.sender import AF_PACKET
from netkit_edu.linux.talk import MSG_DONTWAIT
from netkit_edu.uapi import Errno, PacketType

ETH_P_ALL = 3
SOCKADDR_LL = 20  # bytes
_FRAME = 1 << 17  # bytes: longer than any frame without BIG TCP
_AT_ONCE = 16


@dataclass
class _Tap:
    sock: int
    frames: list[tuple[str, bytes]] = field(default_factory=list)


class CaptureCalls:
    """The part of a backend that listens on devices; it needs ``door`` and ``_net``."""

    def __init__(self):
        self._taps: dict[int, _Tap] = {}
        self._last_tap = 0

    def capture_start(self, ns: int, ifindex: int) -> int:
        """Listen on a device as tcpdump does; return a number for `captured` and `capture_stop`."""
        net = self._net(ns)
        batch = self.door.batch()
        batch.setns(net.fd)
        sock = batch.call("socket", AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        batch.call("setsockopt", sock, SOL_SOCKET, SO_RCVBUFFORCE, u32(RECEIVE_BUFFER), 4)
        bound = batch.call("bind", sock, _sockaddr_ll(ifindex), SOCKADDR_LL)
        try:
            batch.run()
        except KernelError:
            if bound.errno:
                self.door.call("close", sock.value)
            raise
        self._last_tap += 1
        self._taps[self._last_tap] = _Tap(sock.value)
        return self._last_tap

    def captured(self, number: int) -> Sequence[tuple[str, bytes]]:
        """Return the frames seen so far: (direction, bytes from the Ethernet header). EBADF after `capture_stop`."""
        tap = self._tap(number)
        while self._take_frames(tap):
            pass
        return list(tap.frames)

    def capture_stop(self, number: int) -> None:
        """Stop listening."""
        self.door.call("close", self._tap(number).sock)
        del self._taps[number]

    def _take_frames(self, tap: _Tap) -> bool:
        """Take what waits, at most so many frames; return whether there may be more."""
        batch = self.door.batch()
        buffer, parts = batch.room(_FRAME), []
        for _ in range(_AT_ONCE):
            address, length = batch.room(SOCKADDR_LL), batch.put(u32(SOCKADDR_LL))
            got = batch.call("recvfrom", tap.sock, buffer, _FRAME, MSG_DONTWAIT, address, length, must=False)
            parts.append((got, batch.read(address, SOCKADDR_LL), batch.read(buffer, got, _FRAME)))
        batch.run()
        for got, address, data in parts:
            if got.errno == Errno.ENETDOWN:
                continue  # told once when the device goes down or away
            if got.errno:
                return False
            direction = "out" if address.value[10] == PacketType.OUTGOING else "in"
            tap.frames.append((direction, data.value))
        return True

    def _tap(self, number: int) -> _Tap:
        if number not in self._taps:
            raise KernelError("EBADF")
        return self._taps[number]


def _sockaddr_ll(ifindex: int) -> bytes:
    return struct.pack("=H", AF_PACKET) + struct.pack(">H", ETH_P_ALL) + struct.pack("=i12x", ifindex)

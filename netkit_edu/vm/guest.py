"""One QEMU process and what connects it with us: the door's port, the monitor, the console's last lines.

Between round trips the machine is stopped. While one waits for its answer the monitor is heard as well, so that a
guest that has ended is noticed at once and not when patience ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from netkit_edu.errors import DoorError, VMError
from netkit_edu.vm import qemu
from netkit_edu.vm.qmp import Qmp
from netkit_edu.vm.spawn import spawn

CONSOLE_LINES = 12
MOST_BYTES = 12 << 20  # that a guest may send in one round trip; an answer has 4 MB at most, and one may be late
_LAST_WORDS = 0.35  # seconds of a caller's patience that are kept for asking the console
_PANIC = "Kernel panic - not syncing: "
_ENDED = {
    "SHUTDOWN": "the guest has ended by itself",
    "GUEST_PANICKED": "the guest's kernel panicked",
    "INTERNAL_ERROR": "QEMU could not go on",
}


class Guest:
    """A running QEMU. It dies when this object is closed or collected, and when this process ends.

    Args:
        program: QEMU's path.
        cpus: how many processors the machine has.
        words: what it does: `qemu.boot_words` or `qemu.wait_words`.
        fds: the descriptors that these name.
        launcher: `launch.c`, built, or None.

    Raises:
        VMError: QEMU ended at once; its own words are in the message.
    """

    def __init__(
        self, program: str, cpus: int, words: list[str], fds: tuple[int, ...], *, launcher: Path | None = None
    ):
        rpc, rpc_theirs = socket.socketpair()
        monitor, monitor_theirs = socket.socketpair()
        self._said = os.memfd_create("qemu-stderr", os.MFD_CLOEXEC)
        connected = qemu.connections(rpc_theirs.fileno(), monitor_theirs.fileno())
        try:
            self.process = spawn(
                [program, *qemu.machine_words(cpus), *connected, *words],
                launcher=launcher,
                pass_fds=(rpc_theirs.fileno(), monitor_theirs.fileno(), *fds),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._said)
            rpc.close()
            monitor.close()
            raise VMError(f"QEMU does not start: {error.strerror}") from None
        finally:
            rpc_theirs.close()
            monitor_theirs.close()
        self.monitor = Qmp(monitor)
        self.stream = GuestStream(rpc, self)
        self._failed = ""
        self._end = weakref.finalize(self, _end, os.getpid(), self.process, (rpc, monitor), self._said)

    def go(self) -> None:
        """Let the machine run, for a round trip."""
        self.stream.begin()
        self.monitor.post("cont")

    def halt(self) -> None:
        """Stop the machine."""
        self.monitor.post("stop")

    def notice(self) -> None:
        """Look at what the monitor has said.

        Raises:
            DoorError: the machine has ended.
        """
        self.monitor.poll()
        for event in self.monitor.events:
            if event in _ENDED:
                raise DoorError(_ENDED[event])
        self.monitor.events.clear()

    def failure(self, error: Exception) -> VMError:
        """Return what went wrong, with the console's last lines, and end the machine."""
        if not self._end.alive:
            return VMError(f"this machine is gone: {self._failed or 'it was closed'}")
        with contextlib.suppress(DoorError):
            self.monitor.poll()
        reason = next((_ENDED[event] for event in self.monitor.events if event in _ENDED), str(error))
        lines = self.console()
        for line in lines:
            if (found := line.partition(_PANIC))[1]:
                reason = f"the guest's kernel panicked: {found[2]}"
        if self.monitor.gone:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_LAST_WORDS)
        if self.process.poll() is not None:
            reason = f"QEMU has ended ({_ending(self.process.returncode)}): {self._words() or 'it gives no reason'}"
        self._failed = reason
        self.close()
        return VMError("\n  ".join([reason, *_telling(lines)]))

    def console(self) -> list[str]:
        """Return what the guest's console has said since this machine began; nothing if QEMU cannot be asked."""
        try:
            text = self.monitor.call("ringbuf-read", device="console", size=qemu.CONSOLE_BYTES, patience=_LAST_WORDS)
        except DoorError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def memory(self) -> int:
        """Return the bytes of memory that QEMU occupies now."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def starved(self) -> float:
        """Return for how many seconds QEMU's threads could have run and were not let, since they began."""
        waited = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                waited += int(path.read_text().split()[1])
        return waited / 1e9

    def close(self) -> None:
        """End QEMU; a second call does nothing."""
        self._end()

    def _words(self) -> str:
        """What QEMU wrote on its standard error, the last line."""
        try:
            lines = os.pread(self._said, 1 << 16, 0).decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


def _end(owner: int, process: subprocess.Popen, sockets: tuple[socket.socket, ...], said: int) -> None:
    """Kill and reap; a forked copy of us only lets go of what it inherited."""
    for sock in sockets:
        sock.close()
    os.close(said)
    if os.getpid() == owner:
        process.kill()
        process.wait()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"


def _telling(lines: list[str]) -> list[str]:
    """The last lines without what a panic adds to them: the call trace and the registers."""
    told, tracing = [], False
    for line in lines:
        tracing = (tracing or "Call Trace:" in line) and "Kernel Offset:" not in line
        if not tracing and "Kernel Offset:" not in line:
            told.append(line)
    return told[-CONSOLE_LINES:]


class GuestStream:
    """The door's port as a stream, which hears the monitor while it waits.

    It speaks as a socket does: `settimeout`, `sendall`, `recv`, `close`.
    """

    def __init__(self, sock: socket.socket, guest: Guest):
        self._socket = sock
        self._guest = weakref.ref(guest)
        self._timeout = 0.0
        self._received = 0
        sock.setblocking(False)

    def begin(self) -> None:
        """Count anew how much comes: a round trip begins."""
        self._received = 0

    def settimeout(self, seconds: float) -> None:
        """Set how long the next calls wait, less what it takes to ask for the console's last lines."""
        self._timeout = max(seconds - _LAST_WORDS, 0.05)

    def sendall(self, data: bytes) -> None:
        """Send all of it; `TimeoutError` if the guest does not take it."""
        left, patience = memoryview(data), _Patience(self._timeout, self._guest)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, patience)

    def recv(self, most: int) -> bytes:
        """Return what has come; b"" at the end.

        Raises:
            TimeoutError: nothing comes.
            DoorError: much more comes than can be an answer, or the machine has ended.
        """
        patience = _Patience(self._timeout, self._guest)
        while True:
            try:
                data = self._socket.recv(most)
            except BlockingIOError:
                self._wait(select.POLLIN, patience)
                continue
            self._received += len(data)
            if self._received > MOST_BYTES:
                raise DoorError("the guest floods its port")
            return data

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()

    def _wait(self, what: int, patience: _Patience) -> None:
        guest = self._guest()
        if guest is None:
            raise DoorError("the machine is gone")
        poll = select.poll()
        poll.register(self._socket, what)
        poll.register(guest.monitor.socket, select.POLLIN)
        ready = poll.poll(patience.next() * 1000)
        if any(number != self._socket.fileno() for number, _ in ready):
            guest.notice()


class _Patience:
    """How long one waits: time in which a busy host did not let QEMU run does not count, up to as long again."""

    STEP = 1.0  # seconds

    def __init__(self, seconds: float, guest: Callable[[], Guest | None]):
        self._begun = time.monotonic()
        self._seconds = seconds
        self._guest = guest
        self._starved = -1.0

    def next(self) -> float:
        """Return for how many seconds to wait now; `TimeoutError` at the end."""
        spent = time.monotonic() - self._begun
        guest = self._guest()
        if guest is not None and (self._starved >= 0 or spent >= self.STEP):
            starved = guest.starved()
            if self._starved < 0:
                self._starved = starved
            spent -= min(starved - self._starved, self._seconds)
        if spent >= self._seconds:
            raise TimeoutError("the guest hangs, or is busy for too long")
        return min(self._seconds - spent, self.STEP)

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
from pathlib import Path

from netkit_edu.errors import DoorError, VMError
from netkit_edu.vm import qemu
from netkit_edu.vm.qmp import Qmp
from netkit_edu.vm.spawn import spawn

CONSOLE_LINES = 12
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
        words: what it does: `qemu.boot_words` or `qemu.restore_words`.
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
        self._end = weakref.finalize(self, _end, os.getpid(), self.process, (rpc, monitor), self._said)

    def go(self) -> None:
        """Let the machine run; what it did unasked is an error."""
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
        reason, console = str(error), self.console()
        with contextlib.suppress(DoorError):
            self.monitor.poll()
        for event in self.monitor.events:
            reason = _ENDED.get(event, reason)
        if any("Kernel panic" in line for line in console):
            reason = "the guest's kernel panicked"
        said = "" if console else self._words()
        self.close()
        return VMError("\n  ".join([f"{reason}{f': {said}' if said else ''}", *console]))

    def console(self) -> list[str]:
        """Return the last lines of the guest's console; none if QEMU cannot be asked."""
        try:
            text = self.monitor.call("ringbuf-read", device="console", size=qemu.CONSOLE_BYTES, patience=1.0)
        except DoorError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()][-CONSOLE_LINES:]

    def memory(self) -> int:
        """Return the bytes of memory that QEMU occupies now."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

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


class GuestStream:
    """The door's port as a stream, which hears the monitor while it waits.

    It speaks as a socket does: `settimeout`, `sendall`, `recv`, `close`.
    """

    def __init__(self, sock: socket.socket, guest: Guest):
        self._socket = sock
        self._guest = weakref.ref(guest)
        self._timeout = 0.0
        sock.setblocking(False)

    def settimeout(self, seconds: float) -> None:
        """Set how long the next calls wait."""
        self._timeout = seconds

    def sendall(self, data: bytes) -> None:
        """Send all of it; `TimeoutError` if the guest does not take it."""
        left, deadline = memoryview(data), time.monotonic() + self._timeout
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)

    def recv(self, most: int) -> bytes:
        """Return what has come; b"" at the end; `TimeoutError` if nothing comes."""
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()

    def _wait(self, what: int, deadline: float) -> None:
        guest = self._guest()
        if guest is None:
            raise DoorError("the machine is gone")
        poll = select.poll()
        poll.register(self._socket, what)
        poll.register(guest.monitor.socket, select.POLLIN)
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise TimeoutError("the guest does not answer")
        if any(number != self._socket.fileno() for number, _ in ready):
            guest.notice()

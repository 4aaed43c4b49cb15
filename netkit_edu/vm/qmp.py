"""The QEMU Machine Protocol, as much of it as is needed: commands, their answers, events (QEMU's qmp-spec.txt)."""

from __future__ import annotations

import json
import socket
import time
from array import array

from netkit_edu.errors import DoorError

PATIENCE = 10.0  # seconds


class Qmp:
    """The client of one monitor.

    ``events`` are the names of what happened and was not yet asked for; ``gone`` says that QEMU has let go of it.

    Args:
        sock: a connected stream socket; it belongs to the client from now on.
    """

    def __init__(self, sock: socket.socket):
        self.socket = sock
        self.events: list[str] = []
        self.gone = False
        self._buffer = b""
        self._number = 0
        self._answers: dict[int, dict] = {}
        self._ignored: set[int] = set()

    def greet(self, patience: float = PATIENCE) -> None:
        """Wait for the greeting and leave the negotiation behind."""
        self.call("qmp_capabilities", patience=patience)

    def post(self, command: str, **arguments) -> None:
        """Give a command whose answer does not matter, and do not wait for it."""
        self._ignored.add(self._send(command, arguments, ()))

    def call(self, command: str, *, fds: tuple[int, ...] = (), patience: float = PATIENCE, **arguments):
        """Give a command, with descriptors for it, and return its answer.

        Args:
            command: as QEMU calls it; keywords are its arguments, ``_`` for ``-``.
            fds: descriptors that travel with it.
            patience: seconds.

        Raises:
            DoorError: it was refused, or QEMU is gone or silent.
        """
        number = self._send(command, arguments, fds)
        deadline = time.monotonic() + patience
        while number not in self._answers:
            self._take(max(deadline - time.monotonic(), 0.001))
        answer = self._answers.pop(number)
        if "error" in answer:
            raise DoorError(f"QEMU refuses {command}: {answer['error'].get('desc', 'no reason given')}")
        return answer["return"]

    def poll(self) -> None:
        """Take what has arrived, without waiting."""
        while True:
            try:
                self._take(0.0)
            except BlockingIOError:
                return

    def close(self) -> None:
        """Close the connection; QEMU goes on."""
        self.socket.close()

    def _send(self, command: str, arguments: dict, fds: tuple[int, ...]) -> int:
        self._number += 1
        said = {"execute": command, "id": self._number}
        if arguments:
            said["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.sendmsg([json.dumps(said).encode() + b"\n"], ancillary)
        except OSError as error:
            self.gone = isinstance(error, ConnectionError)
            raise DoorError(f"QEMU's monitor is gone: {error}") from None
        return self._number

    def _take(self, patience: float) -> None:
        self.socket.settimeout(patience)
        try:
            got = self.socket.recv(1 << 16)
        except TimeoutError:
            raise DoorError("QEMU's monitor does not answer") from None
        except ConnectionError as error:
            self.gone = True
            raise DoorError(f"QEMU's monitor is gone: {error}") from None
        if not got:
            self.gone = True
            raise DoorError("QEMU has ended")
        *lines, self._buffer = (self._buffer + got).split(b"\n")
        for line in lines:
            self._sort(json.loads(line))

    def _sort(self, message: dict) -> None:
        if "event" in message:
            self.events.append(message["event"])
        number = message.get("id")
        if number in self._ignored:
            self._ignored.discard(number)
        elif number is not None:
            self._answers[number] = message

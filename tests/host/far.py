"""Doors inside of the guest for a Python outside of it: `nk.Lab("host")` whose door alone is on the netkit kernel.

Python is slow in an emulated machine, a door is not. ``NETKIT_EDU_DOOR`` names a command that starts a door; here that
command is this file's ``enter``, and the door that it leads to stands in the guest, on one of its virtio-serial ports::

    Lab("host") -- socketpair -- enter -- QEMU's socket for the port -- virtio-serial -- door

`Doors` hands out the ports; ``serve``, in the guest, starts a door on each that is asked for, and says when it exited.
"""

from __future__ import annotations

import os
import queue
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PORTS = 6  # doors at once
PATIENCE_S = 60.0  # seconds to wait for a free port, or for a door to be started
PIECE = 1 << 16
CONTROL = "netkit-edu.0"


class Doors:
    """The outside of the ports, as long as the guest runs.

    Args:
        folder: where the sockets lie; its path is short.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._ready = threading.Event()
        self._connected = False
        self._free: queue.Queue[int] = queue.Queue()
        self._opened = {number: threading.Event() for number in range(1, PORTS + 1)}
        self._control = socket.socket(socket.AF_UNIX)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / "doors"))
        self._listening.listen()

    @property
    def command(self) -> str:
        """What ``NETKIT_EDU_DOOR`` is to say."""
        return shlex.join([sys.executable, "-IS", __file__, "enter", str(self.folder / "doors")])

    def qemu(self) -> list[str]:
        """Return QEMU's words for the ports."""
        words = ["-device", f"virtio-serial-pci,id=doors,max_ports={PORTS + 2}"]
        for number in range(PORTS + 1):
            words += ["-chardev", f"socket,id=door{number},path={self._path(number)},server=on,wait=off"]
            name = f"netkit-edu.{number}"
            words += ["-device", f"virtserialport,bus=doors.0,nr={number + 1},chardev=door{number},name={name}"]
        return words

    def serving(self) -> bool:
        """Connect to the guest's machine as soon as it is there, and return whether the guest has doors by now."""
        if not self._connected:
            try:
                self._control.connect(str(self._path(0)))
            except OSError:
                return False
            self._connected = True
            threading.Thread(target=self._listen, daemon=True).start()
            threading.Thread(target=self._hear, daemon=True).start()
        return self._ready.is_set()

    def quit(self) -> None:
        """Have ``serve`` end."""
        self._control.sendall(b"quit\n")

    def close(self) -> None:
        """Let go of all sockets."""
        self._listening.close()
        self._control.close()

    def _path(self, number: int) -> Path:
        return self.folder / f"port{number}"

    def _hear(self) -> None:
        with self._control.makefile("r") as lines:
            for line in lines:
                word, number = line.split()
                if word == "ready":
                    for port in self._opened:
                        self._free.put(port)
                    self._ready.set()
                elif word == "opened":
                    self._opened[int(number)].set()
                else:
                    self._free.put(int(number))

    def _listen(self) -> None:
        while True:
            try:
                asking, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(asking,), daemon=True).start()

    def _lead(self, asking: socket.socket) -> None:
        number = self._free.get(timeout=PATIENCE_S)
        self._opened[number].clear()
        with asking, socket.socket(socket.AF_UNIX) as port:
            port.connect(str(self._path(number)))
            self._control.sendall(f"open {number}\n".encode())
            if self._opened[number].wait(PATIENCE_S):
                socket.send_fds(asking, [b"!"], [port.fileno()])


def enter(path: str) -> None:
    """Be a door to whoever started this: carry what comes on standard input to a port, and back."""
    here = socket.socket(fileno=0)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        _, fds, _, _ = socket.recv_fds(asking, 1, 1)
    there = socket.socket(fileno=fds[0])
    other = {here: there, there: here}
    while True:
        for one in select.select([here, there], [], [])[0]:
            if not (data := one.recv(PIECE)):
                return
            other[one].sendall(data)


def serve(door: str) -> None:
    """In the guest: start a door on each port that is asked for, until told to quit."""
    ports = {(path / "name").read_text().strip(): path.name for path in Path("/sys/class/virtio-ports").iterdir()
             if (path / "name").exists()}  # fmt: skip
    control = os.open(f"/dev/{ports[CONTROL]}", os.O_RDWR)
    _wait_for_host(control)
    os.write(control, b"ready 0\n")
    heard = b""
    while True:
        heard += os.read(control, 256)
        *lines, heard = heard.split(b"\n")
        for line in lines:
            if line == b"quit":
                return
            number = line.split()[1].decode()
            port = os.open(f"/dev/{ports[f'netkit-edu.{number}']}", os.O_RDWR)
            _wait_for_host(port)
            child = subprocess.Popen([door], stdin=port, stdout=subprocess.DEVNULL, start_new_session=True)
            os.close(port)
            os.write(control, f"opened {number}\n".encode())
            threading.Thread(target=_wait, args=(child, control, number), daemon=True).start()


def _wait_for_host(port: int) -> None:
    """Wait until the other side of a port is there: a door reads its absence as the end."""
    poll = select.poll()
    poll.register(port, select.POLLOUT)
    while poll.poll()[0][1] & select.POLLHUP:
        time.sleep(0.005)


def _wait(child: subprocess.Popen, control: int, number: str) -> None:
    child.wait()
    os.write(control, f"exited {number}\n".encode())


if __name__ == "__main__":
    {"enter": enter, "serve": serve}[sys.argv[1]](sys.argv[2])

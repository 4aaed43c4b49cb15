"""Doors that stand elsewhere: ports are handed out and given back, and a door at each is like a child of one's own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from netkit_edu.errors import DoorError
from netkit_edu.linux.build import build_door
from netkit_edu.linux.child import open_child
from tests.host.far import PORTS, Doors
from tests.requires import a_compiler

pytestmark = a_compiler()


class Guest:
    """What QEMU and ``serve`` are to the outside: sockets for the ports, and a door at each that is asked for."""

    def __init__(self, folder: Path):
        self.ports = [socket.socket(socket.AF_UNIX) for _ in range(PORTS + 1)]
        self.asked: list[int] = []
        for number, port in enumerate(self.ports):
            port.bind(str(folder / f"port{number}"))
            port.listen()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        control, _ = self.ports[0].accept()
        with control, control.makefile("rw") as lines:
            lines.write("ready 0\n")
            lines.flush()
            for line in lines:
                if line == "quit\n":
                    return
                number = int(line.split()[1])
                self.asked.append(number)
                stream, _ = self.ports[number].accept()
                child = subprocess.Popen([build_door()], stdin=stream, stdout=subprocess.DEVNULL)
                stream.close()
                control.sendall(f"opened {number}\n".encode())
                self._threads.append(threading.Thread(target=self._wait, args=(child, control, number)))
                self._threads[-1].start()

    def _wait(self, child: subprocess.Popen, control: socket.socket, number: int) -> None:
        child.wait()
        with contextlib.suppress(OSError):  # nobody listens any more
            control.sendall(f"exited {number}\n".encode())

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        for port in self.ports:
            port.close()


@pytest.fixture
def guest():
    with tempfile.TemporaryDirectory() as folder:
        guest, doors = Guest(Path(folder)), Doors(Path(folder))
        while not doors.serving():
            time.sleep(0.005)
        guest.command = doors.command
        yield guest
        doors.quit()
        guest.close()
        doors.close()


def test_a_door_elsewhere_answers_and_goes_with_its_stream(guest):
    door = open_child(guest.command)
    assert door.pid not in (0, door.child.pid) and door.call("getpid") == door.pid
    batch = door.batch()
    data = batch.read(batch.put(bytes(range(256)) * 1000), 256_000)
    batch.run()
    assert data.value == bytes(range(256)) * 1000
    door.close()
    assert door.child.wait(5) == 0
    deadline = time.monotonic() + 5
    while Path(f"/proc/{door.pid}/stat").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{door.pid}").exists()


def test_ports_are_given_back(guest):
    for _ in range(PORTS + 2):
        door = open_child(guest.command)
        door.close()
        door.child.wait()
    assert set(guest.asked) == set(range(1, PORTS + 1)) and len(guest.asked) == PORTS + 2


def test_several_doors_at_once_are_different_ones(guest):
    doors = [open_child(guest.command) for _ in range(3)]
    assert len({door.call("getpid") for door in doors}) == 3
    doors[0].child.kill()
    with pytest.raises(DoorError):
        doors[0].call("getpid")
    assert doors[1].call("getpid") == doors[1].pid
    for door in doors:
        door.close()
        door.child.wait()

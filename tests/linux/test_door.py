"""The syscall door as a child process: its protocol byte by byte, its client, and what happens to bad frames."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import zlib

import pytest

from netkit_edu.errors import DoorError, KernelError, UsageError
from netkit_edu.linux import build
from netkit_edu.linux.child import open_child
from netkit_edu.linux.door import Door, request
from netkit_edu.linux.syscalls import CLOCK_MONOTONIC
from netkit_edu.program.toolchain import all_compilers
from tests.linux.door_model import GETPID, Model, TooMuch, harmless, mutated, some_body
from tests.requires import a_compiler

pytestmark = [a_compiler(), pytest.mark.skipif(os.uname().machine != "x86_64", reason="the door speaks x86_64 so far")]
MUTATIONS = int(os.environ.get("NETKIT_EDU_MUTATIONS", "5000"))
ENOENT, EBADF = 2, 9


@pytest.fixture
def door():
    door = open_child()
    yield door
    door.close()
    assert door.child.wait(timeout=5) == 0


@pytest.fixture
def stream():
    """A stream to a door that nobody has spoken to."""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([build.build_door()], stdin=theirs, stdout=subprocess.DEVNULL)
    theirs.close()
    ours.settimeout(10)
    yield ours
    ours.close()
    assert child.wait(timeout=5) == 0


def receive(stream) -> tuple[bytes, bytes]:
    """Return one answer: its head, and its data."""
    head = b"".join(exactly(stream, 24))
    (length,) = struct.unpack_from("<I", head, 4)
    return head, b"".join(exactly(stream, length))


def exactly(stream, n: int):
    while n:
        yield (got := stream.recv(min(n, 1 << 16)))
        n -= len(got)


# golden frames: written out by hand from PROTOCOL.md
FILL_AND_READ = bytes.fromhex(
    "03000000" "ab000000" "40000000" "04000000"  # FILL 0xab, offset 64, 4 bytes
    "06000000" "00000000" "3f000000" "06000000"  # READ offset 63, 6 bytes
)  # fmt: skip
REFUSED_CALL = bytes.fromhex(
    "04000000" "01000000" "03000000" "00000000" "00000000" "00000000"  # CALL, MUST, close(2), result in cell 0
    + "ffffffff00000000" + "00" * 40
    + "06000000" "00000000" "00000000" "08000000"  # READ: not reached
      "09000000" "00000000" "00000000" "00000000"  # FINALLY
      "06000000" "00000000" "00000000" "08000000"  # READ the cell
)  # fmt: skip


def test_a_golden_frame_and_its_golden_answer(stream):
    stream.sendall(b"NKDR" + struct.pack("<5I", 32, zlib.adler32(FILL_AND_READ), 7, 0, 0) + FILL_AND_READ)
    head, data = receive(stream)
    assert data == bytes.fromhex("00abababab00")
    assert head == b"NKDA" + struct.pack("<5I", 6, zlib.adler32(data), 7, 0, 0)


def test_a_refused_call_stops_what_stands_before_finally(stream):
    stream.sendall(request(REFUSED_CALL, 8))
    head, data = receive(stream)
    assert struct.unpack("<q", data) == (-EBADF,)
    assert struct.unpack_from("<3I", head, 12) == (8, 1, 0)  # our number, status REFUSED, at the first operation


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (b"NKDR" + struct.pack("<5I", 8, 1, 5, 0, 0) + bytes(8), 2),  # wrong checksum
        (request(bytes(9), 5), 2),  # no multiple of 8
        (request(bytes(16), 5), 3),  # operation 0
        (request(struct.pack("<4I", 10, 0, 0, 0), 5), 3),  # operation 10
        (request(struct.pack("<4I", 6, 0, 4 << 20, 1), 5), 3),  # outside of the arena
        (request(struct.pack("<4I", 6, 0, 0xFFFF_FFF8, 16), 5), 3),  # around the end of 32 bits
        (request(struct.pack("<4I", 2, 0, 0, 64), 5), 3),  # cut off
        (request(struct.pack("<4I", 6, 0, 0, 4 << 20) * 2, 5), 5),  # more than an answer holds
        (request(bytes(8), 5, flags=1), 0),  # to be kept
        (request(bytes((1 << 16) + 8), 5, flags=1), 5),  # too much to keep
    ],
)
def test_bad_frames_are_answered_and_the_next_one_is_served(stream, frame, status):
    stream.sendall(frame)
    assert struct.unpack_from("<2I", receive(stream)[0], 12) == (5, status)
    stream.sendall(request(FILL_AND_READ, 6))
    assert receive(stream)[1] == bytes.fromhex("00abababab00")


def test_what_is_no_frame_is_skipped_up_to_the_next(stream):
    stream.sendall(b"GET / HTTP/1.1\r\n" * 20 + b"NKDR" + b"\xff" * 33 + request(FILL_AND_READ, 9))
    assert struct.unpack_from("<2I", receive(stream)[0], 12) == (0, 2)
    head, data = receive(stream)
    assert struct.unpack_from("<2I", head, 12) == (9, 0) and data == bytes.fromhex("00abababab00")


def test_the_door_answers_as_the_model_does(door):
    """Frames made and mutated: the same status, place and bytes as a second implementation says, none unanswered."""
    rng = random.Random(6)
    model = Model(door.pid)
    door.exchange(struct.pack("<4I", 3, 0, 0, 4 << 20), 1)
    seen = set()
    for n in range(MUTATIONS):
        body = mutated(some_body(rng), rng)
        body = body[: len(body) & ~7]
        before = bytes(model.arena) if n % 50 == 0 else None
        try:
            expected = model.answer(body)
        except TooMuch:
            model.arena[:] = bytes(len(model.arena))
            door.exchange(struct.pack("<4I", 3, 0, 0, 4 << 20), 1)
            continue
        assert door.exchange(body, 5) == expected, (body.hex(), before is not None)
        seen.add(expected[0])
    assert {0, 3} <= seen
    assert door.exchange(struct.pack("<4I", 6, 0, 0, 4096), 5)[2] == model.arena[:4096]


def test_a_loop_without_end_is_ended_by_the_watchdog(door):
    body = struct.pack("<4I", 8, 0, 0xFFFF_FFFF, 24) + struct.pack("<4IQ", 5, 0, 0, 0, 1)
    assert door.exchange(body, 0.2)[0] == 4
    assert door.call("getpid") == door.pid


@pytest.mark.parametrize("compiler", [c.kind for c in all_compilers()])
def test_every_compiler_builds_a_door_that_answers(compiler, tmp_path):
    found = next(c for c in all_compilers() if c.kind == compiler)
    made = tmp_path / "door"
    build.compile_door(found, made)
    door = open_child(str(made))
    assert door.call("getpid") == door.child.pid
    door.close()
    assert door.child.wait(timeout=5) == 0


def test_a_batch_crosses_once_and_results_are_arguments(door):
    before = door._number
    batch = door.batch()
    fd = batch.call("open", b"/proc/self/comm\0", 0)
    room = batch.room(64)
    got = batch.call("read", fd, room, 64)
    text = batch.read(room, got, 64)
    batch.call("close", fd)
    batch.run()
    assert text.value.startswith(b"door") and got.value == len(text.value)
    assert door._number == before + 1


def test_a_refused_call_raises_and_what_depends_on_it_is_not_done(door):
    batch = door.batch()
    batch.call("open", b"/no/such/file\0", 0, must=False)
    fd = batch.call("open", b"/no/such/file\0", 0)
    after = batch.call("getpid")
    data = batch.read(door.base, 8)
    with pytest.raises(KernelError) as refused:
        batch.run()
    assert (refused.value.errno, fd.errno, after.done, data.value) == (ENOENT, ENOENT, False, b"")
    with pytest.raises(DoorError, match="never called"):
        after.value  # noqa: B018


def test_a_call_that_may_fail_stops_nothing(door):
    batch = door.batch()
    bad, pid = batch.call("close", 9999, must=False), batch.call("getpid")
    batch.run()
    assert (bad.errno, pid.value) == (EBADF, door.pid)
    with pytest.raises(KernelError):
        bad.value  # noqa: B018


def test_a_loop_writes_its_clock_readings_one_behind_the_other(door):
    batch = door.batch()
    at = batch.room(16 * 50)
    place = batch.call("getpid")
    batch.add(place, at - door.pid)  # the cell now holds an address
    with batch.loop(50):
        batch.clock(place, CLOCK_MONOTONIC)
        batch.add(place, 16)
    data = batch.read(at, 16 * 50)
    batch.run()
    times = [s * 10**9 + ns for s, ns in struct.iter_unpack("<QQ", data.value)]
    assert len(times) == 50 and times == sorted(times) and times[0] > 0


def test_a_call_that_waits_is_interrupted_and_the_door_serves_on(door):
    batch = door.batch()
    batch.call("nanosleep", struct.pack("<QQ", 60, 0), 0)
    with pytest.raises(DoorError, match="waited too long"):
        batch.run(timeout=0.2)
    assert door.call("getpid") == door.pid


def test_what_was_left_with_it_is_done_when_the_stream_closes(tmp_path):
    door = open_child()
    for name in ("first", "second"):
        batch = door.batch()
        batch.call("mkdir", str(tmp_path / name).encode() + b"\0", 0o700)
        door.at_end(batch)
    door.close()
    assert door.child.wait(timeout=5) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["second"]


def test_wrong_use_is_told_before_anything_crosses(door):
    batch, before = door.batch(), door._number
    with pytest.raises(UsageError, match="no system call 'frobnicate'"):
        batch.call("frobnicate")
    with pytest.raises(UsageError, match="bytes of room"):
        batch.room(8 << 20)
    with pytest.raises(UsageError, match="loop"), batch.loop(3):
        batch.read(door.base, 1)
    assert door._number == before


@pytest.mark.parametrize(
    "reply",
    [
        b"",  # gone
        b"NKDA",  # cut off
        b"x" * 24,  # no answer
        struct.pack("<6I", 0x4144_4B4E, 0xFFFF_FFFF, 0, 1, 0, 0),  # longer than can be
        struct.pack("<6I", 0x4144_4B4E, 4, 0, 1, 0, 0) + b"abcd",  # garbled
        struct.pack("<6I", 0x4144_4B4E, 0, 1, 99, 0, 0),  # to another question
        struct.pack("<6I", 0x4144_4B4E, 0, 1, 1, 0, 0),  # too short
    ],
)
def test_a_door_that_talks_nonsense_is_a_door_error(reply):
    ours, theirs = socket.socketpair()
    theirs.sendall(reply)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(DoorError):
        Door(ours).hello()
    theirs.close()


def test_every_client_frame_survives_the_models_reading():
    body = harmless(bytearray(REFUSED_CALL))
    assert Model(1).answer(bytes(body))[0] == 0 and struct.unpack_from("<I", body, 8)[0] == GETPID

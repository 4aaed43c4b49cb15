"""A door that a lab left serves the next lab, emptied; and goes when none comes, or when Python ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import netkit_edu as nk
from netkit_edu.errors import DoorError
from netkit_edu.linux import spare
from netkit_edu.linux.build import build_door
from netkit_edu.linux.ringbuf import RingReader
from tests.host.test_host import gone
from tests.host.texts import COUNT
from tests.requires import ROOT

pytestmark = pytest.mark.door


def pid(lab) -> int:
    return lab.kernel_calls.door.pid


def held(number: int) -> dict[int, str]:
    """What a process has open, and what each is."""
    folder = Path(f"/proc/{number}/fd")
    return {int(name): os.readlink(folder / name) for name in os.listdir(folder)}


@pytest.fixture(autouse=True)
def none_waits():
    spare.take(None)
    yield
    spare.take(None)


def busy(lab) -> None:
    """Have a lab hold some of everything that descriptors keep."""
    pod = lab.pod("pod")
    pod.listen(udp=7)
    with pod.device.capture():
        pod.device.attach_tcx(nk.compile(COUNT)["count"], "egress")
        lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=7) / b"hi")


def test_the_next_lab_has_the_same_door_with_nothing_in_it():
    with nk.Lab("host") as lab:
        number, first = pid(lab), held(pid(lab))
        busy(lab)
        assert len(held(number)) > len(first)
    left = [what for fd, what in held(number).items() if fd and what.startswith(("socket:", "net:", "/proc/"))]
    assert len(left) == 1 and left[0].startswith("net:")  # where it waits
    with nk.Lab("host") as lab:
        assert pid(lab) == number and held(number).keys() == first.keys()
        busy(lab)
        assert lab.nodes["pod"].received


def test_two_labs_at_once_have_two_doors():
    with nk.Lab("host") as one, nk.Lab("host") as other:
        numbers = {pid(one), pid(other)}
        assert len(numbers) == 2
    with nk.Lab("host") as one, nk.Lab("host") as other:
        assert len(numbers & {pid(one), pid(other)}) == 1


def test_whoever_had_the_door_has_it_no_more():
    with nk.Lab("host") as lab:
        calls = lab.kernel_calls
    with nk.Lab("host"), pytest.raises(DoorError, match="closed"):
        calls.door.call("getpid")
    lab.close()


def test_another_command_is_another_door(monkeypatch):
    with nk.Lab("host") as lab:
        number = pid(lab)
    monkeypatch.setenv("NETKIT_EDU_DOOR", f"env {build_door()}")
    with nk.Lab("host") as lab:
        assert pid(lab) != number
    assert gone(number, 2)


def test_a_door_that_was_killed_while_it_waited_is_no_harm():
    with nk.Lab("host") as lab:
        number = pid(lab)
    os.kill(number, signal.SIGKILL)
    with nk.Lab("host") as lab:
        assert pid(lab) != number
        lab.pod("pod")


def test_none_waits_for_ever(monkeypatch):
    monkeypatch.setattr(spare, "SECONDS", 0.05)
    with nk.Lab("host") as lab:
        number = pid(lab)
    assert gone(number, 5)


@pytest.mark.parametrize(
    "what", ["a ring buffer's mapping", "what is to be done at its end", "a call that was too long"]
)
def test_a_door_that_would_remember_is_not_kept(what):
    with nk.Lab("host") as lab:
        door, number = lab.kernel_calls.door, pid(lab)
        if what.startswith("what"):
            door.at_end(door.batch())
        elif what.startswith("a call"):
            batch = door.batch()
            batch.call("nanosleep", (9).to_bytes(8, "little") + bytes(8), 0)
            with pytest.raises(DoorError):
                batch.run(0.1)
        else:
            attr = (27).to_bytes(4, "little") + bytes(8) + (4096).to_bytes(4, "little") + bytes(56)
            RingReader(door, door.call("bpf", 0, attr, len(attr)), 4096)
    assert gone(number, 2)


def test_it_is_on_all_cpus_again():
    every = os.sched_getaffinity(0)
    with nk.Lab("host", cpus=len(every)) as lab:
        number = pid(lab)
        lab.host.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=7) / b"", cpu=len(every) - 1)
    assert os.sched_getaffinity(number) == every


def test_a_copy_of_this_process_leaves_the_door_alone():
    with nk.Lab("host") as lab:
        pod = lab.pod("pod")
        if not (child := os.fork()):
            lab.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        pod.listen(udp=7)
        assert lab.host.send(nk.IP(dst=pod.ip) / nk.UDP(dport=7) / b"hi").fate.delivered


def test_it_goes_with_python():
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import netkit_edu as nk
with nk.Lab("host") as lab:
    print(lab.kernel_calls.door.pid, flush=True)
other = nk.Lab("host")
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and gone(int(done.stdout), 2)


@pytest.mark.host
def test_a_lab_after_one_that_recorded_nothing_records():
    with nk.Lab("host") as lab:
        number = pid(lab)
        lab.cpu_time(lab.host, nk.IP(dst=lab.outside.ip) / nk.UDP(dport=7) / b"hi", n=10)
    with nk.Lab("host") as lab:
        assert pid(lab) == number
        pod = lab.pod("pod", device="netkit")
        journey = pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"hi")
        assert "netkit_xmit" in [hop.function for hop in journey.hops]

"""Killed at any moment, a lab on this machine leaves nothing: no process, device, file, and the machine as it was.

``NETKIT_EDU_KILLS`` says how often it is killed, by default 20 times.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.host.texts import DROP
from tests.requires import ROOT, missing

pytestmark = pytest.mark.door
KILLS = int(os.environ.get("NETKIT_EDU_KILLS") or 20)
WITHIN = 2.0  # seconds
COUNTERS = {"nf_conntrack_count"}  # below /proc/sys/net, but no setting
WORK = """
import sys
sys.path.insert(0, {root!r})
import netkit_edu as nk
kinds = {kinds!r}
drop = nk.compile({c!r})["drop"]
nk.Lab("host").close()
print("ready", flush=True)
while True:
    try:
        with nk.Lab("host") as lab:
            print(lab.kernel_calls.door.pid, flush=True)
            lab.host.listen(udp=7)
            for kind in kinds:
                pod = lab.pod(kind, device=kind)
                pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"hi")
                pod.device.attach_tcx(drop, "egress")
                pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=7) / b"hi")
    except nk.DoorError as error:
        print("survived", flush=True)
"""


def machine() -> dict[str, str]:
    """What must not change: devices, routes and rules as ip(8) shows them, the network's sysctls, mounts, pins."""
    found = {}
    for words in (["-d", "link"], ["-d", "addr"], ["route", "show", "table", "all"], ["rule"], ["-6", "route"]):
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        found[" ".join(words)] = "\n".join(line for line in done.stdout.splitlines() if "_lft" not in line)
    for path in Path("/proc/sys/net").rglob("*"):
        if path.is_file() and path.name not in COUNTERS:
            with contextlib.suppress(OSError):
                found[str(path)] = path.read_text(errors="replace")
    found["mounts"] = Path("/proc/self/mounts").read_text()
    for folder in ("/sys/fs/bpf", "/run/netns", "/sys/kernel/tracing/instances"):
        found[folder] = " ".join(sorted(os.listdir(folder))) if os.path.isdir(folder) else ""
    return found


def ours(token: str) -> set[int]:
    """Return the processes that were started with this token in their environment and have not ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if token.encode() in path.read_bytes():
                state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX":
                    found.add(int(path.parent.name))
    return found


@pytest.fixture
def worker(tmp_path):
    """Start a Python that makes labs without end; return it, its token, and the folder for temporary files."""
    kinds = ["veth"] if missing("host") else ["veth", "netkit"]
    started = []
    (tmp_path / "temporary").mkdir()

    def start():
        token = f"killed-{os.getpid()}-{len(started)}-{random.random()}"
        environ = os.environ | {"NETKIT_EDU_TOKEN": token, "TMPDIR": str(tmp_path / "temporary")}
        code = WORK.format(root=str(ROOT), kinds=kinds, c=DROP)
        child = subprocess.Popen([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, text=True, env=environ)
        started.append(child)
        assert child.stdout.readline() == "ready\n"
        return child, token

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_python_killed_at_random_moments_leaves_nothing(worker, tmp_path):
    before, rng = machine(), random.Random(20261122)
    for _ in range(KILLS):
        child, token = worker()
        time.sleep(rng.uniform(0, 0.3))
        child.kill()
        child.wait()
        deadline = time.monotonic() + WITHIN
        while left := ours(token):
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.02)
        assert not os.listdir(tmp_path / "temporary")
    assert machine() == before


def test_a_killed_door_is_an_error_and_leaves_nothing(worker, tmp_path):
    """The same Python goes on with the next lab."""
    before, rng = machine(), random.Random(20261123)
    child, token = worker()
    killed = 0
    while killed < KILLS:
        line = child.stdout.readline().strip()
        assert line, "Python died with its door"
        if line.isdigit():
            time.sleep(rng.uniform(0, 0.1))
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)
                killed += 1
    child.kill()
    child.wait()
    deadline = time.monotonic() + WITHIN
    while left := ours(token):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)
    assert not os.listdir(tmp_path / "temporary")
    assert machine() == before

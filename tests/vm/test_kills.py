"""SIGKILL for the Python process at a random moment: within two seconds nothing of its machine is left.

NETKIT_EDU_KILLS says how often; the seed is printed where it fails.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

import netkit_edu as nk
from netkit_edu.vm import cache, image
from tests.requires import ROOT

pytestmark = pytest.mark.vm

KILLS = int(os.environ.get("NETKIT_EDU_KILLS", "12"))
LEARNER = r"""
import netkit_edu as nk

code = '#include "netkit_edu.h"\nSEC("netkit/peer") int drop(struct __sk_buff *skb) { return NETKIT_DROP; }'
drop = nk.compile(code)["drop"]
print("go", flush=True)
while True:
    with nk.Lab("vm") as lab:
        pod = lab.pod("web", device="netkit")
        packet = nk.IP(dst=pod.gateway) / nk.UDP(dport=9)
        for _ in range(3):
            with pod.pair.attach(drop, at="peer"):
                pod.send(packet)
            pod.pair.set_policy(peer_policy="drop")
            pod.send(packet)
"""
BUILDER = """
from netkit_edu.vm import image
print("go", flush=True)
image.snapshot()
"""


def start(code: str, mark: str, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | environment | {"NETKIT_EDU_MARK": mark},
    )
    assert process.stdout.readline() == b"go\n"
    return process


def left(mark: str) -> list[str]:
    """Processes that have the mark in their environment, as every descendant has."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().split(b"\0")[0].decode())
        except OSError:
            continue
    return found


def gone_within(seconds: float, mark: str) -> list[str]:
    deadline = time.monotonic() + seconds
    while (still := left(mark)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return still


def test_killed_learner_leaves_nothing(tmp_path):
    nk.Lab("vm").close()
    before = sorted(path.name for path in cache.folder().iterdir())
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    for n in range(KILLS):
        mark = f"mark-{uuid.uuid4()}"
        process = start(LEARNER, mark, TMPDIR=str(tmp_path))
        time.sleep(chance.uniform(0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert gone_within(2.0, mark) == [], f"kill {n}, seed {seed}"
        assert list(tmp_path.iterdir()) == []
        assert sorted(path.name for path in cache.folder().iterdir()) == before


def test_killed_build_leaves_nothing_that_the_next_start_does_not_remove(tmp_path, monkeypatch):
    """The kernel is there already: what is killed is the boot."""
    found = image.find_kernel(cache.folder())
    monkeypatch.setenv("NETKIT_EDU_VM_CACHE", str(tmp_path / "vm"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "vm").mkdir()
    if found is not None and cache.folder() not in found.path.parents and "NETKIT_EDU_KERNEL" not in os.environ:
        monkeypatch.setenv("NETKIT_EDU_KERNEL", str(found.path))
        monkeypatch.setenv("NETKIT_EDU_MODULES", str(found.path.parent))
    for seconds in (0.1, 1.0, 4.0):
        mark = f"mark-{uuid.uuid4()}"
        process = start(BUILDER, mark, TMPDIR=str(tmp_path / "tmp"))
        time.sleep(seconds)
        process.kill()
        process.wait()
        process.stdout.close()
        assert gone_within(2.0, mark) == []
        cache.tidy()
        assert not [path.name for path in (tmp_path / "vm").iterdir() if path.name.startswith(".new")]
        assert list((tmp_path / "vm").glob("*.snapshot")) == []

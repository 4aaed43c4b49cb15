"""The task that computes beside a lab: where it runs, what it is called, and that it never outlives who started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import netkit_edu as nk
from netkit_edu.errors import BackendUnavailable, UsageError
from netkit_edu.linux.bcctrace import PacketTrace
from netkit_edu.linux.bystander import Bystander
from netkit_edu.linux.host import NAME
from netkit_edu.uapi import Context
from tests.requires import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="tasks have names and CPUs on Linux")
PATIENCE_S = 5.0
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def gone(pid: int) -> bool:
    """Return whether a process is no more, or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_it_computes_under_its_name_on_its_cpu_while_the_block_runs():
    usable = sorted(os.sched_getaffinity(0))
    with Bystander("innocent", cpu=len(usable) - 1) as task:
        pid = task._process.pid
        assert Path(f"/proc/{pid}/comm").read_text() == "innocent\n"
        assert os.sched_getaffinity(pid) == {usable[-1]}
    assert gone(pid)


def test_it_ends_with_who_started_it():
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from netkit_edu.linux.bystander import Bystander
task = Bystander(cpu=0).__enter__()
print(task._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == -9
    end = time.monotonic() + PATIENCE_S
    while not gone(int(done.stdout)):
        assert time.monotonic() < end, "it goes on"


def test_a_cpu_that_is_not_there_and_a_name_that_is_none_are_said():
    with pytest.raises(BackendUnavailable, match="none numbered 4096"):
        Bystander(cpu=4096)
    for name in ("", "sixteen letters!", "a\0b"):
        with pytest.raises(UsageError, match="1 to 15 bytes"):
            Bystander(name, cpu=0)


@pytest.mark.bcc
@pytest.mark.skipif(CPUS < 2, reason="steering needs two CPUs")
def test_steered_to_another_cpu_it_is_received_on_the_time_of_a_task_that_never_sent():
    """Chapter 09's experiment: the sender keeps its packet up to netif_rx, and no task is asked who receives it."""
    with nk.Lab("host", cpus=2) as lab:
        lab.host.sysctl("net.core.rps_default_mask", 2)
        pod = lab.pod("steered")
        pod.send(nk.IP(dst=pod.gateway) / nk.UDP(dport=9))
        with PacketTrace(functions=()) as seen, Bystander("innocent", cpu=1) as task:
            pod.send(nk.IP(dst=lab.outside.ip) / nk.UDP(dport=9), repeat=20)
    mine = [event for event in seen.events if event.device == "steered"]
    assert {(event.what, event.context, event.task) for event in mine if event.what == "netif_rx"} == {
        ("netif_rx", Context.PROCESS, NAME)
    }
    received = [event for event in mine if event.what == "netif_receive_skb"]
    assert {event.context for event in received} == {Context.SOFTIRQ} and len(received) == 20
    assert {event.cpu for event in received} == {task.cpu} and NAME not in {event.task for event in received}

"""What the probe says of this machine, of doors with less privileges, and of no door at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from netkit_edu.linux.build import build_door
from netkit_edu.linux.probe import CAPABILITIES, probe_host


def file_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


@pytest.fixture
def door_with(monkeypatch):
    """Have doors started by a command in which {door} stands for the door's path."""
    return lambda command: monkeypatch.setenv("NETKIT_EDU_DOOR", command.format(door=build_door()))


@pytest.mark.door
def test_a_privileged_door_can_do_what_a_lab_needs():
    report = probe_host()
    assert report.ok and report.why == ""
    assert report.release == os.uname().release
    assert [a.name for a in report.answers][:5] == ["door", "privileges", "namespaces", "veth", "netkit"]


@pytest.mark.door
def test_a_kernel_without_netkit_is_said_in_the_kernels_own_words():
    netkit = probe_host()["netkit"]
    config = Path(f"/boot/config-{os.uname().release}")
    if "CONFIG_NETKIT=y" in (config.read_text() if config.exists() else ""):
        assert netkit.ok
    elif not netkit.ok:
        assert str(netkit).startswith(f"Linux {os.uname().release} makes no netkit device (Unknown device type): boot")


@pytest.mark.door
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_missing_capability_is_named_with_what_it_is_for(door_with, capability):
    short = capability.removeprefix("cap_")
    door_with(f"setpriv --bounding-set=-{short} --inh-caps=-{short} {{door}}")
    report = probe_host()
    assert not report.ok
    assert f"the door lacks {capability} ({CAPABILITIES[capability][1]}): NETKIT_EDU_DOOR=" in report.why
    assert len(report.why.splitlines()) == 1


@pytest.mark.door
def test_a_door_of_an_ordinary_user_says_all_it_lacks(door_with):
    door_with("setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all {door}")
    why = probe_host().why
    assert all(name in why for name in CAPABILITIES) or "does not start" in why


def test_a_command_that_does_not_exist_is_said(monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_DOOR", "/nowhere/door --with words")
    assert probe_host().why == "the door '/nowhere/door' does not start: No such file or directory"


def test_a_command_that_is_no_door_is_said(monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_DOOR", shutil.which("true"))
    assert "' does not answer: " in probe_host().why


def test_the_probe_leaves_neither_process_nor_descriptor(monkeypatch):
    monkeypatch.delenv("NETKIT_EDU_DOOR", raising=False)
    before = file_descriptors()
    report = probe_host()
    assert file_descriptors() == before
    if report["door"].ok:
        pid = int(report["door"].detail.split()[1])
        assert not Path(f"/proc/{pid}").exists()


def test_what_was_not_asked_is_no():
    assert not probe_host()["no such thing"].ok

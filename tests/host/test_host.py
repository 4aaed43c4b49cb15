"""A lab's door on this machine: alone privileged, in namespaces of its own, and gone without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from netkit_edu.errors import BackendUnavailable, DoorError, UsageError
from netkit_edu.linux.build import build_door
from netkit_edu.linux.host import open_host
from netkit_edu.linux.probe import CAPABILITIES
from tests.requires import ROOT

pytestmark = pytest.mark.door
NOBODY = "65534"


def namespace(door, kind: str) -> bytes:
    batch = door.batch()
    room = batch.room(64)
    n = batch.call("readlink", f"/proc/self/ns/{kind}\0".encode(), room, 64)
    read = batch.read(room, n, 64)
    batch.run()
    return read.value


@pytest.fixture
def host():
    host = open_host()
    yield host
    host.close()


@pytest.mark.parametrize("kind", ["net", "mnt"])
def test_the_door_leaves_the_machines_namespaces(host, kind):
    assert namespace(host.door, kind) not in (b"", os.readlink(f"/proc/self/ns/{kind}").encode())


def test_the_doors_mounts_are_nobody_elses(host):
    host.door.call("mount", b"none\0", b"/tmp\0", b"tmpfs\0", 0, 0)
    host.door.call("close", host.door.call("open", b"/tmp/netkit-edu-unseen\0", 0o102, 0o600))
    assert not Path("/tmp/netkit-edu-unseen").exists()
    assert " /tmp tmpfs " not in Path("/proc/self/mounts").read_text()


def test_it_says_which_kernel_and_which_cpus(host):
    assert host.kernel == os.uname().release
    assert host.cpus == tuple(sorted(os.sched_getaffinity(0)))[:1]


def test_more_cpus_than_the_machine_has_are_refused():
    with pytest.raises(BackendUnavailable, match="CPUs, not 4096"):
        open_host(cpus=4096)


def test_the_machines_backlog_is_not_the_labs_to_choose():
    with pytest.raises(UsageError, match="whole machine's"):
        open_host(backlog=123_457)


def test_close_ends_the_process_and_a_second_one_does_nothing(host):
    pid = host.door.pid
    host.close()
    assert not Path(f"/proc/{pid}").exists()
    host.close()
    with pytest.raises(DoorError, match="closed"):
        host.door.call("getpid")


def test_a_door_that_was_killed_is_said_and_the_next_one_works(host):
    host.door.child.kill()
    with pytest.raises(DoorError):
        host.door.call("getpid")
    other = open_host()
    assert other.door.call("getpid") == other.door.pid
    other.close()


def test_reasons_are_the_error(monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_DOOR", "/nowhere/door")
    with pytest.raises(BackendUnavailable, match="own kernel:\nthe door '/nowhere/door' does not start"):
        open_host()


CHILD = """
import os, sys, time
sys.path.insert(0, {root!r})
from netkit_edu.linux.build import build_door
from netkit_edu.linux.host import open_host
from netkit_edu.linux.probe import CAPABILITIES
host = open_host()
print(host.door.pid, flush=True)
{then}
"""


def run(then: str, **options) -> subprocess.Popen:
    code = CHILD.format(root=str(ROOT), then=then)
    return subprocess.Popen([sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, text=True, **options)


def gone(pid: int, within: float) -> bool:
    """Whether a process ends within that many seconds; one that nobody has waited for (Z) has ended."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    "then",
    [
        "",  # the interpreter's exit
        "raise SystemExit(3)",
        "os._exit(1)",
        "os.kill(os.getpid(), 9)",
        "host.door.call('nanosleep', b'\\x1e' + bytes(15), 0)",  # killed from outside while the door waits for 30 s
    ],
)
def test_the_door_dies_with_its_python(then):
    child = run(then)
    pid = int(child.stdout.readline())
    if "nanosleep" in then:
        time.sleep(0.1)
        child.kill()
    child.wait()
    assert gone(pid, 2.0)


@pytest.fixture
def public():
    """A folder that everybody may read: the package, and a copy of the door with the least capabilities in its file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("netkit_edu", "bpf"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "door").write_bytes(build_door().read_bytes())
        (folder / "door").chmod(0o755)
        words = ["setcap", ",".join(CAPABILITIES) + "+ep", folder / "door"]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no capabilities in files here: {done.stderr.strip()}")
        yield folder


def test_only_the_door_is_privileged(public):
    """A Python of an ordinary user, without any capability, has a lab whose door alone may do what it needs."""
    then = """
status = open("/proc/self/status").read()
assert "CapEff:\\t0000000000000000" in status and os.getuid() == 65534, status
host.close()
import netkit_edu as nk
from netkit_edu.linux.probe import probe_host
report = probe_host()
assert report.ok, report.why
with nk.Lab("host") as lab:
    lab.host.listen(udp=7)
    for kind in ["veth", "netkit"][: 1 + report["netkit"].ok]:
        pod = lab.pod(kind, device=kind)
        udp = bytes.fromhex("9c4000070008") + b"\\0\\0"
        ip = bytes.fromhex("4500001c00000000401100000a00000100000000"[:24]) + bytes(map(int, pod.ip.split(".")))
        print(pod.send(ip + bytes(map(int, pod.gateway.split("."))) + udp).fate.delivered)
"""
    command = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps=-all"]
    code = CHILD.format(root=str(public), then=then)
    environ = {"PATH": "/usr/bin:/bin", "NETKIT_EDU_DOOR": str(public / "door")}
    environ |= {name: os.environ[name] for name in ("PYTHONHOME", "PYTHONPATH") if name in os.environ}
    for python in ("/usr/bin/python3", sys.executable):
        words = [*command, python, "-B", "-c", code]
        able = [*command, python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if not subprocess.run(able, capture_output=True, env=environ).returncode:
            break
    done = subprocess.run(words, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()[1:]) == {"True"}

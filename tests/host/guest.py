"""A machine whose kernel has netkit, kprobes and headers, for tests that want to be root there: a virtme-ng guest.

    python -m tests.host.guest                          boots the guest, as make test-host does
    python -m tests.host.guest all                      as make test-host-all does: all of it with Python inside
    python -m tests.host.guest [inside|outside] WORDS   boots it with other words for pytest
    python -m tests.host.guest save FILE                boots it beside other tests, which read FILE (NETKIT_EDU_GUEST)
    python -m tests.host.guest headers                  prints where the kernel's headers are, for NETKIT_EDU_HEADERS

It boots Debian's generic 6.12 kernel once, without root and without KVM, and prints what came of each test:

* `INSIDE`, with Python in the guest as root: what a lab is on a machine of one's own. Python is emulated, and slow.
* `OUTSIDE`, with Python out here, which needs no privileges, and nothing in the guest but the door that it talks
  to (far.py): every contract test on the backend "host". ``all`` runs them inside, too, which takes half an hour.
  ``NETKIT_EDU_HOST_SHARE=3`` runs a third of them outside, always the same, where there is less time (share.py).
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.host import guest_files
from tests.host.far import Doors
from tests.host.guest_files import find
from tests.requires import ROOT

CPUS = "2"  # some labs want two
TIMEOUT_S = 3600  # seconds; a guest that hangs is ended
INSIDE = (
    "tests/host/test_probe.py",
    "tests/host/test_host.py",
    "tests/host/test_spare.py",
    "tests/host/test_kills.py",
    "tests/host/test_bcc.py",
)
# BCC's compiler is slow there; these run on any privileged Linux with headers (kind "bcc"), as in CI.
ELSEWHERE = tuple(
    f"--deselect=tests/host/test_bcc.py::{name}"
    for name in ("test_tracers_end_with_their_process", "test_a_machine_without_tracefs_stays_so",
                 "test_a_function_that_does_not_exist_cannot_be_probed")
)  # fmt: skip
OUTSIDE = ("tests/contract",)
PROGRAMS = {"vng": "pip install -e '.[guest]'", "qemu-system-x86_64": "apt-get install qemu-system-x86",
            "busybox": "apt-get install busybox-static", "script": "apt-get install bsdutils",
            "depmod": "apt-get install kmod", "mke2fs": "apt-get install e2fsprogs",
            "dpkg-deb": "a Debian or Ubuntu"}  # fmt: skip
# One thread for all emulated processors: they do not wait for each other, and an idle one costs nothing.
QEMU = ("-accel", "tcg,thread=single")

SCRIPT = """#!/bin/sh
exec >{lane}/console 2>&1
PS4='+ $(cut -d" " -f1 /proc/uptime) '
set -x
modprobe -a loop ext4 veth dummy bridge sch_fq sch_fq_codel
mkdir -p /run/base /run/lane && cd /run/lane
mount -o loop,ro {base} /run/base
tar -xf {lane}/repo.tar
mount --bind {kernel}/usr/src /usr/src
mkdir home tmp
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 HOME=$PWD/home TMPDIR=$PWD/tmp
export PYTHONHOME=/run/base PYTHONPATH=/run/base/site:$PWD/repo
export NETKIT_EDU_CACHE=$PWD/cache NETKIT_EDU_TEST_CACHE=$PWD/cache NETKIT_EDU_REQUIRE={require}
export NETKIT_EDU_TEST_BACKENDS=host NETKIT_EDU_KILLS=1
cd repo
if {inside}; then
	{python} -m pytest -p no:cacheprovider --assert=plain --junitxml=../junit.xml {words}
	echo "pytest: $?"
	cp ../junit.xml {lane}/junit.part && mv {lane}/junit.part {lane}/inside.xml
fi
if {outside}; then
	{python} -S tests/host/far.py serve $(echo $PWD/../cache/door-*)
fi
"""


class Case(NamedTuple):
    """What came of one test: "passed", "failed", "skipped" or "error", how many seconds it took, and what it said.

    ``where`` its Python ran: "inside" or "outside" of the guest.
    """

    file: str
    name: str
    outcome: str
    seconds: float
    said: str
    where: str = "inside"

    @property
    def good(self) -> bool:
        """Whether it passed, or is one of those that only the simulator can run."""
        return self.outcome == "passed" or self.outcome == "skipped" and SIMULATORS in self.said


SIMULATORS = "on Linux a sender's softirq runs at the end of each of its system calls"


def missing() -> str:
    """Return what this machine lacks to boot the guest, "" if nothing."""
    for program, remedy in PROGRAMS.items():
        if find(program) is None:
            return f"no {program}: {remedy}"
    try:
        there = guest_files.unpacked() or guest_files.newest_packages()
    except OSError as error:
        return f"apt-cache does not start ({error.strerror})"
    return "" if there else "apt knows no linux-image-6.12*-amd64: apt-get update"


def run(inside: Sequence[str], outside: Sequence[str] = (), require: str = "door,host,kernel") -> list[Case]:
    """Boot the guest, run pytest inside and outside of it with these words, and return what came of each test.

    Raises:
        RuntimeError: nothing came out; the message ends with what the guest said last.
    """
    tree, base = guest_files.kernel(), guest_files.base_image()
    release = next((tree / "lib/modules").iterdir()).name
    with tempfile.TemporaryDirectory(prefix="netkit-edu-guest-") as work:
        lane = Path(work)
        (lane / "cache").mkdir()
        guest_files.compile_beforehand(lane / "cache", list(inside))
        guest_files.repo_archive(lane / "repo.tar", lane / "cache")
        script, doors = lane / "script", Doors(lane)
        given = {"lane": lane, "base": base, "kernel": tree, "python": Path(sys.executable).resolve()}
        asked = {"inside": str(bool(inside)).lower(), "outside": str(bool(outside)).lower()}
        script.write_text(SCRIPT.format(**given, **asked, require=require, words=shlex.join(inside)))
        script.chmod(0o755)
        command = [find("vng"), "--disable-kvm", "--run", str(tree / f"boot/vmlinuz-{release}"), "--memory", "2G",
                   "--cpus", CPUS, "--user", "root", "--rwdir", str(lane),
                   f"--qemu-opts={' '.join([*QEMU, *doors.qemu()])}", "--", str(script)]  # fmt: skip
        environ = os.environ | {"PATH": f"{Path(find('vng')).parent}:{os.environ['PATH']}:/usr/sbin"}
        with (lane / "vng").open("w") as said:
            guest = subprocess.Popen(
                ["script", "-qec", shlex.join(command), "/dev/null"], env=environ, cwd=lane,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
            try:
                if outside:
                    _run_outside(lane, doors, guest, outside, require)
                guest.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
            finally:
                doors.close()
                guest.terminate()  # script(1) then hangs up on what it started
                guest.wait()
        text = "".join(
            p.read_text(errors="replace") for p in (lane / "vng", lane / "console", lane / "python") if p.exists()
        )
        if keep := os.environ.get("NETKIT_EDU_GUEST_LOG"):
            Path(keep).write_text(text)
        found = []
        for where, asked in (("inside", inside), ("outside", outside)):
            if asked and not (lane / f"{where}.xml").exists():
                raise RuntimeError(f"the guest gave no result from {where}; it said last:\n{text[-3000:]}")
            found += cases(lane / f"{where}.xml", where) if asked else []
        return found


def _run_outside(lane: Path, doors: Doors, guest: subprocess.Popen, words: Sequence[str], require: str) -> None:
    """Run pytest here, as soon as the guest has doors for it."""
    deadline = time.monotonic() + TIMEOUT_S
    while not doors.serving():
        if guest.poll() is not None or time.monotonic() > deadline:
            return
        time.sleep(0.2)
    environ = os.environ | {
        "NETKIT_EDU_DOOR": doors.command, "NETKIT_EDU_TEST_BACKENDS": "host", "NETKIT_EDU_REQUIRE": require,
        "NETKIT_EDU_TEST_CACHE": str(lane / "cache"), "NETKIT_EDU_CACHE": str(lane / "cache"),
    }  # fmt: skip
    part = lane / "outside.part"
    with (lane / "python").open("w") as said:
        subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.host.share", f"--junitxml={part}",
             *words],
            cwd=ROOT, env=environ, stdout=said, stderr=said, timeout=TIMEOUT_S,
        )  # fmt: skip
    part.rename(lane / "outside.xml")
    doors.quit()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def cases(path: Path, where: str = "inside") -> list[Case]:
    """Read what pytest wrote as junit's XML."""
    found = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        outcome, said = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = {"failure": "failed"}.get(child.tag, child.tag)
                said = (child.text or child.get("message") or "").strip()
        file = case.get("classname", "").replace(".", "/") + ".py"
        found.append(Case(file, case.get("name", ""), outcome, float(case.get("time", 0)), said, where))
    return found


def save(path: Path) -> None:
    """Run the lane beside other tests: write what came of it, or why nothing did, for `saved` to read."""
    told: dict = {"error": "it was interrupted"}
    try:
        if reason := missing():
            told = {"error": f"the guest cannot be booted here: {reason}"}
        else:
            told = {"cases": [case._asdict() for case in run((*INSIDE, *ELSEWHERE), OUTSIDE)]}
    except Exception as error:
        told = {"error": str(error)}
        raise
    finally:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.rename(path)


def saved(path: Path) -> list[Case]:
    """Wait for what `save` writes, and return it; RuntimeError with the reason if the lane gave nothing."""
    deadline = time.monotonic() + TIMEOUT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"nobody wrote {path}: python -m tests.host.guest save {path}")
        time.sleep(1)
    told = json.loads(path.read_text())
    if "error" in told:
        raise RuntimeError(told["error"])
    return [Case(**case) for case in told["cases"]]


def main(words: list[str]) -> int:
    """Run the guest and print what came of it; return 1 if anything failed, or was skipped that Linux can run."""
    if words[:1] == ["save"]:
        save(Path(words[1]))
        return 0
    if reason := missing():
        print(f"the guest cannot be booted here: {reason}", file=sys.stderr)
        return 1
    if words == ["headers"]:
        print(guest_files.kernel() / "usr/src")
        return 0
    inside, outside = (words, ()) if words else ((*INSIDE, *ELSEWHERE), OUTSIDE)
    if words == ["all"]:
        inside = (*INSIDE, *OUTSIDE)
    if words[:1] in (["inside"], ["outside"]):
        inside, outside = (words[1:], ()) if words[0] == "inside" else ((), words[1:])
    begun = time.monotonic()
    found = run(inside, outside)
    for case in found:
        if not case.good:
            print(f"{case.outcome.upper()} {case.file}::{case.name} ({case.where})\n{case.said}\n")
    for where, file in dict.fromkeys((case.where, case.file) for case in found):
        its = [case for case in found if (case.where, case.file) == (where, file)]
        passed, bad = (sum(test(case) for case in its) for test in (_passed, lambda case: not case.good))
        seconds = sum(case.seconds for case in its)
        print(f"{where} {file}: {passed} passed, {len(its) - passed - bad} skipped, {bad} not, {seconds:.1f} s")
    bad = sum(not case.good for case in found)
    for where in dict.fromkeys(case.where for case in found):
        its = [case for case in found if case.where == where]
        print(f"Python {where}: {sum(map(_passed, its))} of {len(its)} tests passed on the guest's kernel")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if bad or not found else 0


def _passed(case: Case) -> bool:
    return case.outcome == "passed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

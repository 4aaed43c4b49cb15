"""A task that computes on one CPU and has nothing to do with packets: whoever borrows its time can be seen to."""

from __future__ import annotations

import os
import subprocess
import sys

from netkit_edu.errors import BackendUnavailable, UsageError

MOST_S = 10  # seconds after which it ends by itself
_TEXT = """
import ctypes, os, sys, time
cpu, name, most = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
libc = ctypes.CDLL(None)
libc.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: it dies with who started it
libc.prctl(15, name.encode())  # PR_SET_NAME
os.sched_setaffinity(0, [cpu])
try:  # ahead of other work, so that it is there when a packet comes
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
except PermissionError:
    pass
print("computing", flush=True)
end = time.monotonic() + most
while time.monotonic() < end:
    sum(range(10_000))
"""


class Bystander:
    """Computes while its block runs, ahead of other work where it may (SCHED_RR), and for at most `MOST_S` seconds::

        with Bystander("bystander", cpu=1):
            pod.send(...)

    Args:
        name: what the task is called, up to 15 bytes.
        cpu: which of the CPUs that this process may use, counted from 0.

    Raises:
        BackendUnavailable: there is no such CPU, or this is not Linux.
        UsageError: no name for a task.
    """

    def __init__(self, name: str = "bystander", *, cpu: int = 1):
        if not name or len(name.encode()) > 15 or "\0" in name:
            raise UsageError(f"a task's name has 1 to 15 bytes: {name!r} does not")
        self.name = name
        usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if not 0 <= cpu < len(usable):
            raise BackendUnavailable(f"this machine has {len(usable)} CPUs for us to use, none numbered {cpu}")
        self.cpu = usable[cpu]

    def __enter__(self) -> Bystander:
        command = [sys.executable, "-S", "-E", "-c", _TEXT, str(self.cpu), self.name, str(MOST_S)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if not self._process.stdout.readline():
            self.__exit__()
            raise BackendUnavailable(f"no bystander could be started on CPU {self.cpu}")
        return self

    def __exit__(self, *exc) -> None:
        self._process.kill()
        self._process.communicate()

"""``LinuxBackend``: a real Linux behind the Protocol that every backend fulfils, wherever its door stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netkit_edu.errors import KernelError
from netkit_edu.linux.bpf import BpfCalls
from netkit_edu.linux.capture import CaptureCalls
from netkit_edu.linux.cputime import CpuTimeCalls
from netkit_edu.linux.door import Door
from netkit_edu.linux.evidence import Evidence
from netkit_edu.linux.ftrace import FtraceCalls
from netkit_edu.linux.measure import MeasureCalls
from netkit_edu.linux.netcalls import NetCalls
from netkit_edu.linux.netns import MACHINE_BACKLOG, sysctl_path, write_file
from netkit_edu.linux.sockets import SocketCalls
from netkit_edu.linux.trace import Tracer

DEFAULT_BACKLOG = 1000  # packets: the kernel's own
_NOT_RECORDED: set[tuple[str, str]] = set()  # names and releases on which it takes seconds to find that out


class LinuxBackend(BpfCalls, CaptureCalls, CpuTimeCalls, FtraceCalls, MeasureCalls, SocketCalls, NetCalls):
    """A Linux, as far as a lab needs it.

    Args:
        door: where it is.
        name: "vm" or "host".
        kernel: its release, for example "6.12.117".
        cpus: the kernel's numbers of the CPUs that are the lab's, in the lab's order.
        backlog: packets that fit the backlog of each (net.core.netdev_max_backlog).
        close: called when the backend is closed, instead of closing the door.
    """

    def __init__(self, door: Door, *, name: str, kernel: str, cpus: Sequence[int] = (0,),
                 backlog: int = DEFAULT_BACKLOG, close: Callable[[], None] | None = None):  # fmt: skip
        self.name, self.kernel, self.cpus = name, kernel, tuple(cpus)
        self._end = close or door.close
        NetCalls.__init__(self, door)
        SocketCalls.__init__(self)
        CaptureCalls.__init__(self)
        BpfCalls.__init__(self)
        self._tracer = self._recorder()
        if name != "host" and backlog != DEFAULT_BACKLOG:  # the host's is the whole machine's: it stays as it is
            self._set_backlog(backlog)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Functions of this kernel that journeys would show and cannot."""
        return getattr(self._tracer, "unseen", ())

    def close(self) -> None:
        """Let go of everything: what the door holds goes with it. A second call does nothing."""
        self._end()

    def _recorder(self) -> Tracer | Evidence:
        """Return what tells journeys: a recording, or on a kernel that cannot be recorded what shows from outside."""
        if (self.name, self.kernel) not in _NOT_RECORDED:
            try:
                return Tracer(self)
            except KernelError:
                _NOT_RECORDED.add((self.name, self.kernel))
        return Evidence(self)

    def _set_backlog(self, backlog: int) -> None:
        batch = self.door.batch()
        batch.setns(self._root)
        write_file(batch, sysctl_path(MACHINE_BACKLOG), str(backlog))
        batch.run()

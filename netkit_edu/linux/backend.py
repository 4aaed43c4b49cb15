"""``LinuxBackend``: a real Linux behind the Protocol that every backend fulfils, wherever its door stands."""

from __future__ import annotations

from collections.abc import Callable

from netkit_edu.errors import UsageError
from netkit_edu.linux.bpf import BpfCalls
from netkit_edu.linux.capture import CaptureCalls
from netkit_edu.linux.door import Door
from netkit_edu.linux.evidence import Evidence
from netkit_edu.linux.measure import MeasureCalls
from netkit_edu.linux.netcalls import NetCalls
from netkit_edu.linux.netns import MACHINE_BACKLOG, sysctl_path, write_file
from netkit_edu.linux.sockets import SocketCalls

DEFAULT_BACKLOG = 1000  # packets: the kernel's own


class LinuxBackend(BpfCalls, CaptureCalls, MeasureCalls, SocketCalls, NetCalls):
    """A Linux of ``cpus`` CPUs.

    Args:
        door: where it is.
        name: "vm" or "host".
        kernel: its release, for example "6.12.117".
        cpus: how many CPUs senders may be put on.
        backlog: packets that fit the backlog of each (net.core.netdev_max_backlog).
        close: called when the backend is closed, instead of closing the door.
    """

    def __init__(self, door: Door, *, name: str, kernel: str, cpus: int = 1, backlog: int = DEFAULT_BACKLOG,
                 close: Callable[[], None] | None = None):  # fmt: skip
        self.name, self.kernel, self.cpus = name, kernel, cpus
        self._end = close or door.close
        NetCalls.__init__(self, door)
        SocketCalls.__init__(self)
        CaptureCalls.__init__(self)
        BpfCalls.__init__(self)
        self._tracer = Evidence(self)
        if backlog != DEFAULT_BACKLOG:
            self._set_backlog(backlog)

    def close(self) -> None:
        """Let go of everything: what the door holds goes with it. A second call does nothing."""
        self._end()

    def _set_backlog(self, backlog: int) -> None:
        if self.name == "host":
            raise UsageError("the backlog is the whole machine's: on the host it stays as it is")
        batch = self.door.batch()
        batch.setns(self._root)
        write_file(batch, sysctl_path(MACHINE_BACKLOG), str(backlog))
        batch.run()

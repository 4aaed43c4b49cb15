"""Which backend a lab runs on, and how it is opened: the one place that knows all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from netkit_edu.backend import Backend
from netkit_edu.errors import BackendUnavailable, UsageError


def open_backend(name: str, cpus: int, backlog: int) -> tuple[Backend, Callable[[], None]]:
    """Return a backend, and what to call when the lab's first devices stand.

    Args:
        name: "sim", "vm", "host", or "auto": the first of vm, a host that has netkit, and sim that this machine can.
        cpus: how many CPUs.
        backlog: packets that fit one CPU's backlog.

    Raises:
        BackendUnavailable: this machine cannot run it; the message says why and what to do.
        UsageError: there is no such backend.
    """
    if not isinstance(name, str) or name not in (*_OPEN, "auto"):
        raise UsageError(f"backend is one of {', '.join(map(repr, (*_OPEN, 'auto')))}, not {name!r}")
    if name in ("vm", "host") and sys.platform != "linux":
        raise BackendUnavailable(f"nk.Lab({name!r}) needs a machine that runs Linux: here there is nk.Lab('sim')")
    return (_open_best if name == "auto" else _OPEN[name])(cpus, backlog)


def why_no_netkit_here() -> str:
    """Return why ``nk.Lab("host")`` does not work on this machine, or not with netkit devices; "" if it does."""
    from netkit_edu.linux.probe import probe_host

    report = probe_host()
    return report.why or ("" if report["netkit"].ok else str(report["netkit"]))


def _open_best(cpus: int, backlog: int) -> tuple[Backend, Callable[[], None]]:
    for name in ("vm", "host"):
        try:
            if name == "vm" or not why_no_netkit_here():
                return open_backend(name, cpus, backlog)
        except BackendUnavailable:
            continue
    return _open_sim(cpus, backlog)


def _open_sim(cpus: int, backlog: int) -> tuple[Backend, Callable[[], None]]:
    from netkit_edu.sim.backend import SimBackend

    return SimBackend(cpus=cpus, backlog=backlog), _nothing


def _open_vm(cpus: int, backlog: int) -> tuple[Backend, Callable[[], None]]:
    from netkit_edu.linux.backend import DEFAULT_BACKLOG, LinuxBackend
    from netkit_edu.vm.machine import open_vm

    usual = backlog == DEFAULT_BACKLOG
    machine = open_vm(cpus, rehearsing=usual)
    linux = LinuxBackend(
        machine.door, name="vm", kernel=machine.kernel, cpus=range(cpus), backlog=backlog, close=machine.close
    )
    return linux, machine.settled if usual else _nothing


def _open_host(cpus: int, backlog: int) -> tuple[Backend, Callable[[], None]]:
    from netkit_edu.linux.backend import LinuxBackend
    from netkit_edu.linux.host import open_host

    host = open_host(cpus, backlog)
    linux = LinuxBackend(host.door, name="host", kernel=host.kernel, cpus=host.cpus, backlog=backlog, close=host.leave)
    return linux, _nothing


def _nothing() -> None:
    """Nothing is to be done."""


_OPEN = {"sim": _open_sim, "vm": _open_vm, "host": _open_host}

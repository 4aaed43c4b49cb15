"""bpf(2) through a syscall door: the maps, programs, links and hooks of a backend."""

from __future__ import annotations

from netkit_edu.linux.bpfhooks import HookCalls
from netkit_edu.linux.bpfmaps import MapCalls
from netkit_edu.linux.bpfprogs import ProgCalls
from netkit_edu.linux.bpfraw import RawCalls


class BpfCalls(MapCalls, ProgCalls, HookCalls, RawCalls):
    """The bpf(2) part of a backend; the other part has ``door``, ``name``, ``kernel`` and ``_net``.

    Programs and links are numbered by the kernel's ids; maps by theirs from `bpfmaps.FIRST_NUMBER` on. Descriptors stay
    inside the door, where they end with it. A backend with a ``_tracer`` has it told of each program that is loaded.
    """

    def __init__(self):
        for part in (MapCalls, ProgCalls, HookCalls, RawCalls):
            part.__init__(self)

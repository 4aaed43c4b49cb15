"""Running a program on a packet, and the redirect it may ask for.

Mirrors parts of net/core/filter.c and include/linux/filter.h, Linux 6.12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netkit_edu.engine.skb import SkBuff
from netkit_edu.journey import FateKind, HopKind
from netkit_edu.sim.skbuff import kfree_skb_reason
from netkit_edu.uapi import BPF_PROG_TYPE_SCHED_CLS, Verdict

_NAMES = {int(verdict): verdict.name for verdict in Verdict}
_PROGRAM = HopKind.PROGRAM


@dataclass(frozen=True, eq=False)
class BpfProg:
    """A loaded program: a kernel object with an ``id``; ``executable.run(skb, world)`` is what it does."""

    id: int
    name: str
    executable: Any
    type: int = BPF_PROG_TYPE_SCHED_CLS


def bpf_prog_run(prog: BpfProg, skb: SkBuff, dev, hook: str = "") -> int:
    """Run a program on a packet at a hook of ``dev``; return its verdict as a signed number of 32 bits.

    The redirect it asks for is remembered by the CPU, not by the packet: see `cpu.bpf_net_ctx_set`.
    """
    trace = skb.trace
    kernel, cpu = dev.net.kernel, trace.cpu
    kernel.world.cpu = cpu.number
    skb.redirect = cpu.redirect
    code = prog.executable.run(skb, kernel.world)
    cpu.redirect = skb.redirect
    data = {"program": prog.name, "verdict": code}
    if hook:
        data["hook"] = hook
    trace.hop("bpf_prog_run", dev, _PROGRAM, _NAMES.get(code, str(code)), data)
    return code


def skb_do_redirect(skb: SkBuff, where) -> None:
    """Send the packet where a program asked for, in the namespace of ``skb->dev``: the receiving end's.

    The sender has been told of success already; where there is no such device, the packet is silently freed. A verdict
    alone, without a helper that names a device, asks for device 0, which nowhere exists.
    """
    skb.trace.hop("skb_do_redirect", where)
    skb.trace.cpu.redirect = None
    kfree_skb_reason(skb, "NOT_SPECIFIED", where, "redirect to no device", fate=FateKind.LOST)

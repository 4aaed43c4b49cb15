"""Watching what programs return: at each program's end, a program of ours.

A program that was jumped to by a tail call ends as the one that was called first. Needs CONFIG_BPF_EVENTS and the
kernel's own BTF (kernel/bpf/trampoline.c, Linux 6.12).
"""

from __future__ import annotations

from collections.abc import Iterable

from netkit_edu.errors import KernelError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.door import Door
from netkit_edu.program import isa
from netkit_edu.program.object import Insn

BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT = 26, 25


def watch(door: Door, fd: int, main: int, insns: Iterable[Insn], *, name: str = "nk_fexit") -> int:
    """Have a program run at the end of another; return the descriptor in the door that keeps it so: closing it ends it.

    Args:
        fd: the descriptor in the door of the program whose end is watched.
        main: the type id of its main function in its own BTF (`btfload.Types.main`).
        insns: what runs there; descriptors of maps are the door's. Its context holds the arguments as u64, of which
            the first is the skb, and is for bpf_get_func_ret.
        name: what the kernel calls it.

    Raises:
        KernelError: the kernel cannot: EINVAL for a program without BTF or a kernel without BPF_EVENTS.
    """
    batch = door.batch()
    code = isa.encode(insns)
    attr = a.PROG_LOAD_ATTR.pack(
        BPF_PROG_TYPE_TRACING, len(code) // 8, batch.put(code), batch.put(b"GPL\0"), 0, 0, 0, 0, 0, a.object_name(name),
        0, BPF_TRACE_FEXIT, 0, 0, 0, 0, 0, 0, 0, main, fd,
    )  # fmt: skip
    made = a.bpf(batch, a.PROG_LOAD, attr)
    attr = batch.put(a.RAW_TRACEPOINT_ATTR.pack(0, 0))
    a.poke(batch, made, attr + 8)
    link = a.bpf(batch, a.RAW_TRACEPOINT_OPEN, attr, a.RAW_TRACEPOINT_ATTR.size, must=False)
    batch.call("close", made)
    batch.run()
    if link.errno:
        raise KernelError(link.errno)
    return link.value

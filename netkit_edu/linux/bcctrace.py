"""Which task carries a packet, and in which context: BCC tracers at tracepoints, and at functions where kprobes are.

A tracepoint's arguments come from tracefs, so that it is the same on every kernel. The context is told apart on each
CPU by ``irq:softirq_entry`` and ``irq:softirq_exit``: whatever happens between them happens in softirq context, on the
time of the task that was interrupted or that let the softirq run inside its own system call.
"""

from __future__ import annotations

from pathlib import Path

from netkit_edu.errors import BackendUnavailable, UsageError
from netkit_edu.linux.bcc import caught_stderr, compile_bcc
from netkit_edu.linux.carried import Carried
from netkit_edu.linux.mounts import TRACEFS
from netkit_edu.uapi import Context

TRACEPOINTS = ("net_dev_xmit", "netif_rx", "netif_receive_skb")  # of the group net: each has skbaddr, len and name
FUNCTIONS = ("veth_xmit", "netkit_xmit", "enqueue_to_backlog")
SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
_SOFTIRQ_ENTRY = 0xFFFF

_TEXT = """
#include <uapi/linux/ptrace.h>
struct event { u64 ns, skb; u32 pid, cpu, what, softirq, length; char task[16], device[16]; };
BPF_PERF_OUTPUT(events);
BPF_PERCPU_ARRAY(softirq, u32, 1);

static __always_inline void begin(struct event *e, u32 what, u64 skb)
{
    int zero = 0;
    u32 *now = softirq.lookup(&zero);

    e->ns = bpf_ktime_get_ns();
    e->skb = skb;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->cpu = bpf_get_smp_processor_id();
    e->what = what;
    e->softirq = now ? *now : 0;
    bpf_get_current_comm(&e->task, sizeof(e->task));
}

TRACEPOINT_PROBE(irq, softirq_entry)
{
    int zero = 0;
    u32 vector = args->vec + 1;

    softirq.update(&zero, &vector);
    if (args->vec == 2 || args->vec == 3) {
        struct event e = {};

        begin(&e, 0xffff, 0);
        events.perf_submit(args, &e, sizeof(e));
    }
    return 0;
}

TRACEPOINT_PROBE(irq, softirq_exit)
{
    int zero = 0;
    u32 none = 0;

    softirq.update(&zero, &none);
    return 0;
}
"""
_TRACEPOINT = """
TRACEPOINT_PROBE(net, {name})
{{
    struct event e = {{}};

    begin(&e, {number}, (u64)args->skbaddr);
    e.length = args->len;
    TP_DATA_LOC_READ_CONST(e.device, name, 15);
    events.perf_submit(args, &e, sizeof(e));
    return 0;
}}
"""
_FUNCTION = """
int at_{name}(struct pt_regs *ctx)
{{
    struct event e = {{}};

    begin(&e, {number}, PT_REGS_PARM1(ctx));
    events.perf_submit(ctx, &e, sizeof(e));
    return 0;
}}
"""


class PacketTrace:
    """Follows packets while its block runs::

        with PacketTrace() as seen:
            pod.send(...)
        seen.of("netkit-edu")

    It sees the whole machine's packets. What it saw is complete once the block is left.

    Args:
        functions: kernel functions whose first argument is a packet, to be seen at their entry; by default those of
            `FUNCTIONS` that this kernel has, none where it has no kprobes.

    Raises:
        BackendUnavailable: BCC does not work here, or a function that was asked for cannot be probed.
    """

    def __init__(self, functions: tuple[str, ...] | None = None):
        self.events: list[Carried] = []
        self.lost = 0
        self._functions = functions
        self._bpf = None

    def __enter__(self) -> PacketTrace:
        if self._bpf is not None:
            raise UsageError("a trace is used once: make another one")
        text = _TEXT + "".join(_TRACEPOINT.format(name=n, number=i) for i, n in enumerate(TRACEPOINTS))
        wanted = FUNCTIONS if self._functions is None else self._functions
        self._names = [*TRACEPOINTS, *wanted]
        text += "".join(_FUNCTION.format(name=n, number=len(TRACEPOINTS) + i) for i, n in enumerate(wanted))
        self._bpf = compile_bcc(text, self._attach)
        self._bpf[b"events"].open_perf_buffer(self._take, page_cnt=64, lost_cb=self._lose)
        self._raw: list = []
        return self

    def _attach(self, bpf) -> None:
        able = Path(TRACEFS, "kprobe_events").exists()
        for name in self._names[len(TRACEPOINTS) :]:
            try:
                if not able:
                    raise OSError("this kernel has no kprobes")
                with caught_stderr():
                    bpf.attach_kprobe(event=name.encode(), fn_name=f"at_{name}".encode())
            except Exception as error:
                if self._functions is not None:
                    bpf.cleanup()
                    raise BackendUnavailable(f"{name} cannot be probed here: {error}") from None

    def __exit__(self, *exc) -> None:
        try:
            before = -1
            while before != len(self._raw):
                before = len(self._raw)
                self._bpf.perf_buffer_poll(timeout=20)
            self.events = sorted(map(self._told, self._raw))
        finally:
            self._bpf.cleanup()

    def _take(self, cpu: int, data, size: int) -> None:
        event = self._bpf[b"events"].event(data)
        self._raw.append({name: getattr(event, name) for name, *_ in event._fields_})

    def _lose(self, count: int) -> None:
        self.lost += count

    def _told(self, raw: dict) -> Carried:
        entry = raw["what"] == _SOFTIRQ_ENTRY
        softirq = SOFTIRQS[raw["softirq"] - 1] if raw["softirq"] else ""
        return Carried(
            raw["ns"], "softirq_entry" if entry else self._names[raw["what"]],
            Context.SOFTIRQ if softirq else Context.PROCESS, softirq, raw["task"].decode(errors="replace"),
            raw["pid"], raw["cpu"], raw["device"].decode(errors="replace"), raw["length"], raw["skb"],
        )  # fmt: skip

    def of(self, task: str) -> list[Carried]:
        """Return what happened to the packets that a task of that name had in its hands, from then on.

        With each moment in softirq context comes the softirq's entry before it. The kernel uses a packet's address
        again: once another task has it in process context, it is another packet's.
        """
        packets: set[int] = set()
        found: list[Carried] = []
        entries: dict[int, Carried] = {}
        for event in self.events:
            if not event.skb:
                entries[event.cpu] = event
                continue
            if event.task == task:
                packets.add(event.skb)
            elif event.context is Context.PROCESS:
                packets.discard(event.skb)
            if event.skb in packets:
                if event.softirq and event.cpu in entries:
                    found.append(entries.pop(event.cpu))
                found.append(event)
        return found

    def __repr__(self) -> str:
        return "\n".join(map(str, self.events)) or "<nothing was seen>"

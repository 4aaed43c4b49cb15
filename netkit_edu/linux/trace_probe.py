"""The eBPF programs that record, as instructions: one record for each event, into the log.

The log is the only value of an array map, which the door has mapped: a head of `HEAD` bytes (how many bytes of records
there are, whether to record, both u64), then the records. A record is `RECORD` and the bytes of the packet behind it,
in multiples of 8; see `records.py`. A log that is full takes no more: the first number goes on counting.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from netkit_edu.errors import ObjectError
from netkit_edu.linux.kernelbtf import KernelBtf
from netkit_edu.linux.trace_assembly import END, START
from netkit_edu.linux.trace_table import FIB_LOOKUP, KFREE_SKB, VALUE, VERDICT, Function
from netkit_edu.program.assembler import assemble
from netkit_edu.program.object import Insn

HEAD = 4096  # bytes
LOG = 0x180000  # bytes, head included
BYTES_MOST = 2048  # bytes of a packet in one record
# skb, also, ifindex, inode of the namespace, number, cpu, preempt count, length, ethertype, bytes, second, task, flags
RECORD = struct.Struct("<QQIIHHIIHHQII")
_ARGUMENTS = (112, 104, 96, 88, 72, 64)  # offsets of di, si, dx, cx, r8, r9 in struct pt_regs (x86-64)
_READ, _CURRENT_TASK = 113, 35  # bpf_probe_read_kernel, bpf_get_current_task


def _read(to: int, size: int, base: str, off: int) -> str:
    """Read kernel memory to the stack; what cannot be read reads as zeros."""
    return f"r3 = {base}\nr3 += {off}\nr1 = r10\nr1 += {to}\nr2 = {size}\ncall {_READ}"


def _select(register: str) -> str:
    """Take the argument whose number is in the low bits of r1."""
    return f"r1 &= 7\nr1 <<= 3\nr2 = r10\nr2 += -80\nr2 += r1\n{register} = *(u64 *)(r2 +0)"


def _take(offsets: Iterable[int]) -> str:
    """Keep the arguments that lie at these offsets of the context."""
    return "\n".join(f"r1 = *(u64 *)(r6 +{off})\n*(u64 *)(r10 {8 * n - 72}) = r1" for n, off in enumerate(offsets))


def _redirect(btf: KernelBtf) -> str:
    """Read what the task's redirect is to be: ``also`` is ifindex and flags << 32, ``second`` whether that is valid.

    Before 6.11 the kernel keeps it for each CPU, where it is not read.
    """
    nothing = "r1 = 0\n*(u64 *)(r10 -96) = r1"
    try:
        context = btf.offset("task_struct", "bpf_net_context")
        index, flags = (btf.offset("bpf_net_context", f"ri.{field}") for field in ("tgt_index", "flags"))
        valid = btf.offset("bpf_net_context", "ri.kern_flags")
    except ObjectError:
        return nothing
    return f"""
    {nothing}
    call {_CURRENT_TASK}
    {_read(-8, 8, "r0", context)}
    r0 = *(u64 *)(r10 -8)
    if r0 == 0 goto bytes
    *(u64 *)(r10 -16) = r0
    {_read(-128, 4, "r0", index)}
    r0 = *(u64 *)(r10 -16)
    {_read(-124, 4, "r0", flags)}
    r0 = *(u64 *)(r10 -16)
    {_read(-96, 4, "r0", valid)}
    """


class Probes:
    """The programs for one kernel.

    Args:
        btf: its types.
        log: the descriptor of the log's map.

    Raises:
        ObjectError: its structures are not those that are read here.
    """

    def __init__(self, btf: KernelBtf, log: int):
        at = btf.offset
        preempt_id = btf.variable("pcpu_hot")
        preempt = at("pcpu_hot", "preempt_count") if preempt_id else 0
        self._btf = btf
        self._start = START.format(log=log)
        self._end = END.format(
            preempt_id=preempt_id or btf.variable("__preempt_count"),
            preempt=preempt,
            select_r9=_select("r9"),
            select_r0=_select("r0"),
            read_r9_0=_read(-8, 8, "r9", 0),
            read_len=_read(-8, 4, "r9", at("sk_buff", "len")),
            read_protocol=_read(-8, 2, "r9", at("sk_buff", "protocol")),
            read_refdst=_read(-8, 8, "r9", at("sk_buff", "_skb_refdst")),
            read_dst_dev=_read(-8, 8, "r1", at("dst_entry", "dev")),
            read_skb_dev=_read(-8, 8, "r9", at("sk_buff", "dev")),
            read_dev_ifindex=_read(-120, 4, "r0", at("net_device", "ifindex")),
            read_dev_flags=_read(-84, 4, "r0", at("net_device", "flags")),
            read_other_ifindex=_read(-128, 4, "r0", at("net_device", "ifindex")),
            read_other_inum=_read(-124, 4, "r0", at("net", "ns.inum")),
            read_dev_net=_read(-8, 8, "r0", at("net_device", "nd_net.net")),
            read_socket_sk=_read(-8, 8, "r0", at("socket", "sk")),
            read_sock_net=_read(-8, 8, "r0", at("sock", "__sk_common.skc_net.net")),
            read_inum=_read(-116, 4, "r0", at("net", "ns.inum")),
            read_neighbour=_read(-128, 4, "r0", at("neighbour", "primary_key")),
            read_end=_read(-8, 4, "r9", at("sk_buff", "end")),
            read_segments=_read(-128, 4, "r0", at("skb_shared_info", "gso_size")),
            read_redirect=_redirect(btf),
            read_flow=_read(-128, 4, "r0", at("flowi4", "__fl_common.flowic_oif")),
            read_point=_read(-128, 1, "r0", at("nf_hook_state", "hook")),
            read_qdisc_ops=_read(-8, 8, "r0", at("Qdisc", "ops")),
            read_qdisc_id=_read(-128, 8, "r0", at("Qdisc_ops", "id")),
            read_head=_read(-8, 8, "r9", at("sk_buff", "head")),
            read_data=_read(-8, 8, "r9", at("sk_buff", "data")),
            read_network=_read(-8, 2, "r9", at("sk_buff", "network_header")),
            read_tail=_read(-8, 4, "r9", at("sk_buff", "tail")),
            copy="\n".join(f"r1 = *(u64 *)(r10 {8 * n - 136})\n*(u64 *)(r9 +{8 * n}) = r1" for n in range(7)),
            arp=0x0608,  # ETH_P_ARP as it lies in memory
            most=BYTES_MOST,
            room=LOG - HEAD - BYTES_MOST - 64,
            head=HEAD,
        )

    def entry(self) -> tuple[Insn, ...]:
        """Return the program for functions' entries; which one it is at, its cookie says."""
        take = _take(_ARGUMENTS)
        return assemble(f"{self._start}{take}\nr1 = r6\ncall 174\nr7 = r0\n{self._end}")

    def freed(self, number: int) -> tuple[Insn, ...]:
        """Return the program for the tracepoint kfree_skb (skb, location, reason) or consume_skb (skb, location)."""
        arguments = 3 if number == KFREE_SKB else 2
        take = _take(8 * n for n in range(arguments))
        return self._numbered(take, Function("", 1, also=3, what=VALUE), number)

    def verdict(self, prog_id: int) -> tuple[Insn, ...]:
        """Return the program for the end of a program: the packet, its id, and what it returned."""
        take = f"""
        {self._argument(0, -72)}
        r1 = {prog_id}
        *(u64 *)(r10 -64) = r1
        r1 = r6
        r2 = r10
        r2 += -56
        call 184
        """
        return self._numbered(take, Function("", 1, also=3, what=VALUE), VERDICT)

    def lookup(self) -> tuple[Insn, ...]:
        """Return the program for the end of fib_table_lookup(tb, flp, res, flags).

        The record's device is the route's; ``also`` is prefix, its length << 32, type << 40; ``second`` is the gateway,
        and 1 << 32 if there is no route.
        """
        at = self._btf.offset
        take = f"""
        {self._argument(2, -24)}
        r1 = r6
        r2 = r10
        r2 += -8
        call 184
        r1 = *(u64 *)(r10 -8)
        if r1 == 0 goto found
        r1 = 1
        r1 <<= 32
        *(u64 *)(r10 -64) = r1
        r1 = 0
        *(u64 *)(r10 -24) = r1
        goto end
        found:
        r9 = *(u64 *)(r10 -24)
        r1 = 0
        *(u64 *)(r10 -24) = r1
        {_read(-56, 4, "r9", at("fib_result", "prefix"))}
        {_read(-52, 1, "r9", at("fib_result", "prefixlen"))}
        {_read(-51, 1, "r9", at("fib_result", "type"))}
        {_read(-8, 8, "r9", at("fib_result", "nhc"))}
        r9 = *(u64 *)(r10 -8)
        if r9 == 0 goto end
        {_read(-48, 8, "r9", at("fib_nh_common", "nhc_dev"))}
        {_read(-64, 4, "r9", at("fib_nh_common", "nhc_gw"))}
        end:
        """
        return self._numbered(take, Function("", dev=4, also=3, what=VALUE), FIB_LOOKUP)

    def _argument(self, number: int, to: int) -> str:
        """Read an argument of the function whose end this is (bpf_get_func_arg)."""
        return f"r1 = r6\nr2 = {number}\nr3 = r10\nr3 += {to}\ncall 183"

    def _numbered(self, take: str, function: Function, number: int) -> tuple[Insn, ...]:
        cookie = function.cookie(number)
        return assemble(f"{self._start}{take}\nr7 = {cookie:#x}\n{self._end}")

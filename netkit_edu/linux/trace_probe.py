"""The eBPF programs that record, as instructions: one record for each event, into the log.

The log is the only value of an array map, which the door has mapped: a head of `HEAD` bytes (how many bytes of records
there are, whether to record, both u64), then the records. A record is `RECORD` and the bytes of the packet behind it,
in multiples of 8; see `records.py`. A log that is full takes no more: the first number goes on counting.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from netkit_edu.linux.kernelbtf import KernelBtf
from netkit_edu.linux.trace_table import FIB_LOOKUP, KFREE_SKB, VALUE, VERDICT, Function
from netkit_edu.program.assembler import assemble
from netkit_edu.program.object import Insn

HEAD = 4096  # bytes
LOG = 0x180000  # bytes, head included
BYTES_MOST = 2048  # bytes of a packet in one record
# skb, also, ifindex, inode of the namespace, number, cpu, preempt count, length, ethertype, bytes, second, task, flags
RECORD = struct.Struct("<QQIIHHIIHHQII")
_ARGUMENTS = (112, 104, 96, 88, 72, 64)  # offsets of di, si, dx, cx, r8, r9 in struct pt_regs (x86-64)
_READ = 113  # bpf_probe_read_kernel

# Stack: -8 scratch; -80 + 8 n: argument n (0 and 7 are 0); -136: the record. r6 context, r7 cookie, r8 log, r9 packet.
_START = """
r6 = r1
r8 = map[fd:{log}][0]+0
r1 = *(u64 *)(r8 +8)
if r1 == 0 goto out
r1 = 0
*(u64 *)(r10 -80) = r1
*(u64 *)(r10 -72) = r1
*(u64 *)(r10 -64) = r1
*(u64 *)(r10 -56) = r1
*(u64 *)(r10 -48) = r1
*(u64 *)(r10 -40) = r1
*(u64 *)(r10 -32) = r1
*(u64 *)(r10 -24) = r1
*(u64 *)(r10 -136) = r1
*(u64 *)(r10 -128) = r1
*(u64 *)(r10 -120) = r1
*(u64 *)(r10 -112) = r1
*(u64 *)(r10 -104) = r1
*(u64 *)(r10 -96) = r1
*(u64 *)(r10 -88) = r1
"""

_END = """
r1 = r7
r1 &= 255
*(u16 *)(r10 -112) = r1
r1 = *(u64 *)(r10 -64)
*(u64 *)(r10 -96) = r1
call 8
*(u16 *)(r10 -110) = r0
call 14
r0 >>= 32
*(u32 *)(r10 -88) = r0
r1 = variable[{preempt_id}]+0
call 154
r1 = *(u32 *)(r0 +{preempt})
*(u32 *)(r10 -108) = r1
; the packet
r1 = r7
r1 >>= 8
{select_r9}
r1 = r7
r1 &= 32768
if r1 == 0 goto packet
{read_r9_0}
r9 = *(u64 *)(r10 -8)
packet:
*(u64 *)(r10 -136) = r9
if r9 == 0 goto device
{read_len}
r1 = *(u32 *)(r10 -8)
*(u32 *)(r10 -104) = r1
{read_protocol}
r1 = *(u16 *)(r10 -8)
*(u16 *)(r10 -100) = r1
device:
r1 = r7
r1 >>= 16
{select_r0}
if r0 != 0 goto known
if r9 == 0 goto namespace
r1 = r7
r1 >>= 23
r1 &= 1
if r1 == 0 goto own
{read_refdst}
r1 = *(u64 *)(r10 -8)
r1 &= -2
if r1 == 0 goto own
{read_dst_dev}
goto from_scratch
own:
{read_skb_dev}
from_scratch:
r0 = *(u64 *)(r10 -8)
known:
if r0 == 0 goto namespace
*(u64 *)(r10 -8) = r0
{read_dev_ifindex}
r0 = *(u64 *)(r10 -8)
{read_dev_flags}
r0 = *(u64 *)(r10 -8)
{read_dev_net}
goto inode
namespace:
r1 = r7
r1 >>= 24
{select_r0}
if r0 == 0 goto more
r1 = r7
r1 >>= 28
r1 &= 15
*(u64 *)(r10 -8) = r0
if r1 == 1 goto inode
if r1 == 2 goto sock
{read_socket_sk}
r0 = *(u64 *)(r10 -8)
sock:
{read_sock_net}
inode:
r0 = *(u64 *)(r10 -8)
if r0 == 0 goto more
{read_inum}
more:
r1 = r7
r1 >>= 32
{select_r0}
r2 = r7
r2 >>= 36
r2 &= 15
if r2 == 0 goto bytes
if r2 == 1 goto neighbour
if r2 == 2 goto point
if r2 == 4 goto qdisc
if r2 == 5 goto other
if r2 == 6 goto flow
*(u64 *)(r10 -128) = r0
goto bytes
neighbour:
{read_neighbour}
goto bytes
flow:
{read_flow}
goto bytes
point:
{read_point}
goto bytes
other:
if r0 == 0 goto bytes
*(u64 *)(r10 -8) = r0
{read_other_ifindex}
r0 = *(u64 *)(r10 -8)
{read_dev_net}
r0 = *(u64 *)(r10 -8)
{read_other_inum}
goto bytes
qdisc:
{read_qdisc_ops}
r0 = *(u64 *)(r10 -8)
{read_qdisc_id}
bytes:
r1 = r7
r1 >>= 40
r1 &= 3
if r1 == 0 goto reserve
if r9 == 0 goto reserve
*(u64 *)(r10 -16) = 0
{read_head}
r0 = *(u64 *)(r10 -8)
*(u64 *)(r10 -80) = r0
r1 = r7
r1 >>= 40
r1 &= 3
if r1 == 1 goto from_ip
r1 = *(u16 *)(r10 -100)
if r1 != {arp} goto reserve
{read_data}
r1 = *(u64 *)(r10 -8)
*(u64 *)(r10 -24) = r1
goto measured
from_ip:
{read_network}
r1 = *(u16 *)(r10 -8)
r0 = *(u64 *)(r10 -80)
r1 += r0
*(u64 *)(r10 -24) = r1
measured:
{read_tail}
r1 = *(u32 *)(r10 -8)
r0 = *(u64 *)(r10 -80)
r1 += r0
r0 = *(u64 *)(r10 -24)
r1 -= r0
if r1 <= {most} goto fits
if r1 s< 0 goto reserve
r1 = {most}
fits:
*(u16 *)(r10 -98) = r1
reserve:
r2 = *(u16 *)(r10 -98)
r2 += 63
r2 &= -8
r1 = r2
r1 = atomic64_fetch_add((u64 *)(r8 +0), r1)
if r1 > {room} goto out
r9 = r8
r9 += {head}
r9 += r1
{copy}
r2 = *(u16 *)(r10 -98)
if r2 == 0 goto out
if r2 > {most} goto out
r1 = r9
r1 += 56
r3 = *(u64 *)(r10 -24)
call 113
out:
r0 = 0
exit
"""


def _read(to: int, size: int, base: str, off: int) -> str:
    """Read kernel memory to the stack; what cannot be read reads as zeros."""
    return f"r3 = {base}\nr3 += {off}\nr1 = r10\nr1 += {to}\nr2 = {size}\ncall {_READ}"


def _select(register: str) -> str:
    """Take the argument whose number is in the low bits of r1."""
    return f"r1 &= 7\nr1 <<= 3\nr2 = r10\nr2 += -80\nr2 += r1\n{register} = *(u64 *)(r2 +0)"


def _take(offsets: Iterable[int]) -> str:
    """Keep the arguments that lie at these offsets of the context."""
    return "\n".join(f"r1 = *(u64 *)(r6 +{off})\n*(u64 *)(r10 {8 * n - 72}) = r1" for n, off in enumerate(offsets))


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
        self._start = _START.format(log=log)
        self._end = _END.format(
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

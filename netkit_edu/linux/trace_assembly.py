"""The recording programs' common start and end, in the assembler's text; `trace_probe.py` fills in offsets.

On the stack lie from -8 scratch, from -80 + 8 n argument n (0 and 7 are 0), from -136 the record. r6 is the context, r7
the cookie (`trace_table.Function.cookie`), r8 the log, r9 the packet.
"""

from __future__ import annotations

START = """
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

END = """
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
if r2 == 7 goto segments
if r2 == 8 goto redirect
*(u64 *)(r10 -128) = r0
goto bytes
neighbour:
{read_neighbour}
goto bytes
segments:
{read_end}
r0 = *(u32 *)(r10 -8)
*(u64 *)(r10 -16) = r0
{read_head}
r0 = *(u64 *)(r10 -8)
r1 = *(u64 *)(r10 -16)
r0 += r1
{read_segments}
goto bytes
flow:
{read_flow}
goto bytes
redirect:
{read_redirect}
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

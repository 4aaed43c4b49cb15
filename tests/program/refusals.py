"""What the verifier of Linux 6.12.117 said of small programs: their C text, its log word for word, the point of it.

The logs are those of `prog.verify` at level 1; ``line`` and ``words`` are the C line it stopped at and its first
sentence, 0 and "" for a program that it accepts. A test asks a kernel again.
"""

# ruff: noqa: E501 - the lines are the kernel's own
from __future__ import annotations

from typing import NamedTuple


class Said(NamedTuple):
    """One program and what the verifier said of it."""

    text: str
    log: str
    line: int = 0
    words: str = ""


SAID: dict[str, Said] = {
    "short_check": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(eth + 1) > data_end)
		return NETKIT_DROP;
	if (ip->ttl < 2)
		return NETKIT_DROP;
	return NETKIT_PASS;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w0 = 2                        ; R0_w=2
; void *data_end = (void *)(long)skb->data_end; @ cell:7
1: (61) r2 = *(u32 *)(r1 +80)         ; R1=ctx() R2_w=pkt_end()
; void *data = (void *)(long)skb->data; @ cell:6
2: (61) r1 = *(u32 *)(r1 +76)         ; R1_w=pkt(r=0)
; if ((void *)(eth + 1) > data_end) @ cell:11
3: (bf) r3 = r1                       ; R1_w=pkt(r=0) R3_w=pkt(r=0)
4: (07) r3 += 14                      ; R3_w=pkt(off=14,r=0)
5: (2d) if r3 > r2 goto pc+5          ; R2_w=pkt_end() R3_w=pkt(off=14,r=14)
; if (ip->ttl < 2) @ cell:13
6: (71) r1 = *(u8 *)(r1 +22)
invalid access to packet, off=22 size=1, R1(id=0,off=22,r=14)
R1 offset is outside of the packet
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        13,
        "invalid access to packet, off=22 size=1, R1(id=0,off=22,r=14)",
    ),
    "no_check": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;

	return eth->h_proto == bpf_htons(ETH_P_IP) ? NETKIT_PASS : NETKIT_DROP;
}
""",
        """\
0: R1=ctx() R10=fp0
; void *data = (void *)(long)skb->data; @ cell:6
0: (61) r1 = *(u32 *)(r1 +76)         ; R1_w=pkt(r=0)
; return eth->h_proto == bpf_htons(ETH_P_IP) ? NETKIT_PASS : NETKIT_DROP; @ cell:9
1: (71) r2 = *(u8 *)(r1 +12)
invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)
R1 offset is outside of the packet
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        9,
        "invalid access to packet, off=12 size=1, R1(id=0,off=12,r=0)",
    ),
    "null": Said(
        """\
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	__u32 key = skb->mark;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	*count += 1;
	return NETKIT_NEXT;
}
""",
        """\
0: R1=ctx() R10=fp0
; __u32 key = skb->mark; @ cell:13
0: (61) r1 = *(u32 *)(r1 +8)          ; R1_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
1: (63) *(u32 *)(r10 -4) = r1         ; R1_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
2: (bf) r2 = r10                      ; R2_w=fp0 R10=fp0
3: (07) r2 += -4                      ; R2_w=fp-4
; __u64 *count = bpf_map_lookup_elem(&seen, &key); @ cell:14
4: (18) r1 = 0xff17b75f824fcc00       ; R1_w=map_ptr(map=seen,ks=4,vs=8)
6: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=seen,ks=4,vs=8)
; *count += 1; @ cell:16
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        16,
        "R0 invalid mem access 'map_value_or_null'",
    ),
    "context": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	skb->mark = 7;
	skb->len = 20;
	return NETKIT_PASS;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w2 = 20                       ; R2_w=20
; skb->len = 20; @ cell:7
1: (63) *(u32 *)(r1 +0) = r2
invalid bpf_context access off=0 size=4
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        7,
        "invalid bpf_context access off=0 size=4",
    ),
    "stack": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	char name[16] = {};

	bpf_skb_store_bytes(skb, 0, name, 20, 0);
	return NETKIT_PASS;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b7) r2 = 0                        ; R2_w=0
; char name[16] = {}; @ cell:6
1: (7b) *(u64 *)(r10 -8) = r2         ; R2_w=0 R10=fp0 fp-8_w=0
2: (7b) *(u64 *)(r10 -16) = r2        ; R2_w=0 R10=fp0 fp-16_w=0
3: (bf) r3 = r10                      ; R3_w=fp0 R10=fp0
4: (07) r3 += -16                     ; R3_w=fp-16
; bpf_skb_store_bytes(skb, 0, name, 20, 0); @ cell:8
5: (b4) w2 = 0                        ; R2_w=0
6: (b4) w4 = 20                       ; R4_w=20
7: (b7) r5 = 0                        ; R5_w=0
8: (85) call bpf_skb_store_bytes#9
invalid indirect access to stack R3 off=-16 size=20
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        8,
        "invalid indirect access to stack R3 off=-16 size=20",
    ),
    "stale": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return NETKIT_DROP;
	bpf_skb_pull_data(skb, 34);
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_DROP;
	return NETKIT_PASS;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w0 = 2                        ; R0_w=2
; void *data_end = (void *)(long)skb->data_end; @ cell:7
1: (61) r2 = *(u32 *)(r1 +80)         ; R1=ctx() R2_w=pkt_end()
; void *data = (void *)(long)skb->data; @ cell:6
2: (61) r6 = *(u32 *)(r1 +76)         ; R1=ctx() R6_w=pkt(r=0)
; if ((void *)(eth + 1) > data_end) @ cell:10
3: (bf) r3 = r6                       ; R3_w=pkt(r=0) R6_w=pkt(r=0)
4: (07) r3 += 14                      ; R3_w=pkt(off=14,r=0)
5: (2d) if r3 > r2 goto pc+10         ; R2_w=pkt_end() R3_w=pkt(off=14,r=14)
; bpf_skb_pull_data(skb, 34); @ cell:12
6: (b4) w2 = 34                       ; R2_w=34
7: (85) call bpf_skb_pull_data#39     ; R0=scalar()
; if (eth->h_proto != bpf_htons(ETH_P_IP)) @ cell:13
8: (71) r1 = *(u8 *)(r6 +12)
R6 invalid mem access 'scalar'
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
""",
        13,
        "R6 invalid mem access 'scalar'",
    ),
    "variable": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	__u8 *bytes = data;
	__u32 at = skb->mark;

	if (data + 64 > data_end)
		return NETKIT_DROP;
	return bytes[at];
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w0 = 2                        ; R0_w=2
; void *data_end = (void *)(long)skb->data_end; @ cell:7
1: (61) r3 = *(u32 *)(r1 +80)         ; R1=ctx() R3_w=pkt_end()
; void *data = (void *)(long)skb->data; @ cell:6
2: (61) r2 = *(u32 *)(r1 +76)         ; R1=ctx() R2_w=pkt(r=0)
; if (data + 64 > data_end) @ cell:11
3: (bf) r4 = r2                       ; R2_w=pkt(r=0) R4_w=pkt(r=0)
4: (07) r4 += 64                      ; R4_w=pkt(off=64,r=0)
5: (2d) if r4 > r3 goto pc+3          ; R3_w=pkt_end() R4_w=pkt(off=64,r=64)
; __u32 at = skb->mark; @ cell:9
6: (61) r1 = *(u32 *)(r1 +8)          ; R1_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
; return bytes[at]; @ cell:13
7: (0f) r2 += r1                      ; R1_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R2_w=pkt(id=1,r=0,smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
8: (71) r0 = *(u8 *)(r2 +0)
invalid access to packet, off=0 size=1, R2(id=1,off=0,r=0)
R2 offset is outside of the packet
processed 9 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        13,
        "invalid access to packet, off=0 size=1, R2(id=1,off=0,r=0)",
    ),
    "other_path": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(ip + 1) > data_end)
		return NETKIT_DROP;
	if (ip->protocol == IPPROTO_UDP) {
		if (udp->dest == bpf_htons(53))
			return NETKIT_PASS;
	}
	skb->mark = ip->ttl;
	return NETKIT_NEXT;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w0 = 2                        ; R0_w=2
; void *data_end = (void *)(long)skb->data_end; @ cell:7
1: (61) r3 = *(u32 *)(r1 +80)         ; R1=ctx() R3_w=pkt_end()
; void *data = (void *)(long)skb->data; @ cell:6
2: (61) r2 = *(u32 *)(r1 +76)         ; R1=ctx() R2_w=pkt(r=0)
; struct udphdr *udp = (void *)(ip + 1); @ cell:10
3: (bf) r4 = r2                       ; R2_w=pkt(r=0) R4_w=pkt(r=0)
4: (07) r4 += 34                      ; R4_w=pkt(off=34,r=0)
; if ((void *)(ip + 1) > data_end) @ cell:12
5: (2d) if r4 > r3 goto pc+8          ; R3_w=pkt_end() R4_w=pkt(off=34,r=34)
; if (ip->protocol == IPPROTO_UDP) { @ cell:14
6: (71) r3 = *(u8 *)(r2 +23)          ; R2_w=pkt(r=34) R3_w=scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))
7: (56) if w3 != 0x11 goto pc+3       ; R3_w=17
8: (b4) w0 = 0                        ; R0_w=0
; if (udp->dest == bpf_htons(53)) @ cell:15
9: (69) r3 = *(u16 *)(r2 +36)
invalid access to packet, off=36 size=2, R2(id=0,off=36,r=34)
R2 offset is outside of the packet
processed 10 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        15,
        "invalid access to packet, off=36 size=2, R2(id=0,off=36,r=34)",
    ),
    "options": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp;

	if ((void *)(ip + 1) > data_end)
		return NETKIT_DROP;
	udp = (void *)ip + ip->ihl * 4;
	if (udp->dest == bpf_htons(53))
		return NETKIT_PASS;
	return NETKIT_DROP;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w0 = 2                        ; R0_w=2
; void *data = (void *)(long)skb->data; @ cell:6
1: (61) r2 = *(u32 *)(r1 +76)         ; R1=ctx() R2_w=pkt(r=0)
; void *data_end = (void *)(long)skb->data_end; @ cell:7
2: (61) r1 = *(u32 *)(r1 +80)         ; R1_w=pkt_end()
; if ((void *)(ip + 1) > data_end) @ cell:12
3: (bf) r3 = r2                       ; R2_w=pkt(r=0) R3_w=pkt(r=0)
4: (07) r3 += 34                      ; R3_w=pkt(off=34,r=0)
5: (2d) if r3 > r1 goto pc+10         ; R1_w=pkt_end() R3_w=pkt(off=34,r=34)
6: (07) r2 += 14                      ; R2_w=pkt(off=14,r=34)
; udp = (void *)ip + ip->ihl * 4; @ cell:14
7: (71) r1 = *(u8 *)(r2 +0)           ; R1_w=scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff)) R2_w=pkt(off=14,r=34)
8: (64) w1 <<= 2                      ; R1_w=scalar(smin=smin32=0,smax=umax=smax32=umax32=1020,var_off=(0x0; 0x3fc))
9: (57) r1 &= 60                      ; R1_w=scalar(smin=smin32=0,smax=umax=smax32=umax32=60,var_off=(0x0; 0x3c))
10: (0f) r2 += r1                     ; R1_w=scalar(smin=smin32=0,smax=umax=smax32=umax32=60,var_off=(0x0; 0x3c)) R2_w=pkt(id=1,off=14,r=0,smin=smin32=0,smax=umax=smax32=umax32=60,var_off=(0x0; 0x3c))
; if (udp->dest == bpf_htons(53)) @ cell:15
11: (69) r1 = *(u16 *)(r2 +2)
invalid access to packet, off=16 size=2, R2(id=1,off=16,r=0)
R2 offset is outside of the packet
processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        15,
        "invalid access to packet, off=16 size=2, R2(id=1,off=16,r=0)",
    ),
    "value_end": Said(
        """\
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	if (!count)
		return NETKIT_NEXT;
	count[1] = skb->len;
	return NETKIT_NEXT;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:11
0: (bf) r6 = r1                       ; R1=ctx() R6_w=ctx()
1: (b4) w1 = 0                        ; R1_w=0
; __u32 key = 0; @ cell:13
2: (63) *(u32 *)(r10 -4) = r1         ; R1_w=0 R10=fp0 fp-8=0000????
3: (bf) r2 = r10                      ; R2_w=fp0 R10=fp0
4: (07) r2 += -4                      ; R2_w=fp-4
; __u64 *count = bpf_map_lookup_elem(&seen, &key); @ cell:14
5: (18) r1 = 0xff17b75f824fcc00       ; R1_w=map_ptr(map=seen,ks=4,vs=8)
7: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=seen,ks=4,vs=8)
; if (!count) @ cell:16
8: (15) if r0 == 0x0 goto pc+2        ; R0_w=map_value(map=seen,ks=4,vs=8)
; count[1] = skb->len; @ cell:18
9: (61) r1 = *(u32 *)(r6 +0)          ; R1_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R6_w=ctx()
10: (7b) *(u64 *)(r0 +8) = r1
invalid access to map value, value_size=8 off=8 size=8
R0 min value is outside of the allowed memory range
processed 10 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        18,
        "invalid access to map value, value_size=8 off=8 size=8",
    ),
    "read_only": Said(
        """\
const volatile __u32 LIMIT = 9;

SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	__u32 *limit = (__u32 *)&LIMIT;

	*(volatile __u32 *)limit = skb->len;
	return NETKIT_PASS;
}
""",
        """\
0: R1=ctx() R10=fp0
; *(volatile __u32 *)limit = skb->len; @ cell:10
0: (61) r1 = *(u32 *)(r1 +0)          ; R1_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
1: (18) r2 = 0xff17b75f81978d08       ; R2_w=map_value(map=.rodata,ks=4,vs=4)
3: (63) *(u32 *)(r2 +0) = r1
write into map forbidden, value_size=4 off=0 size=4
processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
        10,
        "write into map forbidden, value_size=4 off=0 size=4",
    ),
    "no_value": Said(
        """\
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &key);

	if (count)
		skb->mark = 1;
	bpf_map_update_elem(&seen, &key, 0, BPF_ANY);
	return NETKIT_NEXT;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:11
0: (bf) r6 = r1                       ; R1=ctx() R6_w=ctx()
1: (b4) w1 = 0                        ; R1_w=0
; __u32 key = 0; @ cell:13
2: (63) *(u32 *)(r10 -4) = r1         ; R1_w=0 R10=fp0 fp-8=0000????
3: (bf) r2 = r10                      ; R2_w=fp0 R10=fp0
4: (07) r2 += -4                      ; R2_w=fp-4
; __u64 *count = bpf_map_lookup_elem(&seen, &key); @ cell:14
5: (18) r1 = 0xff17b75f824fcc00       ; R1_w=map_ptr(map=seen,ks=4,vs=8)
7: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=seen,ks=4,vs=8)
; if (count) @ cell:16
8: (15) if r0 == 0x0 goto pc+2        ; R0_w=map_value(map=seen,ks=4,vs=8)
9: (b4) w1 = 1                        ; R1_w=1
; skb->mark = 1; @ cell:17
10: (63) *(u32 *)(r6 +8) = r1         ; R1=1 R6=ctx()
11: (bf) r2 = r10                     ; R2_w=fp0 R10=fp0
12: (07) r2 += -4                     ; R2_w=fp-4
; bpf_map_update_elem(&seen, &key, 0, BPF_ANY); @ cell:18
13: (18) r1 = 0xff17b75f824fcc00      ; R1_w=map_ptr(map=seen,ks=4,vs=8)
15: (b7) r3 = 0                       ; R3_w=0
16: (b7) r4 = 0                       ; R4_w=0
17: (85) call bpf_map_update_elem#2
R3 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_
processed 16 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
""",
        18,
        "R3 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
    ),
    "endless": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	volatile __u32 n = 1;

	while (n)
		skb->mark = 1;
	return NETKIT_PASS;
}
""",
        """\
0: R1=ctx() R10=fp0
; int prog(struct __sk_buff *skb) @ cell:4
0: (b4) w2 = 1                        ; R2_w=1
; volatile __u32 n = 1; @ cell:6
1: (63) *(u32 *)(r10 -4) = r2         ; R2_w=1 R10=fp0 fp-8=mmmm????
; while (n) @ cell:8
2: (61) r2 = *(u32 *)(r10 -4)         ; R2_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
3: (16) if w2 == 0x0 goto pc+4        ; R2_w=scalar(smin=umin=umin32=1,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
4: (61) r2 = *(u32 *)(r10 -4)         ; R2_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
5: (56) if w2 != 0x0 goto pc-2 4: R1=ctx() R2_w=scalar(smin=umin=umin32=1,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
; while (n) @ cell:8
4: (61) r2 = *(u32 *)(r10 -4)         ; R2_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
5: (56) if w2 != 0x0 goto pc-2 4: R1=ctx() R2_w=scalar(smin=umin=umin32=1,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
; while (n) @ cell:8
4: (61) r2 = *(u32 *)(r10 -4)         ; R2=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
5: (56) if w2 != 0x0 goto pc-2 4: R1=ctx() R2=scalar(smin=umin=umin32=1,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
; while (n) @ cell:8
4: (61) r2 = *(u32 *)(r10 -4)
infinite loop detected at insn 5
cur state: R1=ctx() R2_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8=mmmm????
old state: R1_r=ctx() R2_rw=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0 fp-8_r=mmmm????
processed 22 insns (limit 1000000) max_states_per_insn 0 total_states 2 peak_states 2 mark_read 1
""",
        8,
        "infinite loop detected at insn 5",
    ),
    "fine": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	if (data + 14 > data_end)
		return NETKIT_DROP;
	return NETKIT_PASS;
}
""",
        """\
verification time 78 usec
stack depth 0
processed 10 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 1
""",
    ),
    "fine_too": Said(
        """\
SEC("netkit/peer")
int prog(struct __sk_buff *skb)
{
	skb->mark = 7;
	return NETKIT_NEXT;
}
""",
        """\
verification time 62 usec
stack depth 0
processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
    ),
}  # fmt: skip

// SPDX-License-Identifier: MIT
/*
 * Shows:   a verdict that is changed from outside while packets flow: the
 *          program returns what the map says, 0 (PASS) to begin with
 * Hook:    netkit/peer
 * Expect:  dns PASS, web PASS, ping PASS, arp PASS, cut PASS
 * Kernel:  6.7
 */
#include "netkit_edu.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s32);
} verdict SEC(".maps");

SEC("netkit/peer")
int gate(struct __sk_buff *skb)
{
	__u32 key = 0;
	__s32 *code = bpf_map_lookup_elem(&verdict, &key);

	return code ? *code : NETKIT_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

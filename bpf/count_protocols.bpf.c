// SPDX-License-Identifier: MIT
/*
 * Shows:   an array map: packets counted by IP protocol, read from outside
 *          while the program runs
 * Hook:    netkit/peer
 * Expect:  dns NEXT, web NEXT, ping NEXT, arp NEXT, cut NEXT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("netkit/peer")
int count_protocols(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 key;
	__u64 *count;

	if ((void *)(ip + 1) > data_end)
		return NETKIT_NEXT;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;

	key = ip->protocol;
	count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		*count += 1;
	return NETKIT_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

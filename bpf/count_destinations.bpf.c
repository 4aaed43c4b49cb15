// SPDX-License-Identifier: MIT
/*
 * Shows:   a hash map: an entry exists only once somebody has put it there, so
 *          that the first packet to an address inserts and the rest add
 * Hook:    netkit/peer
 * Expect:  dns NEXT, web NEXT, ping NEXT, arp NEXT, cut NEXT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} destinations SEC(".maps");

SEC("netkit/peer")
int count_destinations(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u64 one = 1, *count;
	__u32 key;

	if ((void *)(ip + 1) > data_end)
		return NETKIT_NEXT;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;

	key = ip->daddr;
	count = bpf_map_lookup_elem(&destinations, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&destinations, &key, &one, BPF_ANY);
	return NETKIT_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

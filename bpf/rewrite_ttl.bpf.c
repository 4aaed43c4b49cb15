// SPDX-License-Identifier: MIT
/*
 * Shows:   writing to the packet: one byte changes and nothing else, so that
 *          the header's checksum is wrong afterwards
 * Hook:    netkit/peer
 * Expect:  dns PASS, web PASS, ping PASS, arp PASS, cut PASS
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int rewrite_ttl(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(ip + 1) > data_end)
		return NETKIT_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_PASS;
	ip->ttl = 9;
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

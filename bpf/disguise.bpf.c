// SPDX-License-Identifier: MIT
/*
 * Shows:   what a rewrite cannot do: the ethertype's bytes say IPv6, and the
 *          receiver still takes the packet for what skb->protocol says
 * Hook:    netkit/peer
 * Expect:  dns PASS, ping PASS, arp PASS, cut PASS
 * Kernel:  6.10
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int disguise(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return NETKIT_NEXT;
	eth->h_proto = bpf_htons(ETH_P_IPV6);
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

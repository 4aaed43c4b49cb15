// SPDX-License-Identifier: MIT
/*
 * Shows:   a bounds check before the first read, and a field in network byte
 *          order compared with a constant in network byte order
 * Hook:    netkit/peer
 * Expect:  dns PASS, web PASS, ping PASS, arp DROP, cut PASS
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int only_ip(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) > data_end)
		return NETKIT_DROP;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_DROP;
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: MIT
/*
 * Shows:   a guard that is closed by default: what it does not know it drops,
 *          and what is too short to tell as well
 * Hook:    netkit/peer
 * Expect:  dns PASS, options PASS, web DROP, ping DROP, long DROP, arp DROP,
 *          cut DROP
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int only_dns(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp;

	if ((void *)(ip + 1) > data_end)
		return NETKIT_DROP;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return NETKIT_DROP;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > data_end || udp->dest != bpf_htons(53))
		return NETKIT_DROP;
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: MIT
/*
 * Shows:   a constant that is filled in before the program is loaded, and a
 *          header whose length the packet itself tells (ihl)
 * Hook:    netkit/peer
 * Expect:  dns DROP, options DROP, web NEXT, ping NEXT, arp NEXT, cut NEXT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

/* in this machine's byte order; bind(PORT=...) replaces it */
volatile const __u16 PORT = 53;

SEC("netkit/peer")
int drop_port(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp;

	if ((void *)(ip + 1) > data_end)
		return NETKIT_NEXT;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return NETKIT_NEXT;

	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > data_end)
		return NETKIT_NEXT;
	if (udp->dest == bpf_htons(PORT))
		return NETKIT_DROP;
	return NETKIT_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

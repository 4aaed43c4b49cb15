// SPDX-License-Identifier: MIT
/*
 * Shows:   a change that the receiver accepts: one off the TTL, and the IP
 *          header's checksum mended by the difference. A checksum is made of
 *          16-bit words, so the word that holds the TTL is handed over
 * Hook:    netkit/peer
 * Expect:  dns NEXT, options NEXT, ping NEXT, arp NEXT, cut NEXT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int one_hop(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__be16 *word, was, is;

	if ((void *)(ip + 1) > data_end)
		return NETKIT_NEXT;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return NETKIT_NEXT;
	if (ip->ttl <= 1)
		return NETKIT_DROP;
	word = (__be16 *)&ip->ttl;
	was = *word;
	ip->ttl--;
	is = *word;
	bpf_l3_csum_replace(skb, 14 + 10, was, is, sizeof(is));
	return NETKIT_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: MIT
/*
 * Shows:   what a missing bounds check does: it works until a packet is too
 *          short. The verifier of Linux refuses to load this program:
 *          "invalid access to packet"
 * Hook:    netkit/peer
 * Expect:  dns PASS, ping PASS, cut FAULT
 * Kernel:  none loads it
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int no_bounds_check(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct iphdr *ip = data + sizeof(struct ethhdr);

	if (ip->ttl < 2)
		return NETKIT_DROP;
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: MIT
/*
 * Shows:   skb->len, the packet's length in bytes, Ethernet header included (in
 *          L3 mode too), and a constant that is filled in before loading
 * Hook:    netkit/peer
 * Expect:  dns PASS, ping PASS, long DROP, arp PASS, cut PASS
 * Kernel:  6.7
 */
#include "netkit_edu.h"

volatile const __u32 LIMIT = 100; /* bytes; bind(LIMIT=...) replaces it */

SEC("netkit/peer")
int limit_length(struct __sk_buff *skb)
{
	if (skb->len > LIMIT)
		return NETKIT_DROP;
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

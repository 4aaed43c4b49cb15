// SPDX-License-Identifier: MIT
/*
 * Shows:   two programs of one chain that share work through skb->mark: the
 *          first says what a packet is, the second what becomes of it
 * Hook:    netkit/peer, label before enforce
 * Expect:  label: dns NEXT, long NEXT, arp NEXT, cut NEXT
 *          enforce: dns NEXT, long NEXT, marked DROP
 * Kernel:  6.7
 */
#include "netkit_edu.h"

#define MARK_LONG 1

SEC("netkit/peer")
int label(struct __sk_buff *skb)
{
	if (skb->len > 500)
		skb->mark = MARK_LONG;
	return NETKIT_NEXT;
}

SEC("netkit/peer")
int enforce(struct __sk_buff *skb)
{
	if (skb->mark == MARK_LONG)
		return NETKIT_DROP;
	return NETKIT_NEXT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: MIT
/*
 * Shows:   the smallest program: a function that takes a packet and returns a
 *          verdict
 * Hook:    netkit/peer
 * Expect:  dns PASS, web PASS, ping PASS, arp PASS, cut PASS
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int pass(struct __sk_buff *skb)
{
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

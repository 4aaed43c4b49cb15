// SPDX-License-Identifier: MIT
/*
 * Shows:   bpf_redirect_neigh: another device, and the kernel looks up the
 *          route and writes the neighbour's MAC addresses
 * Hook:    netkit/peer
 * Expect:  dns REDIRECT, ping REDIRECT, arp REDIRECT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

volatile const __u32 TARGET; /* an ifindex; bind(TARGET=...) fills it in */

SEC("netkit/peer")
int neigh_to(struct __sk_buff *skb)
{
	return bpf_redirect_neigh(TARGET, 0, 0, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

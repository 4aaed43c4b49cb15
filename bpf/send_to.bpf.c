// SPDX-License-Identifier: MIT
/*
 * Shows:   bpf_redirect: the frame goes to another device as it is, with the
 *          MAC addresses that stand in it. Whether there is such a device is
 *          found out later: the answer is REDIRECT for any number
 * Hook:    netkit/peer
 * Expect:  dns REDIRECT, ping REDIRECT, arp REDIRECT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

volatile const __u32 TARGET; /* an ifindex; bind(TARGET=...) fills it in */

SEC("netkit/peer")
int send_to(struct __sk_buff *skb)
{
	return bpf_redirect(TARGET, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

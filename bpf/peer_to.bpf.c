// SPDX-License-Identifier: MIT
/*
 * Shows:   bpf_redirect_peer: the other end of the named device has received
 *          the packet, at once and without the backlog. It works where a
 *          device receives; from netkit's hooks the packet is always lost
 * Hook:    tcx/ingress
 * Expect:  dns REDIRECT, ping REDIRECT, arp REDIRECT
 * Kernel:  6.6
 */
#include "netkit_edu.h"

volatile const __u32 TARGET; /* an ifindex; bind(TARGET=...) fills it in */

SEC("tcx/ingress")
int peer_to(struct __sk_buff *skb)
{
	return bpf_redirect_peer(TARGET, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

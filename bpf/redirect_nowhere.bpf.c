// SPDX-License-Identifier: MIT
/*
 * Shows:   the verdict REDIRECT without a call that names a target: counted as
 *          sent, told to nobody, lost
 * Hook:    netkit/peer
 * Expect:  dns REDIRECT, ping REDIRECT
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int redirect_nowhere(struct __sk_buff *skb)
{
	return NETKIT_REDIRECT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// SPDX-License-Identifier: MIT
/*
 * Shows:   a program that is its return code; bind(CODE=...) makes one for each
 *          link of a chain
 * Hook:    netkit/peer
 * Expect:  dns PASS, ping PASS, arp PASS
 * Kernel:  6.7
 */
#include "netkit_edu.h"

volatile const int CODE = NETKIT_PASS;

SEC("netkit/peer")
int say(struct __sk_buff *skb)
{
	return CODE;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

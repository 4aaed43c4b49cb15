// SPDX-License-Identifier: MIT
/*
 * Shows:   that a packet's type is not in its bytes: with PACKET_OTHERHOST it
 *          passes, counts as received, and the receiver's IP drops it
 * Hook:    netkit/peer
 * Expect:  dns PASS, ping PASS, arp PASS, cut PASS
 * Kernel:  6.10
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int stranger(struct __sk_buff *skb)
{
	bpf_skb_change_type(skb, PACKET_OTHERHOST);
	return NETKIT_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

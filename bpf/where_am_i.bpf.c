// SPDX-License-Identifier: MIT
/*
 * Shows:   which device a program sees: 100 + skb->ifindex as return code, a
 *          number that means nothing to netkit and therefore drops (without a
 *          device around it, that is 1, as in BPF_PROG_TEST_RUN)
 * Hook:    netkit/peer
 * Expect:  dns 101, ping 101
 * Kernel:  6.7
 */
#include "netkit_edu.h"

SEC("netkit/peer")
int where_am_i(struct __sk_buff *skb)
{
	return 100 + skb->ifindex;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";

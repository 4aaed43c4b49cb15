/* SPDX-License-Identifier: MIT */
/* What a netkit program may answer, as in include/uapi/linux/if_link.h. */
#pragma once

#include <linux/types.h>

enum netkit_action {
	NETKIT_NEXT = -1,	/* ask the next program of the chain */
	NETKIT_PASS = 0,	/* let it through */
	NETKIT_DROP = 2,	/* drop it */
	NETKIT_REDIRECT = 7,	/* send it where bpf_redirect*() said */
};

enum netkit_mode {
	NETKIT_L2,
	NETKIT_L3,
};

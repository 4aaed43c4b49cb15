"""What ethtool says of a device: its driver's name, and what it takes over from the stack.

Mirrors ``netdev_features_strings`` of net/ethtool/common.c and the feature sets of drivers/net/netkit.c, veth.c and
dummy.c, Linux 6.12. A virtual device promises everything that only a wire would need, and never does it. The core adds
its own two, generic segmentation and receive offload, when a device is registered.
"""

from __future__ import annotations

GSO_MAX_SIZE = 8 * 65535  # bytes that one GSO packet may have on a device that takes any (BIG TCP)
TSO_LEGACY_MAX_SIZE = 65536  # bytes; where the driver does not say
NUM_QUEUES_MAX = 4096  # of either kind, that rtnetlink takes

_SOFT = frozenset({"tx-generic-segmentation", "rx-gro"})  # NETIF_F_SOFT_FEATURES
_GSO_SOFTWARE = frozenset({
    "tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
    "tx-sctp-segmentation", "tx-udp-segmentation", "tx-gso-list",
})  # fmt: skip
_GSO_ENCAP_ALL = frozenset({
    "tx-gre-segmentation", "tx-gre-csum-segmentation", "tx-ipxip4-segmentation", "tx-ipxip6-segmentation",
    "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation",
})  # fmt: skip
_VLAN = frozenset({"tx-vlan-hw-insert", "rx-vlan-hw-parse", "tx-vlan-stag-hw-insert", "rx-vlan-stag-hw-parse"})
_SG = frozenset({"tx-scatter-gather", "tx-scatter-gather-fraglist", "highdma", "tx-checksum-ip-generic"})

DUMMY_FEATURES = _SG | _GSO_SOFTWARE | _GSO_ENCAP_ALL | _SOFT
NETKIT_FEATURES = DUMMY_FEATURES | _VLAN | {"rx-checksum", "tx-checksum-sctp"}
VETH_FEATURES = NETKIT_FEATURES - {"rx-gro"}  # veth_disable_gro

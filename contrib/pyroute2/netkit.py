"""The link kind "netkit" (drivers/net/netkit.c, Linux 6.7 and later), for pyroute2/netlink/rtnl/ifinfmsg/plugins/."""

from pyroute2.netlink import nla

# IFLA_NETKIT_MODE
NETKIT_L2 = 0
NETKIT_L3 = 1
# IFLA_NETKIT_POLICY, IFLA_NETKIT_PEER_POLICY: iproute2 says forward and blackhole
NETKIT_PASS = 0
NETKIT_DROP = 2
# IFLA_NETKIT_SCRUB, IFLA_NETKIT_PEER_SCRUB
NETKIT_SCRUB_NONE = 0
NETKIT_SCRUB_DEFAULT = 1
# IFLA_NETKIT_PAIRING
NETKIT_DEVICE_PAIR = 0
NETKIT_DEVICE_SINGLE = 1


class netkit(nla):
    prefix = 'IFLA_'
    nla_map = (
        ('IFLA_NETKIT_UNSPEC', 'none'),
        ('IFLA_NETKIT_PEER_INFO', 'peer_info'),
        ('IFLA_NETKIT_PRIMARY', 'uint8'),
        ('IFLA_NETKIT_POLICY', 'uint32'),
        ('IFLA_NETKIT_PEER_POLICY', 'uint32'),
        ('IFLA_NETKIT_MODE', 'uint32'),
        ('IFLA_NETKIT_SCRUB', 'uint32'),
        ('IFLA_NETKIT_PEER_SCRUB', 'uint32'),
        ('IFLA_NETKIT_HEADROOM', 'uint16'),
        ('IFLA_NETKIT_TAILROOM', 'uint16'),
        ('IFLA_NETKIT_PAIRING', 'uint32'),
    )

    @staticmethod
    def peer_info(self, *argv, **kwarg):
        # ifinfmsg imports its plugins: it cannot be imported before
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfveth

        return ifinfveth

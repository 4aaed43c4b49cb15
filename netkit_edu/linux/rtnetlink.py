"""What rtnetlink is asked and what it answers: links, addresses, routes, neighbours, queueing disciplines.

Here are messages only, from include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour,net_namespace}.h, Linux 6.12; who
sends them is in `netcalls.py`. A request is (type, flags, fixed part, attributes).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import NamedTuple

from netkit_edu.arguments import mac_address
from netkit_edu.backend import LinkInfo, LinkStats
from netkit_edu.errors import UsageError
from netkit_edu.linux.netlink import (
    IFINFOMSG_LEN,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    attributes,
    ifinfomsg,
    ipv4,
    number,
    parse,
    string,
    text,
    u8,
    u16,
    u32,
    u64,
)
from netkit_edu.uapi import IFF_LOOPBACK, IFF_UP, Ifla, IflaNetkit

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 17, 18, 20, 22
RTM_NEWROUTE, RTM_NEWNEIGH, RTM_GETNEIGH, RTM_NEWQDISC, RTM_SETNEIGHTBL, RTM_GETNSID = 24, 28, 30, 36, 67, 90
IFLA_LINK, IFLA_QDISC, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_STATS64, IFLA_GROUP = 5, 6, 16, 18, 23, 27
IFLA_MASTER, IFLA_CARRIER, IFLA_LINK_NETNSID, IFLA_MIN_MTU, IFLA_MAX_MTU, IFLA_TSO_MAX_SIZE = 10, 33, 37, 50, 51, 59
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER, IFLA_BR_MCAST_SNOOPING = 1, 2, 1, 23
IFA_ADDRESS, IFA_LOCAL, RTA_DST, RTA_OIF, RTA_GATEWAY, NDA_DST, NDA_LLADDR = 1, 2, 1, 4, 5, 1, 2
TCA_KIND, NETNSA_NSID, NETNSA_FD = 1, 1, 3
AF_INET, RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST = 2, 254, 3, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
NUD_INCOMPLETE, NUD_PERMANENT = 0x01, 0x80
NDTA_NAME, NDTA_PARMS = 1, 6
NDTPA_IFINDEX, NDTPA_BASE_REACHABLE_TIME, NDTPA_RETRANS_TIME, NDTPA_DELAY_PROBE_TIME = 1, 4, 5, 7
ARP_RETRY, ARP_MEMORY = 100, 86_400_000  # milliseconds between two requests; for which nobody asks again
TC_H_ROOT = 0xFFFF_FFFF
NIC_GROUP = 0x6E69_6300  # the device group by which the two ends of a cable are known again: "nic" in ASCII
KINDS = ("veth", "netkit", "dummy", "bridge", "nic")

_ATTRS = ("name", "mtu", "mac", "ifindex", "qdisc", "num_tx_queues", "num_rx_queues")
_NETKIT = {
    "mode": (IflaNetkit.MODE, u32), "policy": (IflaNetkit.POLICY, u32), "peer_policy": (IflaNetkit.PEER_POLICY, u32),
    "scrub": (IflaNetkit.SCRUB, u32), "peer_scrub": (IflaNetkit.PEER_SCRUB, u32),
    "headroom": (IflaNetkit.HEADROOM, u16), "tailroom": (IflaNetkit.TAILROOM, u16),
    "pairing": (IflaNetkit.PAIRING, u32), "primary": (IflaNetkit.PRIMARY, u8),
    "peer_info": (IflaNetkit.PEER_INFO, lambda _: bytes(IFINFOMSG_LEN)),
}  # fmt: skip
_STATS = struct.Struct("=8Q")  # struct rtnl_link_stats64 as far as the drops


class Request(NamedTuple):
    """One message to be sent: its type, its flags beside NLM_F_REQUEST, its fixed part and its attributes."""

    type: int
    flags: int
    fixed: bytes
    attrs: list = []


# links ----------------------------------------------------------------------------------------------------------------


def link_create(kind: str, attrs: Mapping, info: Mapping, peer: Mapping | None, peer_fd: int | None) -> Request:
    """Ask for a device or a pair; the answer is the device's description, and an acknowledgement.

    A bridge does not look for group members: it would speak on its own.

    Args:
        kind: one of `KINDS`; a "nic" is an end of a veth pair, or a dummy where nothing is at its other end.
        attrs: of this end: name, mtu, mac, ifindex; ``qdisc`` is not said here.
        info: attributes of a netkit device by name.
        peer: as ``attrs``, of the other end; None to say nothing of it.
        peer_fd: a descriptor of its namespace, if that is another.
    """
    data: list = netkit_data(info) if kind == "netkit" else _none(kind, info)
    if kind == "bridge":
        data.append((IFLA_BR_MCAST_SNOOPING, u8(0)))
    more = [(IFLA_GROUP, u32(NIC_GROUP))] if kind == "nic" else []
    if peer is not None:
        there = [] if peer_fd is None else [(Ifla.NET_NS_FD, u32(peer_fd))]
        head = ifinfomsg(ifindex=peer.get("ifindex") or 0)
        number = IflaNetkit.PEER_INFO if kind == "netkit" else VETH_INFO_PEER
        data.append((number, head + attributes([*ordinary(peer), *more, *there])))
    made_as = kind if kind != "nic" else "dummy" if peer is None else "veth"
    linkinfo = [(IFLA_INFO_KIND, text(made_as)), *([(IFLA_INFO_DATA, data)] if data else [])]
    return Request(
        RTM_NEWLINK, NLM_F_ACK | NLM_F_ECHO | NLM_F_CREATE | NLM_F_EXCL, ifinfomsg(ifindex=attrs.get("ifindex") or 0),
        [*ordinary(attrs), *more, (IFLA_LINKINFO, linkinfo)],
    )  # fmt: skip


def link_change(ifindex: int, *, up: bool | None = None, attrs: Mapping, info: Mapping | None = None,
                netns_fd: int | None = None, master: int | None = None) -> Request:  # fmt: skip
    """Ask to change a device: ``attrs`` are name, mtu and mac, ``info`` a netkit device's own, ``master`` a bridge."""
    given: list = []
    if info is not None:
        given.append((IFLA_LINKINFO, [(IFLA_INFO_KIND, text("netkit")), (IFLA_INFO_DATA, netkit_data(info))]))
    if netns_fd is not None:
        given.append((Ifla.NET_NS_FD, u32(netns_fd)))
    if master is not None:
        given.append((IFLA_MASTER, u32(master)))
    head = ifinfomsg(ifindex=ifindex, flags=IFF_UP if up else 0, change=0 if up is None else IFF_UP)
    return Request(RTM_NEWLINK, NLM_F_ACK, head, [*ordinary(attrs), *given])


def link_delete(ifindex: int) -> Request:
    """Ask to delete a device."""
    return Request(RTM_DELLINK, NLM_F_ACK, ifinfomsg(ifindex=ifindex))


def link_query(ifindex: int) -> Request:
    """Ask for one device."""
    return Request(RTM_GETLINK, 0, ifinfomsg(ifindex=ifindex))


def link_dump() -> Request:
    """Ask for all devices."""
    return Request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg())


def ordinary(attrs: Mapping) -> list:
    """Return name, MAC address, MTU and queues as attributes; UsageError for one that there is not."""
    if unknown := sorted(attrs.keys() - set(_ATTRS)):
        raise UsageError(f"no link attribute {', '.join(unknown)}; there are {', '.join(_ATTRS)}")
    given = []
    if attrs.get("name"):
        given.append((Ifla.IFNAME, text(attrs["name"])))
    if attrs.get("mac"):
        given.append((Ifla.ADDRESS, mac_bytes(attrs["mac"])))
    if attrs.get("mtu") is not None:
        given.append((Ifla.MTU, u32(attrs["mtu"])))
    queues = {"num_tx_queues": Ifla.NUM_TX_QUEUES, "num_rx_queues": Ifla.NUM_RX_QUEUES}
    return given + [(number, u32(attrs[name])) for name, number in queues.items() if attrs.get(name) is not None]


def netkit_data(info: Mapping) -> list:
    """Return a netkit device's own attributes, in the order in which they are given."""
    if unknown := sorted(info.keys() - _NETKIT.keys()):
        raise UsageError(f"a netkit device has no attribute {', '.join(unknown)}")
    return [(_NETKIT[name][0], _NETKIT[name][1](value)) for name, value in info.items()]


def _none(kind: str, info: Mapping) -> list:
    if info:
        raise UsageError(f"a {kind} device has no attribute {', '.join(sorted(info))}")
    return []


def mac_bytes(value: str) -> bytes:
    """Return the bytes of "02:00:00:00:00:01", however many."""
    return bytes(int(part, 16) for part in mac_address(value).split(":"))


def read_link(body: bytes, addresses: tuple[str, ...] = ()) -> LinkInfo:
    """Read what RTM_NEWLINK says of a device; ``peer_netns`` is the namespace's number in the kernel's own count."""
    ifindex, flags = struct.unpack_from("=iI", body, 4)
    got = parse(body[IFINFOMSG_LEN:])
    linkinfo = parse(got.get(IFLA_LINKINFO, b""))
    kind = string(linkinfo.get(IFLA_INFO_KIND)) or ("loopback" if flags & IFF_LOOPBACK else "")
    data = parse(linkinfo.get(IFLA_INFO_DATA, b"")) if kind == "netkit" else {}
    rx, tx, rx_bytes, tx_bytes, _, _, rx_dropped, tx_dropped = _STATS.unpack_from(got[IFLA_STATS64])
    return LinkInfo(
        ifindex=ifindex,
        name=string(got.get(Ifla.IFNAME)),
        kind="nic" if number(got.get(IFLA_GROUP)) == NIC_GROUP else kind,
        flags=flags,
        mtu=number(got.get(Ifla.MTU)),
        mac=got.get(Ifla.ADDRESS, b"").hex(":"),
        operstate=number(got.get(IFLA_OPERSTATE)),
        carrier=bool(number(got.get(IFLA_CARRIER))),
        qdisc=string(got.get(IFLA_QDISC)),
        peer=number(got.get(IFLA_LINK)),
        peer_netns=struct.unpack("=i", got.get(IFLA_LINK_NETNSID, b"\xff" * 4))[0],
        info={name: number(data[at]) for name, (at, _) in _NETKIT.items() if at in data},
        addresses=addresses,
        stats=LinkStats(rx, tx, rx_bytes, tx_bytes, rx_dropped, tx_dropped),
        min_mtu=number(got.get(IFLA_MIN_MTU)),
        max_mtu=number(got.get(IFLA_MAX_MTU)),
        num_tx_queues=number(got.get(Ifla.NUM_TX_QUEUES)),
        num_rx_queues=number(got.get(Ifla.NUM_RX_QUEUES)),
        tso_max_size=number(got.get(IFLA_TSO_MAX_SIZE)),
        master=number(got.get(IFLA_MASTER)),
    )


# addresses, routes, neighbours, queues --------------------------------------------------------------------------------


def address_create(ifindex: int, address: str) -> Request:
    """Ask to give a device an IPv4 address such as "10.0.0.1/24"."""
    given = ipaddress.IPv4Interface(address)
    scope = RT_SCOPE_HOST if given.ip.is_loopback else RT_SCOPE_UNIVERSE
    fixed = struct.pack("=4BI", AF_INET, given.network.prefixlen, 0, scope, ifindex)
    return Request(
        RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, fixed,
        [(IFA_LOCAL, given.ip.packed), (IFA_ADDRESS, given.ip.packed)],
    )  # fmt: skip


def address_dump(ifindex: int = 0) -> Request:
    """Ask for the IPv4 addresses of one device, or of all."""
    return Request(RTM_GETADDR, NLM_F_DUMP, struct.pack("=4BI", AF_INET, 0, 0, 0, ifindex))


def read_address(body: bytes) -> tuple[int, str]:
    """Return the ifindex and the address with its prefix length."""
    _, length, _, _, ifindex = struct.unpack_from("=4BI", body)
    given = parse(body[8:])
    local = given.get(IFA_LOCAL, given.get(IFA_ADDRESS, bytes(4)))
    return ifindex, f"{ipaddress.IPv4Address(local)}/{length}"


def route_create(prefix: str, ifindex: int, via: str) -> Request:
    """Ask for a route in the main table."""
    where, _, length = ("0.0.0.0", "", "0") if prefix == "default" else prefix.partition("/")
    scope = RT_SCOPE_UNIVERSE if via else RT_SCOPE_LINK
    fixed = struct.pack(
        "=8BI", AF_INET, int(length or 32), 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0
    )  # fmt: skip
    given = [(RTA_DST, ipv4(where))] if int(length or 32) else []
    if via:
        given.append((RTA_GATEWAY, ipv4(via)))
    if ifindex:
        given.append((RTA_OIF, u32(ifindex)))
    return Request(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, fixed, given)


def neighbour_create(ifindex: int, address: str, mac: str) -> Request:
    """Ask for a permanent neighbour, or to change one."""
    fixed = struct.pack("=BxHiHBB", AF_INET, 0, ifindex, NUD_PERMANENT, 0, 0)
    return Request(
        RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, fixed,
        [(NDA_DST, ipv4(address)), (NDA_LLADDR, mac_bytes(mac))],
    )  # fmt: skip


def neighbour_dump() -> Request:
    """Ask for all IPv4 neighbours."""
    return Request(RTM_GETNEIGH, NLM_F_DUMP, struct.pack("=BxHiHBB", AF_INET, 0, 0, 0, 0, 0))


def neighbour_state(body: bytes) -> int:
    """Return a neighbour's state (NUD_*)."""
    return struct.unpack_from("=BxHiH", body)[3]


def neighbour_times(ifindex: int) -> Request:
    """Ask that a device finds out quickly who does not answer ARP, and does not forget who did.

    A lab has no clock. Who answers does so at once, and how often is asked stays as it is.
    """
    times = [
        (NDTPA_RETRANS_TIME, u64(ARP_RETRY)), (NDTPA_BASE_REACHABLE_TIME, u64(ARP_MEMORY)),
        (NDTPA_DELAY_PROBE_TIME, u64(ARP_MEMORY)),
    ]  # fmt: skip
    given = [(NDTA_NAME, text("arp_cache")), (NDTA_PARMS, [(NDTPA_IFINDEX, u32(ifindex)), *times])]
    return Request(RTM_SETNEIGHTBL, NLM_F_ACK, struct.pack("=4B", AF_INET, 0, 0, 0), given)


def qdisc_create(ifindex: int, kind: str) -> Request:
    """Ask for a queueing discipline as the root of a device."""
    fixed = struct.pack("=BxHiIII", 0, 0, ifindex, 0, TC_H_ROOT, 0)
    return Request(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, fixed, [(TCA_KIND, text(kind))])


def nsid_query(fd: int) -> Request:
    """Ask by which number this namespace knows the one behind a descriptor."""
    return Request(RTM_GETNSID, 0, bytes(4), [(NETNSA_FD, u32(fd))])


def read_nsid(body: bytes) -> int:
    """Return the number, -1 if it knows it by none."""
    return struct.unpack("=i", parse(body[4:]).get(NETNSA_NSID, b"\xff" * 4))[0]

"""rtnetlink messages and bpf(2) attributes as they come from user space, malformed ones included.

Mirrors lib/nlattr.c and the parsing in net/core/rtnetlink.c, drivers/net/netkit.c (netkit_policy) and
kernel/bpf/syscall.c, Linux 6.12. Attributes are read as RTM_NEWLINK reads them: those with numbers that the kernel does
not know are passed over, and one that is too long is read as far as it should go.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from netkit_edu.backend import Chain
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.sim import netkit
from netkit_edu.sim.newlink import DELLINK, NEWLINK, VALIDATE
from netkit_edu.sim.rtnetlink import (
    LinkAttrs,
    check_ifindex,
    check_newlink,
    do_set_master,
    do_setlink,
    unregister_netdevice,
    validate_address,
)
from netkit_edu.uapi import BpfCmd, Ifla, IflaNetkit, VethInfo

IFINFOMSG_LEN = 16  # bytes
NLA_HDRLEN = 4

# attribute -> (its name here, bytes it must have at least, the largest value or None); netkit_policy[], veth_policy[]
_NETKIT_POLICY = {
    IflaNetkit.PEER_INFO: ("peer_info", IFINFOMSG_LEN, None),
    IflaNetkit.PRIMARY: ("primary", 1, None),
    IflaNetkit.POLICY: ("policy", 4, None),
    IflaNetkit.PEER_POLICY: ("peer_policy", 4, None),
    IflaNetkit.MODE: ("mode", 4, None),
    IflaNetkit.SCRUB: ("scrub", 4, 1),
    IflaNetkit.PEER_SCRUB: ("peer_scrub", 4, 1),
}
_VETH_POLICY = {VethInfo.PEER: ("peer_info", IFINFOMSG_LEN, None)}
_POLICY = {"netkit": _NETKIT_POLICY, "veth": _VETH_POLICY, "dummy": {}, "bridge": {}}
_IFLA_POLICY = {
    Ifla.IFNAME: 1, Ifla.ADDRESS: 0, Ifla.MTU: 4, Ifla.NET_NS_PID: 4, Ifla.NET_NS_FD: 4, Ifla.NUM_TX_QUEUES: 4,
    Ifla.NUM_RX_QUEUES: 4, Ifla.MASTER: 4,
}  # fmt: skip
_IFNAME_MAX = 15  # bytes, without the terminating zero

# field names of union bpf_attr by command; of two names for one field either may be used
_PLACE = ("relative_fd", "relative_id", "expected_revision")
BPF_FIELDS = {
    BpfCmd.PROG_ATTACH: (
        "target_ifindex", "attach_bpf_fd", "attach_type", "attach_flags", "replace_bpf_fd", *_PLACE,
    ),
    BpfCmd.PROG_DETACH: ("target_ifindex", "attach_bpf_fd", "attach_type", "attach_flags", *_PLACE),
    BpfCmd.PROG_QUERY: (
        "target_ifindex", "attach_type", "query_flags", "attach_flags", "prog_ids", "count", "prog_attach_flags",
        "link_ids", "link_attach_flags",
    ),
    BpfCmd.LINK_CREATE: ("prog_fd", "target_ifindex", "attach_type", "flags", *_PLACE),
    BpfCmd.LINK_UPDATE: ("link_fd", "new_prog_fd", "flags", "old_prog_fd"),
    BpfCmd.LINK_DETACH: ("link_fd",),
    BpfCmd.OBJ_GET_INFO_BY_FD: ("bpf_fd",),
}  # fmt: skip


def nla_parse_data(kind: str, data: Mapping[int, bytes]) -> dict[str, int | bytes]:
    """Read IFLA_INFO_DATA of a device of that kind: numbers by name, "peer_info" as bytes."""
    policy = _POLICY[kind]
    read: dict[str, int | bytes] = {}
    for number, value in data.items():
        if number not in policy:
            continue
        name, least, most = policy[number]
        if name == "primary":
            raise KernelError("EINVAL", "Primary attribute is read-only")
        if len(value) < least:
            raise KernelError("ERANGE", "Attribute failed policy validation")
        found = value if name == "peer_info" else _u32(value)
        if most is not None and found > most:
            raise KernelError("ERANGE", "integer out of range")
        read[name] = found
    return read


def nla_parse_ifla(kernel, net, attrs: Mapping[int, bytes], ifindex: int) -> LinkAttrs:
    """Read the ordinary attributes of a device that is to be in ``net`` unless they name another namespace."""
    for number, value in attrs.items():
        long = number == Ifla.IFNAME and len(value.rstrip(b"\0")) > _IFNAME_MAX
        if len(value) < _IFLA_POLICY.get(number, 0) or long:
            raise KernelError("ERANGE", "Attribute failed policy validation")
    if Ifla.NET_NS_PID in attrs:
        net = "ESRCH"
    elif Ifla.NET_NS_FD in attrs:
        net = kernel.namespaces.get(_u32(attrs[Ifla.NET_NS_FD]), "EBADF")
    mtu = attrs.get(Ifla.MTU)
    name = attrs.get(Ifla.IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    mtu = None if mtu is None else _s32(mtu)
    numbers = {
        name: _u32(attrs[number])
        for name in ("num_tx_queues", "num_rx_queues", "master")
        if (number := Ifla[name.upper()]) in attrs
    }
    return LinkAttrs(net, name, mtu, attrs.get(Ifla.ADDRESS), ifindex, **numbers)


def rtnl_nla_parse_ifinfomsg(kernel, net, message: bytes) -> LinkAttrs:
    """Read IFLA_NETKIT_PEER_INFO or VETH_INFO_PEER: a struct ifinfomsg, then attributes."""
    ifindex = struct.unpack_from("=i", message, 4)[0]
    check_ifindex(ifindex)
    return nla_parse_ifla(kernel, net, nla_split(message[IFINFOMSG_LEN:]), ifindex)


def nla_split(data: bytes) -> dict[int, bytes]:
    """Take attributes apart; what is left at the end and too short for one is passed over."""
    attrs = {}
    while len(data) >= NLA_HDRLEN:
        length, number = struct.unpack_from("=HH", data)
        if not NLA_HDRLEN <= length <= len(data):
            break
        attrs[number & 0x3FFF] = data[NLA_HDRLEN:length]
        data = data[length + 3 & ~3 :]
    return attrs


def rtnl_newlink(kernel, net, kind: str, *, create: bool, ifindex: int, attrs, data):
    """Create a device or a pair, or change a device, as the message says; return the device."""
    tb = nla_parse_ifla(kernel, net, attrs, ifindex)
    check_ifindex(ifindex)
    if kind not in _POLICY:
        raise KernelError("EOPNOTSUPP", "Unknown device type")
    read = {} if data is None else nla_parse_data(kind, data)
    peer_info = read.pop("peer_info", None)
    if create:
        check_newlink(net, tb, VALIDATE.get(kind, validate_address))
        tb_net = netkit.rtnl_link_get_net(tb)
        if kind == "netkit":
            netkit.netkit_check_link(tb)
        peer_tb = None if peer_info is None else rtnl_nla_parse_ifinfomsg(kernel, tb_net, peer_info)
        dev = NEWLINK[kind](kernel, tb, peer_tb, read)
        try:
            if tb.master is not None:
                do_set_master(dev, tb.master)
        except KernelError:
            DELLINK.get(kind, unregister_netdevice)(dev)
            raise
        return dev
    dev = net.dev_get_by_index(ifindex)
    if data is not None:
        if dev.kind != kind or kind != "netkit":
            raise KernelError("EOPNOTSUPP")
        netkit.netkit_change_link(dev, read if peer_info is None else read | {"peer_info": 1})
    do_setlink(dev, tb)
    return dev


def bpf_fields(cmd: int, fields: Mapping[str, int], tail: bytes) -> dict[str, int]:
    """Check what is meant for union bpf_attr; bytes behind a command's last field must be zero (CHECK_ATTR)."""
    if cmd not in BPF_FIELDS:
        raise KernelError("EINVAL")
    unknown = fields.keys() - set(BPF_FIELDS[cmd])
    if unknown:
        raise UsageError(f"{BpfCmd(cmd).name} has no field {', '.join(sorted(unknown))}: {', '.join(BPF_FIELDS[cmd])}")
    if any(tail):
        raise KernelError("EINVAL")
    given = dict.fromkeys(BPF_FIELDS[cmd], 0) | dict(fields)
    given["relative"] = given.get("relative_fd", 0) or given.get("relative_id", 0)
    return given


def bpf_mprog_query(chain: Chain, fields: Mapping[str, int]) -> dict:
    """Write a list to user space as far as there is room: ENOSPC with the first ids where there is too little."""
    if fields["attach_flags"] or fields["query_flags"]:
        raise KernelError("EINVAL")
    total, room = len(chain.entries), fields["count"]
    answer = {"attach_flags": 0, "revision": chain.revision, "count": total}
    if not room or not fields["prog_ids"] or not total:
        return answer
    if -1 in (fields["prog_ids"], fields["link_ids"], fields["prog_attach_flags"], fields["link_attach_flags"]):
        raise KernelError("EFAULT", answer=answer)
    entries = chain.entries[:room]
    answer["prog_ids"] = [entry.prog_id for entry in entries]
    if fields["link_ids"]:
        answer["link_ids"] = [entry.link_id for entry in entries]
    for name in ("prog_attach_flags", "link_attach_flags"):
        if fields[name]:
            answer[name] = [0] * len(entries)
    if room < total:
        raise KernelError("ENOSPC", answer=answer)
    return answer


def _u32(value: bytes) -> int:
    return struct.unpack_from("=I", value)[0]


def _s32(value: bytes) -> int:
    return struct.unpack_from("=i", value)[0]

"""Network namespaces as descriptors inside the door, and the files of /proc that belong to each.

A namespace lives as long as something refers to it: here its descriptor, its sockets and its open files, all of which
are the door's. Nothing of it has a name in a file system.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from netkit_edu.errors import KernelError
from netkit_edu.linux.door import Batch, Data, Door, Result
from netkit_edu.linux.netlink import NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK, SOL_NETLINK, u32
from netkit_edu.linux.rtnetlink import link_change
from netkit_edu.linux.syscalls import AT_FDCWD, CLONE_NEWNET, O_CLOEXEC, O_RDONLY, O_WRONLY
from netkit_edu.linux.talk import Talk

AF_INET, AF_NETLINK, NETLINK_ROUTE, SOCK_DGRAM, SOCK_RAW = 2, 16, 0, 2, 3
SOCK_NONBLOCK, SOCK_CLOEXEC = 0o4000, 0o2000000
SOL_SOCKET, SO_RCVBUFFORCE = 1, 33
IPPROTO_ICMP, IPPROTO_UDP = 1, 17
OWN_NET = "/proc/thread-self/ns/net"
LOOPBACK_IFINDEX = 1
RECEIVED_MAX = 65536  # datagrams kept for received(); older ones go
RECEIVE_BUFFER = 16 << 20  # bytes that may wait on a socket
TEXT = 1 << 16  # bytes of a file of /proc
MACHINE_BACKLOG = "net.core.netdev_max_backlog"  # a sysctl that is not a namespace's

# What a new namespace is given before its loopback goes up. A machine's own settings are inherited, so the kernel's
# defaults are said again where they matter; IPv6 is silenced, which would speak on its own; a ping socket and low ports
# are for all; an error that a router reports is reported each time; and fragments wait for the others no longer than it
# takes to see that none come.
SETTINGS = {
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.ip_forward": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.ipfrag_time": "1",
}


@dataclass
class Namespace:
    """One namespace: our number and name for it, and what the door holds of it.

    ``fd`` is the namespace itself, ``inode`` its number in the kernel; ``netlink`` an rtnetlink socket in it, ``dev``
    and ``sockstat`` its files of these names in /proc/net; ``ports`` its UDP sockets by port (0: the sink of all
    ports), ``held`` further descriptors. ``received`` is what its sockets took, ``nsids`` our number of each namespace
    by the kernel's number for it in here, ``devices`` how many devices it has at most, ``seeks`` whether its files can
    be read from their start again: some kernels, Ubuntu's 6.14 for one, say ESPIPE (fs/proc/generic.c:pde_set_flags).
    """

    number: int
    name: str
    fd: int
    inode: int
    netlink: int
    dev: int
    sockstat: int
    ports: dict[int, int] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)
    received: deque = field(default_factory=lambda: deque(maxlen=RECEIVED_MAX))
    nsids: dict[int, int] = field(default_factory=dict)
    devices: int = 1
    seeks: bool = True

    def descriptors(self) -> list[int]:
        """Return every descriptor that keeps it alive."""
        return [self.netlink, self.dev, self.sockstat, *self.ports.values(), *self.held, self.fd]


def create(door: Door, number: int, name: str, seq: int) -> Namespace:
    """Make a namespace, with its loopback up, in one round trip; the door is in it afterwards."""
    batch = door.batch()
    batch.call("unshare", CLONE_NEWNET)
    fd = open_file(batch, OWN_NET)
    link = batch.room(64)
    inode = batch.read(link, batch.call("readlink", path(OWN_NET), link, 64), 64)
    for key, value in SETTINGS.items():
        write_file(batch, sysctl_path(key), value, must=False)
    netlink = batch.call("socket", AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
    for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
        batch.call("setsockopt", netlink, SOL_NETLINK, option, u32(1), 4)
    talk = Talk(door, seq, batch)
    up = talk.ask(netlink, link_change(LOOPBACK_IFINDEX, up=True, attrs={}), reads=1)
    dev, sockstat = (open_file(batch, f"/proc/thread-self/net/{file}") for file in ("dev", "sockstat"))
    sought = batch.call("lseek", dev, 0, 0, must=False)
    batch.run()
    up.messages()
    found = int(inode.value.strip(b"net:[]\0"))
    fds = [one.value for one in (netlink, dev, sockstat)]
    return Namespace(number, name, fd.value, found, *fds, seeks=not sought.errno)


def socket(batch: Batch, kind: int, protocol: int, *, room: bool = True) -> Result:
    """Append the opening of an IPv4 socket in the door's namespace, that never waits and keeps much."""
    sock = batch.call("socket", AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)
    if room:
        batch.call("setsockopt", sock, SOL_SOCKET, SO_RCVBUFFORCE, u32(RECEIVE_BUFFER), 4)
    return sock


def path(name: str) -> bytes:
    """Return a path as the kernel reads it."""
    return name.encode() + b"\0"


def sysctl_path(key: str) -> str:
    """Return the file of a sysctl: "net.ipv4.ip_forward"; EINVAL for what is no such name."""
    parts = key.split(".")
    if not all(part.replace("_", "").replace("-", "").isalnum() for part in parts):
        raise KernelError("EINVAL", hint=f"{key!r} is no sysctl, such as 'net.ipv4.ip_forward'")
    return "/proc/sys/" + "/".join(parts)


def open_file(batch: Batch, name: str, flags: int = O_RDONLY, *, must: bool = True) -> Result:
    """Append the opening of a file."""
    return batch.call("openat", AT_FDCWD, path(name), flags | O_CLOEXEC, 0, must=must)


def read_again(batch: Batch, net: Namespace, fd: int, buffer: int, times: int = 1) -> list[Data]:
    """Append the reading of one of a namespace's open files from its start, in so many pieces of `TEXT`."""
    if net.seeks:
        batch.call("lseek", fd, 0, 0)
        source = fd
    else:
        source = open_file(batch, f"/proc/self/fd/{fd}")
    parts = [batch.read(buffer, batch.call("read", source, buffer, TEXT), TEXT) for _ in range(times)]
    if not net.seeks:
        batch.call("close", source)
    return parts


def write_file(batch: Batch, name: str, content: str, *, must: bool = True) -> tuple[Result, Result]:
    """Append the writing of a short file; return the results of opening and writing it."""
    fd = open_file(batch, name, O_WRONLY, must=must)
    written = batch.call("write", fd, content.encode(), len(content), must=must)
    batch.call("close", fd, must=must)
    return fd, written


def read_file(door: Door, name: str, ns_fd: int) -> str:
    """Return a file of /proc as the namespace behind ``ns_fd`` sees it, in one round trip."""
    batch = door.batch()
    batch.setns(ns_fd)
    fd = open_file(batch, name)
    buffer, parts = batch.room(TEXT), []
    for _ in range(4):
        parts.append(batch.read(buffer, batch.call("read", fd, buffer, TEXT), TEXT))
    batch.call("close", fd)
    batch.run()
    return b"".join(part.value for part in parts).decode()


def close(door: Door, net: Namespace) -> None:
    """Let go of a namespace; what devices are left in it the kernel removes."""
    batch = door.batch()
    for fd in net.descriptors():
        batch.call("close", fd, must=False)
    batch.run()

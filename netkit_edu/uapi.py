"""The kernel's words: constants of ``include/uapi/linux`` and what its errors mean.

Values are facts of the Linux UAPI (``if_link.h``, ``bpf.h``, ``pkt_cls.h``, ``if_packet.h``; Linux 6.12).
Everything else in the package names verdicts, policies and hooks through these enums.
"""

from __future__ import annotations

import enum


class Verdict(enum.IntEnum):
    """What a netkit program returns (``enum netkit_action``, if_link.h); any other value drops the packet."""

    NEXT = -1
    PASS = 0
    DROP = 2
    REDIRECT = 7


class Policy(enum.IntEnum):
    """What a netkit device does with a packet while no program is attached (IFLA_NETKIT_POLICY)."""

    PASS = 0
    DROP = 2


class Mode(enum.IntEnum):
    """Operating mode of a pair (IFLA_NETKIT_MODE), fixed at creation."""

    L2 = 0
    L3 = 1


class Scrub(enum.IntEnum):
    """Whether mark and priority are cleared between network namespaces (IFLA_NETKIT_SCRUB)."""

    NONE = 0
    DEFAULT = 1


class Hook(enum.StrEnum):
    """Where a netkit program sits: at the transmit path of the primary or of the peer device."""

    PRIMARY = "primary"
    PEER = "peer"

    @property
    def attach_type(self) -> int:
        """The number of ``enum bpf_attach_type`` (BPF_NETKIT_PRIMARY 54, BPF_NETKIT_PEER 55)."""
        return BPF_NETKIT_PRIMARY if self is Hook.PRIMARY else BPF_NETKIT_PEER


class Tcx(enum.StrEnum):
    """Where a tcx program sits on a device: where its packets arrive, or where they leave."""

    INGRESS = "ingress"
    EGRESS = "egress"

    @property
    def attach_type(self) -> int:
        """The number of ``enum bpf_attach_type`` (BPF_TCX_INGRESS 46, BPF_TCX_EGRESS 47)."""
        return BPF_TCX_INGRESS if self is Tcx.INGRESS else BPF_TCX_EGRESS


class PacketType(enum.IntEnum):
    """``skb->pkt_type``: for whom a received frame is (if_packet.h)."""

    HOST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3
    OUTGOING = 4


class Context(enum.StrEnum):
    """In whose time code runs: the sending task's, or the softirq's."""

    PROCESS = "process"
    SOFTIRQ = "softirq"


class NetXmit(enum.IntEnum):
    """What a transmit path tells its caller (include/linux/netdevice.h)."""

    SUCCESS = 0
    DROP = 1
    CN = 2


class BpfCmd(enum.IntEnum):
    """Commands of bpf(2) that a hook's list is worked with (``enum bpf_cmd``, bpf.h)."""

    PROG_ATTACH = 8
    PROG_DETACH = 9
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class Ifla(enum.IntEnum):
    """Ordinary attributes of a device (``IFLA_*``, if_link.h)."""

    ADDRESS = 1
    IFNAME = 3
    MTU = 4
    MASTER = 10
    NET_NS_PID = 19
    NET_NS_FD = 28
    NUM_TX_QUEUES = 31
    NUM_RX_QUEUES = 32


class VethInfo(enum.IntEnum):
    """Attributes of a veth device (``VETH_INFO_*``, veth.h)."""

    PEER = 1


class IflaNetkit(enum.IntEnum):
    """Attributes of a netkit device (``IFLA_NETKIT_*``, if_link.h); Linux 6.12 knows none after PEER_SCRUB."""

    PEER_INFO = 1
    PRIMARY = 2
    POLICY = 3
    PEER_POLICY = 4
    MODE = 5
    SCRUB = 6
    PEER_SCRUB = 7
    HEADROOM = 8
    TAILROOM = 9
    PAIRING = 10


NETDEV_TX_OK = 0  # the driver took care of the packet (enum netdev_tx, include/linux/netdevice.h)
NETDEV_TX_BUSY = 16  # it did not: a queue is to try again


class Errno(enum.IntEnum):
    """Linux's error numbers (include/uapi/asm-generic/errno.h), the same wherever this runs.

    Python's ``errno`` has those of the system underneath, and in a browser they are others.
    """

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    EINTR = 4
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    ENOEXEC = 8
    EBADF = 9
    ECHILD = 10
    EAGAIN = 11
    ENOMEM = 12
    EACCES = 13
    EFAULT = 14
    ENOTBLK = 15
    EBUSY = 16
    EEXIST = 17
    EXDEV = 18
    ENODEV = 19
    ENOTDIR = 20
    EISDIR = 21
    EINVAL = 22
    ENFILE = 23
    EMFILE = 24
    ENOTTY = 25
    ETXTBSY = 26
    EFBIG = 27
    ENOSPC = 28
    ESPIPE = 29
    EROFS = 30
    EMLINK = 31
    EPIPE = 32
    EDOM = 33
    ERANGE = 34
    EDEADLK = 35
    ENAMETOOLONG = 36
    ENOLCK = 37
    ENOSYS = 38
    ENOTEMPTY = 39
    ELOOP = 40
    ENODATA = 61
    ENOLINK = 67
    EPROTO = 71
    EOVERFLOW = 75
    ENOTSOCK = 88
    EDESTADDRREQ = 89
    EMSGSIZE = 90
    EPROTONOSUPPORT = 93
    EOPNOTSUPP = 95
    EPFNOSUPPORT = 96
    EAFNOSUPPORT = 97
    EADDRINUSE = 98
    EADDRNOTAVAIL = 99
    ENETDOWN = 100
    ENETUNREACH = 101
    ENETRESET = 102
    ECONNABORTED = 103
    ECONNRESET = 104
    ENOBUFS = 105
    EISCONN = 106
    ENOTCONN = 107
    ETIMEDOUT = 110
    ECONNREFUSED = 111
    EHOSTDOWN = 112
    EHOSTUNREACH = 113
    EALREADY = 114
    EINPROGRESS = 115
    ESTALE = 116


BPF_PROG_TYPE_SCHED_CLS = 3
BPF_PROG_TYPE_XDP = 6
BPF_LINK_TYPE_TCX = 11
BPF_LINK_TYPE_NETKIT = 13
BPF_TCX_INGRESS = 46
BPF_TCX_EGRESS = 47
BPF_NETKIT_PRIMARY = 54
BPF_NETKIT_PEER = 55
BPF_MPROG_MAX = 63  # 64 slots, the last one is a terminator (include/linux/bpf_mprog.h)

BPF_F_REPLACE = 1 << 2
BPF_F_BEFORE = 1 << 3
BPF_F_AFTER = 1 << 4
BPF_F_ID = 1 << 5
BPF_F_LINK = 1 << 13

BPF_MAP_TYPE_HASH = 1
BPF_MAP_TYPE_ARRAY = 2
BPF_MAP_TYPE_PROG_ARRAY = 3
BPF_MAP_TYPE_PERCPU_HASH = 5
BPF_MAP_TYPE_PERCPU_ARRAY = 6
BPF_MAP_TYPE_LRU_HASH = 9
BPF_MAP_TYPE_LRU_PERCPU_HASH = 10
BPF_MAP_TYPE_LPM_TRIE = 11
BPF_MAP_TYPE_RINGBUF = 27

BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
ETH_HLEN = 14

IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17

IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_MULTICAST = 0x1000
IFF_LOWER_UP = 0x10000

IF_OPER_DOWN = 2
IF_OPER_LOWERLAYERDOWN = 3
IF_OPER_UP = 6
IF_OPER_UNKNOWN = 0

_HINTS = {
    "EACCES": "authority follows the primary: act through it, from its own namespace; mode and scrub stay as created",
    "EADDRINUSE": "another socket of this namespace has the port: close it, or take another port",
    "EADDRNOTAVAIL": "give an address of the own namespace, and a unicast MAC address such as 02:00:00:00:00:01",
    "EAGAIN": "there is nothing to read or no room to write yet: do the other side's work first, then try again",
    "EBADF": (
        "that number is no open descriptor of the kind asked for: take the one the kernel gave, before it is closed"
    ),
    "EBUSY": "the entry belongs to a link: update or detach that link instead",
    "EEXIST": (
        "what you add is there already: take another name or address; a program goes to a hook once, so "
        "detach it first (att.detach()) or attach a second load of it (lab.load(prog))"
    ),
    "EHOSTUNREACH": "no neighbour answers for the next hop: check the route's gateway and that its device is up",
    "EINVAL": "the kernel does not accept one of the arguments, or all of them together: look at each value and flag",
    "EMSGSIZE": "the datagram is larger than the protocol or the device's MTU allows: send a shorter one",
    "ENETDOWN": "bring the device up first: dev.up()",
    "ENETUNREACH": "add a route to the destination: ns.route(prefix, dev=...)",
    "ENOBUFS": "the packet was dropped on its way out, and this socket asked to be told: look at the journey for where",
    "ENODEV": (
        "the namespace that asks has no such device: ask in the device's own namespace, and look if it still exists"
    ),
    "ENOENT": "nothing of that name, key or id is there: look at what there is (chain(), maps), and name one of these",
    "ENOLINK": "the link's device is gone, or the link was detached: attach anew",
    "ENOMEM": "that would take more memory than is allowed here: make the map or the packet smaller",
    "ENOSPC": "there is no room for all of it: make more room, or ask for less",
    "ENOTCONN": "the other end of the pair is gone: make a new pair",
    "ENXIO": "the device exists but is not a netkit device: name one of a pod with device='netkit'",
    "EOPNOTSUPP": "this kind of device or map does not do that: choose a kind that does",
    "EPERM": "the caller may not do that: it takes CAP_NET_ADMIN and CAP_BPF, or the map or program is locked",
    "ERANGE": (
        "the value is outside the allowed range, or the hook is full: take a value inside, or detach something first"
    ),
    "ESTALE": "the list changed since its revision was read: query it and try again",
    "E2BIG": "the map is full, or the index is outside the array: delete an entry, or declare more max_entries",
}


def errno_name(number: int) -> str:
    """Return the symbol of an errno, for example ``"EACCES"`` for 13."""
    try:
        return Errno(abs(number)).name
    except ValueError:
        return f"errno {abs(number)}"


def errno_number(name: str) -> int:
    """Return the number of an errno symbol; ``ValueError`` if there is none of that name here."""
    try:
        return int(Errno[name])
    except KeyError:
        raise ValueError(f"{name!r} is not the name of an errno, such as 'EACCES' or 'EEXIST'") from None


def errno_hint(number: int) -> str:
    """Return one sentence on what a refusal with this errno asks the caller to do, in this course's setting."""
    return _HINTS.get(errno_name(number), "Linux refuses this")

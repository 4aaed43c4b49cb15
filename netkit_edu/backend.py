"""The Protocol every backend fulfils: plain data in, plain data out.

A backend is a Linux: namespaces, rtnetlink, bpf(2), sockets. `lab.py` gives it its friendly face; the contract tests
talk to both. Namespaces, maps and programs are named by the numbers a backend hands out; a device by its namespace and
its ifindex in it, so that authority is what the caller's own namespace can see. Every refusal is a `KernelError` with
Linux's errno.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from netkit_edu.journey import Journey
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.program.verification import Verification
from netkit_edu.uapi import BPF_PROG_TYPE_SCHED_CLS


class SoftnetStat(NamedTuple):
    """One CPU's line of /proc/net/softnet_stat: packets its softirq took on, and those its full backlog refused."""

    processed: int
    dropped: int


class LinkStats(NamedTuple):
    """Interface counters (IFLA_STATS64): packets and bytes."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


class CpuTime(NamedTuple):
    """Whom a kernel charged for the sending of packets, in seconds.

    ``sender`` is the bill of the task that sent, all of it. The others are the books of its CPU of the same moments:
    time in ``user`` mode, in the kernel on behalf of a task (``system``), in softirqs and hard interrupts
    (``softirq``), and with nothing to do (``idle``).
    """

    sender: float = 0.0
    user: float = 0.0
    system: float = 0.0
    softirq: float = 0.0
    idle: float = 0.0


@dataclass(frozen=True)
class LinkInfo:
    """What RTM_GETLINK says of one device.

    ``peer`` is the other end's ifindex in the other end's namespace (IFLA_LINK), 0 without one. ``info`` holds the
    kind's own attributes; for netkit: mode, policy, peer_policy, scrub, peer_scrub, primary (IFLA_NETKIT_*).
    ``master`` is the ifindex of the bridge whose port it is, 0 if of none.
    ``min_mtu`` and ``max_mtu`` are in bytes, the latter 0 for no limit; ``tso_max_size`` is that of the largest GSO
    packet the device takes, in bytes.
    """

    ifindex: int
    name: str
    kind: str
    flags: int
    mtu: int
    mac: str
    operstate: int
    carrier: bool
    qdisc: str
    peer: int = 0
    peer_netns: int = -1
    info: Mapping[str, int] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    stats: LinkStats = LinkStats()
    min_mtu: int = 0
    max_mtu: int = 0
    num_tx_queues: int = 1
    num_rx_queues: int = 1
    tso_max_size: int = 0
    master: int = 0


class Ethtool(NamedTuple):
    """What ethtool says of a device: its driver's name, and the features that are on, by ethtool's names."""

    driver: str
    features: frozenset[str]


class Entry(NamedTuple):
    """One entry of a hook's list: the program's id and name, and the link's id (0 when attached without a link)."""

    prog_id: int
    name: str
    link_id: int = 0


class Chain(NamedTuple):
    """What BPF_PROG_QUERY says of one hook: its revision and its programs in order."""

    revision: int
    entries: tuple[Entry, ...]


class BpfLinkInfo(NamedTuple):
    """What BPF_OBJ_GET_INFO_BY_FD says of a link (``struct bpf_link_info``).

    ``ifindex`` is that of the device on which the program really sits, in that device's namespace: for a PEER link the
    peer's. It is 0 once the link is detached or the device is gone; the other fields stay.
    """

    id: int
    type: int
    prog_id: int
    ifindex: int
    attach_type: int


class Received(NamedTuple):
    """One datagram that a socket took: addresses as text, ports as numbers (0 for ICMP), the payload."""

    src: str
    sport: int
    dst: str
    dport: int
    payload: bytes


@dataclass(frozen=True)
class SendRequest:
    """One send from a namespace.

    Args:
        packet: the bytes; from the Ethernet header where ``via`` is "packet", from the IP header else.
        via: the socket: "udp", "icmp" (a ping socket), "raw" (IP_HDRINCL) or "packet" (AF_PACKET, needs ``ifindex``).
        ifindex: bind to this device (SO_BINDTODEVICE); 0 for none.
        mark, priority: SO_MARK, SO_PRIORITY.
        recverr: IP_RECVERR, so that a drop on the way out is reported as ENOBUFS.
        cpu: on which CPU the sender runs.
        gso_size: payload bytes of each segment of a GSO super-packet; 0 for an ordinary packet.
        label: what to call the journey.
    """

    packet: bytes
    via: str = "udp"
    ifindex: int = 0
    mark: int = 0
    priority: int = 0
    recverr: bool = False
    cpu: int = 0
    gso_size: int = 0
    label: str = ""


class Backend(Protocol):
    """A Linux. ``name`` is "sim", "vm" or "host"; ``kernel`` what it is or stands for, for example "6.12"."""

    name: str
    kernel: str

    # namespaces ---------------------------------------------------------------------------------------------------
    def netns_add(self, name: str) -> int:
        """Create a network namespace with its loopback device up; return its number. ``name`` labels hops."""

    def netns_del(self, ns: int) -> None:
        """Remove a namespace and every device in it."""

    def sysctl(self, ns: int, key: str, value: int) -> None:
        """Set a sysctl of the namespace ("net.ipv4.ip_forward") or of the machine ("net.core.netdev_max_backlog")."""

    def snmp(self, ns: int) -> Mapping[str, int]:
        """Return the counters of a namespace's /proc/net/snmp and /proc/net/netstat under the names that nstat prints.

        Those of the sections Ip, Icmp, Udp and IpExt, zeros included, as they are since the namespace began.
        """

    def softnet_stat(self) -> Sequence[SoftnetStat]:
        """Return what each CPU of the machine has counted since it started."""

    # rtnetlink ----------------------------------------------------------------------------------------------------
    def link_add(self, ns: int, kind: str, name: str, *, peer_ns: int | None = None, peer: Mapping | None = None,
                 attrs: Mapping | None = None, info: Mapping | None = None) -> int:  # fmt: skip
        """Create a device (RTM_NEWLINK with NLM_F_CREATE|NLM_F_EXCL); return its ifindex, the primary's for a pair.

        Args:
            kind: "veth", "netkit", "dummy", "bridge", "nic".
            peer_ns: the namespace of the other end; the same as ``ns`` if None.
            attrs: ordinary link attributes of this end: mtu, mac, ifindex, num_tx_queues, num_rx_queues; and qdisc, the
                queueing discipline that is installed on it instead of its driver's, such as "pfifo" or "fq".
            peer: the same for the other end, plus its ``name``.
            info: attributes of the kind as numbers; for netkit: mode, policy, peer_policy, scrub, peer_scrub.
        """

    def link_set(self, ns: int, ifindex: int, *, up: bool | None = None, mtu: int | None = None,
                 mac: str | None = None, info: Mapping | None = None, name: str = "",
                 netns: int | None = None, master: int | None = None) -> None:  # fmt: skip
        """Change a device (RTM_NEWLINK without NLM_F_CREATE).

        ``netns`` moves it there: it goes down, without its addresses, and gets another number if its own is taken.
        ``master`` makes it a port of the bridge of that ifindex, 0 of none.
        """

    def link_del(self, ns: int, ifindex: int) -> None:
        """Delete a device; a pair goes whole."""

    def link_get(self, ns: int, ifindex: int) -> LinkInfo:
        """Return what the kernel says of a device; ENODEV if this namespace has none of that number."""

    def links(self, ns: int) -> Sequence[LinkInfo]:
        """Return every device of a namespace in the order of ifindexes."""

    def ethtool(self, ns: int, ifindex: int) -> Ethtool:
        """Return what ethtool -i and ethtool -k say of a device; ENODEV if this namespace has none of that number."""

    def addr_add(self, ns: int, ifindex: int, address: str) -> None:
        """Give a device an IPv4 address with its prefix length, for example "10.0.0.1/24"."""

    def route_add(self, ns: int, prefix: str, *, ifindex: int = 0, via: str = "") -> None:
        """Add a route to the main table; ``prefix`` may be "default"."""

    def neigh_add(self, ns: int, ifindex: int, address: str, mac: str) -> None:
        """Add a permanent neighbour."""

    # bpf(2) -------------------------------------------------------------------------------------------------------
    def map_create(self, spec: MapSpec) -> int:
        """Create a map (BPF_MAP_CREATE), filled with ``spec.initial`` if given; return its number."""

    def map_close(self, number: int) -> None:
        """Let go of a map: its number is nobody's any more; programs that use it keep it."""

    def map_lookup(self, number: int, key: bytes) -> bytes | None:
        """Return a copy of the value, None if the key is absent."""

    def map_update(self, number: int, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value (BPF_MAP_UPDATE_ELEM).

        A per-CPU map takes and gives the values of all CPUs, each filled up to a multiple of 8 bytes; a prog array a
        program's id in 4 bytes.
        """

    def map_delete(self, number: int, key: bytes) -> None:
        """Delete an entry (BPF_MAP_DELETE_ELEM); ENOENT if absent."""

    def map_keys(self, number: int) -> list[bytes]:
        """Return all keys (BPF_MAP_GET_NEXT_KEY)."""

    def ringbuf_read(self, number: int) -> list[bytes]:
        """Take the records of a ring buffer that are complete, oldest first; EINVAL for any other map."""

    def prog_load(self, code: ProgramCode, maps: Mapping[str, int], *,
                  prog_type: int = BPF_PROG_TYPE_SCHED_CLS) -> int:  # fmt: skip
        """Load a program whose relocations name ``maps``; return its id. Two loads are two programs.

        ``prog_type`` other than BPF_PROG_TYPE_SCHED_CLS makes a program that no hook here takes.
        """

    def prog_verify(self, code: ProgramCode, maps: Mapping[str, MapSpec], *, level: int = 1) -> Verification:
        """Ask the kernel's verifier about a program, with maps made for it as told; nothing of it stays.

        ``level`` 1 gives the log of the path that fails, 2 that of all paths. `UsageError` where there is no verifier.
        """

    def prog_attach(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0,
                    replace: int = 0, relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Attach a program (BPF_PROG_ATTACH), acting from namespace ``ns``; ``replace`` and ``relative`` are ids."""

    def prog_detach(self, ns: int, ifindex: int, attach_type: int, prog_id: int = 0, *, flags: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Detach a program (BPF_PROG_DETACH); without ``prog_id`` the last one."""

    def prog_query(self, ns: int, ifindex: int, attach_type: int) -> Chain:
        """Return a hook's revision and programs (BPF_PROG_QUERY)."""

    def bpf_link_create(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0,
                        relative: int = 0, expected_revision: int = 0) -> int:  # fmt: skip
        """Attach a program by a link (BPF_LINK_CREATE), acting from ``ns``; return the link's id, which stays."""

    def bpf_link_update(self, number: int, prog_id: int, *, flags: int = 0, old: int = 0) -> None:
        """Put another program in a link's place (BPF_LINK_UPDATE), with BPF_F_REPLACE only if it is ``old`` now."""

    def bpf_link_detach(self, number: int) -> None:
        """Take a link's program off its hook (BPF_LINK_DETACH); the link stays, as a link to nothing."""

    def bpf_link_close(self, number: int) -> None:
        """Close the only descriptor of a link: as `bpf_link_detach`, and the link is gone."""

    def bpf_link_info(self, number: int) -> BpfLinkInfo:
        """Return what the kernel says of a link (BPF_OBJ_GET_INFO_BY_FD)."""

    # the same calls as messages and fields, to be got wrong -------------------------------------------------------
    def raw_newlink(self, ns: int, kind: str, *, create: bool, ifindex: int = 0, attrs: Mapping[int, bytes],
                    data: Mapping[int, bytes] | None, capable: bool = True) -> int:  # fmt: skip
        """Send RTM_NEWLINK with these attributes as they are; return the ifindex of what it made or changed.

        Args:
            create: with NLM_F_CREATE|NLM_F_EXCL.
            ifindex: ifi_index: of the device to change, or for the new one.
            attrs: IFLA_* beside IFLA_LINKINFO. IFLA_NET_NS_FD holds a namespace's number as a u32.
            data: the attributes in IFLA_INFO_DATA, None without it.
            capable: whether the caller has CAP_NET_ADMIN.
        """

    def raw_bpf(self, ns: int, cmd: int, fields: Mapping[str, int], tail: bytes = b"", *,
                capable: bool = True) -> Mapping:  # fmt: skip
        """Call bpf(2) with these fields of ``union bpf_attr``, and ``tail`` behind the last; return what it wrote.

        Descriptors are the backend's numbers; a pointer is 1 for a buffer that is there, 0 for NULL, -1 for an
        address where nothing is. ``capable`` as in `raw_newlink`.
        """

    # sockets ------------------------------------------------------------------------------------------------------
    def listen(self, ns: int, *, udp: int) -> None:
        """Open a UDP socket on this port that keeps what it receives; EADDRINUSE if there is one.

        Port 0 stands for all ports: the namespace becomes a sink.
        """

    def received(self, ns: int) -> list[Received]:
        """Return what the namespace's sockets have received so far, in order."""

    def send(self, ns: int, request: SendRequest) -> Journey:
        """Send one packet, let everything it sets off come to rest, and return what happened to it."""

    def send_many(self, ns: int, request: SendRequest, n: int) -> Sequence[Journey]:
        """Send the same packet ``n`` times back to back before any softirq runs, then let all come to rest."""

    # packet sockets that listen ------------------------------------------------------------------------------------
    def capture_start(self, ns: int, ifindex: int) -> int:
        """Listen on a device as tcpdump does; return a number for `captured` and `capture_stop`."""

    def captured(self, number: int) -> Sequence[tuple[str, bytes]]:
        """Return the frames seen so far: "out" or "in", and the bytes from the Ethernet header."""

    def capture_stop(self, number: int) -> None:
        """Stop listening; what was captured is gone."""

    def close(self) -> None:
        """Free everything this backend made; a second call does nothing."""

"""Namespaces, their sysctls and counters, and the conversations with rtnetlink that all calls on devices are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from netkit_edu.backend import SoftnetStat
from netkit_edu.errors import KernelError
from netkit_edu.linux import netns, privilege
from netkit_edu.linux.door import Door
from netkit_edu.linux.linkcalls import LinkCalls
from netkit_edu.linux.netns import Namespace
from netkit_edu.linux.rtnetlink import Request
from netkit_edu.linux.talk import Talk
from netkit_edu.linux.trace import Place

_SECTIONS = ("Ip", "Icmp", "Udp", "IpExt")
_SETTINGS = ("IpForwarding", "IpDefaultTTL")  # in the same file, but no counters


class NetCalls(LinkCalls):
    """Namespaces, sysctls and rtnetlink; the descriptors are the door's, the numbers handed out our own."""

    def __init__(self, door: Door):
        self.door = door
        self._ns: dict[int, Namespace] = {}
        self._last_ns = 0
        self._seq = 0
        self._others: dict[tuple[int, int], tuple[int, int]] = {}  # namespace and ifindex of the other end, if known
        self._device_names: list[Place] | None = None
        batch = door.batch()
        root = netns.open_file(batch, netns.OWN_NET)
        batch.run()
        self._root = root.value  # the namespace in which the door was born
        self._rights = privilege.capabilities(door)
        self._softnet_then = self._softnet_now()

    # namespaces -------------------------------------------------------------------------------------------------------

    def netns_add(self, name: str) -> int:
        """Create a namespace with its loopback device up; return its number."""
        self._last_ns += 1
        self._seq += 1
        self._ns[self._last_ns] = netns.create(self.door, self._last_ns, name, self._seq)
        self._device_names = None
        return self._last_ns

    def netns_del(self, ns: int) -> None:
        """Remove a namespace and its devices; of a pair, both ends.

        The kernel would remove them itself, but later.
        """
        net = self._net(ns)
        for ifindex in [link.ifindex for link in self.links(ns) if link.kind != "loopback"]:
            with contextlib.suppress(KernelError):  # it went with another of them
                self.link_del(ns, ifindex)
        netns.close(self.door, net)
        del self._ns[ns]
        for other in self._ns.values():
            other.nsids.clear()

    def sysctl(self, ns: int, key: str, value: int) -> None:
        """Set a sysctl of the namespace, or one that the machine has once."""
        net, file = self._net(ns), netns.sysctl_path(key)
        batch = self.door.batch()
        batch.setns(self._root if key == netns.MACHINE_BACKLOG else net.fd)
        netns.write_file(batch, file, str(int(value)))
        batch.run()

    def snmp(self, ns: int) -> Mapping[str, int]:
        """Return the counters of /proc/net/snmp and /proc/net/netstat, as nstat names them."""
        fd = self._net(ns).fd
        files = (netns.read_file(self.door, f"/proc/thread-self/net/{name}", fd) for name in ("snmp", "netstat"))
        lines = [line for file in files for line in file.splitlines()]
        found = {}
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            section, _, names = names.partition(":")
            if section in _SECTIONS:
                found |= {section + name: int(value) for name, value in zip(names.split(), values.split()[1:])}  # noqa: B905
        return {name: value for name, value in found.items() if name not in _SETTINGS}

    def softnet_stat(self) -> Sequence[SoftnetStat]:
        """Return what each of the lab's CPUs has counted since this backend began."""
        now = self._softnet_now()
        return [
            SoftnetStat(new.processed - old.processed, new.dropped - old.dropped)
            for new, old in zip(now, self._softnet_then, strict=True)
        ]

    def _softnet_now(self) -> list[SoftnetStat]:
        lines = netns.read_file(self.door, "/proc/net/softnet_stat", self._root).splitlines()
        return [SoftnetStat(*(int(word, 16) for word in lines[cpu].split()[:2])) for cpu in self.cpus]

    # what the other parts of the backend share ------------------------------------------------------------------------

    def _net(self, ns: int) -> Namespace:
        if ns not in self._ns:
            raise KernelError("EBADF")
        return self._ns[ns]

    def _talk(self) -> Talk:
        return Talk(self.door, self._seq)

    def _run(self, talk: Talk) -> None:
        self._seq = talk.next_seq
        talk.batch.run()

    def _acked(self, net: Namespace, request: Request) -> list[bytes]:
        talk = self._talk()
        answer = talk.ask(net.netlink, request, reads=1)
        self._run(talk)
        return answer.messages()

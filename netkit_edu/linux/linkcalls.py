"""Devices, addresses, routes and neighbours: the rtnetlink calls of a backend."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

from netkit_edu.backend import Ethtool, LinkInfo
from netkit_edu.errors import KernelError
from netkit_edu.linux import privilege, rtnetlink
from netkit_edu.linux.ethtool import make_card, read_ethtool
from netkit_edu.linux.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, ifinfomsg, number, string
from netkit_edu.linux.netns import Namespace
from netkit_edu.linux.newlink import descriptors_for_numbers
from netkit_edu.linux.rtnetlink import IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, Request
from netkit_edu.linux.talk import Answer
from netkit_edu.linux.trace import Place
from netkit_edu.uapi import Errno, Ifla


class LinkCalls:
    """The rtnetlink part of a backend; the other part has ``door``, ``_net``, ``_ns`` and the conversations."""

    # links ------------------------------------------------------------------------------------------------------------

    def link_add(self, ns: int, kind: str, name: str, *, peer_ns: int | None = None, peer: Mapping | None = None,
                 attrs: Mapping | None = None, info: Mapping | None = None) -> int:  # fmt: skip
        """Create a device or a pair; return its ifindex, the primary's for a pair.

        An attribute that this kernel passes over because it is newer is told by a warning.
        """
        net, there = self._net(ns), self._net(ns if peer_ns is None else peer_ns)
        if kind not in rtnetlink.KINDS:
            raise KernelError("EOPNOTSUPP", "Unknown device type")
        attrs = {"name": name, **(attrs or {})}
        given = None if peer is None and peer_ns is None else dict(peer or {})
        fd = None if there is net else there.fd
        made = self._created(net, rtnetlink.link_create(kind, attrs, info or {}, given, fd))
        self._grown(net, there)
        if kind == "netkit":
            warn_of_unknown(info or {}, made)
        if made.peer:
            self._others[net.number, made.ifindex] = there.number, made.peer
            self._others[there.number, made.peer] = net.number, made.ifindex
        ends = [(net, made.ifindex, made.name, attrs)]
        if made.peer:
            ends.append((there, made.peer, (given or {}).get("name", ""), given or {}))
        try:
            self._furnish(kind, ends)
        except BaseException:
            self.link_del(ns, made.ifindex)
            raise
        return made.ifindex

    def link_set(self, ns: int, ifindex: int, *, up: bool | None = None, mtu: int | None = None,
                 mac: str | None = None, info: Mapping | None = None, name: str = "",
                 netns: int | None = None, master: int | None = None) -> None:  # fmt: skip
        """Change a device: first the attributes of its kind, then place, address, MTU, name, state and bridge."""
        net = self._net(ns)
        there = net if netns is None else self._net(netns)
        moves = there is not net
        before = self._describe(net, ifindex) if moves else None
        attrs = {"name": name, "mtu": mtu, "mac": mac}
        request = rtnetlink.link_change(
            ifindex, up=up, attrs=attrs, info=info, netns_fd=there.fd if moves else None, master=master
        )
        self._grown(there)
        if up is not None and not moves:
            return self._open_or_close(net, ifindex, request)
        self._acked(net, request)
        if moves:
            self._others.clear()
            name = name or before.name
            self._settle(there, next(link.ifindex for link in self._dump(there) if link.name == name))

    def link_del(self, ns: int, ifindex: int) -> None:
        """Delete a device; a pair goes whole."""
        self._acked(self._net(ns), rtnetlink.link_delete(ifindex))
        self._device_names = None

    def link_get(self, ns: int, ifindex: int) -> LinkInfo:
        """Return what the kernel says of a device."""
        net = self._net(ns)
        talk = self._talk()
        link = talk.ask(net.netlink, rtnetlink.link_query(ifindex), reads=1)
        addresses = talk.ask(net.netlink, rtnetlink.address_dump(ifindex))
        self._run(talk)
        return self._placed(net, rtnetlink.read_link(link.messages()[0], tuple(_addresses(addresses).get(ifindex, ()))))

    def links(self, ns: int) -> Sequence[LinkInfo]:
        """Return every device of a namespace in the order of ifindexes."""
        net = self._net(ns)
        talk = self._talk()
        addresses = talk.ask(net.netlink, rtnetlink.address_dump())
        links = talk.ask(net.netlink, rtnetlink.link_dump(), reads=3)
        self._run(talk)
        of = _addresses(addresses)
        found = [rtnetlink.read_link(body) for body in links.messages()]
        return sorted(
            (self._placed(net, replace(link, addresses=tuple(of.get(link.ifindex, ())))) for link in found),
            key=lambda link: link.ifindex,
        )

    def ethtool(self, ns: int, ifindex: int) -> Ethtool:
        """Return what ethtool -i and ethtool -k say of a device."""
        net = self._net(ns)
        return read_ethtool(self.door, net.fd, self._describe(net, ifindex).name)

    def raw_newlink(self, ns: int, kind: str, *, create: bool, ifindex: int = 0, attrs: Mapping[int, bytes],
                    data: Mapping[int, bytes] | None, capable: bool = True) -> int:  # fmt: skip
        """Send RTM_NEWLINK with these attributes as they are, but that a namespace is meant by our number."""
        net = self._net(ns)
        fds = {number: other.fd for number, other in self._ns.items()}
        attrs, data = descriptors_for_numbers(attrs, data, fds)
        info = [(IFLA_INFO_KIND, kind.encode()), *([(IFLA_INFO_DATA, list(data.items()))] if data is not None else [])]
        flags = NLM_F_ACK | NLM_F_ECHO | (NLM_F_CREATE | NLM_F_EXCL if create else 0)
        request = Request(
            rtnetlink.RTM_NEWLINK, flags, ifinfomsg(ifindex=ifindex), [*attrs.items(), (IFLA_LINKINFO, info)]
        )
        self._grown(*self._ns.values())
        talk = self._talk()
        with contextlib.nullcontext() if capable else privilege.dropped(talk.batch, self._rights):
            answer = talk.ask(net.netlink, request)
        self._run(talk)
        bodies = answer.messages()
        if not create:
            return ifindex
        if bodies:
            return rtnetlink.read_link(bodies[0]).ifindex
        there = next((other for other in self._ns.values() if other.fd == number(attrs.get(Ifla.NET_NS_FD))), net)
        wanted = string(attrs.get(Ifla.IFNAME))  # where it is not, the kernel does not tell us
        return max(link.ifindex for link in self._dump(there) if link.name == wanted or not wanted)

    # addresses, routes, neighbours ------------------------------------------------------------------------------------

    def addr_add(self, ns: int, ifindex: int, address: str) -> None:
        """Give a device an IPv4 address with its prefix length."""
        self._acked(self._net(ns), rtnetlink.address_create(ifindex, address))

    def route_add(self, ns: int, prefix: str, *, ifindex: int = 0, via: str = "") -> None:
        """Add a route; ``prefix`` may be "default"."""
        self._acked(self._net(ns), rtnetlink.route_create(prefix, ifindex, via))

    def neigh_add(self, ns: int, ifindex: int, address: str, mac: str) -> None:
        """Add a permanent neighbour."""
        self._acked(self._net(ns), rtnetlink.neighbour_create(ifindex, address, mac))

    # what the other parts of the backend share ------------------------------------------------------------------------

    def _created(self, net: Namespace, request: Request) -> LinkInfo:
        talk = self._talk()
        answer = talk.ask(net.netlink, request)
        self._run(talk)
        return rtnetlink.read_link(answer.messages()[0])

    def _describe(self, net: Namespace, ifindex: int) -> LinkInfo:
        return rtnetlink.read_link(self._acked(net, rtnetlink.link_query(ifindex))[0])

    def _dump(self, net: Namespace) -> list[LinkInfo]:
        talk = self._talk()
        answer = talk.ask(net.netlink, rtnetlink.link_dump(), reads=3)
        self._run(talk)
        return [rtnetlink.read_link(body) for body in answer.messages()]

    def _furnish(self, kind: str, ends: Sequence[tuple[Namespace, int, str, Mapping]]) -> None:
        """Give new devices what RTM_NEWLINK does not: a queueing discipline, and cards what makes them cards."""
        talk = self._talk()
        asked = []
        for net, ifindex, name, attrs in ends:
            qdisc = attrs.get("qdisc") or ("pfifo_fast" if kind == "nic" else "")
            if kind == "nic":
                make_card(talk.batch, net.fd, name or self._describe(net, ifindex).name)
            if qdisc:
                asked.append(talk.ask(net.netlink, rtnetlink.qdisc_create(ifindex, qdisc), reads=1))
        if asked:
            self._run(talk)
        for answer in asked:
            answer.messages()

    def _open_or_close(self, net: Namespace, ifindex: int, request: Request) -> None:
        """Set a device up or down, and let that take effect, in one round trip if we remember its other end."""
        other_ns, other = self._others.get((net.number, ifindex), (net.number, ifindex))
        talk = self._talk()
        talk.ask(net.netlink, rtnetlink.neighbour_times(ifindex), reads=1)
        answer = talk.ask(net.netlink, request, reads=1)
        link = talk.ask(net.netlink, rtnetlink.link_query(ifindex), reads=1)
        if other_ns in self._ns:
            talk.ask(self._ns[other_ns].netlink, rtnetlink.link_query(other), reads=1)
        self._run(talk)
        answer.messages()
        if rtnetlink.read_link(link.messages()[0]).peer not in (0, other):
            self._settle(net, ifindex)

    def _settle(self, net: Namespace, ifindex: int) -> None:
        """Let the kernel draw all consequences of a device's going up or down, on both ends of a pair.

        It does so later, in a work item of its own (net/core/link_watch.c), but at once for a device that is asked for
        by its number.
        """
        link = self._placed(net, self._describe(net, ifindex))
        if link.peer and (other := net if link.peer_netns == -1 else self._ns.get(link.peer_netns)):
            with contextlib.suppress(KernelError):
                self._describe(other, link.peer)

    def _placed(self, net: Namespace, link: LinkInfo) -> LinkInfo:
        """Return the description with our number of the other end's namespace in place of the kernel's."""
        if link.peer_netns == -1:
            return link
        if link.peer_netns not in net.nsids:
            talk = self._talk()
            asked = {
                ns: talk.ask(net.netlink, rtnetlink.nsid_query(other.fd), reads=1) for ns, other in self._ns.items()
            }
            self._run(talk)
            net.nsids = {rtnetlink.read_nsid(answer.messages()[0]): ns for ns, answer in asked.items()}
        return replace(link, peer_netns=net.nsids.get(link.peer_netns, -1))

    def _grown(self, *nets: Namespace) -> None:
        """Something changed, and each of these may have one device more."""
        self._device_names = None
        for net in nets:
            net.devices += 1

    def _asked_for(self) -> bool:
        """Return whether a neighbour's address is being asked for anywhere."""
        talk = self._talk()
        asked = [talk.ask(net.netlink, rtnetlink.neighbour_dump()) for net in self._ns.values()]
        self._run(talk)
        states = [rtnetlink.neighbour_state(body) for answer in asked for body in answer.messages()]
        return rtnetlink.NUD_INCOMPLETE in states

    def _devices(self) -> list[Place]:
        """Return every device of every namespace, as the recording of journeys wants to know it."""
        if self._device_names is None:
            talk = self._talk()
            asked = [(net, talk.ask(net.netlink, rtnetlink.link_dump(), reads=3)) for net in self._ns.values()]
            self._run(talk)
            links = [(net, self._placed(net, rtnetlink.read_link(b))) for net, a in asked for b in a.messages()]
            paths = {(net.number, link.ifindex): f"{net.name}/{link.name}" for net, link in links}
            self._device_names = [
                Place(
                    net.inode, link.ifindex, net.name, link.name, link.kind, link.qdisc,
                    paths.get((net.number if link.peer_netns == -1 else link.peer_netns, link.peer), "")
                    if link.kind == "nic" else "",
                )
                for net, link in links
            ]  # fmt: skip
        return self._device_names


def _addresses(answer: Answer) -> dict[int, list[str]]:
    """Return addresses by ifindex; a device that is not there has none."""
    found: dict[int, list[str]] = {}
    try:
        bodies = answer.messages()
    except KernelError as error:
        if error.errno != Errno.ENODEV:
            raise
        bodies = []
    for body in bodies:
        ifindex, address = rtnetlink.read_address(body)
        found.setdefault(ifindex, []).append(address)
    return found


def warn_of_unknown(asked: Mapping[str, int], made: LinkInfo) -> None:
    """Warn of attributes that the kernel did not take: it passes over those that are newer than itself."""
    missed = [name for name, value in asked.items() if made.info.get(name) != value]
    if missed:
        warnings.warn(f"this kernel does not know a netkit device's {', '.join(missed)}", stacklevel=4)

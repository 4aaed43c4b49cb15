"""Devices and pairs: what one network namespace can do with its own devices.

A `Device` acts inside its own namespace, through its own ifindex. So ``pair.peer.attach(...)`` is exactly what a
container with root would try, and the kernel's answer comes by itself. Every refusal is a `KernelError`.
"""

from __future__ import annotations

import enum

from netkit_edu.arguments import choice, device_name, mac_address, whole_number
from netkit_edu.attachment import Attachment
from netkit_edu.backend import Chain, Ethtool, LinkInfo, LinkStats
from netkit_edu.capture import Capture
from netkit_edu.errors import NetkitEduError, UsageError
from netkit_edu.hooks import ANY, attach_type, tcx_attach_type
from netkit_edu.uapi import (
    BPF_F_AFTER,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    IFF_UP,
    Mode,
    Policy,
    Scrub,
)

_U64 = 0xFFFF_FFFF_FFFF_FFFF


class Device:
    """One network device, as its own namespace sees it.

    ``node`` is where it lives, ``ifindex`` its number there, ``other`` the other end of a pair or cable, or None.
    """

    def __init__(self, node, ifindex: int):
        self.node = node
        self.ifindex = ifindex
        self.other: Device | None = None

    @property
    def _calls(self):
        return self.node.lab.kernel_calls

    @property
    def info(self) -> LinkInfo:
        """Everything RTM_GETLINK says of it; `KernelError` ENODEV once it is deleted."""
        return self._calls.link_get(self.node.ns, self.ifindex)

    @property
    def name(self) -> str:
        """Its name, for example "eth0"."""
        return self.info.name

    @property
    def kind(self) -> str:
        """Its driver: "veth", "netkit", "dummy", "bridge", "nic"."""
        return self.info.kind

    @property
    def ethtool(self) -> Ethtool:
        """Its ``driver``, and the ``features`` that it promises the stack, by ethtool's names."""
        return self._calls.ethtool(self.node.ns, self.ifindex)

    @property
    def mtu(self) -> int:
        """The largest IP packet it sends, in bytes."""
        return self.info.mtu

    @property
    def mac(self) -> str:
        """Its MAC address; all zero on a netkit device in L3 mode."""
        return self.info.mac

    @property
    def is_up(self) -> bool:
        """Whether it is administratively up."""
        return bool(self.info.flags & IFF_UP)

    @property
    def carrier(self) -> bool:
        """Whether the other end is there and up too."""
        return self.info.carrier

    @property
    def stats(self) -> LinkStats:
        """Its counters: packets and bytes, received and sent, and drops."""
        return self.info.stats

    def up(self) -> Device:
        """Set it up; return it."""
        self._calls.link_set(self.node.ns, self.ifindex, up=True)
        return self

    def down(self) -> Device:
        """Set it down: Linux forgets its routes and neighbours; return it."""
        self._calls.link_set(self.node.ns, self.ifindex, up=False)
        return self

    def set(self, *, mtu: int | None = None, mac: str | None = None) -> Device:
        """Change its MTU (bytes) or its MAC address; return it.

        Raises:
            KernelError: EINVAL for an MTU out of the device's range, EOPNOTSUPP for a MAC address of a netkit device in
                L3 mode, EADDRNOTAVAIL for one that no interface may have.
            UsageError: no number, or no MAC address.
        """
        if mtu is not None:
            whole_number(mtu, "mtu")
        if mac is not None:
            mac_address(mac)
        self._calls.link_set(self.node.ns, self.ifindex, mtu=mtu, mac=mac)
        return self

    def set_master(self, bridge: Device | None) -> Device:
        """Make it a port of a bridge of its node, which takes all that it receives; None for of no bridge. Return it.

        Raises:
            KernelError: EINVAL without a MAC address, as netkit in L3 mode has none; EOPNOTSUPP if that is no bridge;
                ELOOP for a bridge in a bridge.
            UsageError: not a device of its node.
        """
        master = 0 if bridge is None else self.node._own(bridge).ifindex
        self._calls.link_set(self.node.ns, self.ifindex, master=master)
        return self

    def capture(self) -> Capture:
        """Listen on it as tcpdump does: ``with dev.capture() as seen: ...``, then ``seen.frames``."""
        return Capture(self)

    def addr(self, address: str) -> Device:
        """Give it an IPv4 address with prefix length, for example "10.0.9.2/24"; return it."""
        self.node.addr(self, address)
        return self

    def rename(self, name: str) -> Device:
        """Give it another name, up or down; return it.

        Raises:
            KernelError: EEXIST if its node has a device of that name.
            UsageError: no device may have that name.
        """
        self._calls.link_set(self.node.ns, self.ifindex, name=device_name(name))
        return self

    def move(self, node, *, name: str = "") -> Device:
        """Move it into another node's namespace; return it. Programs and links stay where they are.

        It is down afterwards, without addresses, and has another ifindex if its own is taken there. Authority over a
        pair goes where its primary goes.

        Args:
            node: whose it is to be.
            name: what it is to be called there; by default as it is.

        Raises:
            KernelError: EEXIST if that node has a device of that name; EINVAL for a loopback.
            UsageError: no node of this lab, or no device may have that name.
        """
        name = device_name(name) if name else self.name
        self.node.lab.move(self, node, name)
        return self

    def delete(self) -> None:
        """Delete it; a pair goes whole, whichever end is deleted."""
        self._calls.link_del(self.node.ns, self.ifindex)

    def attach(self, program, at=None, *, before=None, after=None, replace=None, link: bool = False,
               expected_revision: int = 0, flags: int = 0) -> Attachment:  # fmt: skip
        """Attach a program to a hook of this netkit device (BPF_PROG_ATTACH), by default behind those already there.

        Args:
            program: a `Program`, loaded on first use and then once for this lab, or what ``lab.load`` returned.
            at: "primary" (runs when the primary sends) or "peer"; by default what the program's section says.
            before, after: put it there: a program, an attachment, an id, or `ANY` for the front and the back.
            replace: put it into the place of this program, attachment or id.
            link: attach it by a link (BPF_LINK_CREATE), which owns its place; it replaces nothing but by `update`.
            expected_revision: attach only if the hook's revision is this one; 0 for any.
            flags: the kernel's attach_flags, added to those that the arguments above mean.

        Raises:
            KernelError: EACCES through the peer device, ENXIO on another kind of device, EEXIST if this program is
                there already, ENOENT if the one it is to go by is not, EBUSY if the one to replace belongs to a
                link, ESTALE if the revision is another, ERANGE if the hook holds 63 programs or the places
                contradict each other.
            UsageError: no such hook, or not a program.
        """
        loaded = self.node.lab.loaded(program)
        number = attach_type(at, loaded.program)
        place, relative = self._place(before, after)
        if replace is not None:
            place |= BPF_F_REPLACE
        how = {
            "flags": whole_number(flags, "flags") | place,
            "relative": relative,
            "expected_revision": whole_number(expected_revision, "expected_revision", 0, _U64),
        }
        if link:
            made = self._calls.bpf_link_create(self.node.ns, self.ifindex, number, loaded.id, **how)
            return Attachment(self, number, loaded, made)
        old = 0 if replace is None else self._program_id(replace)
        self._calls.prog_attach(self.node.ns, self.ifindex, number, loaded.id, replace=old, **how)
        return Attachment(self, number, loaded)

    def detach(self, program=None, at=None, *, before=None, after=None, expected_revision: int = 0,
               flags: int = 0) -> None:  # fmt: skip
        """Detach a program from a hook (BPF_PROG_DETACH), without one the last; the arguments are those of `attach`.

        Raises:
            KernelError: ENOENT if it is not there, EACCES through the peer device, ESTALE if the revision is another,
                ERANGE if it does not stand where ``before`` and ``after`` say.
        """
        loaded = None if program is None else self.node.lab.loaded(program)
        number = attach_type(at, None if loaded is None else loaded.program)
        place, relative = self._place(before, after)
        self._calls.prog_detach(
            self.node.ns, self.ifindex, number, 0 if loaded is None else loaded.id,
            flags=whole_number(flags, "flags") | place, relative=relative,
            expected_revision=whole_number(expected_revision, "expected_revision", 0, _U64),
        )  # fmt: skip

    def _place(self, before, after) -> tuple[int, int]:
        """Return the flags and the one program's or link's id by which the kernel is told a place."""
        given = [(BPF_F_BEFORE, before), (BPF_F_AFTER, after)]
        flags = sum(flag for flag, value in given if value is not None)
        named = {self._relative(value) for _, value in given if value is not None and value is not ANY}
        if len(named) > 1:
            raise UsageError("the kernel takes one program to go by: before= and after= name two")
        kind, number = named.pop() if named else (0, 0)
        return flags | kind, number

    def _relative(self, value) -> tuple[int, int]:
        if isinstance(value, Attachment) and value.link:
            return BPF_F_LINK | BPF_F_ID, value.link
        return BPF_F_ID, self._program_id(value)

    def _program_id(self, value) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        return self.node.lab.loaded(value.program if isinstance(value, Attachment) else value).id

    def attach_tcx(self, program, where=None, **place) -> Attachment:
        """Attach a program to a tcx hook of this device, of whatever kind it is.

        Args:
            program: a `Program`, or what ``lab.load`` returned.
            where: "ingress" (runs when the device receives) or "egress" (when it is given a packet to send); by default
                what the program's section says.
            place: ``before``, ``after``, ``replace``, ``link``, ``expected_revision``, ``flags`` as in `attach`.

        Raises:
            KernelError: as in `attach`, but that no device refuses.
            UsageError: no such place, or not a program.
        """
        loaded = self.node.lab.loaded(program)
        return self.attach(loaded, tcx_attach_type(where, loaded.program), **place)

    def detach_tcx(self, program=None, where=None, **place) -> None:
        """Detach a program from a tcx hook, without one the last; ``place`` as in `detach`.

        Raises:
            KernelError: as in `detach`.
        """
        loaded = None if program is None else self.node.lab.loaded(program)
        number = tcx_attach_type(where, None if loaded is None else loaded.program)
        self.detach(loaded, number, **place)

    def tcx_chain(self, where) -> Chain:
        """Return the programs at "ingress" or "egress" in order, and the list's revision."""
        return self.chain(tcx_attach_type(where))

    def chain(self, at) -> Chain:
        """Return a hook's programs in order, and its revision (BPF_PROG_QUERY)."""
        return self._calls.prog_query(self.node.ns, self.ifindex, attach_type(at))

    def revision(self, at) -> int:
        """Return the revision of a hook's list as a query shows it."""
        return self.chain(at).revision

    def set_policy(self, *, policy=None, peer_policy=None) -> None:
        """Change the default policies of a running pair: "pass" or "drop"; None leaves one as it is.

        Args:
            policy: for what the primary sends, host to container.
            peer_policy: for what the peer sends, container to host.

        Raises:
            KernelError: EACCES through the peer device; EINVAL for a number that is no policy.
        """
        info = {}
        if policy is not None:
            info["policy"] = choice(Policy, policy, "policy")
        if peer_policy is not None:
            info["peer_policy"] = choice(Policy, peer_policy, "peer_policy")
        self._calls.link_set(self.node.ns, self.ifindex, info=info)

    def _attribute(self, name: str, kind: type[enum.IntEnum]):
        info = self.info
        if name not in info.info:
            raise UsageError(f"{info.name} is a {info.kind} device: only netkit devices have a {name}")
        return kind(info.info[name])

    @property
    def policy(self) -> Policy:
        """What happens to a packet that this device sends while no program is attached."""
        return self._attribute("policy", Policy)

    @property
    def peer_policy(self) -> Policy:
        """The same for the other end."""
        return self._attribute("peer_policy", Policy)

    @property
    def mode(self) -> Mode:
        """L2 or L3, common to both ends."""
        return self._attribute("mode", Mode)

    @property
    def scrub(self) -> Scrub:
        """Whether this device clears mark and priority of what it sends into another namespace."""
        return self._attribute("scrub", Scrub)

    @property
    def peer_scrub(self) -> Scrub:
        """The same for the other end."""
        return self._attribute("peer_scrub", Scrub)

    def __repr__(self) -> str:
        try:
            info = self.info
        except NetkitEduError:
            state = "its lab is closed" if self.node.lab.closed else "deleted"
            return f"<device {self.ifindex} in {self.node.name}, {state}>"
        state = ("up" if info.flags & IFF_UP else "down") + ("" if info.carrier else ", no carrier")
        return f"<{info.kind} {info.name} in {self.node.name}, ifindex {info.ifindex}, {state}, mtu {info.mtu}>"


class Pair:
    """Two devices joined back to back. What is asked of the pair is asked of its primary: ``pair.x`` is
    ``pair.primary.x``. For veth, which knows no such roles, the primary is the end that was created first.
    """

    def __init__(self, primary: Device, peer: Device):
        self.primary = primary
        self.peer = peer
        primary.other, peer.other = peer, primary

    def __getattr__(self, name: str):
        if name.startswith("__") or "primary" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.primary, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.primary)})

    def __repr__(self) -> str:
        return f"<pair\n  primary {self.primary!r}\n  peer    {self.peer!r}>"

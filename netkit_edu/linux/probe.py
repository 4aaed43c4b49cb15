"""What a Linux can do for a lab, and why not: asked of a door, by trial where nothing else is as good as trying.

Everything that is tried, devices, programs, a mount, lives in namespaces that the door makes for itself and that die
with it; the machine's own devices, mounts and settings are neither used nor changed. The answers are the doctor's
lines for ``nk.Lab("host")``, the words of its `BackendUnavailable`, and the reason of a test that skips.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from netkit_edu.errors import BackendUnavailable, DoorError, KernelError
from netkit_edu.linux import netlink
from netkit_edu.linux.child import open_child
from netkit_edu.linux.door import Door, Result
from netkit_edu.linux.mounts import leave_the_machine
from netkit_edu.linux.syscalls import O_CLOEXEC, O_RDONLY
from netkit_edu.uapi import errno_name

# The bits of CapEff (include/uapi/linux/capability.h) that a door needs, and what for.
CAPABILITIES = {
    "cap_sys_admin": (21, "namespaces and bpf(2)"),
    "cap_net_admin": (12, "devices, addresses and routes"),
    "cap_net_raw": (13, "raw and packet sockets"),
}
LEAST_NETKIT_KERNEL = (6, 7)
NETKIT_REMEDY = "boot a kernel with CONFIG_NETKIT=y, such as Debian's from 6.12 up"
DOOR_REMEDY = (
    'NETKIT_EDU_DOOR="sudo -n /path/to/door" gives the door alone the privileges: see netkit_edu/linux/DOOR.md'
)


class Answer(NamedTuple):
    """One thing that was asked: is it there, what exactly, and what brings it (one command; "" where nothing does).

    ``needed``: whether there is no lab without it; the others only show more.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True

    def __str__(self) -> str:
        return self.detail + (f": {self.remedy}" if self.remedy and not self.ok else "")


@dataclass(frozen=True)
class Report:
    """All answers, in the order in which a lab depends on them; ``report["netkit"]`` is one of them."""

    release: str
    answers: tuple[Answer, ...]

    @property
    def ok(self) -> bool:
        """Whether ``nk.Lab("host")`` works here; with netkit devices only if ``report["netkit"].ok``."""
        return not self.why

    @property
    def why(self) -> str:
        """Why a lab does not work here, one line for each reason with what to do about it; "" if it does."""
        return "\n".join(str(answer) for answer in self.answers if answer.needed and not answer.ok)

    def __getitem__(self, name: str) -> Answer:
        return next((a for a in self.answers if a.name == name), Answer(name, False, "it was not asked", needed=False))


def probe_host(open_door: Callable[[], Door] = open_child) -> Report:
    """Start a door, have it try everything in namespaces of its own, and let it go.

    Args:
        open_door: what starts it.
    """
    release = os.uname().release if sys.platform == "linux" else ""
    if not release:
        return Report("", (Answer("door", False, "this is not Linux"),))
    try:
        door = open_door()
    except BackendUnavailable as error:
        return Report(release, (Answer("door", False, str(error)),))
    except OSError as error:
        return Report(release, (Answer("door", False, f"the door could not be built ({error})", DOOR_REMEDY),))
    try:
        release = release_of(door)
        return Report(release, tuple(_answers(door, release)))
    except DoorError as error:
        return Report(release, (Answer("door", False, f"the door went away while it was asked: {error}"),))
    finally:
        door.close()
        door.child.wait()


def release_of(door: Door) -> str:
    """Return which Linux runs where the door stands (struct utsname: six fields of 65 bytes, this is the third)."""
    batch = door.batch()
    name = batch.room(390)
    batch.call("uname", name)
    said = batch.read(name, 390)
    batch.run()
    return said.value[130:195].split(b"\0")[0].decode()


def _answers(door: Door, release: str):
    yield Answer("door", True, f"process {door.pid} of {door.machine}")
    yield (privileges := _privileges(door))
    if not privileges.ok:
        return
    try:
        leave_the_machine(door)
    except KernelError as error:
        yield Answer("namespaces", False, f"no network namespace can be made here ({error.name})")
        return
    yield Answer("namespaces", True, "network namespaces of its own")
    yield from _devices(door, release)
    yield from _programs(door)


def read_file(door: Door, path: str, most: int = 65536) -> bytes:
    """Return what a file holds where the door stands.

    Raises:
        KernelError: it cannot be opened or read.
    """
    batch = door.batch()
    fd = batch.call("open", path.encode() + b"\0", O_RDONLY | O_CLOEXEC, 0)
    room = batch.room(most)
    n = batch.call("read", fd, room, most, must=False)
    data = batch.read(room, n, most)
    batch.call("close", fd)
    batch.run()
    return data.value if n.value >= 0 else b""


def _privileges(door: Door) -> Answer:
    status = read_file(door, "/proc/self/status")
    effective = int(re.search(rb"^CapEff:\s*(\w+)", status, re.M)[1], 16)
    absent = [f"{name} ({what})" for name, (bit, what) in CAPABILITIES.items() if not effective >> bit & 1]
    if absent:
        return Answer("privileges", False, f"the door lacks {', '.join(absent)}", DOOR_REMEDY)
    return Answer("privileges", True, ", ".join(CAPABILITIES))


# rtnetlink ------------------------------------------------------------------------------------------------------------
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_IFNAME, _LINKINFO, _INFO_KIND, _INFO_DATA, _IFLA_NETKIT_SCRUB = 3, 18, 1, 2, 6
_NETLINK, _RAW, _CLOEXEC = 16, 3, 0o2000000


def _rtnetlink(door: Door, kind: int, flags: int, given: netlink.Attributes) -> netlink.Message:
    """Send one request about a device in the door's own namespace, and return the first message of the answer."""
    message = netlink.message(kind, flags, 1, netlink.ifinfomsg(), given)
    batch = door.batch()
    fd = batch.call("socket", _NETLINK, _RAW | _CLOEXEC, 0)
    for option in (netlink.NETLINK_CAP_ACK, netlink.NETLINK_EXT_ACK):
        batch.call("setsockopt", fd, netlink.SOL_NETLINK, option, netlink.u32(1), 4)
    batch.call("sendto", fd, message, len(message), 0, 0, 0)
    room = batch.room(32768)
    data = batch.read(room, batch.call("recvfrom", fd, room, 32768, 0, 0, 0), 32768)
    batch.call("close", fd)
    batch.run()
    return netlink.split(data.value)[0]


def _new_pair(door: Door, kind: str) -> str:
    """Try to make a pair of this kind; return why not in the kernel's words, "" if it was made."""
    flags = netlink.NLM_F_ACK | netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
    given = [(_IFNAME, netlink.text(f"try-{kind}")), (_LINKINFO, [(_INFO_KIND, netlink.text(kind))])]
    error = netlink.refusal(_rtnetlink(door, _RTM_NEWLINK, flags, given))
    return (error.extack or error.name) if error else ""


def _devices(door: Door, release: str):
    refused = _new_pair(door, "veth")
    said = f"this kernel makes no veth device ({refused})" if refused else "a pair was made"
    yield Answer("veth", not refused, said, "modprobe veth")
    refused = _new_pair(door, "netkit")
    if not refused:
        yield Answer("netkit", True, f"a pair was made by Linux {release}", needed=False)
        yield _scrub(door)
        return
    said = f"Linux {release} makes no netkit device ({refused})"
    if tuple(int(n) for n in re.findall(r"\d+", release)[:2]) < LEAST_NETKIT_KERNEL:
        said = f"Linux {release} is older than 6.7, where netkit begins"
    yield Answer("netkit", False, said, NETKIT_REMEDY, needed=False)


def _scrub(door: Door) -> Answer:
    answer = _rtnetlink(door, _RTM_GETLINK, 0, [(_IFNAME, netlink.text("try-netkit"))])
    link = netlink.parse(answer.body[netlink.IFINFOMSG_LEN :])
    data = netlink.parse(netlink.parse(link.get(_LINKINFO, b"")).get(_INFO_DATA, b""))
    if _IFLA_NETKIT_SCRUB in data:
        return Answer("scrub", True, "netkit shows its scrub attributes", needed=False)
    return Answer("scrub", False, "this kernel's netkit has no scrub attributes", "Linux 6.12.y or 6.13", needed=False)


# bpf(2) ---------------------------------------------------------------------------------------------------------------
_PROG_LOAD, _LINK_CREATE = 5, 28
_KPROBE, _SCHED_CLS = 2, 3  # types of programs
_KPROBE_MULTI, _TCX_INGRESS = 42, 46  # where they attach
_LOOPBACK, _ESRCH = 1, 3


def _bpf(door: Door, command: int, attr: bytes) -> Result:
    batch = door.batch()
    done = batch.call("bpf", command, attr, len(attr), must=False)
    batch.run()
    return done


def _load(door: Door, kind: int, expected_attach_type: int = 0) -> Result:
    """Load ``r0 = 0; exit``."""
    batch = door.batch()
    code, text = batch.put(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)), batch.put(b"GPL\0")
    attr = struct.pack("<IIQQIIQII16xII", kind, 2, code, text, 0, 0, 0, 0, 0, 0, expected_attach_type)
    done = batch.call("bpf", _PROG_LOAD, attr, len(attr), must=False)
    batch.run()
    return done


def _programs(door: Door):
    program = _load(door, _SCHED_CLS)
    if program.errno:
        yield Answer("bpf", False, f"this kernel does not take programs from the door ({errno_name(program.errno)})")
        return
    yield Answer("bpf", True, "programs are taken")
    link = _bpf(door, _LINK_CREATE, struct.pack("<4I", program.value, _LOOPBACK, _TCX_INGRESS, 0))
    refused = f"programs cannot sit at a device's tcx hooks ({errno_name(link.errno)})" if link.errno else ""
    said = refused or "programs can sit at a device's tcx hooks"
    yield Answer("tcx", not refused, said, "boot Linux 6.6 or newer", needed=False)
    yield _journeys(door)


def _journeys(door: Door) -> Answer:
    """Ask for a link to a function that does not exist, so that none of the kernel's is touched."""
    program = _load(door, _KPROBE, _KPROBE_MULTI)
    errno = program.errno
    if not errno:
        batch = door.batch()
        names = batch.put(struct.pack("<Q", batch.put(b"netkit_edu_nowhere\0")))
        attr = struct.pack("<6IQQQ", program.value, 0, _KPROBE_MULTI, 0, 0, 1, names, 0, 0)
        link = batch.call("bpf", _LINK_CREATE, attr, len(attr), must=False)
        batch.run()
        errno = link.errno
    if errno == _ESRCH and not int(read_file(door, "/proc/kallsyms", 64).split()[0], 16):
        said = "the hops of a packet stay unseen: the kernel does not tell the door where its functions are"
        return Answer("journeys", False, said, "give it cap_syslog", needed=False)
    if errno == _ESRCH:
        return Answer("journeys", True, "the hops of a packet can be seen (kprobe.multi)", needed=False)
    said = f"the hops of a packet stay unseen: no kprobe.multi links here ({errno_name(errno)})"
    return Answer("journeys", False, said, "boot a kernel with CONFIG_FPROBE=y, 5.18 or newer", needed=False)

"""bpf(2): maps, programs and links by number, and the checks before a hook's own code is asked.

Mirrors kernel/bpf/syscall.c and the look-ups of kernel/bpf/mprog.c, Linux 6.12. One number is both an object's id and
the descriptor that its maker holds; 0 is standard input, a descriptor of something else.
"""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.backend import BpfLinkInfo, Chain
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.program.object import MapSpec, ProgramCode
from netkit_edu.program.verification import Verification
from netkit_edu.sim import netkit, tcx
from netkit_edu.sim.bpf_link import BpfLink
from netkit_edu.sim.filter import BpfProg
from netkit_edu.sim.message import bpf_fields, bpf_mprog_query
from netkit_edu.sim.mprog import BPF_F_MPROG, MprogEntry
from netkit_edu.uapi import (
    BPF_F_ID,
    BPF_F_LINK,
    BPF_F_REPLACE,
    BPF_MAP_TYPE_PROG_ARRAY,
    BPF_MAP_TYPE_RINGBUF,
    BPF_NETKIT_PEER,
    BPF_NETKIT_PRIMARY,
    BPF_PROG_TYPE_SCHED_CLS,
    BPF_TCX_EGRESS,
    BPF_TCX_INGRESS,
    BpfCmd,
)

_TCX = (BPF_TCX_INGRESS, BPF_TCX_EGRESS)
BPF_F_QUERY_EFFECTIVE = 1  # means something to cgroups; the hooks here refuse it too, but look for their device first


class BpfCalls:
    """The bpf(2) part of a backend; the other part knows the machine (``_kernel``) and its namespaces (``_net``)."""

    def __init__(self):
        self._maps: dict[int, object] = {}
        self._progs: dict[int, BpfProg] = {}
        self._links: dict[int, BpfLink] = {}
        self._last_id = 0

    # maps -------------------------------------------------------------------------------------------------------------

    def map_create(self, spec: MapSpec) -> int:
        """Create a map; return its number."""
        from netkit_edu.engine import maps

        def resolve(prog_id: int):
            return self._tail_callable(made, prog_id)

        made = maps.create(spec, cpus=len(self._kernel.cpus), resolve=resolve)
        return self._keep(self._maps, made)

    def map_close(self, number: int) -> None:
        """Let go of a map; programs that use it keep it."""
        self._map(number)
        del self._maps[number]

    def map_lookup(self, number: int, key: bytes) -> bytes | None:
        """Return a copy of the value, None if the key is absent."""
        return self._map(number).lookup(key)

    def map_update(self, number: int, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value."""
        self._map(number).update(key, value, flags)

    def map_delete(self, number: int, key: bytes) -> None:
        """Delete an entry."""
        self._map(number).delete(key)

    def map_keys(self, number: int) -> list[bytes]:
        """Return all keys."""
        return list(self._map(number).keys())

    def ringbuf_read(self, number: int) -> list[bytes]:
        """Take the records of a ring buffer that are complete."""
        ring = self._map(number)
        if ring.spec.type != BPF_MAP_TYPE_RINGBUF:
            raise KernelError("EINVAL", hint=f"map {ring.spec.name} is no ring buffer")
        return ring.read()

    # programs ---------------------------------------------------------------------------------------------------------

    def prog_load(self, code: ProgramCode, maps: Mapping[str, int], *,
                  prog_type: int = BPF_PROG_TYPE_SCHED_CLS) -> int:  # fmt: skip
        """Load a program with the maps its relocations name; return its id."""
        from netkit_edu.engine import interpreter

        used = {name: self._map(number) for name, number in maps.items()}
        executable = interpreter.load(code, used)
        for array in used.values():
            _check_tail_call(array, prog_type)
        number = self._keep(self._progs, None)
        self._progs[number] = BpfProg(number, code.name, executable, prog_type)
        return number

    def prog_verify(self, code: ProgramCode, maps: Mapping[str, MapSpec], *, level: int = 1) -> Verification:
        """There is no verifier here: the engine stops a program where it does what none would let pass."""
        raise UsageError(
            "the simulator loads programs unverified, and stops them at the fault; ask a kernel: "
            f"prog.verify(nk.Lab('vm')) or prog.verify(nk.Lab('host')), for {code.name!r}"
        )

    def prog_attach(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0, replace: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Attach a program, acting from namespace ``ns``; ``replace`` and ``relative`` are ids."""
        _check_attach(attach_type, flags)
        prog = self._sched_cls(prog_id)
        attach = tcx.tcx_prog_attach if attach_type in _TCX else netkit.netkit_prog_attach
        attach(
            self._net(ns), ifindex, attach_type, MprogEntry(prog), flags=flags,
            relative=lambda: self._tuple_relative(flags, relative, prog.type),
            replace=lambda: self._sched_cls(replace), expected_revision=expected_revision,
        )  # fmt: skip

    def prog_detach(self, ns: int, ifindex: int, attach_type: int, prog_id: int = 0, *, flags: int = 0,
                    relative: int = 0, expected_revision: int = 0) -> None:  # fmt: skip
        """Detach a program; without ``prog_id`` the one that ``flags`` and ``relative`` point at, or the last."""
        _check_attach(attach_type, flags)
        prog = self._sched_cls(prog_id) if prog_id else None
        detach = tcx.tcx_prog_detach if attach_type in _TCX else netkit.netkit_prog_detach
        detach(
            self._net(ns), ifindex, attach_type, prog, flags=flags, expected_revision=expected_revision,
            relative=lambda: self._tuple_relative(flags, relative, BPF_PROG_TYPE_SCHED_CLS if prog else None),
        )  # fmt: skip

    def prog_query(self, ns: int, ifindex: int, attach_type: int) -> Chain:
        """Return a hook's revision and programs."""
        _check_attach(attach_type, 0)
        query = tcx.tcx_prog_query if attach_type in _TCX else netkit.netkit_prog_query
        return query(self._net(ns), ifindex, attach_type)

    # links ------------------------------------------------------------------------------------------------------------

    def bpf_link_create(self, ns: int, ifindex: int, attach_type: int, prog_id: int, *, flags: int = 0,
                        relative: int = 0, expected_revision: int = 0) -> int:  # fmt: skip
        """Attach a program by a link, acting from ``ns``; unknown flags are nobody's to refuse here."""
        prog = self._fd(self._progs, prog_id)
        if prog.type != BPF_PROG_TYPE_SCHED_CLS:
            raise KernelError("EINVAL")
        _check_attach(attach_type, 0)
        attach = tcx.tcx_link_attach if attach_type in _TCX else netkit.netkit_link_attach
        link = attach(
            self._net(ns), ifindex, attach_type, prog, flags=flags, expected_revision=expected_revision,
            relative=lambda: self._tuple_relative(flags, relative, prog.type),
        )  # fmt: skip
        link.id = self._keep(self._links, link)
        return link.id

    def bpf_link_update(self, number: int, prog_id: int, *, flags: int = 0, old: int = 0) -> None:
        """Put another program in the link's place."""
        if flags & ~BPF_F_REPLACE:
            raise KernelError("EINVAL")
        link = self._fd(self._links, number)
        new = self._fd(self._progs, prog_id)
        if flags & BPF_F_REPLACE:
            return link.update(new, self._fd(self._progs, old))
        if old:
            raise KernelError("EINVAL")
        link.update(new)

    def bpf_link_detach(self, number: int) -> None:
        """Take the link's program off its hook."""
        self._fd(self._links, number).release()

    def bpf_link_close(self, number: int) -> None:
        """Close the link's only descriptor."""
        self._fd(self._links, number).release()
        del self._links[number]

    def bpf_link_info(self, number: int) -> BpfLinkInfo:
        """Return what the kernel says of a link."""
        return self._fd(self._links, number).fill_link_info()

    # all of them, by fields -------------------------------------------------------------------------------------------

    def raw_bpf(self, ns: int, cmd: int, fields: Mapping[str, int], tail: bytes = b"", *,
                capable: bool = True) -> Mapping:  # fmt: skip
        """Call bpf(2) as the fields of ``union bpf_attr`` say; return what it wrote there."""
        if cmd == BpfCmd.PROG_QUERY and not capable:
            raise KernelError("EPERM")
        f = bpf_fields(cmd, fields, tail)
        if cmd == BpfCmd.PROG_DETACH and not f["attach_bpf_fd"] and not capable:  # who holds a program's may detach it
            _check_attach(f["attach_type"], f["attach_flags"])
            raise KernelError("EPERM")
        if cmd == BpfCmd.LINK_UPDATE:
            self.bpf_link_update(f["link_fd"], f["new_prog_fd"], flags=f["flags"], old=f["old_prog_fd"])
        elif cmd == BpfCmd.LINK_DETACH:
            self.bpf_link_detach(f["link_fd"])
        elif cmd == BpfCmd.OBJ_GET_INFO_BY_FD:
            return self.bpf_link_info(f["bpf_fd"])._asdict()
        elif cmd == BpfCmd.PROG_QUERY:
            if f["query_flags"] & ~BPF_F_QUERY_EFFECTIVE:
                raise KernelError("EINVAL")
            return bpf_mprog_query(self.prog_query(ns, f["target_ifindex"], f["attach_type"]), f)
        else:
            return self._raw_attach(cmd, (ns, f["target_ifindex"], f["attach_type"]), f)
        return {}

    def _raw_attach(self, cmd: int, hook: tuple[int, int, int], f: Mapping[str, int]) -> Mapping:
        how = {name: f[name] for name in ("relative", "expected_revision")}
        if cmd == BpfCmd.LINK_CREATE:
            return {"link_fd": self.bpf_link_create(*hook, f["prog_fd"], flags=f["flags"], **how)}
        how["flags"] = f["attach_flags"]
        if cmd == BpfCmd.PROG_ATTACH:
            self.prog_attach(*hook, f["attach_bpf_fd"], replace=f["replace_bpf_fd"], **how)
        else:
            self.prog_detach(*hook, f["attach_bpf_fd"], **how)
        return {}

    # numbers ----------------------------------------------------------------------------------------------------------

    def _map(self, number: int):
        return self._fd(self._maps, number)

    def _tail_callable(self, array, number: int):
        """Return what runs when a program jumps to this one (prog_fd_array_get_ptr)."""
        prog = self._fd(self._progs, number)
        _check_tail_call(array, prog.type)
        return prog.executable

    def _sched_cls(self, number: int) -> BpfProg:
        """Return the program behind a descriptor (bpf_prog_get_type)."""
        prog = self._fd(self._progs, number)
        if prog.type != BPF_PROG_TYPE_SCHED_CLS:
            raise KernelError("EINVAL")
        return prog

    def _fd(self, table: dict, number: int):
        """Return what a descriptor is of: EBADF if it is none, EINVAL if it is of something else."""
        if number in table:
            return table[number]
        other = number == 0 or any(number in t for t in (self._maps, self._progs, self._links))
        raise KernelError("EINVAL" if other else "EBADF")

    def _id(self, table: dict, number: int):
        if number not in table:
            raise KernelError("ENOENT")
        return table[number]

    def _keep(self, table: dict, thing) -> int:
        self._last_id += 1
        table[self._last_id] = thing
        return self._last_id

    def _tuple_relative(self, flags: int, number: int, prog_type: int | None) -> MprogEntry | None:
        """Find what BEFORE and AFTER refer to (bpf_mprog_tuple_relative); it must be of this type, if one is given."""
        find = self._id if flags & BPF_F_ID else self._fd
        if flags & BPF_F_LINK:
            link = find(self._links, number)
            entry = MprogEntry(link.prog, link)
        elif not number and not flags & BPF_F_ID:
            return None
        else:
            entry = MprogEntry(find(self._progs, number))
        if prog_type is not None and entry.prog.type != prog_type:
            raise KernelError("EINVAL")
        return entry


def _check_tail_call(array, prog_type: int) -> None:
    """All programs that use or fill a prog array are of the first one's type (bpf_prog_map_compatible)."""
    if array.spec.type != BPF_MAP_TYPE_PROG_ARRAY:
        return
    array.owner_type = array.owner_type or prog_type
    if array.owner_type != prog_type:
        raise KernelError("EINVAL", hint=f"prog array {array.spec.name} is for programs of another type")


def _check_attach(attach_type: int, flags: int) -> None:
    """The attach type must be one of SCHED_CLS, and the flags those that order programs."""
    if attach_type not in (BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER, *_TCX):
        raise KernelError("EINVAL")
    if flags & ~BPF_F_MPROG:
        raise KernelError("EINVAL")

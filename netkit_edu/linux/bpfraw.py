"""``raw_bpf``: bpf(2) by the names of the fields of ``union bpf_attr``, wrong values included."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from netkit_edu.errors import KernelError, UsageError
from netkit_edu.linux import bpfattr as a
from netkit_edu.linux.bpfhooks import link_info
from netkit_edu.linux.door import Batch, Data, Result
from netkit_edu.uapi import BPF_F_ID, BPF_F_LINK, BpfCmd

NOWHERE = 8  # an address in the page that nobody has
ROOM = 1 << 14  # bytes of each buffer that a caller says is there
_BUFFERS = ("prog_ids", "prog_attach_flags", "link_ids", "link_attach_flags")
_PROGRAMS = ("attach_bpf_fd", "replace_bpf_fd", "prog_fd", "new_prog_fd", "old_prog_fd")
_LINKS = ("link_fd", "bpf_fd")
_FLAGS = {BpfCmd.PROG_ATTACH: "attach_flags", BpfCmd.PROG_DETACH: "attach_flags", BpfCmd.LINK_CREATE: "flags"}
_OUT = ("revision",)  # written by the kernel only
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
_CAPABILITY_VERSION_3 = struct.pack("<II", 0x2008_0522, 0)


class RawCalls:
    """The raw call. What a backend must have beside `HookCalls`: nothing more."""

    def __init__(self):
        self._capabilities = b""

    def raw_bpf(self, ns: int, cmd: int, fields: Mapping[str, int], tail: bytes = b"", *,
                capable: bool = True) -> Mapping:  # fmt: skip
        """Call bpf(2) as the fields of ``union bpf_attr`` say; return what it wrote there.

        Args:
            tail: bytes behind the command's last field.
            capable: whether the caller has CAP_NET_ADMIN; without it, it has not CAP_SYS_ADMIN either.
        """
        given = self._translated(cmd, fields)
        batch = self._acting(ns)
        buffers = {name: batch.room(ROOM) for name in _BUFFERS if given.get(name) == 1}
        given |= buffers | {name: NOWHERE for name in _BUFFERS if given.get(name) == -1}
        if cmd == BpfCmd.OBJ_GET_INFO_BY_FD:
            given |= {"info_len": 24, "info": batch.room(24)}
        data = a.pack(cmd, given, tail)
        attr = batch.put(data or bytes(8))
        call = self._as(capable, batch, lambda: a.bpf(batch, cmd, attr, len(data) or 8, must=False))
        told = batch.read(attr, max(len(data), 8))
        written = {name: batch.read(at, ROOM) for name, at in buffers.items()}
        link = batch.read(given["info"], 24) if cmd == BpfCmd.OBJ_GET_INFO_BY_FD else Data()
        batch.run()
        answer = _query_answer(told.value, given, written, fields) if cmd == BpfCmd.PROG_QUERY else {}
        if call.errno:
            raise KernelError(call.errno, answer=answer or None)
        if cmd == BpfCmd.LINK_CREATE:
            return {"link_fd": self._keep_link(call.value)}
        return link_info(link.value)._asdict() if cmd == BpfCmd.OBJ_GET_INFO_BY_FD else answer

    def _translated(self, cmd: int, fields: Mapping[str, int]) -> dict[str, int]:
        """Return the fields with descriptors where numbers of this backend's stand."""
        if cmd not in a.LAYOUTS:
            return {}
        known = [name for name in a.LAYOUTS[cmd].fields if name not in ("info", "info_len", *_OUT)]
        if unknown := sorted(fields.keys() - set(known)):
            raise UsageError(f"{BpfCmd(cmd).name} has no field {', '.join(unknown)}: {', '.join(known)}")
        given = dict(fields)
        if cmd == BpfCmd.OBJ_GET_INFO_BY_FD:
            self._link(given.get("bpf_fd", 0))
        flags = given.get(_FLAGS.get(cmd, ""), 0)
        for name, number in fields.items():
            if name in _PROGRAMS or name in _LINKS:
                given[name] = self._fd_of(number, "program" if name in _PROGRAMS else "link")
            elif name in ("relative_fd", "relative_id"):
                given[name] = (
                    number if flags & BPF_F_ID else self._fd_of(number, "link" if flags & BPF_F_LINK else "program")
                )
        place = [name for name in ("relative_fd", "relative_id") if name in given]
        if len(place) == 2:
            del given["relative_id" if given["relative_fd"] else "relative_fd"]
        return given

    # capabilities -----------------------------------------------------------------------------------------------------

    def _as(self, capable: bool, batch: Batch, call: Callable[[], Result]) -> Result:
        """Make a call with the door's own capabilities, or without those that govern networks."""
        if capable:
            return call()
        batch.call("capset", _CAPABILITY_VERSION_3, self._without_admin())
        made = call()
        batch.call("capset", _CAPABILITY_VERSION_3, self._caps())
        return made

    def _caps(self) -> bytes:
        """Return the door's own sets: effective, permitted and inheritable, twice 32 bits each."""
        if not self._capabilities:
            batch = self.door.batch()
            room = batch.room(24)
            batch.call("capget", _CAPABILITY_VERSION_3, room)
            data = batch.read(room, 24)
            batch.run()
            self._capabilities = data.value
        return self._capabilities

    def _without_admin(self) -> bytes:
        effective, *rest = struct.unpack("<6I", self._caps())
        return struct.pack("<6I", effective & ~(1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN), *rest)


def _query_answer(attr: bytes, given: Mapping, written: Mapping[str, Data], fields: Mapping) -> dict:
    """Return what a query wrote: its numbers, and as many entries of each buffer as it had room and entries for."""
    answer = {name: a.unpack(BpfCmd.PROG_QUERY, attr, name) for name in ("attach_flags", "revision", "count")}
    n = min(answer["count"], fields.get("count", 0), ROOM // 4)
    if n and given.get("prog_ids"):
        for name in _BUFFERS:
            if name in written:
                answer[name] = list(struct.unpack_from(f"<{n}I", written[name].value))
    return answer

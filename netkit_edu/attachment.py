"""Attachments: one program at one hook of a device, with or without a link that holds it there."""

from __future__ import annotations

from collections.abc import Mapping

from netkit_edu.backend import BpfLinkInfo
from netkit_edu.errors import KernelError, UsageError
from netkit_edu.loaded import LoadedProgram
from netkit_edu.typedmap import TypedMap
from netkit_edu.uapi import BPF_F_REPLACE, Hook, Tcx


def _hook_name(number: int) -> str:
    names = {hook.attach_type: str(hook) for hook in Hook} | {where.attach_type: f"tcx {where}" for where in Tcx}
    return names.get(number, f"attach type {number}")


class Attachment:
    """One program at one hook. A context manager: leaving the block detaches it.

    ``link`` is the number of the link that holds the program there, 0 without one. A link's entry is its own: only the
    link replaces or removes it. The lab keeps a link's descriptor until `close`.
    """

    def __init__(self, device, number: int, loaded: LoadedProgram, link: int = 0):
        self.device = device
        self.program = loaded
        self.attach_type = number
        self.link = link

    @property
    def id(self) -> int:
        """The kernel's number of the program."""
        return self.program.id

    @property
    def at(self) -> str:
        """The hook's name: "primary", "peer", "tcx ingress" or "tcx egress"."""
        return _hook_name(self.attach_type)

    @property
    def maps(self) -> Mapping[str, TypedMap]:
        """The maps that the attached program works on."""
        return self.program.maps

    @property
    def attached(self) -> bool:
        """Whether the program still sits there; False once its device or its lab is gone."""
        if self.program.lab.closed or (self.device.node.deleted and not self.link):
            return False
        try:
            if self.link:
                return self.info.ifindex != 0
            chain = self.device.chain(self.attach_type)
        except KernelError as error:
            if error.name == "ENODEV" or (self.link and error.name == "EBADF"):
                return False
            raise
        return any(entry.prog_id == self.id for entry in chain.entries)

    @property
    def info(self) -> BpfLinkInfo:
        """What the kernel says of the link: its numbers, and the ifindex its program sits on, 0 once that is over.

        Raises:
            KernelError: EBADF once the link is closed.
            UsageError: there is no link.
        """
        return self._calls.bpf_link_info(self._own_link())

    def update(self, program, *, old=None) -> Attachment:
        """Put another program into the same place; return the attachment, which now stands for that one.

        Args:
            program: a `Program` or what ``lab.load`` returned.
            old: only if this program is there now; a program, an attachment or an id.

        Raises:
            KernelError: EEXIST if the program is at this hook already. By a link: ENOLINK once it is detached, EPERM
                if its program is not ``old``, and replacing a program by itself is no change and no error. Without a
                link: ENOENT if ``old`` is not there.
        """
        loaded = self.device.node.lab.loaded(program)
        if self.link:
            number = 0 if old is None else self.device._program_id(old)
            flags = 0 if old is None else BPF_F_REPLACE
            self._calls.bpf_link_update(self.link, loaded.id, flags=flags, old=number)
        else:
            self.device.attach(loaded, self.attach_type, replace=self.program if old is None else old)
        self.program = loaded
        return self

    def detach(self) -> None:
        """Take the program off the hook; a link stays, as a link to nothing, and can be told so again.

        Raises:
            KernelError: without a link, ENOENT if it is not there any more.
        """
        if self.link:
            self._calls.bpf_link_detach(self.link)
        else:
            self.device.detach(self.program, at=self.attach_type)

    def close(self) -> None:
        """Close the link's only descriptor: its program comes off the hook, and the link is gone.

        Raises:
            KernelError: EBADF if it was closed before.
            UsageError: there is no link.
        """
        self._calls.bpf_link_close(self._own_link())

    @property
    def _calls(self):
        return self.program.lab.kernel_calls

    def _own_link(self) -> int:
        if not self.link:
            raise UsageError("this program was attached without a link: attach(..., link=True) makes one")
        return self.link

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *exc) -> None:
        if self.attached:
            (self.close if self.link else self.detach)()

    def __repr__(self) -> str:
        where = f" of {self.device.name}" if self.attached else ", detached"
        return f"<{self.program.name!r} at the {self.at} hook{where}, program id {self.id}>"

"""One clear exception type for each kind of bad input, all of them a :class:`NetkitEduError`."""

from __future__ import annotations

from dataclasses import dataclass

from netkit_edu import uapi


class NetkitEduError(Exception):
    """Base of everything this package raises on purpose."""


class KernelError(NetkitEduError, OSError):
    """The kernel's refusal: an errno, its extended acknowledgement text if any, and a hint.

    Raised with the same errno by the simulator and by Linux.

    Args:
        errno: the positive number, for example 13, or its symbol, for example ``"EACCES"``.
        extack: the text the kernel sent beside the number; may be empty.
        hint: what to do about it; by default the course's own sentence for that errno.
        answer: what the kernel wrote beside its refusal: of a query that found too little room, as much as fits.
    """

    def __init__(self, errno: int | str, extack: str = "", hint: str = "", answer=None):
        self.answer = answer
        self.errno = uapi.errno_number(errno) if isinstance(errno, str) else abs(errno)
        self.extack = extack
        self.hint = hint or uapi.errno_hint(self.errno)
        super().__init__(self.errno, extack or self.hint)

    @property
    def name(self) -> str:
        """The symbol of the errno, for example ``"EACCES"``."""
        return uapi.errno_name(self.errno)

    def __str__(self) -> str:
        said = f"{self.name}: {self.extack}" if self.extack else self.name
        return f"{said} ({self.hint})"


@dataclass(frozen=True)
class Diagnostic:
    """One message of the compiler about the learner's own text.

    ``line`` and ``column`` count from 1 in the text that was given to ``compile``; 0 where the compiler names no place.
    ``explanation`` is a plain sentence for the commonest mistakes, else empty.
    """

    severity: str
    message: str
    line: int = 0
    column: int = 0
    source: str = ""
    explanation: str = ""


class CompileError(NetkitEduError):
    """The C text does not compile; ``diagnostics`` quotes the learner's own lines."""

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...] = ()):
        super().__init__(message)
        self.diagnostics = diagnostics


class CompileWarning(UserWarning):
    """The C text compiles, but a line of it hardly means what it says; the message quotes the line."""


class ObjectError(NetkitEduError):
    """The bytes are not an eBPF object this package can use (ELF, BTF, BTF.ext, relocation, instruction)."""


class AssemblyError(NetkitEduError):
    """A line of eBPF assembler text cannot be read; the message names the line."""


class PacketError(NetkitEduError):
    """The value is not a packet this function can take."""


class ProgramFault(NetkitEduError):
    """A running program did what no verifier would let pass: the interpreter stopped it.

    ``pc`` is the instruction's slot, ``source`` its C line (``program.object.SourceLine``) or None,
    ``address`` and ``region`` name the memory touched, where memory was touched.
    """

    def __init__(self, message: str, *, pc: int, source=None, address: int | None = None, region: str = ""):
        self.reason = message
        self.pc = pc
        self.source = source
        self.address = address
        self.region = region
        where = f"at instruction {pc}"
        if source is not None:
            where += f", line {source.line}: {source.text.strip()}"
        super().__init__(f"{message} ({where})")


class DriverFault(NetkitEduError):
    """A learner's network driver broke the contract between driver and core; the message says how, and what to do."""


class UsageError(NetkitEduError, ValueError):
    """An argument of this package's own API has a value it cannot take; the message says which are possible."""


class BackendUnavailable(NetkitEduError):
    """This machine cannot run the backend asked for; the message says why and what brings it."""


class CourseError(NetkitEduError):
    """The course's own data does not hold together, or something asked for an exercise that it does not have."""


class DoorError(NetkitEduError):
    """A syscall door (``netkit_edu/linux/door.c``) did not answer as it must: it is gone, hangs, or was garbled."""


class VMError(DoorError):
    """The virtual machine died, hangs or talks nonsense; the message ends with its console's last lines."""

"""An expected refusal of the kernel: shown, and the cell goes on."""

from __future__ import annotations

from netkit_edu import uapi
from netkit_edu.course.present import present
from netkit_edu.errors import KernelError


class NotRefused(AssertionError):
    """A cell expected the kernel to refuse something, and it did not, or it did for another reason."""


class refused:  # noqa: N801 - read as a word in a with statement
    """Expect a `KernelError` with this errno inside the ``with`` block, and show it.

    Args:
        errno: the symbol, for example ``"EEXIST"``.

    Raises:
        NotRefused: nothing was refused, or it was refused with another errno.
        ValueError: Linux has no errno of that name.
    """

    def __init__(self, errno: str):
        uapi.errno_number(errno)
        self.expected = errno
        self.error: KernelError | None = None

    def __enter__(self) -> refused:
        return self

    def __exit__(self, kind, error, traceback) -> bool:
        if error is None:
            raise NotRefused(f"expected the kernel to refuse this with {self.expected}, but it was done")
        if not isinstance(error, KernelError):
            return False
        if error.name != self.expected:
            raise NotRefused(f"expected {self.expected}, but the kernel said {error}") from error
        self.error = error
        present(self)
        return True

    def __repr__(self) -> str:
        if self.error is None:
            return f"<expecting {self.expected}>"
        return f"refused, as expected: {self.error}"

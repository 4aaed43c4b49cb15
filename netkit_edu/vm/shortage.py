"""Telling a machine that has too little left from a broken snapshot: the broken one is made anew."""

from __future__ import annotations

import errno
import re

from netkit_edu.errors import VMError

_EXHAUSTED = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
# As QEMU ends, and what it says.
_SAID = re.compile(r"\(signal 9\)|Cannot allocate memory|failed to allocate|Resource temporarily unavailable")


def is_short(error: Exception) -> bool:
    """Return whether a virtual machine did not start because memory, processes or descriptors are exhausted.

    A kernel that runs out of memory kills QEMU by signal 9.
    """
    if isinstance(error, VMError):
        return _SAID.search(str(error)) is not None
    return isinstance(error, OSError) and error.errno in _EXHAUSTED


def why(error: VMError | OSError) -> str:
    """Return why a virtual machine did not start, and what to do about it."""
    if not is_short(error):
        return f"the virtual machine does not start: {error}"
    said = str(error).splitlines()[0] if isinstance(error, VMError) else error.strerror
    return f"too little memory, or too many processes or files, for another virtual machine: close other labs ({said})"

"""A door as a child process, on a machine that has the privileges: only the child needs them."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess

from netkit_edu.errors import BackendUnavailable, DoorError
from netkit_edu.linux.build import build_door
from netkit_edu.linux.door import Door


def open_child(command: str | None = None) -> Door:
    """Start a door and return its client; the door exits when the stream closes, so also when this process dies.

    Args:
        command: what to start, such as "sudo -n /usr/local/lib/netkit-edu-door"; by default what
            ``NETKIT_EDU_DOOR`` says, else the door built here, with this process's own privileges.

    Raises:
        BackendUnavailable: it does not start, or does not answer.
    """
    command = command or os.environ.get("NETKIT_EDU_DOOR") or ""
    words = shlex.split(command) or [str(build_door())]
    ours, theirs = socket.socketpair()
    try:
        child = subprocess.Popen(words, stdin=theirs, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        ours.close()
        raise BackendUnavailable(f"the door {words[0]!r} does not start: {error.strerror}") from None
    finally:
        theirs.close()
    door = Door(ours)
    door.child = child
    try:
        return door.hello()
    except DoorError as error:
        child.kill()
        child.wait()
        raise BackendUnavailable(f"the door {words[0]!r} does not answer: {error}") from None

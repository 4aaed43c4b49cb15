"""A function trace has a name in the kernel: it is gone even if whoever reads it is."""

from __future__ import annotations

import os

import pytest

from netkit_edu.errors import DoorError, KernelError
from netkit_edu.linux import ftrace
from netkit_edu.linux.host import open_host

pytestmark = pytest.mark.door


def there(path: str) -> bool:
    host = open_host()
    try:
        return host.door.call("access", path.encode() + b"\0", 0) == 0
    except KernelError as refused:
        assert refused.name == "ENOENT"
        return False
    finally:
        host.close()


def test_a_stream_that_breaks_off_leaves_no_tracing_instance():
    host = open_host()
    instance = f"{ftrace.TRACEFS}/instances/{ftrace.PREFIX}{os.getpid()}-{host.door.pid}"
    seen = []

    def break_off():
        seen.append(there(instance))
        host.close()

    with pytest.raises(DoorError):
        ftrace.ftrace(host.door, break_off, [])
    assert seen == [True]
    assert not there(instance)

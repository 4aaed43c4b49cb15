"""QEMU's command line: the same machine when a snapshot is taken and when it is restored.

TCG with ``-icount shift=0``: an instruction is a nanosecond of the guest's time, so that counts come out the same every
time. Everything a connection needs is an inherited descriptor: no file, no path, no port. The guest's memory is a file:
one that is shared while the snapshot is made, so that it can be kept, and one that is private in a restored machine,
which reads of it only what it touches. QEMU before 8.2 wants to open that one for writing all the same.
"""

from __future__ import annotations

import re
import shutil

from netkit_edu.errors import BackendUnavailable

PROGRAM = "qemu-system-x86_64"
MEMORY_MB = 256
CONSOLE_BYTES = 1 << 16
MOST_CPUS = 8
READS_ONLY = (8, 2)  # from this version on a private memory may be a file that is open for reading only

# reboot=t, panic=-1: a panic ends the machine at once. no_timer_check: busy hosts fail that check under TCG.
KERNEL_WORDS = (
    "console=ttyS0 quiet reboot=t panic=-1 oops=panic mitigations=off cryptomgr.notests no_timer_check tsc=reliable"
)


def find() -> str:
    """Return the path of QEMU.

    Raises:
        BackendUnavailable: it is not installed.
    """
    if (path := shutil.which(PROGRAM)) is None:
        raise BackendUnavailable(f"no {PROGRAM} here: apt-get install qemu-system-x86")
    return path


def machine_words(cpus: int = 1) -> list[str]:
    """Return the part of the command line that a snapshot and its restored machine have in common."""
    return [
        *("-accel", "tcg,thread=single,tb-size=32"),
        *("-icount", "shift=0"),
        *("-cpu", "max"),
        *("-machine", "pc,smm=off,vmport=off,hpet=off,memory-backend=memory"),
        *("-m", str(MEMORY_MB)),
        *("-smp", str(cpus)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-action", "reboot=shutdown,shutdown=pause"),  # a guest that ends can still be asked for its last words
        *("-chardev", f"ringbuf,id=console,size={CONSOLE_BYTES}", "-serial", "chardev:console"),
        *("-device", "virtio-serial-pci,id=ports,max_ports=2"),
    ]


def reads_only(version: str) -> bool:
    """Return whether the QEMU that calls itself so can have its memory from a file it may only read."""
    found = re.search(r"version (\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= READS_ONLY


def memory_words(handle: int, *, shared: bool, reads_only: bool = False) -> list[str]:
    """Return the words that make the file behind a descriptor the guest's memory, from its first byte on."""
    how = f"share={'on' if shared else 'off'}{',readonly=on,rom=off' if reads_only else ''}"
    return ["-object", f"memory-backend-file,id=memory,size={MEMORY_MB}M,mem-path=/dev/fd/{handle},{how}"]


def connections(rpc: int, monitor: int) -> list[str]:
    """Return the words that connect the door's port and the monitor with two inherited stream sockets."""
    return [
        *("-chardev", f"socket,id=rpc,fd={rpc}"),
        *("-device", "virtserialport,bus=ports.0,nr=1,chardev=rpc,name=netkit-edu"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
    ]


def boot_words(kernel: str, initramfs: int, memory: int) -> list[str]:
    """Return the words that boot a kernel with the initramfs behind a descriptor, in the memory behind another."""
    return [*memory_words(memory, shared=True), "-kernel", kernel, "-initrd", f"/dev/fd/{initramfs}",
            "-append", KERNEL_WORDS]  # fmt: skip


def wait_words(memory: int, *, shared: bool = False, reads_only: bool = False) -> list[str]:
    """Return the words of a machine with this memory, which is stopped and waits for the rest of its snapshot."""
    return [*memory_words(memory, shared=shared, reads_only=reads_only), "-S", "-incoming", "defer"]

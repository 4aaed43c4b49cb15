"""Numbers of system calls by machine, and the constants that come with them (Linux 6.12, include/uapi)."""

from __future__ import annotations

SYSCALLS: dict[str, dict[str, int]] = {
    # arch/x86/entry/syscalls/syscall_64.tbl
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "munmap": 11,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "ioctl": 16, "pread64": 17, "pwrite64": 18, "access": 21, "pipe": 22,
        "dup": 32, "dup2": 33, "nanosleep": 35, "setitimer": 38, "getpid": 39, "socket": 41, "connect": 42,
        "accept": 43, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "bind": 49,
        "listen": 50, "getsockname": 51, "getpeername": 52, "socketpair": 53, "setsockopt": 54, "getsockopt": 55,
        "fork": 57, "execve": 59, "exit": 60, "wait4": 61, "kill": 62, "uname": 63, "fcntl": 72, "fsync": 74,
        "ftruncate": 77, "getdents": 78, "getcwd": 79, "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84,
        "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "umask": 95, "getrlimit": 97, "getrusage": 98,
        "sysinfo": 99, "times": 100, "getuid": 102, "setuid": 105, "setgid": 106, "geteuid": 107, "getppid": 110,
        "setresuid": 117, "getresuid": 118, "capget": 125, "capset": 126, "statfs": 137, "sched_setscheduler": 144,
        "prctl": 157, "setrlimit": 160, "sync": 162, "mount": 165, "umount2": 166, "reboot": 169, "sethostname": 170,
        "gettid": 186, "sched_setaffinity": 203, "sched_getaffinity": 204, "getdents64": 217, "clock_settime": 227,
        "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232,
        "openat": 257, "mkdirat": 258, "unlinkat": 263, "unshare": 272, "splice": 275, "eventfd2": 290,
        "epoll_create1": 291, "dup3": 292, "pipe2": 293, "perf_event_open": 298, "recvmmsg": 299, "prlimit64": 302,
        "sendmmsg": 307, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313,
        "getrandom": 318, "memfd_create": 319, "bpf": 321, "close_range": 436, "openat2": 437,
    },
}  # fmt: skip

AT_FDCWD = -100
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID = 0, 1, 2
CLONE_NEWNS, CLONE_NEWNET = 0x0002_0000, 0x4000_0000
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_NONBLOCK, O_DIRECTORY, O_CLOEXEC = (
    0, 1, 2, 0o100, 0o1000, 0o4000, 0o200000, 0o2000000,
)  # fmt: skip

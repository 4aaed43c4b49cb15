"""Starting a program that cannot outlive us: the kernel kills it when this process dies, however it dies.

`launch.c`, built as the door is, asks the kernel for that between fork and exec, where Python code would be a danger to
threads; ``setpriv`` of util-linux stands in where it cannot be built. The kernel counts the *thread* that started the
program as its parent: so one thread starts them all, and lives as long as the process.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("launch.c")


class _Starter:
    """The one thread that starts programs."""

    def __init__(self):
        self.process = os.getpid()
        self._wanted: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="netkit-edu starter", daemon=True).start()

    def start(self, make: Callable[[], subprocess.Popen]) -> subprocess.Popen:
        """Call ``make`` in that thread and return, or raise, what comes of it."""
        answer: queue.SimpleQueue = queue.SimpleQueue()
        self._wanted.put((make, answer))
        done, error = answer.get()
        if error is not None:
            raise error
        return done

    def _serve(self) -> None:
        while True:
            make, answer = self._wanted.get()
            try:
                answer.put((make(), None))
            except BaseException as error:
                answer.put((None, error))


_starter: _Starter | None = None
_lock = threading.Lock()


def spawn(words: list[str], *, launcher: Path | None = None, **options) -> subprocess.Popen:
    """Start a program that dies with this process.

    Args:
        words: its path and its arguments.
        launcher: `launch.c`, built; None where it could not be.
        options: as `subprocess.Popen` takes them.

    Raises:
        OSError: it cannot be started.
    """
    global _starter
    with _lock:
        if _starter is None or _starter.process != os.getpid():  # a fork has no thread of its parent
            _starter = _Starter()
        starter = _starter
    if launcher is not None:
        words = [str(launcher), str(os.getpid()), *words]
    elif setpriv := shutil.which("setpriv"):
        words = [setpriv, "--pdeathsig", "KILL", *words]
    return starter.start(lambda: subprocess.Popen(words, **options))

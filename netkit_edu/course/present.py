"""Where the course shows something outside a cell's last line; a notebook puts its own display here.

`ui` calls `set_presenter` when its extension is loaded, so that this room needs no notebook.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_presenter: Callable[[object], None] = print


def set_presenter(show: Callable[[object], None] | None) -> None:
    """Let ``show(obj)`` display what the course has to say; None brings ``print`` back."""
    global _presenter
    _presenter = show or print


def present(obj: object) -> None:
    """Show ``obj`` to the learner, by default as the text of ``str(obj)``."""
    _presenter(obj)


def is_strict() -> bool:
    """Return whether checks and predictions must hold (NETKIT_EDU_STRICT=1), as in the tests of the course."""
    return os.environ.get("NETKIT_EDU_STRICT", "") not in ("", "0")

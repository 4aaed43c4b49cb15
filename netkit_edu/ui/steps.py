"""A progress bar for what takes seconds: `steps` goes through a list and shows how far it is, and with what."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from netkit_edu.ui import page
from netkit_edu.ui.live import show_widget

Item = TypeVar("Item")


def steps(items: Iterable[Item], what: str = "step") -> Iterator[Item]:
    """Yield each item in turn; in a notebook a bar shows how many are done, and the name of the one that is under way.

    Args:
        items: what to go through. The name of a tuple is its first part's, that of anything else its text.
        what: what one of them is called, in the line that stays at the end.
    """
    items = list(items)
    bar = _Bar(len(items), what) if _in_notebook() else None
    begun = time.monotonic()
    try:
        for number, item in enumerate(items):
            if bar:
                bar.show(number, str(item[0] if isinstance(item, tuple) and item else item))
            yield item
        if bar:
            bar.show(len(items), "")
    finally:
        if bar:
            bar.end(time.monotonic() - begun)


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class _Bar:
    """The widget: a bar, and beside it what is under way. A line of text stays where no widget runs."""

    def __init__(self, many: int, what: str):
        import ipywidgets

        self.many, self.what, self.done = many, what, 0
        self.bar = ipywidgets.IntProgress(
            value=0, max=max(many, 1), layout={"width": "260px"}, tooltip=f"how many of {many} are done"
        )
        self.bar.add_class("nk-steps")
        self.words = ipywidgets.HTML()
        show_widget(ipywidgets.HBox([self.bar, self.words]), f"{many} × {what}")

    def show(self, done: int, name: str) -> None:
        self.done = self.bar.value = done
        self.words.value = f"<small>{done} of {self.many}{' · ' + page.esc(name) if name else ''}</small>"

    def end(self, seconds: float) -> None:
        if self.done == self.many:
            self.bar.bar_style = "success"
        self.words.value = f"<small>{self.done} of {self.many} × {page.esc(self.what)}, {seconds:.1f} s</small>"

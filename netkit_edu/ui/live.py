"""A control with what it brings about, shown so that a static form stays where the notebook is saved.

The control itself is a widget. Beside it stands an ordinary output of the cell, replaced at every change: it is part of
the notebook, so the last picture is there in a saved, exported or printed one, where no widget runs.
"""

from __future__ import annotations

from collections.abc import Callable

from netkit_edu.errors import NetkitEduError
from netkit_edu.ui import page, show


class Live:
    """A box of controls above an output. Subclasses fill ``controls`` and call `refresh` when something changed."""

    name = "control"

    def __init__(self, send: Callable[[], object] | None):
        self.send = send
        self.result: object = None
        self.error: Exception | None = None
        self._handle = None

    def words(self) -> str:
        """Return the controls' state in one line of plain text."""
        raise NotImplementedError

    def status(self) -> str:
        """Return the controls' state as HTML."""
        return page.esc(self.words())

    def widget(self):
        """Return the controls as a widget."""
        raise NotImplementedError

    def attempt(self, change: Callable[[], object]) -> bool:
        """Make a change, then send again; a refusal is kept and shown. Return whether the change was made."""
        made = False
        try:
            self.error = None
            change()
            made = True
            self.result = self.send() if self.send else self.look()
        except NetkitEduError as error:
            self.error = error
        self.refresh()
        return made

    def react(self, change: Callable[[], object]) -> None:
        """Do what a click asks for; whatever it raises is shown, since a widget has nowhere else to say it."""
        try:
            change()
        except Exception as error:
            self.error = error
            self.refresh()

    def look(self) -> object:
        """Return what to show where nothing is sent."""
        return None

    def bundle(self) -> dict[str, str]:
        """Return the output beside the controls: their state, and the last result or refusal."""
        head = f"<div class='nk' style='margin:4px 0;color:var(--nk-ink,inherit)'>{page.style()}{self.status()}</div>"
        seen = self.error if self.error is not None else self.result
        if seen is None:
            return {"text/html": head, "text/plain": self.words()}
        return {
            "text/html": head + show.as_html(seen, brief=True),
            "text/plain": f"{self.words()}\n{show.as_text(seen)}",
        }

    def refresh(self) -> None:
        """Redraw the output, if it is on show."""
        if self._handle is not None:
            self._handle.update(self.bundle(), raw=True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        show_widget(self.widget(), self.words())
        self._handle = display(self.bundle(), raw=True, display_id=True)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.words()}>"


def show_widget(widget, words: str) -> None:
    """Display a widget whose plain-text form is ``words``, for where no widget runs."""
    from IPython.display import display

    data = widget._repr_mimebundle_() or {}
    display({**data, "text/plain": words}, raw=True)


def radio(description: str, options: list[tuple[str, object]], value, tooltip: str, css_class: str):
    """Return radio buttons in a row: Tab goes from one to the next, Space chooses; the state is what a reader hears.

    (ipywidgets gives its radio inputs no common name, so that browsers do not move between them by arrow keys.)
    """
    import ipywidgets

    buttons = ipywidgets.RadioButtons(
        options=options, value=value, description=description, tooltip=tooltip, orientation="horizontal",
        style={"description_width": "initial"}, layout={"width": "auto", "margin": "2px 28px 2px 2px"},
    )  # fmt: skip
    buttons.add_class(css_class)
    return buttons

"""A control with what it brings about, shown so that a static form stays where the notebook is saved.

The control itself is a widget. Beside it stands an ordinary output of the cell, replaced at every change: it is part of
the notebook, so the last picture is there in a saved, exported or printed one, where no widget runs.

What a control governs may be changed by a cell as well, or by another control: `follow_all`, called after every cell,
moves the controls on show to what holds now. It sends nothing, so it says that the picture is older.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from netkit_edu.errors import NetkitEduError
from netkit_edu.ui import page, show

STALE = "Changed elsewhere since; what follows was sent before"

_on_show: WeakSet[Live] = WeakSet()


def follow_all(*_) -> None:
    """Move every control on show to the state that holds now; one whose thing is gone is followed no longer."""
    for control in list(_on_show):
        try:
            control.follow()
        except Exception:  # whatever a closed lab raises: this runs after every cell and must not disturb it
            _on_show.discard(control)


class Live:
    """A box of controls above an output. Subclasses say what the `state` is and `show_state` in the controls."""

    name = "control"

    def __init__(self, send: Callable[[], object] | None):
        self.send = send
        self.result: object = None
        self.error: Exception | None = None
        self._handle = None
        self._at: object = None  # the state that the result on show was made in
        self._seen: object = None  # the state that the controls show
        self.stale = False
        self.following = False  # while the controls are moved to what holds: that is no click

    def state(self) -> object:
        """Return what the controls govern, as it is now."""
        raise NotImplementedError

    def show_state(self) -> None:
        """Move the controls to what holds now."""
        raise NotImplementedError

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
        finally:
            self._at = self._seen = self._state_or_none()
            self.stale = False
        self.refresh()
        return made

    def again(self) -> None:
        """Send once more, nothing changed."""
        self.attempt(lambda: None)

    def follow(self) -> None:
        """Show what holds now, if that was changed elsewhere."""
        now = self.state()
        if now == self._seen:
            return
        self._seen = now
        self.following = True
        try:
            self.show_state()
        finally:
            self.following = False
        if self.send is None:
            self.again()
        else:
            self.stale = now != self._at
            self.refresh()

    def _state_or_none(self) -> object:
        try:
            return self.state()
        except NetkitEduError:
            return None

    def react(self, change: Callable[[], object]) -> None:
        """Do what a click asks for; whatever it raises is shown, since a widget has nowhere else to say it."""
        if self.following:
            return
        try:
            change()
        except Exception as error:
            self.error = error
            self.refresh()
        follow_all()

    def look(self) -> object:
        """Return what to show where nothing is sent."""
        return None

    def bundle(self) -> dict[str, str]:
        """Return the output beside the controls: their state, and the last result or refusal."""
        older = f". {STALE}" if self.stale else ""
        words, status = self.words() + older, self.status() + older
        head = f"<div class='nk' style='margin:4px 0;color:var(--nk-ink,inherit)'>{page.style()}{status}</div>"
        seen = self.error if self.error is not None else self.result
        if seen is None:
            return {"text/html": head, "text/plain": words}
        return {"text/html": head + show.as_html(seen, brief=True), "text/plain": f"{words}\n{show.as_text(seen)}"}

    def refresh(self) -> None:
        """Redraw the output, if it is on show."""
        if self._handle is not None:
            self._handle.update(self.bundle(), raw=True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        show_widget(self.panel(), self.words())
        self._handle = display(self.bundle(), raw=True, display_id=True)
        _on_show.add(self)

    def panel(self):
        """Return the controls with a line below: a button that sends again, and which keys choose."""
        import ipywidgets

        line = [keys()]
        if self.send is not None:
            again = ipywidgets.Button(description="send again", tooltip="send once more, nothing changed")
            again.add_class("nk-again")
            again.on_click(lambda _: self.react(self.again))
            line.insert(0, again)
        return ipywidgets.VBox([self.widget(), ipywidgets.HBox(line)])

    def __repr__(self) -> str:
        return f"<{self.name}: {self.words()}>"


def show_widget(widget, words: str) -> None:
    """Display a widget whose plain-text form is ``words``, for where no widget runs."""
    from IPython.display import display

    data = widget._repr_mimebundle_() or {}
    display({**data, "text/plain": words}, raw=True)


def keys():
    """Return the line that says which keys choose: arrow keys belong to the notebook."""
    import ipywidgets

    said = ipywidgets.HTML("<small>by keyboard: Tab goes on, Space chooses</small>")
    said.add_class("nk-keys")
    return said


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

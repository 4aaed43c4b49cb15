"""A prediction as a learner sees it: the question, its options, a button to commit, and below it what happened.

The controls stay where they are, and the button stays in focus: only its words change.
"""

from __future__ import annotations

from netkit_edu.ui import errors, page, show
from netkit_edu.ui.live import keys, show_widget


class PredictionView:
    """One prediction on show. ``commit`` is what the button calls."""

    def __init__(self, prediction):
        import ipywidgets

        self.prediction = prediction
        self.error: Exception | None = None
        self._handle = None
        self.choices = ipywidgets.RadioButtons(
            options=[(page.plain(option), option) for option in prediction.options], value=None,
            description="your prediction:", layout={"width": "auto"}, style={"description_width": "initial"},
            tooltip=page.plain(prediction.question),
        )  # fmt: skip
        self.choices.add_class("nk-prediction")
        self.button = ipywidgets.Button(
            description="Commit and run", tooltip="commit to the chosen answer, then run it", disabled=True
        )
        self.button.add_class("nk-commit")
        self.choices.observe(self._chosen, "value")
        self.button.on_click(lambda _: self.commit())
        self.box = ipywidgets.VBox([self.choices, ipywidgets.HBox([self.button, keys()])])

    def _chosen(self, change) -> None:
        self.button.disabled = change["new"] is None or self.prediction.outcome is not None

    def commit(self) -> None:
        """Commit to the chosen option, run, and show what happened; nothing while none is chosen, or once it is done.

        The button is not disabled: a browser takes the focus from a disabled one, to the top of the page.
        """
        if self.choices.value is None or self.prediction.outcome is not None:
            return
        try:
            self.error = None
            self.prediction.commit(self.choices.value)
            self.choices.disabled = True
            self.button.description, self.button.tooltip = "Committed", "your choice stands; what happened is below"
        except Exception as error:  # a button has nowhere else to say it
            self.error = error
        if self._handle is not None:
            self._handle.update(self.bundle(), raw=True)

    def question(self) -> str:
        """Return the question and its options as HTML that stands without a kernel."""
        asked = f"<p><span class='word'>{page.inline(self.prediction.question)}</span></p>"
        return page.box(f"{asked}<p class='dim'>{page.inline(' · '.join(self.prediction.options))}</p>")

    def html(self) -> str:
        """Return what happened as HTML, nothing before the commitment."""
        outcome = self.prediction.outcome
        if outcome is None:
            return errors.as_html(self.error) if self.error else ""
        said = "✓ Right" if outcome.right else f"✗ You predicted: {page.inline(self.choices.value)}. Not this time"
        parts = [f"<p><strong>{said}. It happened: {page.inline(outcome.answer)}.</strong></p>"]
        parts += [f"<p>{page.inline(outcome.explanation)}</p>"] if outcome.explanation else []
        shown = show.as_html(outcome.shown, brief=True) if outcome.shown is not None else ""
        announced = page.box("".join(parts), "good" if outcome.right else "warn", "status")
        return announced + shown

    def bundle(self) -> dict[str, str]:
        """Return the output below the buttons."""
        outcome = self.prediction.outcome
        if outcome is None:
            return {"text/html": self.html(), "text/plain": errors.as_text(self.error) if self.error else ""}
        text = str(outcome) + ("" if outcome.shown is None else "\n" + show.as_text(outcome.shown))
        return {"text/html": self.html(), "text/plain": text}

    def display(self) -> None:
        """Show question, options and button, and below them the place where the outcome will stand."""
        from IPython.display import display

        display({"text/html": self.question(), "text/plain": repr(self.prediction)}, raw=True)
        show_widget(self.box, "options: " + ", ".join(self.prediction.options))
        self._handle = display(self.bundle(), raw=True, display_id=True)


def show_prediction(prediction) -> PredictionView:
    """Show a prediction (``question``, ``options``, ``commit``, ``outcome``) in the notebook; return its view."""
    view = PredictionView(prediction)
    view.display()
    return view


def register(ip) -> None:
    """Let an IPython shell show a prediction as buttons."""

    def show_it(prediction) -> None:
        show_prediction(prediction)

    ip.display_formatter.ipython_display_formatter.for_type_by_name("netkit_edu.course.predict", "Prediction", show_it)

"""A prediction as a learner sees it: the question, its options, a button to commit, then what happened."""

from __future__ import annotations

from netkit_edu.ui import errors, page, show
from netkit_edu.ui.live import show_widget


class PredictionView:
    """One prediction on show. ``commit`` is what the button calls."""

    def __init__(self, prediction):
        import ipywidgets

        self.prediction = prediction
        self.error: Exception | None = None
        self._handle = None
        self.choices = ipywidgets.RadioButtons(
            options=list(prediction.options), value=None, description="your prediction:", layout={"width": "auto"},
            style={"description_width": "initial"}, tooltip=prediction.question,
        )  # fmt: skip
        self.choices.add_class("nk-prediction")
        self.button = ipywidgets.Button(
            description="Commit and run", tooltip="commit to the chosen answer, then run it", disabled=True
        )
        self.button.add_class("nk-commit")
        self.choices.observe(self._chosen, "value")
        self.button.on_click(lambda _: self.commit())
        self.box = ipywidgets.VBox([self.choices, self.button])

    def _chosen(self, change) -> None:
        self.button.disabled = change["new"] is None or self.prediction.outcome is not None

    def commit(self) -> None:
        """Commit to the chosen option, run, and show what happened; nothing while none is chosen."""
        if self.choices.value is None:
            return
        try:
            self.error = None
            self.prediction.commit(self.choices.value)
            self.choices.disabled = self.button.disabled = True
        except Exception as error:  # a button has nowhere else to say it
            self.error = error
        if self._handle is not None:
            self._handle.update(self.bundle(), raw=True)

    def html(self) -> str:
        """Return the question, and the outcome once there is one, as HTML that stands without a kernel."""
        p, outcome = self.prediction, self.prediction.outcome
        parts = [f"<p><span class='word'>{page.inline(p.question)}</span></p>"]
        if outcome is None:
            parts.append(f"<p class='dim'>{page.esc(' · '.join(p.options))}</p>")
            return page.box("".join(parts)) + (errors.as_html(self.error) if self.error else "")
        chosen = page.esc(self.choices.value or "")
        said = "✓ Right" if outcome.right else f"✗ You predicted: {chosen}. Not this time"
        parts.append(f"<p><strong>{said}. It happened: {page.esc(outcome.answer)}.</strong></p>")
        parts += [f"<p>{page.inline(outcome.explanation)}</p>"] if outcome.explanation else []
        shown = show.as_html(outcome.shown, brief=True) if outcome.shown is not None else ""
        announced = page.box("".join(parts), "good" if outcome.right else "warn", "status")
        return announced + shown

    def bundle(self) -> dict[str, str]:
        """Return the output beside the buttons."""
        shown = getattr(self.prediction.outcome, "shown", None)
        text = repr(self.prediction) + ("" if shown is None else "\n" + show.as_text(shown))
        return {"text/html": self.html(), "text/plain": text}

    def display(self) -> None:
        """Show question, options and button, and the place where the outcome will stand."""
        from IPython.display import display

        self._handle = display(self.bundle(), raw=True, display_id=True)
        show_widget(self.box, "options: " + ", ".join(self.prediction.options))


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

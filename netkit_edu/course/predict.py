"""A prediction: the learner commits to an answer, then the thing itself is run and decides.

There is no answer key. ``run`` sends the packet, and what happens is the answer; it runs only after the commitment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from netkit_edu.course.present import is_strict
from netkit_edu.errors import UsageError
from netkit_edu.journey import Journey


class Outcome(NamedTuple):
    """What came of a prediction: ``answer`` is the option that happened, ``shown`` what the run left to look at.

    ``explanation`` speaks to the option that was chosen; empty where the question has nothing to add.
    """

    right: bool
    answer: str
    explanation: str
    shown: object

    def __str__(self) -> str:
        said = f"Right: {self.answer}." if self.right else f"Not this time. It happened: {self.answer}."
        return f"{said} {self.explanation}".rstrip()


class Prediction:
    """A question with options, one of which ``run`` will turn out to be.

    ``outcome`` is None until `commit`. Options are texts; ``feedback`` maps an option to a sentence for who chose it.
    """

    def __init__(self, question: str, options: Sequence | Mapping, run: Callable[[], object]):
        self.question = question
        self.options = tuple(str(option) for option in options)
        self.feedback = {str(k): str(v) for k, v in options.items()} if isinstance(options, Mapping) else {}
        self.run = run
        self.outcome: Outcome | None = None
        if len(set(self.options)) < max(2, len(self.options)):
            raise UsageError(f"a prediction needs two or more different options, not {list(self.options)}")

    def commit(self, choice: object) -> Outcome:
        """Take the learner's choice (an option, or its number from 1), run, and say what happened.

        The first commitment stands: later calls return its outcome and run nothing.

        Raises:
            UsageError: the choice is not an option, or the run's answer is none of them.
        """
        chosen = self._option(choice)
        if self.outcome is None:
            answer, shown = self.happen()
            self.outcome = Outcome(chosen == answer, answer, self.feedback.get(chosen, ""), shown)
        return self.outcome

    def happen(self) -> tuple[str, object]:
        """Run, and return the option that happened and what there is to look at (None if nothing).

        ``run`` returns the option, or a pair (option, thing to show); a journey answers with its fate.
        """
        result = self.run()
        if isinstance(result, Journey):
            result = (result.fate.kind, result)
        answer, shown = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        if str(answer) not in self.options:
            raise UsageError(f"the run says {str(answer)!r}, which is none of the options {list(self.options)}")
        return str(answer), shown

    def _option(self, choice: object) -> str:
        if str(choice) in self.options:
            return str(choice)
        if isinstance(choice, int) and 1 <= choice <= len(self.options):
            return self.options[choice - 1]
        raise UsageError(f"choose one of {list(self.options)}, or a number from 1 to {len(self.options)}")

    def __repr__(self) -> str:
        lines = [self.question, *(f"  {n}. {option}" for n, option in enumerate(self.options, 1))]
        lines.append("Commit with .commit(number)." if self.outcome is None else str(self.outcome))
        return "\n".join(lines)


def predict(question: str, options: Sequence | Mapping, run: Callable[[], object]) -> Prediction:
    """Ask before showing. Make it the last line of a cell: a notebook draws it as buttons.

    Args:
        question: one sentence.
        options: the possible answers; a mapping adds a sentence for whoever chooses that one.
        run: called after the commitment; returns the option that happened, alone or with a thing to show, or a
            `Journey`, whose fate's kind is the answer. It should use a lab of its own or leave no trace that later
            cells depend on, since nobody commits when a notebook runs unattended.

    With NETKIT_EDU_STRICT the run happens at once, to prove that its answer is one of the options.
    """
    prediction = Prediction(question, options, run)
    if is_strict():
        prediction.happen()
    return prediction

"""What a course does: predictions, checks, hints, progress, expected refusals, claims.

Everything here is plain Python that prints as text; `ui` gives it its look in a notebook. The list of chapters,
exercises and claims is ``course.toml``; the exercises of chapter NN are in ``chNN.py``.
"""

from netkit_edu.course import claims
from netkit_edu.course.checks import NotSolved, check, hint, solution
from netkit_edu.course.linux import OnLinux, on_linux
from netkit_edu.course.predict import Outcome, Prediction, predict
from netkit_edu.course.present import present, set_presenter
from netkit_edu.course.progress import progress
from netkit_edu.course.refused import NotRefused, refused

__all__ = [
    "NotRefused",
    "NotSolved",
    "OnLinux",
    "Outcome",
    "Prediction",
    "check",
    "claims",
    "hint",
    "on_linux",
    "predict",
    "present",
    "progress",
    "refused",
    "set_presenter",
    "solution",
]

"""The compiler's messages as `Diagnostic` records about the learner's own lines, the commonest ones explained."""

from __future__ import annotations

from netkit_edu.errors import CompileError


def parse(messages, text):
    return []


def failure(outcome, found, text, name):
    return CompileError(outcome.messages)


def check_object(obj, name):
    pass

"""The progress bar: it goes through what it is given, and shows how far."""

from __future__ import annotations

import pytest

import netkit_edu as nk
from netkit_edu.ui import steps


def test_outside_of_a_notebook_it_only_goes_through():
    assert list(nk.steps({"a": 1, "b": 2}.items(), "path")) == [("a", 1), ("b", 2)]


@pytest.fixture
def bars(monkeypatch):
    """The bars shown, as in a notebook."""
    shown = []
    monkeypatch.setattr(steps, "_in_notebook", lambda: True)
    monkeypatch.setattr(steps, "show_widget", lambda widget, words: shown.append((widget, words)))
    return shown


def test_a_bar_says_how_many_are_done_and_which_is_under_way(bars):
    seen = []
    for name, _ in nk.steps({"host": 1, "<veth>": 2}.items(), "path"):
        widget, words = bars[0]
        bar, said = widget.children
        seen.append((name, bar.value, said.value))
    assert words == "2 × path"
    assert [value for _, value, _ in seen] == [0, 1]
    assert "0 of 2 · host" in seen[0][2] and "1 of 2 · &lt;veth&gt;" in seen[1][2]
    assert bar.value == 2 and bar.bar_style == "success" and "2 of 2 × path" in said.value


def test_a_bar_that_is_left_early_does_not_claim_to_be_done(bars):
    for name in nk.steps(["a", "b", "c"]):
        if name == "b":
            break
    bar, said = bars[0][0].children
    assert bar.value == 1 and bar.bar_style == "" and "1 of 3" in said.value

"""Recordings of real Linux: what goes in comes out, they are labelled, and stale ones are told."""

from __future__ import annotations

import re

import pytest

import netkit_edu as nk
from netkit_edu.course import linux, recordings
from netkit_edu.course.catalogue import load
from netkit_edu.errors import BackendUnavailable, CourseError, UsageError
from tests.requires import ROOT

CALL = re.compile(r"nk\.on_linux\(\s*\"([\w.-]+)\"")


@pytest.fixture
def journey():
    with nk.Lab("sim") as lab:
        pod = lab.pod("web", device="netkit")
        return pod.ping(lab.outside)


def recording(value, key="09.x"):
    return recordings.Recording(key, "6.12.1", "vm", "2026-01-02", "python -m netkit_edu record 09", "", value)


def test_a_journey_comes_out_as_it_went_in(journey):
    value = {"j": journey, "n": [1, 2.5, None, "x", True], (1, nk.Verdict.DROP): b"\0\xff", "t": (journey.fate,)}
    again = recordings.Recording.from_json(recording(value).to_json())
    assert again.value == value and again.value["j"].replies[0].hops == journey.replies[0].hops
    assert again.value["j"].hops[0].kind is journey.hops[0].kind
    assert list(again.value)[2][1] is nk.Verdict.DROP


def test_what_cannot_be_recorded_is_said(journey):
    with pytest.raises(CourseError, match="a object cannot be recorded"):
        recording({"x": object()}).to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"value": {"$": "Popen"}}', '{"value": 3}'])
def test_what_is_no_recording_is_said(text):
    with pytest.raises(CourseError, match="no recording"):
        recordings.Recording.from_json(text)


def test_without_linux_the_recording_stands_in_and_says_so(monkeypatch):
    def unavailable(*_, **__):
        raise BackendUnavailable("no QEMU: apt-get install qemu-system-x86")

    monkeypatch.setattr(linux, "Lab", unavailable)
    monkeypatch.setattr(recordings, "load", lambda key: recording(7))
    got = nk.on_linux("09.x", lambda lab: 8)
    assert (got.value, got.live) == (7, False)
    for word in ("recorded", "6.12.1", "2026-01-02", "python -m netkit_edu record 09", "apt-get install"):
        assert word in got.label and word in repr(got)


def test_without_linux_and_recording_it_says_why(monkeypatch):
    monkeypatch.setenv("NETKIT_EDU_LINUX", "recorded")
    with pytest.raises(CourseError, match="'09.never' was never recorded"):
        nk.on_linux("09.never", lambda lab: 8)
    with pytest.raises(UsageError, match="'vm', 'host', 'recorded'"):
        nk.on_linux("09.never", lambda lab: 8, backend="cloud")


def test_a_live_run_is_labelled_with_its_kernel(monkeypatch):
    monkeypatch.setattr(linux, "Lab", lambda name, **options: nk.Lab("sim", **options))
    monkeypatch.delenv("NETKIT_EDU_LINUX", raising=False)
    monkeypatch.delenv("NETKIT_EDU_RECORD_NOTEBOOK", raising=False)
    got = nk.on_linux("09.x", lambda lab: len(lab.nodes))
    assert (got.value, got.live) == (2, True) and got.kernel in got.label and "just now" in got.label


def notebooks():
    return {c.number: ROOT / "notebooks" / f"{c.name}.ipynb" for c in load().chapters.values() if c.written}


def test_every_on_linux_cell_has_a_recording_and_none_is_left_over():
    asked = [key for path in notebooks().values() for key in CALL.findall(path.read_text().replace('\\"', '"'))]
    assert sorted(set(asked)) == recordings.keys()


def test_no_recording_is_stale():
    stale = []
    for key in recordings.keys():
        found = recordings.load(key)
        if found.code != recordings.code_of(notebooks()[key[:2]]):
            stale.append(found.command)
    assert not stale, f"the notebooks' code has changed since: {', '.join(sorted(set(stale)))}"

"""Recordings of real Linux: what goes in comes out, they are labelled, and stale ones are told."""

from __future__ import annotations

import json
import re

import pytest

import netkit_edu as nk
from netkit_edu.course import linux, recordings
from netkit_edu.course.catalogue import load
from netkit_edu.course.dependence import code_of, needed
from netkit_edu.course.record import record, replace
from netkit_edu.errors import BackendUnavailable, CourseError, UsageError
from netkit_edu.linux import bcc
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


def test_what_turns_out_in_the_middle_not_to_run_here_is_shown_as_recorded(monkeypatch):
    monkeypatch.setattr(linux, "Lab", lambda name, **options: nk.Lab("sim", **options))
    monkeypatch.setattr(recordings, "load", lambda key: recording(7))

    def fails(lab):
        raise BackendUnavailable("tracefs cannot be mounted")

    got = nk.on_linux("09.x", fails)
    assert (got.value, got.live) == (7, False) and "tracefs cannot be mounted" in got.label


@pytest.mark.parametrize(("chosen", "live"), [("", False), ("host", True)])
def test_a_host_without_netkit_is_taken_only_if_somebody_chose_it(monkeypatch, chosen, live):
    def lab(name, **options):
        if name == "vm":
            raise BackendUnavailable("no QEMU")
        return nk.Lab("sim", **options)

    monkeypatch.setattr(linux, "Lab", lab)
    monkeypatch.setattr(linux, "why_no_netkit_here", lambda: "no netkit device")
    monkeypatch.setattr(recordings, "load", lambda key: recording(7))
    monkeypatch.setenv("NETKIT_EDU_LINUX", chosen)
    monkeypatch.delenv("NETKIT_EDU_BACKEND", raising=False)
    assert nk.on_linux("09.x", lambda lab: 8).live == live


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
        if found.code != code_of(notebooks()[key[:2]], key):
            stale.append(found.command)
    assert not stale, f"the notebooks' code has changed since: {', '.join(sorted(set(stale)))}"


# for BCC, on the host only ------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """Notes the names of the backends that are opened; each is the simulator."""
    names: list[str] = []

    def lab(name, **options):
        names.append(name)
        return nk.Lab("sim", **options)

    monkeypatch.setattr(linux, "Lab", lab)
    monkeypatch.setattr(recordings, "load", lambda key: recording(7))
    for variable in ("NETKIT_EDU_LINUX", "NETKIT_EDU_BACKEND", "NETKIT_EDU_RECORD_NOTEBOOK"):
        monkeypatch.delenv(variable, raising=False)
    return names


@pytest.mark.parametrize(
    ("variable", "word"), [("NETKIT_EDU_LINUX", "vm"), ("NETKIT_EDU_LINUX", "host"), ("NETKIT_EDU_BACKEND", "vm")]
)
def test_a_piece_for_bcc_runs_on_the_host_wherever_the_others_run(opened, monkeypatch, variable, word):
    monkeypatch.setattr(bcc, "why_not", lambda: "")
    monkeypatch.setenv(variable, word)
    assert nk.on_linux("09.x", lambda lab: 8, bcc=True).value == 8
    assert opened == ["host"]


def test_a_piece_for_bcc_is_shown_as_recorded_where_that_is_asked_for(opened, monkeypatch):
    monkeypatch.setattr(bcc, "why_not", lambda: "")
    monkeypatch.setenv("NETKIT_EDU_LINUX", "recorded")
    got = nk.on_linux("09.x", lambda lab: 8, bcc=True)
    assert (got.value, got.live, opened) == (7, False, []) and linux.RECORDED in got.label


def test_a_piece_for_bcc_is_shown_as_recorded_where_bcc_is_not_and_says_what_to_install(opened, monkeypatch):
    monkeypatch.setattr(bcc, "why_not", lambda: "BCC is not installed: apt-get install python3-bpfcc")
    got = nk.on_linux("09.x", lambda lab: 8, bcc=True)
    assert (got.value, got.live, opened) == (7, False, []) and "apt-get install python3-bpfcc" in got.label
    monkeypatch.setattr(recordings, "load", lambda key: None)
    with pytest.raises(CourseError, match="never recorded, and cannot run here: BCC is not installed"):
        nk.on_linux("09.x", lambda lab: 8, bcc=True)


# recording ----------------------------------------------------------------------------------------------------------


def a_notebook(folder, *texts):
    path = folder / "09-x.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": [text]} for text in texts]}))
    return path


@pytest.fixture
def work(tmp_path):
    """Return a notebook with two pieces, the folder of their run, and that of the recordings, where both are."""
    path = a_notebook(tmp_path, 'a = nk.on_linux("09.a", f)', 'b = nk.on_linux("09.b", f, bcc=True)')
    run, to = tmp_path / "run", tmp_path / "recordings"
    run.mkdir()
    to.mkdir()
    for key in ("09.a", "09.b", "09.gone", "10.a"):
        made = recordings.Recording(key, "6.12.1", "host", "2026-01-02", "record", "", "old")
        (to / f"{key}.json").write_text(made.to_json())
    return path, run, to


def test_a_run_replaces_a_chapters_recordings_and_what_nobody_asks_for_goes(work):
    path, run, to = work
    for key in ("09.a", "09.b"):
        (run / f"{key}.json").write_text(recording("new", key).to_json())
    assert replace("09", path, run, to, print) == ["09.a", "09.b"]
    assert sorted(p.stem for p in to.iterdir()) == ["09.a", "09.b", "10.a"]
    assert recordings.Recording.from_json((to / "09.b.json").read_text()).value == "new"


def test_what_cannot_be_made_here_stays_and_is_said_with_its_age(work, capsys):
    path, run, to = work
    (run / "09.a.json").write_text(recording("new", "09.a").to_json())
    (run / f"09.b{linux.KEPT}").write_text("BCC is not installed")
    assert replace("09", path, run, to, print) == ["09.a"]
    assert recordings.Recording.from_json((to / "09.b.json").read_text()).value == "old"
    said = capsys.readouterr().out
    assert "09.b stays as of 2026-01-02, Linux 6.12.1: BCC is not installed" in said and "it is stale" in said


def test_while_it_is_recorded_a_piece_that_cannot_run_says_so(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("NETKIT_EDU_RECORD_FOLDER", str(tmp_path))
    monkeypatch.setattr(bcc, "why_not", lambda: "BCC is not installed")
    nk.on_linux("09.x", lambda lab: 8, bcc=True)
    assert [p.name for p in tmp_path.iterdir()] == [f"09.x{linux.KEPT}"]


@pytest.mark.notebook
def test_a_machine_without_linux_keeps_all_of_them(monkeypatch, capsys):
    monkeypatch.setenv("NETKIT_EDU_LINUX", "recorded")
    before = {key: recordings.load(key) for key in recordings.keys()}
    assert record(["09"]) == []
    assert {key: recordings.load(key) for key in recordings.keys()} == before
    assert capsys.readouterr().out.count(" stays as of ") == sum(key.startswith("09") for key in before)


# what a recording depends on ----------------------------------------------------------------------------------------

CELLS = (
    "%load_ext netkit_edu\nimport netkit_edu as nk\n\nwhat = 3",
    '%%bpf\nSEC("netkit/peer")\nint to_card(struct __sk_buff *skb)\n{\n\treturn 0;\n}',
    "def helper(lab):\n    return [x for x in what]",
    "for name in ():\n    print(name)",
    "nk.predict('what?', {})",
    "def piece(lab):\n    name = helper(lab)\n    return lab.load(to_card), name",
    'got = nk.on_linux("09.x", piece)',
    "def exercise(name):\n    return ...",
    'other = nk.on_linux(\n    "09.y", lambda lab: got)',
)


def test_a_recording_depends_on_what_its_cell_uses_and_on_no_other_cell():
    assert needed(CELLS, "09.x") == [0, 1, 2, 5, 6]
    assert needed(CELLS, "09.y") == [0, 1, 2, 5, 6, 8]
    with pytest.raises(CourseError, match="no cell of this notebook has on_linux"):
        needed(CELLS, "09.z")


@pytest.mark.parametrize("changed", range(len(CELLS)))
def test_a_recording_is_stale_once_a_cell_that_it_depends_on_changes(tmp_path, changed):
    before = code_of(a_notebook(tmp_path, *CELLS), "09.x")
    cells = [text + ("\n// more" if "%%bpf" in text else "\nmore = 1") * (n == changed) for n, text in enumerate(CELLS)]
    assert (code_of(a_notebook(tmp_path, *cells), "09.x") != before) == (changed in (0, 1, 2, 5, 6))


def test_a_cell_that_changes_a_name_is_needed_as_much_as_the_one_that_makes_it():
    assert needed(["a = 1", "a += 1", "b = a", 'nk.on_linux("09.x", lambda lab: a)'], "09.x") == [0, 1, 3]

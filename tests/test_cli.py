"""The command line: each word does its work and ends with an honest status."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from netkit_edu import cli, doctor
from netkit_edu.errors import UsageError


def run(*words: str, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "netkit_edu", *words], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("words", [(), ("doctor",)])
def test_doctor_is_the_default_and_always_ends_well(words, tmp_path):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(finding.name in done.stdout for finding in doctor.examine())


def test_claims_lists_every_claim():
    done = run("claims")
    assert done.returncode == 0, done.stderr
    assert all(f"C{n}" in done.stdout for n in range(1, 22))


def test_progress_ends_well_for_a_newcomer(tmp_path):
    done = run("progress", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_unknown_word_is_refused_with_the_known_ones():
    done = run("heal")
    assert done.returncode == 2 and "doctor" in done.stderr


def test_an_error_of_ours_is_one_line_on_stderr(monkeypatch, capsys):
    def fail():
        raise UsageError("no such chapter")

    monkeypatch.setattr(cli, "_claims", fail)
    assert cli.main(["claims"]) == 1
    assert capsys.readouterr().err == "no such chapter\n"


@pytest.mark.parametrize("word", ["claims", "doctor"])
def test_reader_who_has_enough_ends_it_quietly(word):
    """As ``head`` does: the pipe's reading end is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run([sys.executable, "-m", "netkit_edu", word], stdout=pipe, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")

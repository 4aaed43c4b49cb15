"""The lane in which this course is root on a kernel with netkit: one boot of a virtme-ng guest (tests/host/guest.py).

Each case here is a file of tests that ran there; it passes if all of them passed, and none was skipped that Linux can
run. Python was inside of the guest, or outside with nothing but a door inside: so is every contract test.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.host import guest, guest_files, share
from tests.requires import ROOT, require

CONTRACT = sorted(f"tests/contract/{path.name}" for path in (ROOT / "tests/contract").glob("test_*.py"))
FILES = [("inside", file) for file in guest.INSIDE] + [("outside", file) for file in CONTRACT]


@pytest.fixture(scope="module")
def cases():
    require("guest")
    if beside := os.environ.get("NETKIT_EDU_GUEST"):
        return guest.saved(Path(beside))
    return guest.run((*guest.INSIDE, *guest.ELSEWHERE), guest.OUTSIDE)


@pytest.mark.guest
@pytest.mark.slow
@pytest.mark.parametrize(("where", "file"), FILES)
def test_all_pass_on_a_kernel_with_netkit(cases, where, file):
    its = [case for case in cases if (case.where, case.file) == (where, file)]
    assert its, "the guest ran none of its tests"
    bad = [f"{case.outcome}: {case.name}\n{case.said}" for case in its if not case.good]
    assert not bad, "\n\n".join(bad)


@pytest.mark.parametrize("file", guest.INSIDE)
def test_what_the_guest_is_to_run_exists(file):
    assert (ROOT / file).is_file()


@pytest.mark.parametrize("word", guest.ELSEWHERE)
def test_what_the_guest_leaves_to_others_exists(word):
    file, _, name = word.removeprefix("--deselect=").partition("::")
    assert f"def {name}(" in (ROOT / file).read_text()


def test_only_what_the_simulator_alone_can_run_may_be_skipped():
    skipped = guest.Case("file", "name", "skipped", 0.0, f"conftest.py:9: {guest.SIMULATORS}")
    assert skipped.good and not skipped._replace(said="host: no").good and not skipped._replace(outcome="failed").good


def test_a_share_is_the_same_each_time_and_has_a_test_of_each_file():
    names = [f"tests/{file}.py::test[{n}]" for file in "abc" for n in range(200)] + ["tests/d.py::test_alone"]
    third = share.chosen(names, 3)
    assert share.chosen(names, 1) == names and third == share.chosen(names + ["tests/a.py::test_new"], 3)[: len(third)]
    assert 150 < len(third) < 250 and "tests/d.py::test_alone" in third
    assert {name.partition("::")[0] for name in share.chosen(names, 10**9)} == {f"tests/{f}.py" for f in "abcd"}


@pytest.mark.parametrize("fails", [False, True])
def test_what_ran_beside_is_read_and_so_is_why_nothing_did(tmp_path, monkeypatch, fails):
    def run(inside, outside):
        if fails:
            raise RuntimeError("the guest gave no result")
        return [guest.Case("tests/host/test_x.py", "a", "failed", 1.5, "why", "outside")]

    monkeypatch.setattr(guest, "run", run)
    monkeypatch.setattr(guest, "missing", lambda: "")
    monkeypatch.setattr(guest, "TIMEOUT_S", 0)
    path = tmp_path / "guest.json"
    with pytest.raises(RuntimeError, match="nobody wrote"):
        guest.saved(path)
    if fails:
        with pytest.raises(RuntimeError, match="no result"):
            guest.save(path)
        with pytest.raises(RuntimeError, match="no result"):
            guest.saved(path)
    else:
        guest.save(path)
        assert guest.saved(path) == run((), ())


def test_junits_words_are_read(tmp_path):
    (tmp_path / "junit.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.host.test_x" name="a" time="1.5"/>'
        '<testcase classname="tests.host.test_x" name="b" time="0"><skipped message="no"/></testcase>'
        '<testcase classname="tests.host.test_x" name="c" time="0"><failure>why</failure></testcase>'
        "</testsuite></testsuites>"
    )
    found = guest.cases(tmp_path / "junit.xml")
    assert [(case.file, case.outcome, case.said) for case in found] == [
        ("tests/host/test_x.py", "passed", ""),
        ("tests/host/test_x.py", "skipped", "no"),
        ("tests/host/test_x.py", "failed", "why"),
    ]


def test_a_machine_without_the_means_says_what_brings_them(monkeypatch):
    monkeypatch.setattr(guest, "find", lambda program: None)
    assert guest.missing() == "no vng: pip install -e '.[guest]'"


def test_the_newest_kernel_of_the_series_with_its_headers_is_taken(monkeypatch, tmp_path):
    names = [
        "linux-image-6.12.9+deb13-amd64", "linux-headers-6.12.9+deb13-amd64", "linux-headers-6.12.9+deb13-common",
        "linux-image-6.12.107+deb13-amd64-unsigned", "linux-headers-6.12.107+deb13-amd64",
        "linux-headers-6.12.107+deb13-common", "linux-image-6.12.108+deb13-amd64",
        "linux-image-6.12.109+deb13-rt-amd64", "linux-image-6.12.110+deb13-cloud-amd64",
        "linux-image-6.12.107+deb13-amd64-dbg",
    ]  # fmt: skip
    monkeypatch.setattr(guest_files, "package_names", lambda: names)
    assert guest_files.newest_packages() == [names[3], names[4], names[5]]

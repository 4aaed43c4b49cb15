from __future__ import annotations

import pytest

from netkit_edu.course import progress as show
from netkit_edu.course.progress import attempts, hints_seen, record, record_hint, state_file


def test_progress_is_kept_in_one_file_in_the_state_folder(state):
    record("05.x", passed=True)
    assert [path.name for path in state.iterdir()] == ["progress.json"]
    assert attempts("05.x") == 1


def test_the_users_state_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv("NETKIT_EDU_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_file() == tmp_path / "netkit-edu" / "progress.json"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"exercises": 3}', '{"exercises": {"05.x": 1}}'])
def test_a_damaged_file_counts_as_empty_and_is_replaced(state, content):
    state.mkdir()
    (state / "progress.json").write_text(content)
    assert attempts("05.x") == 0
    record("05.x", passed=False)
    assert attempts("05.x") == 1


def test_where_nothing_can_be_written_the_process_remembers(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("NETKIT_EDU_STATE", str(blocked))
    record_hint("05.x", 1)
    record("05.x", passed=False)
    assert (attempts("05.x"), hints_seen("05.x")) == (1, 1)
    assert "as long as this notebook" in repr(show())

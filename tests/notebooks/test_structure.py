"""What every notebook has in common, read from the files; nothing is executed here."""

from __future__ import annotations

import re

import pytest

from netkit_edu.course import catalogue
from netkit_edu.course.exercise import find
from tests.notebooks import reader

NAMES = [chapter.name for chapter in reader.CHAPTERS]
WORDS = 120  # of one markdown cell; tables, and the glossary, are looked up rather than read
notebooks = pytest.mark.parametrize("name", NAMES)


def test_the_folder_has_the_written_chapters_and_nothing_else():
    assert sorted(path.stem for path in reader.FOLDER.glob("*.ipynb")) == NAMES


@notebooks
def test_one_h1_with_the_chapters_number_and_title(name):
    text = "\n".join(reader.source(cell) for cell in reader.cells(name, "markdown"))
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    chapter = catalogue.load().chapters[name[:2]]
    assert re.findall(r"^# .*", text, re.M) == [f"# {chapter.number} · {chapter.title}"]


@notebooks
def test_headings_go_down_one_level_at_a_time(name):
    text = "\n".join(reader.source(cell) for cell in reader.cells(name, "markdown"))
    levels = [len(h) for h in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.S), re.M)]
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


@notebooks
def test_the_first_cell_states_goals_minutes_prerequisites_and_needs(name):
    first = reader.source(reader.cells(name)[0])
    minutes = catalogue.load().chapters[name[:2]].minutes
    assert "**Goals**" in first
    assert re.search(r"\| *Minutes *\| *Before this *\| *Needs *\|", first)
    assert re.search(rf"^\| *{minutes} *\|", first, re.M)


@notebooks
def test_the_last_cell_is_a_recap_that_says_what_is_next(name):
    last = reader.source(reader.cells(name)[-1])
    assert "**Next**" in last


@notebooks
def test_next_leads_to_the_chapter_that_follows(name):
    """First to that one; a way for those who would rather skip may stand behind it."""
    links = re.findall(r"\]\(([\w-]+)\.ipynb\)", reader.source(reader.cells(name)[-1]).partition("**Next**")[2])
    assert links[:1] == NAMES[NAMES.index(name) + 1 :][:1]
    assert set(links) <= set(NAMES)


@notebooks
def test_cell_ids_are_readable_and_unique(name):
    ids = [cell["id"] for cell in reader.cells(name)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", i) for i in ids), ids


@notebooks
def test_imports_stay_at_the_face(name):
    code = "\n".join(reader.source(cell) for cell in reader.cells(name, "code"))
    imported = re.findall(r"^\s*(?:import|from)\s+([\w.]+)", code, re.M)
    assert {module for module in imported if module.startswith("netkit_edu")} <= {"netkit_edu"}
    assert not [module for module in imported if module.startswith("scapy")], "the face has scapy's layers"
    assert not re.search(r"\bnk\._|importlib|__import__", code)


@notebooks
def test_prose_comes_in_short_cells(name):
    for cell in reader.cells(name, "markdown"):
        if cell["id"] == "glossary":
            continue
        prose = "\n".join(line for line in reader.source(cell).splitlines() if not line.startswith("|"))
        assert len(prose.split()) <= WORDS, f"{name}#{cell['id']} has {len(prose.split())} words"


@notebooks
def test_no_code_cell_follows_another_without_a_word_too_often(name):
    """A prediction asks in words, so it counts as such."""
    kinds = "".join(
        "m" if "nk.predict(" in reader.source(cell) else cell["cell_type"][0] for cell in reader.cells(name)
    )
    assert "cccc" not in kinds


@notebooks
def test_predictions_do_not_give_their_answer_away(name):
    """What each option teaches stands in the code: read first, it leaves nothing to predict."""
    predictions = [cell for cell in reader.cells(name, "code") if "nk.predict(" in reader.source(cell)]
    assert predictions
    for cell in predictions:
        assert reader.source(cell).startswith("nk.predict("), f"{name}#{cell['id']} folds more than the prediction"
        assert cell["metadata"].get("jupyter", {}).get("source_hidden"), f"{name}#{cell['id']} shows its code"
        assert '""' not in reader.source(cell), f"{name}#{cell['id']}: an option without a sentence is the answer"


@notebooks
def test_exercise_cells_and_the_catalogue_agree(name):
    listed = {e.id: e.cell for e in catalogue.load().exercises.values() if e.chapter == name[:2]}
    stubs = {reader.exercise_of(cell): cell["id"] for cell in reader.cells(name) if reader.exercise_of(cell)}
    assert stubs == listed
    assert len(listed) >= 2
    for cell in reader.cells(name):
        assert ("exercise" in cell["metadata"].get("tags", [])) == bool(reader.exercise_of(cell))


@notebooks
def test_every_exercise_is_checked_after_its_stub(name):
    ids = [reader.exercise_of(cell) for cell in reader.cells(name)]
    for exercise in filter(None, ids):
        after = reader.cells(name, "")[ids.index(exercise) + 1]
        assert reader.source(after).splitlines()[-1].startswith(f'nk.check("{exercise}", ')


@notebooks
def test_no_solution_is_written_in_the_notebook(name):
    text = {_line(line) for cell in reader.cells(name) for line in reader.source(cell).splitlines()}
    for cell in filter(reader.exercise_of, reader.cells(name)):
        solved = {_line(line) for line in find(reader.exercise_of(cell)).solution.splitlines()}
        own = {line for line in solved - {_line(x) for x in reader.source(cell).splitlines()} if len(line) > 20}
        assert not own & text, f"{reader.exercise_of(cell)}: {own & text}"


@notebooks
def test_hints_do_not_give_the_solution_away(name):
    for entry in (e for e in catalogue.load().exercises.values() if e.chapter == name[:2]):
        solution = {_line(line) for line in find(entry.id).solution.splitlines() if len(_line(line)) > 30}
        assert not [line for line in solution for hint in entry.hints if line in _line(hint)]


def test_every_place_a_claim_names_exists():
    for claim in catalogue.load().claims.values():
        for place in claim.cells:
            name, _, cell = place.partition("#")
            assert cell in {c["id"] for c in reader.cells(name)}, f"{claim.id}: no cell {place}"


def _line(text: str) -> str:
    return "".join(text.split())

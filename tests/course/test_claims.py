from __future__ import annotations

import ast
from pathlib import Path

import pytest

from netkit_edu.course import catalogue, claims

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = catalogue.load().claims.values()


def test_the_report_lists_every_claim_and_what_is_open():
    text = claims.report()
    for claim in CLAIMS:
        assert f"{claim.id}  chapter" in text
        for place in (*claim.cells, *claim.simulator, *claim.linux):
            assert place in text
    assert f"{sum(bool(c.missing) for c in CLAIMS)} open" in text


@pytest.mark.parametrize("test", sorted({t for c in CLAIMS for t in (*c.simulator, *c.linux)}))
def test_a_claims_test_exists(test):
    path, name = test.split("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_claims_of_the_written_chapters_are_met_in_a_cell_of_them():
    written = {number for number, chapter in catalogue.load().chapters.items() if chapter.written}
    for claim in CLAIMS:
        met = {place[:2] for place in claim.cells}
        assert set(claim.chapters) & written <= met, f"{claim.id} is not met in {sorted(set(claim.chapters) & written)}"

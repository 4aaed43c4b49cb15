"""Costs: medians, spreads and differences, in words and as bars."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import netkit_edu as nk
from netkit_edu import draw
from netkit_edu.course.recordings import Recording
from netkit_edu.errors import UsageError

SVG = "{http://www.w3.org/2000/svg}"


def table(**medians: float) -> nk.Costs:
    rows = {name: nk.Cost(value, value - 1, value + 1) for name, value in medians.items()}
    return nk.Costs(rows, base=next(iter(rows)), title="out of the pod")


def test_a_cost_is_the_median_of_its_runs_and_how_far_they_lie_apart():
    cost = nk.Cost.of([1020, 1000, 1010])
    assert cost == (1010, 1000, 1020)
    assert cost.spread == pytest.approx(0.02)
    assert "spread 2.00" in repr(cost)


def test_a_cost_of_no_runs_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        nk.Cost.of([])


def test_a_row_is_held_against_the_base_or_another():
    costs = table(host=5000, netkit=5700, veth=8000)
    assert costs.over("netkit") == 700
    assert costs.over("veth", "netkit") == 2300
    assert costs.over("host") == 0


def test_a_share_says_how_many_times_another_row_one_costs():
    costs = table(host=5000, netkit=6000)
    assert costs.share("netkit") == pytest.approx(1.2)
    assert costs.share("host", "netkit") == pytest.approx(5 / 6)


def test_the_closest_option_is_that_by_ratio():
    words = {"little": 1, "much": 6, "far too much": 100}
    assert [nk.closest(value, words) for value in (0, 1.9, 3, 23, 25)] == [
        "little", "little", "much", "much", "far too much"
    ]  # fmt: skip
    for wrong in ({}, {"nothing": 0}):
        with pytest.raises(UsageError, match="above 0"):
            nk.closest(1, wrong)


def test_what_is_no_cost_and_a_base_that_is_no_row_are_refused():
    with pytest.raises(UsageError, match="lab.measure"):
        nk.Costs({"host": 5000})
    with pytest.raises(UsageError, match="'host'"):
        nk.Costs({"host": nk.Cost(1, 1, 1)}, base="hosts")


def test_a_name_that_is_not_there_is_told_which_are():
    with pytest.raises(KeyError, match="'host', 'netkit'"):
        table(host=5000, netkit=5700)["netkits"]


def test_across_tables_the_spread_is_that_of_their_medians():
    costs = nk.Costs.across(
        [table(host=5000, netkit=6000), table(host=5010, netkit=6000), table(host=5005, netkit=6000)]
    )
    assert costs["host"] == (5005, 5000, 5010)
    assert costs["netkit"].spread == 0
    assert costs.spread == pytest.approx(0.002)
    assert costs.base == "host"
    with pytest.raises(UsageError, match="same rows"):
        nk.Costs.across([table(host=1), table(netkit=1)])


def test_a_table_says_each_figure_in_words():
    text = repr(table(host=5000, netkit=5700)).replace("\N{NO-BREAK SPACE}", " ")
    assert "out of the pod: instructions per packet" in text
    assert "5 700" in text and "+700" in text


def test_a_recording_keeps_a_table_whole():
    costs = table(host=5000, netkit=5700)
    made = Recording("10.x", "6.12", "vm", "2026-01-01", "", "", costs)
    assert Recording.from_json(made.to_json()).value == costs


def test_the_bars_are_as_long_as_the_figures_say():
    root = ElementTree.fromstring(draw.bars(table(host=2000, netkit=3000, veth=4000)))
    rows = [g for g in root.iter(f"{SVG}g") if g.get("class") == "hop"]
    lengths = [sum(float(r.get("width")) for r in list(g.iter(f"{SVG}rect"))[1:]) for g in rows]
    assert lengths[1] / lengths[0] == pytest.approx(1.5, rel=0.01)
    assert lengths[2] / lengths[0] == pytest.approx(2.0, rel=0.01)


def test_the_text_alternative_says_every_figure_with_its_spread():
    words = draw.text_bars(table(host=2000, netkit=3000)).replace("\N{NO-BREAK SPACE}", " ")
    assert "host: 2 000, spread 0.10 %" in words
    assert "netkit: 3 000, +1 000 against host, spread 0.07 %" in words

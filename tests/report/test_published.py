"""The tables of published numbers: what stands in them, and what is said of numbers beside them."""

import json
from pathlib import Path

import pytest

from reelstore.layout import Layout
from reelstore.project.report.published import published_sections
from reelstore.report.page import Table
from reelstore.report.published import load_published


def write(path: str, values: dict) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(values))


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Stand-ins: one X-CLIP reproduced but for two numbers, and a grid."""
    monkeypatch.chdir(tmp_path)
    published = load_published()
    of = published.models["xclip-base-patch16"]
    t2v = {name.replace("hit@", "R@"): value for name, value in of["t2v"].items()}
    t2v |= {"R@01": 0.1333, "R@05": 0.5}
    v2t = {name: value + 4e-5 for name, value in of["v2t"].items() if name != "hit@02"}
    metrics = {"t2v": t2v, "v2t": v2t, "health": {"videos": 1000, "captions": 1000}}
    write("metrics/msrvtt/xclip-base-patch16+xclip-base-patch16/both-towers.json", metrics)
    write(
        "plots/msrvtt/xclip-base-patch16+xclip-base-patch16/both-towers/evaluation/details.json",
        {"split": "1k-a/test", "intervals": {"t2v": {name: {"low": 0.11, "high": 0.15} for name in t2v}}},
    )
    cells = {row: dict(cells) for row, cells in published.grid.items()}
    cells["max"]["max"], cells["first"]["sum"] = 0.0079, 0.3
    grid = {"t2v_MRR": cells, "shuffled": {"low": 0.006, "high": 0.0099}}
    write("metrics/msrvtt/video-llama-7b+video-llama-7b/grid.json", grid)
    write("metrics/msrvtt/other+other/ridge.json", metrics)
    return published_sections(Layout("msrvtt"))


def row(table: Table, name: str) -> list[str]:
    return next(list(cells[1:]) for cells in table.rows if cells[0] == name)


def test_published_numbers_are_the_report_s():
    published = load_published()
    assert published.models["xclip-large-patch14"]["t2v"]["hit@01"] == 0.2060
    assert published.models["xclip-base-patch32"]["v2t"]["MAP"] == 0.2741
    assert published.grid["max"]["first"] == 0.0075
    assert len(published.models) == 3 and sum(map(len, published.grid.values())) == 16
    assert "University of Hamburg" in published.source and "October 2023" in published.source


def test_numbers_at_hand_stand_below_the_published_ones_and_say_whether_they_agree(measured):
    t2v, v2t = measured[0].tables
    assert t2v.columns[1:] == ["hit rate@1", "hit rate@2", "hit rate@5", "hit rate@10", "MRR"]
    assert row(t2v, "xclip-base-patch16, published")[0] == "0.1280"
    assert row(t2v, "xclip-base-patch16, both-towers, here") == [
        "0.1333 ≈", "0.1870 =", "0.5000 ≠", "0.3420 =", "0.2032 =",
    ]  # fmt: skip
    assert row(v2t, "xclip-base-patch16, both-towers, here")[:2] == ["0.1920 =", "–"]
    assert row(v2t, "xclip-large-patch14, here") == ["–"] * 6
    assert "1k-a/test, 1000 videos, 1000 captions" in measured[0].note and "Hamburg" in measured[0].note
    assert "other" not in str(t2v.rows)


def test_the_grid_has_the_report_s_layout_and_agrees_where_both_are_chance(measured):
    (table,) = measured[1].tables
    assert table.columns == ["published | video-llama-7b+video-llama-7b", "mean", "first", "max", "sum"]
    assert [cells[0] for cells in table.rows] == ["mean", "first", "max", "sum"]
    assert row(table, "mean")[0] == "0.0245 | 0.0245 ="
    assert row(table, "max")[2] == "0.0095 | 0.0079 ≈"
    assert row(table, "first")[3] == "0.0072 | 0.3000 ≠"


def test_without_results_the_published_numbers_stand_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores, grid = published_sections(Layout("msrvtt"))
    assert row(scores.tables[0], "xclip-base-patch32, here") == ["–"] * 5
    assert grid.tables[0].rows[0][1] == "0.0245 | –"

"""What the evaluate stage writes."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from reelstore.evaluation import evaluate
from reelstore.evaluation.files import write_json
from reelstore.evaluation.matched import Matched
from reelstore.pipeline.evaluate import write_curves, write_queries

MATCHED = Matched(
    videos=["a", "b", "c"],
    captions=[("a", 0), ("a", 2), ("b", 0)],
    video_of_caption=np.array([0, 0, 1]),
    missing={"videos": 0, "captions": 1, "captions_of_missing_videos": 0},
)


@pytest.fixture
def found():
    """Caption a/0 is right, a/2 prefers b, b/0 ties with c; nobody speaks of c."""
    scores = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    return evaluate(scores, np.eye(3), MATCHED.video_of_caption, similarity="dot")


def test_queries_name_the_best_wrong_answer_by_its_key(tmp_path, found):
    write_queries(tmp_path / "queries.parquet", found, MATCHED)
    rows = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    assert [(row["direction"], row["video_id"], row["caption_index"]) for row in rows] == [
        ("t2v", "a", 0),
        ("t2v", "a", 2),
        ("t2v", "b", 0),
        ("v2t", "a", None),
        ("v2t", "b", None),
    ]
    assert [row["rank"] for row in rows] == [1, 2, 1.5, 1, 2.5]
    assert [(row["best_wrong_video_id"], row["best_wrong_caption_index"], row["gap"]) for row in rows] == [
        ("b", None, 2.0),
        ("b", None, -1.0),
        ("c", None, 0.0),
        ("b", 0, 3.0),
        ("a", 2, -1.0),
    ]


def test_a_query_without_a_wrong_item_has_no_best_wrong_answer(tmp_path):
    one = Matched(["a"], [("a", 0)], np.array([0]), {})
    write_queries(tmp_path / "queries.parquet", evaluate(np.ones((1, 2)), np.ones((1, 2)), [0]), one)
    for row in pq.read_table(tmp_path / "queries.parquet").to_pylist():
        assert (row["best_wrong_video_id"], row["gap"]) == (None, None)


def test_curves_run_from_1_to_50_beside_chance(tmp_path, found):
    write_curves(tmp_path / "plots" / "recall.csv", found)
    lines = (tmp_path / "plots" / "recall.csv").read_text().splitlines()
    assert lines[0] == "direction,k,recall,chance"
    assert len(lines) == 1 + 2 * 50
    assert lines[1] == "t2v,1,0.500000,0.333333"
    assert lines[50] == "t2v,50,1.000000,1.000000"


def test_json_is_sorted_rounded_and_free_of_nan(tmp_path):
    write_json(tmp_path / "metrics" / "m.json", {"t2v": {"b": 1 / 3, "a": 2}})
    text = (tmp_path / "metrics" / "m.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"t2v": {"a": 2, "b": 0.333333}}
    assert text.index('"a"') < text.index('"b"')
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "nan.json", {"t2v": {"a": float("nan")}})

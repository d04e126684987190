"""What `evaluate` returns: metrics by name or method, tables, and rows of a store as its arguments."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import reelstore
from reelstore.errors import EvaluationError, UnknownNameError
from reelstore.evaluation import confidence_intervals, evaluate

RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(40, 8)).astype(np.float32)
OWNER = np.repeat(np.arange(40), 3)
TEXT = (VIDEO[OWNER] + RNG.normal(size=(120, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def result() -> reelstore.Evaluation:
    return evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, return_hard_negatives=True)


def test_a_metric_is_found_with_and_without_the_zero_of_its_key(result: reelstore.Evaluation) -> None:
    t2v = result.metrics["t2v"]
    assert result["t2v"]["R@1"] == result.t2v["R@01"] == t2v["R@01"]
    assert result.t2v["R@10"] == t2v["R@10"] and result.t2v["MRR"] == t2v["MRR"]
    assert dict(result.t2v) == t2v and list(result) == ["t2v", "v2t"] and len(result.t2v) == len(t2v)
    with pytest.raises(UnknownNameError, match=r"metric of t2v 'R@02'.*Did you mean"):
        result.t2v["R@2"]
    with pytest.raises(KeyError, match=r"metric of v2t 'R@01'.*hit@01"):
        result.v2t["R@1"]
    with pytest.raises(KeyError, match="direction 't2t'"):
        result["t2t"]
    with pytest.raises(KeyError, match=r"direction 't2v'.*retrieval"):
        _ = evaluate(scores=np.eye(2), relevance=[0, 1]).t2v


def test_methods_give_the_metrics_and_those_of_other_cut_offs(result: reelstore.Evaluation) -> None:
    t2v, v2t = result.t2v, result.v2t
    assert (t2v.mrr, t2v.median_rank, t2v.mean_rank) == tuple(
        result.metrics["t2v"][n] for n in ("MRR", "MedR", "MeanR")
    )
    for k in (1, 5, 10):
        assert t2v.recall(k) == t2v.hit(k) == t2v[f"R@{k}"]
        assert v2t.recall(k) == v2t[f"recall@{k}"] and v2t.hit(k) == v2t[f"hit@{k}"]
    assert v2t.ndcg(10) == v2t["nDCG@10"]
    seven = evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER, ks=7)
    assert (t2v.recall(7), v2t.recall(7), v2t.ndcg(7)) == (seven.t2v["R@7"], seven.v2t["recall@7"], seven.v2t["nDCG@7"])
    for k in (0, 1.5, True):
        with pytest.raises(EvaluationError, match="k is"):
            t2v.recall(k)  # type: ignore[arg-type]


def test_methods_follow_the_tie_rule() -> None:
    scores = {"scores": np.ones((4, 4)), "relevance": np.arange(4)}
    found = {ties: evaluate(**scores, ties=ties)["retrieval"].recall(1) for ties in ("expected", "optimistic")}
    assert found == {"expected": 0.25, "optimistic": 1.0}


def test_a_printed_result_has_values_chance_and_intervals(result: reelstore.Evaluation) -> None:
    ends = confidence_intervals(result)["t2v"]["R@01"]
    lines = str(result).splitlines()
    assert lines[0] == "120 captions, 40 videos, 160 queries, 0 no_relevant, 0 tied_queries; cosine, ties expected"
    line = f"R@01       {result.t2v['R@1']:9.4f} {1 / 40:9.4f}   [{ends['low']:.4f}, {ends['high']:.4f}]"
    assert line in lines
    assert repr(result).startswith("Evaluation(120 captions, 40 videos") and "\n" not in repr(result)
    assert repr(result.t2v).startswith("DirectionResult(t2v, 120 queries, 40 items; R@01 ")
    html = result._repr_html_()
    assert html.count("<tr>") == 1 + len(result.t2v) + len(result.v2t) and f"{result.v2t.mrr:.4f}" in html


def test_tables_have_one_row_a_metric_and_one_row_a_query(result: reelstore.Evaluation) -> None:
    table = result.to_pandas()
    assert table.loc[("t2v", "R@01"), "value"] == result.t2v["R@1"]
    assert table.columns.tolist() == ["value", "low", "high", "n_videos", "chance"]
    assert len(table) == len(result.t2v) + len(result.v2t)
    queries = result.t2v.to_pandas()
    assert len(queries) == result.t2v.n_queries == 120
    assert {"query", "video", "rank", "hardest_negative", "gap", "MRR"} <= set(queries)
    pd.testing.assert_series_equal(queries["video"], pd.Series(OWNER, name="video"))
    assert "gap" not in evaluate(text=TEXT, video=VIDEO, video_of_caption=OWNER).t2v.to_pandas()


def test_rows_and_pairs_of_a_store_are_measured_as_their_arrays(tmp_path: Path, result: reelstore.Evaluation) -> None:
    store = reelstore.open(tmp_path / "mine", create=True)
    ids = [f"v{number}" for number in range(40)]
    store.write("video/clip/mean", ids, VIDEO)
    store.write("text/clip/mean", [(ids[of], number % 3) for number, of in enumerate(OWNER)], TEXT)
    pairs = store.pairs("video/clip/mean", "text/clip/mean")
    found = evaluate(text=pairs.text, video=pairs.video, video_of_caption=pairs.video_of_caption)
    assert found.metrics == result.metrics
    mixed = evaluate(text=TEXT, video=store["video/clip/mean"], video_of_caption=OWNER)
    assert mixed.metrics == result.metrics
    with pytest.raises(EvaluationError, match=r"text= is given Rows\(video/clip/mean.*Swap text= and video="):
        evaluate(text=pairs.video, video=pairs.text, video_of_caption=OWNER)


def test_tokens_of_a_store_are_measured_by_maxsim_and_refused_by_cosine(tmp_path: Path) -> None:
    store = reelstore.open(tmp_path / "mine", create=True)
    ids = [f"v{number}" for number in range(5)]
    video = [RNG.normal(size=(number + 1, 6)).astype(np.float32) for number in range(5)]
    text = [RNG.normal(size=(2, 6)).astype(np.float32) for _ in range(5)]
    store.write("video/clip/tokens", ids, video)
    store.write("text/clip/tokens", [(name, 0) for name in ids], text)
    pairs = store.pairs("video/clip/tokens", "text/clip/tokens")
    sides = {"text": pairs.text, "video": pairs.video, "video_of_caption": pairs.video_of_caption}
    plain = evaluate(text=text, video=video, video_of_caption=np.arange(5), similarity="maxsim")
    assert evaluate(**sides, similarity="maxsim").metrics == plain.metrics
    with pytest.raises(EvaluationError, match=r"text.*tokens.*maxsim"):
        evaluate(**sides)

"""What the evaluate stage writes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reelstore.align.registry import FittedAligner, make_aligner
from reelstore.errors import AlignerError, ParamsError, ReelstoreError
from reelstore.evaluation import MaxSim, evaluate
from reelstore.evaluation.files import write_json
from reelstore.evaluation.matched import Matched
from reelstore.evaluation.rescoring import QueryBank, evaluate_rescored
from reelstore.project.evaluate.protocol import run_protocol
from reelstore.project.evaluate.stage import curve_files, queries_parquet, run_evaluate
from reelstore.project.evaluate.thresholds import check_thresholds
from reelstore.project.settings import parse_params
from reelstore.records import Protocol
from reelstore.store.open import open_store

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
    return evaluate(
        text=scores,
        video=np.eye(3),
        video_of_caption=MATCHED.video_of_caption,
        similarity="dot",
        return_hard_negatives=True,
    )


def test_queries_name_the_hardest_negative_answer_by_its_key(tmp_path, found):
    (tmp_path / "queries.parquet").write_bytes(queries_parquet(found, MATCHED))
    rows = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    assert [(row["direction"], row["video_id"], row["caption_index"]) for row in rows] == [
        ("t2v", "a", 0),
        ("t2v", "a", 2),
        ("t2v", "b", 0),
        ("v2t", "a", None),
        ("v2t", "b", None),
    ]
    assert [row["rank"] for row in rows] == [1, 2, 1.5, 1, 2.5]
    assert [(row["hardest_negative_video_id"], row["hardest_negative_caption_index"], row["gap"]) for row in rows] == [
        ("b", None, 2.0),
        ("b", None, -1.0),
        ("c", None, 0.0),
        ("b", 0, 3.0),
        ("a", 2, -1.0),
    ]


def test_a_query_without_a_wrong_item_has_no_hardest_negative_answer(tmp_path):
    one = Matched(["a"], [("a", 0)], np.array([0]), {})
    found = evaluate(text=np.ones((1, 2)), video=np.ones((1, 2)), video_of_caption=[0], return_hard_negatives=True)
    (tmp_path / "queries.parquet").write_bytes(queries_parquet(found, one))
    for row in pq.read_table(tmp_path / "queries.parquet").to_pylist():
        assert (row["hardest_negative_video_id"], row["gap"]) == (None, None)


def test_curves_run_from_1_to_50_beside_chance(tmp_path, found):
    lines = curve_files(tmp_path, found)[tmp_path / "t2v_recall.csv"].decode().splitlines()
    assert lines[0] == "k,recall,chance"
    assert len(lines) == 1 + 50
    assert lines[1] == "1,0.500000,0.333333"
    assert lines[50] == "50,1.000000,1.000000"
    # Video a finds one of its two captions first, video b another's.
    assert curve_files(tmp_path, found)[tmp_path / "v2t_recall.csv"].decode().splitlines()[1] == "1,0.250000,0.333333"


def test_json_is_sorted_rounded_and_free_of_nan(tmp_path):
    write_json(tmp_path / "metrics" / "m.json", {"t2v": {"b": 1 / 3, "a": 2}})
    text = (tmp_path / "metrics" / "m.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text) == {"t2v": {"a": 2, "b": 0.333333}}
    assert text.index('"a"') < text.index('"b"')
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "nan.json", {"t2v": {"a": float("nan")}})


RAW = {
    "dataset": {"name": "drawn"},
    "encoders": {"video/v": {}, "text/t": {}},
    "model": {"video": ["v"], "text": ["t"]},
    "tracking": {"wandb": "disabled"},
}
PARAMS = parse_params(RAW)


@pytest.fixture
def fitted(tmp_path, monkeypatch, write_variant):
    """A store of related towers in which v3 and caption (v5, 1) failed, and their unaligned aligner."""
    monkeypatch.chdir(tmp_path)
    videos = [f"v{number}" for number in range(20)]
    captions = [(video, index) for video in videos for index in range(3)]
    latent = np.random.default_rng(0).normal(size=(20, 8))
    write_variant("video", "v", "max", videos, np.pad(latent, ((0, 0), (0, 2))), failed=("v3",))
    write_variant("text", "t", "mean", captions, np.repeat(latent, 3, axis=0), failed=(("v5", 1),))
    settings = {"kind": "unaligned", "video": "max"}
    aligner, pooling = make_aligner(settings)
    aligner.restore({"widths": np.array([10, 8], dtype=np.float32)})
    variants = {side: open_store("store/drawn")[f"{side}/{side[0]}/{pooling[side]}"] for side in pooling}
    data = {side: {"digest": rows.digest, "fingerprint": rows.fingerprint} for side, rows in variants.items()}
    FittedAligner(aligner, "unaligned", {}, pooling, data).save(Path("models/drawn/v+t/zero"))


def test_evaluate_measures_the_variants_the_aligner_was_fitted_on_and_counts_what_is_missing(fitted):
    report = run_evaluate(PARAMS, video="v", text="t", aligner="zero")
    metrics = json.loads(Path("metrics/drawn/v+t/zero.json").read_text())
    assert metrics["t2v"]["R@01"] == metrics["v2t"]["MAP"] == 1.0
    # Captions of v3: 3 left out; (v5, 1) failed itself.
    assert metrics["health"] == {
        "captions": 56,
        "videos": 19,
        "queries": 75,
        "no_relevant": 0,
        "tied_queries": 0,
        "missing_videos": 1,
        "missing_captions": 4,
    }
    details = json.loads(Path("plots/drawn/v+t/zero/evaluation/details.json").read_text())
    assert details["video"]["variant"] == "video/v/max"
    assert details["missing"] == {"videos": 1, "captions": 1, "captions_of_missing_videos": 3}
    assert details["intervals"]["t2v"]["R@01"] == {"low": pytest.approx(0.8, abs=0.1), "high": 1.0, "n_videos": 19}
    assert details["intervals"]["holds_fixed"].startswith("one split, one fit")
    assert "19 videos, 56 captions" in report.summary()


def test_evaluate_writes_the_same_bytes_again(fitted):
    def files():
        run_evaluate(PARAMS, video="v", text="t", aligner="zero")
        return {path: path.read_bytes() for root in ("metrics", "plots") for path in Path(root).rglob("*.*")}

    first = files()
    assert {path.name for path in first} == {
        "zero.json",
        "details.json",
        "queries.parquet",
        "t2v_recall.csv",
        "v2t_recall.csv",
    }
    assert files() == first


@pytest.mark.parametrize("known", [None, "another"])
def test_evaluate_refuses_embeddings_the_aligner_was_not_fitted_on(fitted, known):
    about = Path("models/drawn/v+t/zero/aligner.json")
    record = json.loads(about.read_text())
    record["data"]["video"] = {"fingerprint": known} if known else {}
    about.write_text(json.dumps(record))
    with pytest.raises(AlignerError, match="another encoder" if known else "doesn't record"):
        run_evaluate(PARAMS, video="v", text="t", aligner="zero")


def test_max_sim_is_measured_from_the_store_s_ragged_tokens(fitted, write_variant):
    rng = np.random.default_rng(1)
    videos, captions = (open_store("store/drawn")[name].ids for name in ("video/v/max", "text/t/mean"))
    latent = {video: rng.normal(size=10) for video in videos}
    of_video = [latent[video] + rng.normal(size=(rng.integers(1, 6), 10)) for video in videos]
    of_text = [latent[video][:8] + rng.normal(size=(rng.integers(1, 4), 8)) for video, _ in captions]
    write_variant("video", "v", "tokens", videos, of_video, failed=("v3",))
    write_variant("text", "t", "tokens", captions, of_text)
    params = PARAMS.model_copy(update={"scorers": {"late": {"rerank": "maxsim", "over": "both"}}})
    report = run_evaluate(params, video="v", text="t", aligner="late")
    kept = [number for number, (video, _) in enumerate(captions) if video != "v3"]
    stored = open_store("store/drawn")
    tokens = [
        stored["video/v/tokens"].ok().take(np.arange(19)),
        [np.pad(stored["text/t/tokens"].take([number])[0], ((0, 0), (0, 2))) for number in kept],
    ]
    owner = [report.matched.videos.index(captions[number][0]) for number in kept]
    plain = evaluate(scores=MaxSim(text=tokens[1], video=tokens[0], over="both"), video_of_caption=owner)
    assert report.evaluation.metrics == plain.metrics
    assert 0.3 < plain.metrics["t2v"]["R@01"] < 1
    details = json.loads(Path("plots/drawn/v+t/late/evaluation/details.json").read_text())
    assert details["similarity"] == "maxsim: mean over tokens of both sides of the highest cosine"
    assert details["read"].keys() == {"video/v/tokens", "text/t/tokens"}
    with pytest.raises(ParamsError, match="video/v/max is pooled"):
        run_evaluate(
            PARAMS.model_copy(update={"scorers": {"late": {"rerank": "maxsim", "video": "max"}}}),
            video="v",
            text="t",
            aligner="late",
        )


def test_a_protocol_that_uses_other_queries_has_files_of_its_own(fitted):
    run_evaluate(PARAMS, video="v", text="t", aligner="zero")
    plain = Path("metrics/drawn/v+t/zero.json").read_bytes()
    params = parse_params(
        {**RAW, "protocols": {"dsl": {"kind": "dual_softmax", "scale": 5.0}, "inverted": {"kind": "inverted_softmax"}}}
    )
    for name in ("dsl", "inverted"):
        report = run_protocol(params, video="v", text="t", aligner="zero", protocol=name)
        assert report.metrics == Path(f"metrics/drawn/v+t/protocols/zero.{name}.json")
        details = json.loads((report.plots / "details.json").read_text())
        assert details["rescoring"]["kind"] == params.protocols[name].kind
        assert details["uses_other_test_queries"] is True and "uses the other test queries" in details["similarity"]
        assert {path.name for path in report.plots.iterdir()} == {
            "details.json", "queries.parquet", "t2v_recall.csv", "v2t_recall.csv",
        }  # fmt: skip
    assert Path("metrics/drawn/v+t/zero.json").read_bytes() == plain
    guarded = {"aligners": {"zero": {"kind": "unaligned"}}, "thresholds": {"*": {"t2v.R@01": ">= 0"}}}
    assert [one.result for one in check_thresholds(parse_params({**RAW, **guarded})).checked] == ["v+t/zero"]
    with pytest.raises(ParamsError, match=r"protocols has no 'csls'\. Known: dsl, inverted"):
        run_protocol(params, video="v", text="t", aligner="zero", protocol="csls")


def test_qb_norm_takes_its_bank_from_the_training_split(tmp_path, monkeypatch, write_variant):
    monkeypatch.chdir(tmp_path)
    videos = [f"v{number}" for number in range(30)]
    captions = [(video, index) for video in videos for index in range(2)]
    latent = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float16)
    spoken = (np.repeat(latent, 2, axis=0) + np.random.default_rng(1).normal(size=(60, 8))).astype(np.float16)
    splits = ["train"] * 18 + ["test"] * 12
    write_variant("video", "v", "mean", videos, latent, splits=splits)
    write_variant("text", "t", "mean", captions, spoken, splits=[split for split in splits for _ in range(2)])
    aligner, pooling = make_aligner({"kind": "unaligned"})
    aligner.restore({"widths": np.array([8, 8], dtype=np.float32)})
    rows = {side: open_store("store/drawn")[f"{side}/{side[0]}/mean"] for side in pooling}
    data = {side: {"digest": of.digest, "fingerprint": of.fingerprint} for side, of in rows.items()}
    FittedAligner(aligner, "unaligned", {}, pooling, data).save(Path("models/drawn/v+t/zero"))
    published = Protocol("drawn/cut/test", 12, 24)
    monkeypatch.setattr("reelstore.project.split.read_protocols", lambda folder: ({"test": published}, {}))
    for k in (1, 3):
        params = parse_params({**RAW, "protocols": {"qb": {"kind": "qb_norm", "k": k}}})
        report = run_protocol(params, video="v", text="t", aligner="zero", protocol="qb")
        found = evaluate_rescored(
            text=spoken[36:], video=latent[18:], video_of_caption=np.arange(24) // 2, rescoring=QueryBank(k=k),
            bank_text=spoken[:36], bank_video=latent[:18],
        )  # fmt: skip
        assert report.evaluation.metrics == found.metrics
        details = json.loads((report.plots / "details.json").read_text())
        assert details["rescoring"] == {"kind": "qb_norm", "scale": 0.0, "k": k, "bank": "train"}
        assert details["uses_other_test_queries"] is False and "whose bank is training queries" in details["similarity"]
        assert details["protocol"] == {"name": "drawn/cut/test", "n_videos": 12, "n_captions": 24, "whole": True}
    for bank, says in (("test", "which is evaluate.split too"), ("validation", "no split 'validation'")):
        params = parse_params({**RAW, "protocols": {"qb": {"kind": "qb_norm", "bank": bank}}})
        with pytest.raises(ReelstoreError, match=says):
            run_protocol(params, video="v", text="t", aligner="zero", protocol="qb")
    for wrong, says in (
        ({"kind": "dual_softmax", "k": 3}, "protocols.x.k is 3, but dual_softmax has no k"),
        ({"kind": "inverted_softmax", "bank": "validation"}, "inverted_softmax has no bank"),
        ({"kind": "softmax"}, "dual_softmax, inverted_softmax or qb_norm"),
    ):
        with pytest.raises(ParamsError, match=says):
            parse_params({**RAW, "protocols": {"x": wrong}})

"""Code as a user types it. It is never run: mypy --strict and pyright read it, and a type that is Any fails them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

import reelstore
from reelstore.align.loading import PairLoader
from reelstore.align.loading.batches import Padded, SideBatch
from reelstore.align.loading.ordered import OrderedPairs
from reelstore.encoders.base import EncoderSpec
from reelstore.evaluation import MaxSim, Pairs, bootstrap, confidence_intervals
from reelstore.evaluation.intervals import Interval
from reelstore.retrieval import Hit
from reelstore.store.keys import Keys
from reelstore.store.pairs import PairedVariants
from reelstore.store.update import UpdateReport

Embeddings = npt.NDArray[np.floating[Any]]
Values = Embeddings | list[Embeddings]
Key = str | tuple[str, int]


def write(video: npt.NDArray[np.float32], text: torch.Tensor, tokens: list[torch.Tensor]) -> None:
    store = reelstore.open("store/mine", create=True)
    assert_type(store, reelstore.Store)
    report = store.write("video/clip/mean", ["7010", "7011"], video, splits=["train", "test"])
    assert_type(report, UpdateReport)
    assert_type(report.digest, str)
    keys: list[tuple[str, int]] = [("7010", 0), ("7011", 0)]
    store.write("text/clip/mean", keys, text, splits="train", dtype="float16", source="mine")
    store.write("text/clip/tokens", keys, iter([tokens]), source={"model": "mine"}, mode="replace")
    store.delete("text/clip/tokens")
    store.rename("text/clip/mean", "text/clip/max")


def read() -> None:
    store = reelstore.open(Path("store") / "mine")
    assert_type(store["video/clip/mean"], reelstore.Rows)
    assert_type(store.get("video/clip/mean"), reelstore.Rows | None)
    assert_type("video/clip/mean" in store, bool)
    assert_type(list(store), list[str])
    assert_type(len(store), int)
    assert_type(reelstore.open_variant("store/mine/video/clip/mean"), reelstore.Rows)


def values(
    rows: reelstore.Rows, table: pd.DataFrame, mask: npt.NDArray[np.bool_], out: npt.NDArray[np.float32]
) -> None:
    assert_type(rows["7010"], Embeddings)
    assert_type(rows["7010", 2], Embeddings)
    assert_type(rows[3], Embeddings)
    assert_type(rows[np.int64(3)], Embeddings)
    assert_type(rows[3:9], Values)
    assert_type(rows[["7010", "7011"]], Values)
    assert_type(rows[[("7010", 0), ("7011", 1)]], Values)
    assert_type(rows[[1, 2]], Values)
    assert_type(rows[np.array([1, 2])], Values)
    assert_type(rows[mask], Values)
    assert_type(rows[table["video_id"]], Values)
    assert_type(rows[torch.tensor([1, 2])], Values)
    assert_type(iter(rows), Iterator[Embeddings])
    assert_type([row for row in rows], list[Embeddings])
    assert_type(rows.array(), Embeddings)
    assert_type(rows.take([3, 0]), Values)
    assert_type(rows.take([3, 0], out=out), npt.NDArray[np.float32])
    assert_type(rows.take_ragged([3, 0]), tuple[Embeddings, npt.NDArray[np.int64]])
    assert_type(rows.take_padded([3, 0]), tuple[Embeddings, npt.NDArray[np.bool_]])
    assert_type(list(rows.walk([0, 1])), list[Embeddings])
    assert_type(np.asarray(rows, dtype=np.float64), npt.NDArray[np.float64])
    assert_type(torch.as_tensor(rows), torch.Tensor)
    assert_type(rows.to_pandas(), pd.DataFrame)
    assert_type(rows.to_pandas(tables="captions.csv"), pd.DataFrame)


def about(rows: reelstore.Rows) -> None:
    assert_type(len(rows), int)
    assert_type(rows.shape, tuple[int | None, ...])
    assert_type(rows.dtype, np.dtype[np.floating[Any]])
    assert_type(rows.dim, int)
    assert_type(rows.n_tokens, int | None)
    assert_type(rows.token_counts, npt.NDArray[np.int64])
    assert_type(rows.ids, Keys)
    assert_type(rows.ids[0], Key)
    assert_type(rows.video_ids, Sequence[str])
    assert_type(rows.splits, Sequence[str])
    assert_type(rows.status, npt.NDArray[np.uint8])
    assert_type(rows.failures, dict[Key, str])
    assert_type(rows.recipe, dict[str, object])
    assert_type((rows.encoder, rows.variant, rows.digest, rows.fingerprint), tuple[str, str, str, str])
    assert_type(rows.folder, Path)
    assert_type(rows.index_of("7010"), int)
    assert_type(rows.split("test").ok().select(["7010"]).at([0]), reelstore.Rows)
    assert_type("7010" in rows, bool)


def pairs(store: reelstore.Store) -> None:
    train = store.pairs("video/clip/mean", "text/clip/mean", split="train")
    assert_type(train, PairedVariants)
    assert_type((train.video, train.text), tuple[reelstore.Rows, reelstore.Rows])
    assert_type(train.video_of_caption, npt.NDArray[np.int64])
    assert_type(len(train), int)
    assert_type(train.loader(batch_size=256, seed=1), PairLoader)
    assert_type(train.loader(batch_size=256, captions_per_video="all"), PairLoader)
    assert_type(train.loader(batch_size=256, shuffle=False, dtype=torch.float16), OrderedPairs)
    for batch in train.loader(batch_size=256):
        assert_type((batch.label, batch.video_positions), tuple[torch.Tensor, torch.Tensor])
        assert_type((batch.video, batch.text), tuple[SideBatch, SideBatch])
        if isinstance(batch.video, torch.Tensor):
            assert_type(batch.video, torch.Tensor)
        elif isinstance(batch.video, Padded):
            assert_type((batch.video.values, batch.video.mask), tuple[torch.Tensor, torch.Tensor])
        else:
            assert_type((batch.video.values, batch.video.offsets), tuple[torch.Tensor, torch.Tensor])


def measure(text: npt.NDArray[np.float32], video: npt.NDArray[np.float32], of: npt.NDArray[np.int64]) -> None:
    found = reelstore.evaluate(text=text, video=video, video_of_caption=of)
    assert_type(found, reelstore.Evaluation)
    assert_type((found.t2v["R@1"], found["v2t"].recall(5), found.t2v.mrr), tuple[float, float, float])
    assert_type(found.t2v.rank, npt.NDArray[np.float64])
    assert_type(found.t2v.hardest_negative, npt.NDArray[np.int64] | None)
    assert_type((found.to_pandas(), found.t2v.to_pandas()), tuple[pd.DataFrame, pd.DataFrame])
    assert_type(found.metrics, dict[str, dict[str, float]])
    assert_type(
        (found.chance, found.bounds), tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]
    )
    assert_type(found.curve("t2v", [1, 5]), dict[str, npt.NDArray[np.float64]])
    assert_type(list(found), list[str])
    assert_type((found.t2v.metrics, found.t2v.n_queries, list(found.t2v)), tuple[dict[str, float], int, list[str]])
    assert_type(found.t2v.values["R@01"], npt.NDArray[np.float64])
    assert_type(confidence_intervals(found), dict[str, dict[str, Interval]])
    assert_type(bootstrap(found)["t2v"]["R@01"]["low"], float)
    hits = reelstore.nearest(text, video, k=3)
    assert_type((hits.item, hits.score), tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]])


def measure_otherwise(text: list[torch.Tensor], video: list[torch.Tensor]) -> None:
    pairs = Pairs(query=["q1", "q1"], item=["d1", "d2"], grade=[2, 1])
    assert_type(reelstore.evaluate(text=text, video=video, relevance=pairs), reelstore.Evaluation)
    scores = MaxSim(text=text, video=video)
    assert_type(scores.block(slice(0, 1), slice(0, 1)), npt.NDArray[np.float64])
    assert_type(reelstore.evaluate(scores=scores, video_of_caption=[0, 1]), reelstore.Evaluation)


def align(pairs: PairedVariants) -> None:
    fitted = reelstore.fit("ridge", text=pairs.text, video=pairs.video, video_of_caption=pairs.video_of_caption)
    assert_type(fitted, reelstore.FittedAligner)
    assert_type(fitted.transform(video=pairs.video), npt.NDArray[np.float32])
    assert_type((fitted.kind, fitted.digest), tuple[str, str])
    assert_type(fitted.settings["alphas"], object)
    assert_type(fitted.history[-1]["validation_MRR"], float)
    fitted.save("models/mine")
    assert_type(reelstore.load_aligner("models/mine"), reelstore.FittedAligner)


def find(store: reelstore.Store) -> None:
    hits = reelstore.search("a smiling cat", store=store, model="clip+clip", aligner="models/mine", k=5)
    assert_type(hits, list[Hit])
    assert_type((hits[0].video_id, hits[0].score), tuple[str, float])
    several = reelstore.search(["a cat", "a dog"], store="store/mine", model="clip+clip", split="test")
    assert_type(several, list[list[Hit]])
    assert_type(reelstore.search(store["text/clip/mean"], store=store, model="clip+clip"), list[list[Hit]])
    encoder = reelstore.encoder("clip", side="text")
    assert_type(encoder.spec, EncoderSpec)
    assert_type(encoder.encode_texts(["a cat"])["tokens"], list[npt.NDArray[np.float32]])
    assert_type(encoder.encode_frames(np.zeros((8, 224, 224, 3), np.uint8)), dict[str, npt.NDArray[np.float32]])


def go_wrong() -> str:
    try:
        reelstore.open("store/mine")
    except reelstore.ReelstoreError as error:
        return f"{reelstore.__version__}: {error}"
    return ""

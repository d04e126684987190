"""`reelstore.search`: a sentence or a vector, and the nearest videos of a store."""

from pathlib import Path

import numpy as np
import pytest

import reelstore
from reelstore.datasets.index import write_index
from reelstore.errors import SearchError, UnknownNameError
from reelstore.records import Caption, Dataset, Video
from reelstore.store.open import Store

RNG = np.random.default_rng(0)
VIDEO = RNG.normal(size=(50, 6)).astype("float32")
TEXT = (VIDEO @ RNG.normal(size=(6, 9))).astype("float32")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = reelstore.open(tmp_path / "mine", create=True)
    ids = [f"v{number}" for number in range(50)]
    store.write("video/clip/mean", ids, VIDEO, splits=["train" if n < 40 else "test" for n in range(50)])
    store.write("text/clip/mean", [(name, 0) for name in ids], TEXT)
    return store


def test_vectors_find_the_videos_that_evaluation_ranks_first(store: Store, tmp_path: Path) -> None:
    aligner = reelstore.fit("ridge", text=TEXT, video=VIDEO)
    aligner.save(tmp_path / "model")
    scores = aligner.transform(text=TEXT[:5]) @ aligner.transform(video=VIDEO).T
    for given in (aligner, tmp_path / "model", str(tmp_path / "model")):
        hits = reelstore.search(TEXT[:5], store=store, model="clip+clip", aligner=given, k=3)
        assert [[hit.video_id for hit in line] for line in hits] == [
            [f"v{n}" for n in np.argsort(-row)[:3]] for row in scores
        ]
        assert [hit.rank for hit in hits[0]] == [1, 2, 3]
        assert hits[0][0].score == pytest.approx(scores[0].max(), abs=1e-5)
    only = reelstore.search(TEXT[:1], store=store.path, model="clip+clip", aligner=aligner, split="test", k=100)
    assert len(only[0]) == 10 and {hit.split for hit in only[0]} == {"test"}


def test_without_an_aligner_both_sides_are_of_one_space(store: Store) -> None:
    hits = reelstore.search(VIDEO[7], store=store, model="clip+clip", k=1)
    assert hits[0][0].video_id == "v7" and hits[0][0].score == pytest.approx(1)
    with pytest.raises(SearchError, match="aren't of one space"):
        reelstore.search(TEXT[:1], store=store, model="clip+clip")


def test_a_sentence_needs_rows_whose_encoder_is_known(store: Store) -> None:
    with pytest.raises(SearchError, match=r"isn't known.*Embed it yourself"):
        reelstore.search("a cat", store=store, model="clip+clip")
    with pytest.raises(KeyError, match="No variant"):
        reelstore.search("a cat", store=store, model="clip+other")
    with pytest.raises(ValueError, match="clip"):
        reelstore.search("a cat", store=store, model="clip")


def test_hits_have_the_clip_and_first_caption_where_there_are_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = reelstore.open(tmp_path / "store/drawn", create=True)
    store.write("video/clip/mean", ["v0", "v1", "v2"], VIDEO[:3])
    store.write("text/clip/mean", [("v0", 0)], VIDEO[:1])
    plain = reelstore.search(VIDEO[0], store=store, model="clip+clip", k=1)[0][0]
    assert (plain.path, plain.caption) == ("", "")
    videos = tuple(Video(name, f"{name}.mp4", "0" * 64, "all", name) for name in ("v0", "v1"))
    captions = tuple(Caption("v0", index, text) for index, text in enumerate(("a red cat", "a cat")))
    for text in ("a red cat", "a blue cat"):  # tables that are written again are read again
        captions = (Caption("v0", 0, text), *captions[1:])
        write_index(tmp_path / "data/drawn", Dataset("drawn", Path("data/clips"), videos, captions), kind="folder")
        hits = reelstore.search(VIDEO[:3], store=store, model="clip+clip", k=1)
        assert [(hit.path, hit.caption) for (hit,) in hits] == [
            ((tmp_path / "data/clips/v0.mp4").as_posix(), text),
            ((tmp_path / "data/clips/v1.mp4").as_posix(), ""),
            ("", ""),
        ]
    monkeypatch.chdir(tmp_path)
    assert reelstore.search(VIDEO[0], store="store/drawn", model="clip+clip", k=1)[0][0].path == "data/clips/v0.mp4"


def test_a_search_that_cannot_be_says_why(store: Store) -> None:
    with pytest.raises(SearchError, match=r"revision: options of the text encoder are for sentences"):
        reelstore.search(VIDEO[:1], store=store, model="clip+clip", revision="main")
    with pytest.raises(reelstore.ReelstoreError, match="k is 0"):
        reelstore.search(VIDEO[:1], store=store, model="clip+clip", k=0)
    with pytest.raises(reelstore.ReelstoreError, match="no split 'validation'"):
        reelstore.search(VIDEO[:1], store=store, model="clip+clip", split="validation")
    with pytest.raises(reelstore.ReelstoreError, match="video rows, given as text"):
        reelstore.search(store["video/clip/mean"], store=store, model="clip+clip")


def test_a_sentence_is_embedded_as_the_store_s_captions_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the encoder that is built in: searched for by a caption's own text, it comes first."""
    encoder = reelstore.encoder("minilm-l6", side="text")
    texts = ["a smiling cat", "a red car on a road", "two dogs in the snow"]
    from reelstore.pooling import pool
    from reelstore.project.variants import recipe_of
    from reelstore.store.content import write_rows
    from reelstore.store.format import VariantSpec
    from reelstore.store.table import RowTable
    from reelstore.store.update import VariantUpdate
    from reelstore.store.write import row_fingerprints

    values = [pool(one.astype("float16"), "mean") for one in encoder.encode_texts(texts)["tokens"]]
    recipe = {**recipe_of(encoder.spec), "pooling": {"name": "mean"}}
    spec = VariantSpec("text", "minilm-l6", "mean", 384, 0, "float16", recipe)
    keys = [(f"v{n}", 0) for n in range(3)]
    table = RowTable(keys, ["all"] * 3, row_fingerprints(spec.fingerprint, [f"{n:064x}" for n in range(3)]))
    with VariantUpdate(tmp_path / "s/text/minilm-l6/mean", spec, table) as update:
        for row, value in enumerate(values):
            update.put(row, value)
        update.finish()
    write_rows(
        tmp_path / "s/video/same/mean", side="video", encoder="same", variant="mean",
        keys=["v0", "v1", "v2"], values=np.stack(values).astype("float32"),
    )  # fmt: skip
    hits = reelstore.search(texts, store=tmp_path / "s", model="same+minilm-l6", k=1)
    assert [line[0].video_id for line in hits] == ["v0", "v1", "v2"]
    one = reelstore.search(texts[1], store=tmp_path / "s", model="same+minilm-l6", k=2)
    assert one[0].video_id == "v1" and one[0].score == pytest.approx(1, abs=1e-3)
    with pytest.raises((SearchError, UnknownNameError)):
        reelstore.search("  ", store=tmp_path / "s", model="same+minilm-l6")

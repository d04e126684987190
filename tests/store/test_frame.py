"""Rows as data frames and in notebooks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import reelstore
from reelstore.errors import (
    ForeignFileError,
)
from reelstore.store.memory import as_rows
from reelstore.store.open import Store
from reelstore.store.read import Rows
from reelstore.store.variant import Variant

from .made import CAPTIONS, TEXT, TOKENS, VALUES, VIDEOS, folder_of, spec, write


def test_a_frame_has_what_is_known_of_each_row(store: Store, rows: Rows) -> None:
    frame = rows.to_pandas()
    assert list(frame) == ["video_id", "split", "status", "failure", "n_tokens"]
    assert frame["video_id"].tolist() == VIDEOS and (frame["status"] == "ok").all()
    captions = store["text/clip/tokens"].to_pandas()
    assert captions["text"].tolist() == [f"caption {index} of {video}" for video, index in CAPTIONS]
    assert captions["n_tokens"].tolist() == list(map(len, TOKENS))
    assert isinstance(frame, pd.DataFrame)
    assert store["text/clip/mean"].at([4, 2]).to_pandas()["video_id"].tolist() == ["v2", "v1"]


def test_texts_come_from_the_table_that_is_named(store: Store, tmp_path: Path) -> None:
    table = pd.DataFrame({"video_id": ["v0", "v1"], "caption_index": [0, 0], "text": ["zero", "one"], "more": [1, 2]})
    table.to_csv(tmp_path / "mine.csv")
    table.to_parquet(tmp_path / "mine.parquet")
    captions = store["text/clip/mean"]
    for name in ("mine.csv", "mine.parquet"):
        texts = captions.to_pandas(tables=tmp_path / name)["text"]
        assert texts[:2].tolist() == ["zero", "one"] and texts[2:].isna().all()
    with pytest.raises(ForeignFileError, match=r"captions\.jsonl isn't there"):
        captions.to_pandas(tables=tmp_path)
    table.drop(columns="text").to_csv(tmp_path / "none.csv")
    with pytest.raises(ForeignFileError, match="no column 'text'"):
        captions.to_pandas(tables=tmp_path / "none.csv")
    as_rows(TEXT, side="text").to_pandas()


def test_failed_rows_are_named_in_frames_and_notebooks(tmp_path: Path) -> None:
    of = spec(None)
    write(folder_of(tmp_path, of), of, VIDEOS, failed=("v3",))
    rows = reelstore.open(tmp_path / "store")["set/video/fake/tokens"]
    frame = rows.to_pandas()
    assert frame.loc[3, ["status", "failure"]].tolist() == ["failed", "no frames"]
    assert "no frames" in rows._repr_html_()


def test_notebooks_see_a_bounded_table_with_text_as_text(store: Store, rows: Rows) -> None:
    html = rows._repr_html_()
    assert "v0" in html and "v99" in html and "v50" not in html and len(html) < 5000
    assert "&lt;" not in html
    store.write("video/odd/mean", ["<script>alert(1)</script>"], VALUES[:1])
    assert "<script>" not in store["video/odd/mean"]._repr_html_() + store._repr_html_()
    store.delete("video/odd/mean")
    assert "video/clip/mean" in store._repr_html_()
    assert store._ipython_key_completions_() == list(store) and rows._ipython_key_completions_() == VIDEOS


def test_rows_are_shown_and_completed_without_reading_all_keys(tmp_path: Path, monkeypatch) -> None:
    """Of a million rows, the table of all keys takes a second, and what is shown 0.07 s."""
    store = reelstore.open(tmp_path / "store", create=True)
    keys = [(f"vidéo{number // 20}", number % 20) for number in range(3000)]
    store.write("text/wide/mean", keys, np.zeros((3000, 1), "float16"), splits=["a", "b", "c"] * 1000)

    def refuse(variant: Variant) -> None:
        raise AssertionError("all keys are read")

    monkeypatch.setattr(Variant, "table", property(refuse))
    rows = store["text/wide/mean"]
    for shown in (rows, rows.split("b"), rows.at(np.arange(2999, -1, -1))):
        html = shown._repr_html_()
        assert len(html) < 5000 and html.count("<tr>") == 12
    assert ">vidéo0, caption 0<" in html and ">vidéo149, caption 19<" in html and "vidéo70" not in html
    assert rows._ipython_key_completions_() == keys[:1000]
    assert rows.at([2999, 7]).ids == [keys[2999], keys[7]]

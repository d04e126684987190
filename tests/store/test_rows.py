"""What a researcher types at rows and stores: indices, arrays, frames, notebooks, typos."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import reelstore
from reelstore.errors import MissingRowError, NotBuiltError, OccupiedError, RowPositionError, StoreError
from reelstore.store.open import Store
from reelstore.store.read import Rows

from .made import folder_of, spec, write

VIDEOS = [f"v{number}" for number in range(100)]
CAPTIONS = [(video, index) for video in VIDEOS for index in range(1 + int(video[1:]) % 3)]
VALUES = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
TEXT = np.random.default_rng(1).normal(size=(len(CAPTIONS), 4)).astype("float16")
TOKENS = [np.full((number % 4, 4), number, "float16") for number in range(len(CAPTIONS))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = reelstore.open(tmp_path_factory.mktemp("stores") / "store" / "mine", create=True)
    store.write("video/clip/mean", VIDEOS, VALUES, splits=["train" if n < 70 else "test" for n in range(100)])
    store.write("text/clip/mean", CAPTIONS, TEXT)
    store.write("text/clip/tokens", CAPTIONS, TOKENS)
    data = store.path.parents[1] / "data" / "mine"
    data.mkdir(parents=True)
    lines = (
        f'{{"video_id": "{video}", "caption_index": {index}, "text": "caption {index} of {video}"}}\n'
        for video, index in CAPTIONS
    )
    (data / "captions.jsonl").write_text("".join(lines))
    return store


@pytest.fixture
def rows(store: Store) -> Rows:
    return store["video/clip/mean"]


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        np.int64(5),
        slice(3, 9),
        slice(None),
        slice(-3, None),
        slice(90, 10, -7),
        slice(5, 5),
        [1, 5, 1],
        np.array([2, 3]),
        np.arange(100) % 3 == 0,
    ],
    ids=str,
)
def test_positions_are_those_of_the_array(rows: Rows, index) -> None:
    np.testing.assert_array_equal(rows[index], VALUES[index])
    is_mask = isinstance(index, np.ndarray) and index.dtype == np.bool_
    if not is_mask and (isinstance(index, slice) or np.max(np.abs(index)) < 30):
        np.testing.assert_array_equal(rows.split("test")[index], VALUES[70:][index])


def test_keys_find_rows_in_the_order_asked(store: Store, rows: Rows) -> None:
    np.testing.assert_array_equal(rows["v7"], VALUES[7])
    np.testing.assert_array_equal(rows[["v9", "v2", "v9"]], VALUES[[9, 2, 9]])
    tokens = store["text/clip/tokens"]
    assert [len(one) for one in tokens[3:6]] == [3, 0, 1]
    np.testing.assert_array_equal(tokens[("v1", 1)], TOKENS[2])
    assert "v7" in rows and "w7" not in rows and ("v1", 1) in tokens


def test_iteration_and_shape_are_those_of_the_values(store: Store, rows: Rows) -> None:
    np.testing.assert_array_equal(np.stack(list(rows)), VALUES)
    assert (rows.shape, len(rows), rows.dtype) == ((100, 4), 100, np.float32)
    tokens = store["text/clip/tokens"]
    assert all(np.array_equal(*pair) for pair in zip(tokens, TOKENS, strict=True))
    assert tokens.shape == (sum(map(len, TOKENS)), 4)


def test_arrays_and_tensors_are_made_of_rows(store: Store, rows: Rows) -> None:
    np.testing.assert_array_equal(np.asarray(rows), VALUES)
    assert np.asarray(rows, dtype="float64").dtype == np.float64
    assert np.array(rows).flags.writeable
    tensor = torch.as_tensor(rows)
    np.testing.assert_array_equal(tensor.numpy(), VALUES)
    tensor[:] = 0
    np.testing.assert_array_equal(np.asarray(rows), VALUES)
    assert torch.as_tensor(store["text/clip/mean"].split("all")).dtype == torch.float16
    with pytest.raises(StoreError, match="number of tokens varies"):
        np.asarray(store["text/clip/tokens"])


def test_a_frame_has_what_is_known_of_each_row(store: Store, rows: Rows) -> None:
    frame = rows.to_pandas()
    assert list(frame) == ["video_id", "split", "status", "failure", "n_tokens"]
    assert frame["video_id"].tolist() == VIDEOS and (frame["status"] == "ok").all()
    captions = store["text/clip/tokens"].to_pandas()
    assert captions["text"].tolist() == [f"caption {index} of {video}" for video, index in CAPTIONS]
    assert captions["n_tokens"].tolist() == list(map(len, TOKENS))
    assert isinstance(frame, pd.DataFrame)


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


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("video/clip/mean", "v777", "Did you mean 'v77'"),
        ("video/clip/mean", ("v7", 0), "such as 'v0'"),
        ("text/clip/mean", "v7", r"such as \('v0', 0\)"),
        ("text/clip/mean", ("v1", 9), "'v1' has captions 0, 1"),
        ("video/clip/mean", 3.5, "not by float"),
    ],
)
def test_a_wrong_key_is_a_key_error_that_helps(store: Store, name: str, key, says: str) -> None:
    with pytest.raises(KeyError, match=says) as error:
        store[name][key]
    assert isinstance(error.value, MissingRowError) and not str(error.value).startswith(("'", '"'))


@pytest.mark.parametrize("index", [100, -101, np.array([1, 100])])
def test_positions_beyond_the_end_are_index_errors(rows: Rows, index) -> None:
    with pytest.raises(IndexError, match="of 100 rows"):
        rows[index]
    with pytest.raises(RowPositionError, match="a mask of shape"):
        rows[np.array([True])]


def test_a_store_is_a_mapping_with_suggestions(store: Store) -> None:
    assert "video/clip/mean" in store and "video/clip" not in store and 3 not in store
    assert store.get("video/clip/none") is None
    with pytest.raises(KeyError, match="Did you mean video/clip/mean"):
        store["video/clp/mean"]
    for name in ("../mine/video/clip/mean", "video//mean", "/etc"):
        assert name not in store


def test_roots_and_variants_open_as_one_would_expect(store: Store) -> None:
    assert isinstance(reelstore.open(store.path / "video/clip/mean"), Rows)
    root = reelstore.open(store.path.parent)
    assert "mine/video/clip/mean" in root
    with pytest.raises(KeyError, match=r"root of datasets \(mine\).*mine/video/clip/mean"):
        root["video/clip/mean"]


def test_what_is_not_built_yet_says_so_in_a_line(store: Store, tmp_path: Path) -> None:
    for options in ({"rev": "v1"}, {"repo": "x"}, {"remote": "r"}, {"storage_options": {}}):
        with pytest.raises(NotBuiltError, match="extra project"):
            reelstore.open(store.path, **options)
    for url in ("s3://bucket/store", "https://host/store"):
        with pytest.raises(NotBuiltError, match="extra s3"):
            reelstore.open(url)
    (tmp_path / "file").touch()
    with pytest.raises(OccupiedError, match="isn't a folder"):
        reelstore.open(tmp_path / "file", create=True)
    with pytest.raises(FileNotFoundError, match="create=True"):
        reelstore.open(tmp_path / "none")


def test_pairs_have_both_sides_and_whose_each_caption_is(store: Store) -> None:
    pairs = store.pairs("video/clip/mean", "text/clip/tokens", split="test")
    assert pairs.video.ids == VIDEOS[70:] and len(pairs) == len(pairs.text)
    assert [pairs.video.ids[n] for n in pairs.video_of_caption] == pairs.text.video_ids
    with pytest.raises(StoreError, match="holds text rows"):
        store.pairs("text/clip/mean", "video/clip/mean")


def test_a_loader_of_pairs_trains_anybody_s_module(store: Store) -> None:
    import lightning

    class Mine(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.map = torch.nn.Linear(4, 4)
            self.seen = 0

        def training_step(self, batch, _):
            self.seen += len(batch.video)
            return (self.map(batch.video) - batch.text).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Mine()
    loader = store.pairs("video/clip/mean", "text/clip/mean", split="train").loader(batch_size=16, seed=3)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.fit(module, loader)
    assert module.seen == len(loader) * 16 > 0


def test_opening_and_reading_import_numpy_alone(store: Store) -> None:
    code = (
        "import sys, reelstore; rows = reelstore.open(sys.argv[1])['video/clip/mean']; rows[3]; rows['v3'];"
        "print({'torch', 'zarr', 'pandas', 'pyarrow', 'pydantic', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

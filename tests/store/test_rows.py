"""What a researcher types at rows and stores: indices, arrays, frames, notebooks, typos."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import reelstore
from reelstore.errors import (
    ForeignFileError,
    MissingRowError,
    NotBuiltError,
    OccupiedError,
    RowPositionError,
    StoreError,
)
from reelstore.store.memory import as_rows
from reelstore.store.open import Store
from reelstore.store.read import Rows
from reelstore.store.variant import Variant

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
        [],
        range(3),
        np.array([2, 3]),
        np.array(4),
        torch.tensor([2, 3]),
        np.arange(100) % 3 == 0,
        [number % 3 == 0 for number in range(100)],
    ],
    ids=str,
)
def test_positions_are_those_of_the_array(rows: Rows, index) -> None:
    as_array = index if isinstance(index, slice) else np.asarray(index, dtype=None if np.size(index) else np.int64)
    np.testing.assert_array_equal(rows[index], VALUES[as_array])
    is_mask = isinstance(as_array, np.ndarray) and as_array.dtype == np.bool_
    if not is_mask and (isinstance(index, slice) or np.max(np.abs(as_array), initial=0) < 30):
        np.testing.assert_array_equal(rows.split("test")[index], VALUES[70:][as_array])


def test_keys_find_rows_in_the_order_asked(store: Store, rows: Rows) -> None:
    np.testing.assert_array_equal(rows["v7"], VALUES[7])
    np.testing.assert_array_equal(rows[["v9", "v2", "v9"]], VALUES[[9, 2, 9]])
    tokens = store["text/clip/tokens"]
    assert [len(one) for one in tokens[3:6]] == [3, 0, 1]
    np.testing.assert_array_equal(tokens[("v1", 1)], TOKENS[2])
    assert "v7" in rows and "w7" not in rows and ("v1", 1) in tokens and ["v7"] not in rows
    frame = tokens.to_pandas()
    for keys in (np.array(["v9", "v2"]), pd.Series(["v9", "v2"]), pd.Index(["v9", "v2"])):
        np.testing.assert_array_equal(rows[keys], VALUES[[9, 2]])
    for found in tokens[frame[["video_id", "caption_index"]]], tokens[pd.MultiIndex.from_tuples(CAPTIONS)]:
        assert all(np.array_equal(*pair) for pair in zip(found, TOKENS, strict=True))


def test_iteration_and_shape_are_those_of_the_values(store: Store, rows: Rows) -> None:
    np.testing.assert_array_equal(np.stack(list(rows)), VALUES)
    assert (rows.shape, len(rows), rows.dtype) == ((100, 4), 100, np.float32)
    tokens = store["text/clip/tokens"]
    assert all(np.array_equal(*pair) for pair in zip(tokens, TOKENS, strict=True))
    assert tokens.shape == (len(CAPTIONS), None, 4)


def test_arrays_and_tensors_are_made_of_rows(store: Store, rows: Rows) -> None:
    np.testing.assert_array_equal(np.asarray(rows), VALUES)
    assert np.asarray(rows, dtype="float64").dtype == np.float64
    assert np.array(rows).flags.writeable and np.array(rows.split("test")).flags.writeable
    assert not np.asarray(rows).flags.writeable and not rows[3:9].flags.writeable
    store.write("video/few/mean", VIDEOS[:9], VALUES[:9])  # in one file
    few = store["video/few/mean"]
    assert np.shares_memory(np.asarray(few, copy=False), few[3:6])
    store.delete("video/few/mean")
    for one, dtype in ((rows, "float64"), (rows.split("test"), None)):
        with pytest.raises(ValueError, match="a copy is needed"):
            np.asarray(one, dtype=dtype, copy=False)
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


def test_a_damaged_variant_hides_no_other(tmp_path: Path) -> None:
    store = reelstore.open(tmp_path / "store", create=True)
    for name in ("video/a/mean", "video/b/mean"):
        store.write(name, VIDEOS, VALUES)
    (store.path / "video/a/mean/values/zarr.json").unlink()
    manifest = store.path / "video/a/mean/zarr.json"
    manifest.write_text(manifest.read_text().replace('"n_rows":', '"n_row":').replace('"dim":', '"dimm":'))
    html = store._repr_html_()
    assert "colspan=5" in html and "video/b/mean</td><td>100</td>" in html


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("video/clip/mean", "v777", "Did you mean 'v77'"),
        ("video/clip/mean", ("v7", 0), "such as 'v0'"),
        ("text/clip/mean", "v7", r"such as \('v0', 0\)"),
        ("text/clip/mean", ("v1", 9), "'v1' has captions 0, 1"),
        ("video/clip/mean", ("v7", [0]), "such as 'v0'"),
        ("video/clip/mean", [["v7"]], r"no row \['v7'\]"),
        ("video/clip/mean", ["v1", "v777"], "Did you mean 'v77'"),
        ("video/clip/mean", "v" * 10**6, "no row 'vvv"),
        ("video/clip/mean", 3.5, "not by float"),
        ("video/clip/mean", None, "not by NoneType"),
    ],
)
def test_a_wrong_key_is_a_key_error_that_helps(store: Store, name: str, key, says: str) -> None:
    with pytest.raises(KeyError, match=says) as error:
        store[name][key]
    assert isinstance(error.value, MissingRowError) and not str(error.value).startswith(("'", '"'))
    assert len(str(error.value)) < 500


def test_a_key_outside_the_view_is_said_to_be_elsewhere(rows: Rows) -> None:
    with pytest.raises(KeyError, match=r"in this view among its 30 rows\. The whole variant has it"):
        rows.split("test")["v7"]


def test_a_number_that_is_a_key_is_suggested_as_one(tmp_path: Path) -> None:
    store = reelstore.open(tmp_path, create=True)
    store.write("video/clip/mean", ["7010", "7011"], VALUES[:2])
    with pytest.raises(IndexError, match=r"position 7010 of 2 rows\. Did you mean the key '7010'"):
        store["video/clip/mean"][7010]


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
    with pytest.raises(KeyError, match=r"Below this name are: text/clip/mean, text/clip/tokens\."):
        store["text"]
    for name in ("../mine/video/clip/mean", "video//mean", "/etc", "", "a\0b", "x" * 300, 3, None):
        assert name not in store and store.get(name) is None
        with pytest.raises(KeyError, match="No variant"):
            store[name]


def test_roots_and_variants_open_as_one_would_expect(store: Store) -> None:
    assert isinstance(reelstore.open(store.path / "video/clip/mean"), Rows)
    root = reelstore.open(store.path.parent)
    assert "mine/video/clip/mean" in root
    one = re.search(r"of 1 datasets: mine. One of them: (reelstore.open\(.*\))\)", repr(root))
    assert one is not None and eval(one[1]).path == store.path
    with pytest.raises(KeyError, match=r"root of datasets \(mine\).*mine/video/clip/mean"):
        root["video/clip/mean"]


def test_what_is_not_built_yet_says_so_in_a_line(store: Store, tmp_path: Path) -> None:
    for options in ({"rev": "v1"}, {"repo": "x"}, {"remote": "r"}, {"storage_options": {}}):
        with pytest.raises(NotBuiltError, match="extra project"):
            reelstore.open(store.path, **options)
    for url in ("s3://bucket/store", "https://host/store"):
        for given in (url, Path(url)):
            with pytest.raises(NotBuiltError, match="extra s3"):
                reelstore.open(given)
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


def test_pairs_skip_and_count_captions_without_a_video(tmp_path: Path) -> None:
    videos, texts = spec(), spec(side="text")
    keys = ["v1", "v0", "v2", "v3", "v4", "v5"]  # v1 and v5 are of `test`
    captions = [(video, index) for video in ("gone", "v0", "v1", "v2", "v3", "v4", "v5") for index in range(2)]
    write(folder_of(tmp_path, videos), videos, keys, failed=("v2",))
    write(folder_of(tmp_path, texts), texts, captions, failed=(("v3", 1),))
    store = reelstore.open(tmp_path / "store" / "set")
    pairs = store.pairs("video/fake/mean", "text/fake/mean")
    assert pairs.video.ids == ["v1", "v0", "v3", "v4", "v5"]
    assert pairs.text.ids == [key for key in captions if key[0] not in ("gone", "v2") and key != ("v3", 1)]
    assert pairs.video_of_caption.tolist() == [1, 1, 0, 0, 2, 3, 3, 4, 4]
    assert repr(pairs) == "PairedVariants(5 videos, 9 captions, 5 captions skipped)"
    # ("gone", 0) is of `test` by its own row, ("gone", 1) of `train`.
    assert repr(store.pairs("video/fake/mean", "text/fake/mean", split="test")) == (
        "PairedVariants(2 videos, 4 captions, 1 captions skipped)"
    )
    train = store.pairs("video/fake/mean", "text/fake/mean", split="train")
    assert len(train) + train.n_skipped == len(captions) - 5 and train.n_skipped == 4


def test_a_loader_in_order_has_each_caption_once(store: Store) -> None:
    pairs = store.pairs("video/clip/mean", "text/clip/mean", split="test")
    loader = pairs.loader(batch_size=16, shuffle=False)
    for _ in range(2):
        batches = list(loader)
        assert [len(batch.text) for batch in batches] == [16] * (len(pairs) // 16) + [len(pairs) % 16]
        assert len(batches) == len(loader)
        np.testing.assert_array_equal(torch.cat([batch.text for batch in batches]), np.asarray(pairs.text))
        of = torch.cat([batch.video_positions for batch in batches])
        np.testing.assert_array_equal(of, pairs.video_of_caption)
        np.testing.assert_array_equal(torch.cat([batch.video for batch in batches]), pairs.video[of])
    tokens = store.pairs("video/clip/mean", "text/clip/tokens").loader(batch_size=7, shuffle=False, dtype=None)
    values, mask = next(iter(tokens)).text
    assert values.dtype == torch.float16 and mask.sum(1).tolist() == list(map(len, TOKENS[:7]))


def test_a_loader_of_pairs_trains_anybody_s_module(store: Store) -> None:
    import lightning

    class Mine(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.map = torch.nn.Linear(4, 4)
            self.seen = self.validated = 0

        def training_step(self, batch, _):
            self.seen += len(batch.video)
            return (self.map(batch.video) - batch.text).square().mean()

        def validation_step(self, batch, _):
            self.validated += len(batch.text)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Mine()
    loader = store.pairs("video/clip/mean", "text/clip/mean", split="train").loader(batch_size=16, seed=3)
    trainer = lightning.Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
    )
    held_out = store.pairs("video/clip/mean", "text/clip/mean", split="test")
    trainer.fit(module, loader, held_out.loader(batch_size=16, shuffle=False))
    assert module.seen == len(loader) * 16 > 0 and module.validated == len(held_out)


def test_opening_and_reading_import_numpy_alone(store: Store) -> None:
    code = (
        "import sys, reelstore; rows = reelstore.open(sys.argv[1])['video/clip/mean']; rows[3]; rows['v3'];"
        "print({'torch', 'zarr', 'pandas', 'pyarrow', 'pydantic', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_loader_without_torch_says_what_to_install(store: Store) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import reelstore;"
        "pairs = reelstore.open(sys.argv[1]).pairs('video/clip/mean', 'text/clip/mean'); print(len(pairs));"
        "pairs.loader(batch_size=2)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=False)
    assert done.stdout == f"{len(CAPTIONS)}\n"
    assert "MissingExtraError: A loader of pairs needs torch" in done.stderr and "reelstore[train]" in done.stderr

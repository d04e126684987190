"""Writing from Python: rows by key and content, all of a write or nothing of it, however it ends."""

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import reelstore
from reelstore.errors import OccupiedError, ReelstoreError, StoreError, ValueRangeError
from reelstore.store.open import Store, open_variant
from reelstore.store.verify import check_variant

from .made import files, folder_of, soak, spec, write
from .test_killed import dying_at, in_child

VIDEOS = [f"video{number}" for number in range(150)]
CAPTIONS = [(video, index) for video in VIDEOS[:40] for index in range(3)]
RNG = np.random.default_rng(0)
POOLED = RNG.normal(size=(150, 6)).astype("float32")
DENSE = RNG.normal(size=(120, 4, 6)).astype("float16")
RAGGED = [RNG.normal(size=(number % 5, 6)).astype("float16") for number in range(120)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return reelstore.open(tmp_path / "mine", create=True)


def sound(store: Store) -> None:
    for name in store:
        assert not list(check_variant(store[name].folder, quick=False)), name


def in_batches(values: Any, size: int = 7) -> Iterator[Any]:
    return (values[start : start + size] for start in range(0, len(values), size))


@pytest.mark.parametrize("given_as", [lambda v: v, lambda v: list(v), in_batches, lambda v: in_batches(list(v), 11)])
def test_embeddings_are_read_as_they_were_written_in_whatever_form(store: Store, given_as: Callable) -> None:
    report = store.write("video/clip/mean", VIDEOS, given_as(POOLED))
    rows = store["video/clip/mean"]
    assert (report.n_rows, report.n_new, rows.layout, rows.dtype) == (150, 150, "pooled", "float32")
    np.testing.assert_array_equal(np.asarray(rows), POOLED)
    assert rows.ids == VIDEOS and set(rows.splits) == {"all"}
    sound(store)


def test_tokens_are_dense_in_one_array_and_ragged_in_a_list(store: Store) -> None:
    store.write("text/clip/dense", CAPTIONS, DENSE)
    store.write("text/clip/ragged", CAPTIONS, in_batches(RAGGED))
    assert (store["text/clip/dense"].layout, store["text/clip/ragged"].layout) == ("dense", "ragged")
    np.testing.assert_array_equal(np.asarray(store["text/clip/dense"]), DENSE)
    for key, value in zip(CAPTIONS, RAGGED, strict=True):
        np.testing.assert_array_equal(store["text/clip/ragged"][key], value)
    whole = zarr.open_group(store["text/clip/ragged"].folder, mode="r")["values"][:]
    np.testing.assert_array_equal(whole, np.concatenate(RAGGED))
    sound(store)


def test_tensors_and_memory_mapped_files_are_arrays(store: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", POOLED)
    store.write("video/clip/mapped", VIDEOS, np.load(tmp_path / "values.npy", mmap_mode="r"))
    store.write("video/clip/tensor", VIDEOS, torch.from_numpy(POOLED).requires_grad_())
    half = torch.from_numpy(POOLED).to(torch.bfloat16)
    store.write("video/clip/half", VIDEOS, half)
    np.testing.assert_array_equal(np.asarray(store["video/clip/mapped"]), np.asarray(store["video/clip/tensor"]))
    np.testing.assert_array_equal(np.asarray(store["video/clip/half"]), half.float().numpy())


def test_writing_again_writes_what_changed_and_nothing_else(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    before = files(store.path)
    assert store.write("video/clip/mean", VIDEOS, in_batches(POOLED)).n_bytes_written == 0
    assert files(store.path) == before
    changed = POOLED.copy()
    changed[140] += 1
    report = store.write("video/clip/mean", VIDEOS[140:141], changed[140:141])
    assert (report.n_new, report.n_rows) == (1, 150)
    after = files(store.path)
    assert after["video/clip/mean/values/c/0/0"] == before["video/clip/mean/values/c/0/0"]
    np.testing.assert_array_equal(np.asarray(store["video/clip/mean"]), changed)


def test_the_bytes_are_a_function_of_the_rows_whatever_the_history(store: Store, tmp_path: Path) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    other = reelstore.open(tmp_path / "other", create=True)
    for start in (0, 100, 50):  # the keys of the middle come last: their order is that of their first write
        other.write("video/clip/mean", VIDEOS[start : start + 50], POOLED[start : start + 50] + 1)
    other.write("video/clip/mean", VIDEOS, POOLED, mode="replace")
    assert files(store.path) == files(other.path)


def test_update_keeps_other_rows_append_refuses_known_ones_replace_leaves_only_the_new(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS[:3], POOLED[:3], splits="train")
    store.write("video/clip/mean", ["new"], POOLED[5:6], mode="append", splits={"new": "test"})
    rows = store["video/clip/mean"]
    assert (rows.ids, rows.splits) == ([*VIDEOS[:3], "new"], ["train", "train", "train", "test"])
    with pytest.raises(StoreError, match="has a row 'video1' already"):
        store.write("video/clip/mean", ["video1"], POOLED[:1], mode="append")
    store.write("video/clip/mean", ["video1"], POOLED[9:10])
    rows = store["video/clip/mean"]
    assert rows.splits == ["train", "train", "train", "test"]
    np.testing.assert_array_equal(rows["video1"], POOLED[9])
    np.testing.assert_array_equal(rows["video2"], POOLED[2])
    store.write("video/clip/mean", ["video7"], POOLED[:1, :4].astype("float16"), mode="replace")
    assert (store["video/clip/mean"].ids, store["video/clip/mean"].dim) == (["video7"], 4)


def test_a_variant_of_an_encoder_is_only_replaced(store: Store) -> None:
    of = spec()
    write(folder_of(store.path, of), of, VIDEOS)
    root = reelstore.open(store.path / "store")
    before = files(store.path)
    for mode in ("update", "append"):
        with pytest.raises(StoreError, match="mode='replace'"):
            root.write("set/video/fake/mean", ["x"], POOLED[:1].astype("float16"), mode=mode)
    assert files(store.path) == before
    root.write("set/video/fake/mean", ["x"], POOLED[:1], mode="replace", source="by hand")
    assert root["set/video/fake/mean"].recipe == {"source": "by hand"}


NAN = np.array([[1, 2, np.nan, 4, 5, 6]], dtype="float32")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more values than keys": ({"values": POOLED[:2]}, "1 keys, but more values"),
    "more keys than values": ({"keys": ["a", "b"]}, "2 keys, but 1 values"),
    "a key twice": ({"keys": ["a", "a"], "values": POOLED[:2]}, "'a' occurs twice, again at 1"),
    "a caption's key for a video": ({"keys": [("a", 1)]}, "isn't a video_id"),
    "a number for a key": ({"keys": [3]}, "key 3 at position 0"),
    "one string of keys": ({"keys": "a"}, "not one str"),
    "an empty key": ({"keys": [""]}, "video_id of row 1 is empty"),
    "NaN": ({"values": NAN}, "row 'a' holds NaN"),
    "infinity": ({"values": np.full((1, 6), np.inf, "float32")}, "row 'a' holds NaN or infinity"),
    "beyond float16": (
        {"variant": "video/clip/half", "values": POOLED[:1] * 0 + 1e6, "dtype": "float16"},
        "row 'a'.*65504",
    ),
    "another width": ({"values": POOLED[:1, :3]}, r"\(3,\).*\(6,\)"),
    "another dtype": ({"values": POOLED[:1].astype("float16")}, "holds float32, these values are float16"),
    "float64": ({"variant": "video/clip/new", "values": POOLED[:1].astype("float64")}, "float64.*dtype='float32'"),
    "integers": ({"variant": "video/clip/new", "values": np.ones((1, 6), "int64")}, "int64"),
    "mixed dtypes": (
        {"variant": "video/clip/new", "keys": ["a", "b"], "values": [POOLED[0], POOLED[0].astype("float16")]},
        "row 'b' is float16",
    ),
    "another layout": ({"values": POOLED[:1, None]}, r"row 'a' has shape"),
    "a vector": ({"values": POOLED[0]}, "shape"),
    "no value at all": ({"variant": "video/clip/new", "keys": [], "values": []}, "no value to write"),
    "a mapping": ({"values": {"a": POOLED[0]}}, "not dict"),
    "batches that aren't": ({"values": iter(POOLED[0].tolist())}, "a batch is an array"),
    "too few splits": ({"splits": []}, "1 keys, but 0 splits"),
    "a split of another key": ({"splits": {"z": "test"}}, "key 'z'"),
    "an empty split": ({"splits": ""}, "name of a split"),
    "an unknown mode": ({"mode": "overwrite"}, "update, append, replace"),
    "an unknown dtype": ({"dtype": "float8"}, "float16, float32"),
    "another source": ({"source": "other"}, "one source"),
    "no variant's name": ({"variant": "clip/mean"}, "video/ENCODER/VARIANT"),
    "a name that leaves the store": ({"variant": "video/../mean"}, "video/ENCODER/VARIANT"),
    "a reserved name": ({"variant": "video/values/mean"}, "reserved"),
    "another side": ({"variant": "text/clip/new"}, "caption_index"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_in_one_line_and_nothing_changes(store: Store, case: str) -> None:
    store.write("video/clip/mean", ["video0"], POOLED[:1])
    before = files(store.path)
    change, message = REFUSED[case]
    arguments = {"variant": "video/clip/mean", "keys": ["a"], "values": POOLED[:1], **change}
    with pytest.raises(ReelstoreError, match=message) as error, np.errstate(all="ignore"):
        store.write(arguments.pop("variant"), arguments.pop("keys"), arguments.pop("values"), **arguments)
    assert "\n" not in str(error.value)
    assert files(store.path) == before
    assert not [path for path in store.path.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_a_generator_that_fails_midway_changes_nothing(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    before = files(store.path)

    def broken() -> Iterator[np.ndarray]:
        yield POOLED[:100] + 1
        raise KeyError("mine")

    for variant in ("video/clip/mean", "video/clip/new"):
        with pytest.raises(KeyError, match="mine"):
            store.write(variant, VIDEOS, broken())
    assert files(store.path) == before


def test_a_generator_takes_the_memory_of_a_batch() -> None:
    code = """
import resource, sys, tempfile
import numpy as np
import reelstore
with tempfile.TemporaryDirectory() as folder:
    store = reelstore.open(folder, create=True)
    store.write("video/clip/warm", ["a"], np.ones((1, 1024), "float32"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batches = (np.full((1000, 1024), number, "float32") for number in range(100))
    store.write("video/clip/mean", [f"v{n}" for n in range(100_000)], batches)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250, "400 MB of values; mapped pages of the spooled file count too"


def test_a_full_disk_is_named_and_nothing_is_left(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    before = files(store.path)

    def limited() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        for values in (POOLED + 1, in_batches(POOLED + 1)):
            try:
                store.write("video/clip/mean", VIDEOS, values)
            except OSError:
                continue
            except StoreError:
                continue
            os._exit(3)

    in_child(limited)
    assert files(store.path) == before


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("what", ["update", "append", "replace", "generator", "delete", "rename"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_call_it_is_the_old_or_the_new_and_goes_on(tmp_path: Path, what: str, after: bool) -> None:
    keys = [*VIDEOS, "added"]
    values = np.concatenate([POOLED, POOLED[:1]])
    values[3] += 1

    def work(store: Store) -> None:
        if what == "append":
            mode = "update" if "added" in store["video/clip/mean"] else "append"
            store.write("video/clip/mean", ["added"], values[-1:], mode=mode)
        elif what == "delete":
            with suppress(KeyError):
                store.delete("video/clip/mean")
        elif what == "rename":
            if "video/clip/new" in store and "video/clip/mean" in store:
                store.delete("video/clip/new")
            if "video/clip/mean" in store:
                store.rename("video/clip/mean", "video/clip/new")
        else:
            store.write(
                "video/clip/mean",
                keys,
                in_batches(values) if what == "generator" else values,
                mode="replace" if what == "replace" else "update",
            )

    old = reelstore.open(tmp_path / "old", create=True)
    old.write("video/clip/mean", VIDEOS, POOLED)
    expected = reelstore.open(tmp_path / "expected", create=True)
    expected.write("video/clip/mean", VIDEOS, POOLED)
    work(expected)
    for boundary in random.Random(hash((what, after)) % 1000).sample(range(1, 90), soak(6, 80)):
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        shutil.copytree(tmp_path / "old", tmp_path / "killed")
        store = reelstore.open(tmp_path / "killed")

        def killed(boundary: int = boundary, store: Store = store) -> None:
            dying_at(boundary, after=after)
            work(store)

        in_child(killed)
        for name in store:
            rows = store[name]
            assert len(rows) in (150, 151) and np.array_equal(rows["video4"], POOLED[4])
        work(store)
        assert files(store.path) == files(expected.path), f"killed at call {boundary}"
        sound(store)


def test_delete_removes_what_is_listed_and_leaves_the_rest(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    store.write("video/clip/max", VIDEOS, POOLED)
    store.delete("video/clip/mean")
    assert list(store) == ["video/clip/max"] and not (store.path / "video/clip/mean").exists()
    (store.path / "video/clip/max/notes.txt").write_text("mine")
    with pytest.raises(OccupiedError, match=r"notes\.txt"):
        store.delete("video/clip/max")
    assert list(store) == [] and (store.path / "video/clip/max/notes.txt").read_text() == "mine"
    with pytest.raises(KeyError, match="No variant"):
        store.delete("video/clip/max")


def test_rename_moves_rows_with_their_splits_and_failures(store: Store) -> None:
    of = spec(None)
    write(folder_of(store.path, of), of, VIDEOS, failed=("video3",), lengths={"video4": 0})
    root = reelstore.open(store.path / "store")
    old = root["set/video/fake/tokens"]
    values, splits, failures = [old[key] for key in old.ok().ids], old.splits, dict(old.failures)
    root.rename("set/video/fake/tokens", "set/video/other/words")
    rows = root["set/video/other/words"]
    assert (rows.splits, rows.failures, rows.encoder, rows.variant) == (splits, failures, "other", "words")
    assert all(np.array_equal(one, rows[key]) for key, one in zip(rows.ok().ids, values, strict=True))
    assert "set/video/fake/tokens" not in root
    with pytest.raises(StoreError, match="would be text"):
        root.rename("set/video/other/words", "set/text/other/words")


@settings(max_examples=soak(25, 300), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["update", "append", "replace", "delete"]),
            st.lists(
                st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=8, unique_by=lambda x: x[0]
            ),
        ),
        max_size=6,
    )
)
def test_any_sequence_of_writes_is_that_of_a_dict(tmp_path_factory: pytest.TempPathFactory, steps: list) -> None:
    store = reelstore.open(tmp_path_factory.mktemp("model") / "s", create=True)
    model: dict[str, np.ndarray] = {}
    for mode, items in steps:
        rows = {f"k{key}": np.full((content, 2), content + 1, "float16") for key, content in items}
        if mode == "delete":
            if model:
                store.delete("video/m/tokens")
            model = {}
            continue
        if mode == "append" and model.keys() & rows.keys():
            with pytest.raises(StoreError):
                store.write("video/m/tokens", list(rows), list(rows.values()), mode=mode)
            continue
        store.write("video/m/tokens", list(rows), list(rows.values()), mode=mode)
        model = rows if mode == "replace" else {**model, **rows}
    if not model:
        assert "video/m/tokens" not in store
        return
    found = open_variant(store.path / "video/m/tokens")
    assert found.ids == list(model)
    assert all(np.array_equal(found[key], value) for key, value in model.items())
    sound(store)


def test_a_value_beyond_its_dtype_names_the_row_wherever_it_is(store: Store) -> None:
    values = POOLED.copy()
    values[77, 2] = 1e5
    with pytest.raises(ValueRangeError, match="'video77' holds 100000"):
        store.write("video/clip/mean", VIDEOS, in_batches(values), dtype="float16")
    assert list(store) == []

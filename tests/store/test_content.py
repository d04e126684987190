"""Writing from Python: rows by key and content, all of a write or nothing of it, however it ends."""

import errno
import json
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import reelstore
from reelstore.errors import NewerSchemaError, OccupiedError, ReelstoreError, StoreError, ValueRangeError
from reelstore.store.files import FolderLock
from reelstore.store.open import Store, open_variant

from .made import check_sound, dying_at, files, folder_of, in_child, soak, spec, write

VIDEOS = [f"video{number}" for number in range(150)]
CAPTIONS = [(video, index) for video in VIDEOS[:40] for index in range(3)]
RNG = np.random.default_rng(0)
POOLED = RNG.normal(size=(150, 6)).astype("float32")
DENSE = RNG.normal(size=(120, 4, 6)).astype("float16")
RAGGED = [RNG.normal(size=(number % 5, 6)).astype("float16") for number in range(120)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return reelstore.open(tmp_path / "mine", create=True)


def in_batches(values: Any, size: int = 7) -> Iterator[Any]:
    return (values[start : start + size] for start in range(0, len(values), size))


@pytest.mark.parametrize("given_as", [lambda v: v, lambda v: list(v), in_batches, lambda v: in_batches(list(v), 11)])
def test_embeddings_are_read_as_they_were_written_in_whatever_form(store: Store, given_as: Callable) -> None:
    report = store.write("video/clip/mean", VIDEOS, given_as(POOLED))
    rows = store["video/clip/mean"]
    assert (report.n_rows, report.n_new, rows.layout, rows.dtype) == (150, 150, "pooled", "float32")
    np.testing.assert_array_equal(np.asarray(rows), POOLED)
    assert rows.ids == VIDEOS and set(rows.splits) == {"all"}
    check_sound(store)


def test_tokens_are_dense_in_one_array_and_ragged_in_a_list(store: Store) -> None:
    store.write("text/clip/dense", CAPTIONS, DENSE)
    store.write("text/clip/ragged", CAPTIONS, in_batches(RAGGED))
    assert (store["text/clip/dense"].layout, store["text/clip/ragged"].layout) == ("dense", "ragged")
    np.testing.assert_array_equal(np.asarray(store["text/clip/dense"]), DENSE)
    for key, value in zip(CAPTIONS, RAGGED, strict=True):
        np.testing.assert_array_equal(store["text/clip/ragged"][key], value)
    whole = zarr.open_group(store["text/clip/ragged"].folder, mode="r")["values"][:]
    np.testing.assert_array_equal(whole, np.concatenate(RAGGED))
    check_sound(store)


def test_tensors_and_memory_mapped_files_are_arrays(store: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", POOLED)
    store.write("video/clip/mapped", VIDEOS, np.load(tmp_path / "values.npy", mmap_mode="r"))
    store.write("video/clip/tensor", VIDEOS, torch.from_numpy(POOLED).requires_grad_())
    half = torch.from_numpy(POOLED).to(torch.bfloat16)
    store.write("video/clip/half", VIDEOS, half)
    np.testing.assert_array_equal(np.asarray(store["video/clip/mapped"]), np.asarray(store["video/clip/tensor"]))
    np.testing.assert_array_equal(np.asarray(store["video/clip/half"]), half.float().numpy())


def test_whatever_is_indexed_like_an_array_is_read_by_slices(store: Store, tmp_path: Path) -> None:
    changed = POOLED.copy()
    changed[::2] += 1
    changed[[3, 149]] -= 1
    with h5py.File(tmp_path / "values.h5", "w") as file:
        file["old"], file["new"] = POOLED, changed
        in_zarr = zarr.create_array(tmp_path / "values.zarr", shape=changed.shape, dtype="float32", chunks=(7, 6))
        in_zarr[:] = changed
        for new in (file["new"], in_zarr, pd.DataFrame(changed)):
            store.write("video/clip/mean", VIDEOS, file["old"])
            assert store.write("video/clip/mean", VIDEOS, new).n_new == 77
            np.testing.assert_array_equal(np.asarray(store["video/clip/mean"]), changed)
        one = POOLED.copy()
        one[[0, 149]] += 1  # far from each other: they are read by themselves
        store.write("video/clip/mean", VIDEOS, POOLED)
        file["one"] = one
        assert store.write("video/clip/mean", VIDEOS, file["one"]).n_new == 2
    np.testing.assert_array_equal(np.asarray(store["video/clip/mean"]), one)


def test_rows_of_a_store_and_columns_of_a_table_are_values(store: Store) -> None:
    store.write("text/clip/ragged", CAPTIONS, RAGGED)
    rows = store["text/clip/ragged"]
    store.write("text/clip/copy", rows.ids, rows)
    store.write("text/clip/column", CAPTIONS, pd.Series(RAGGED))
    for name in ("text/clip/copy", "text/clip/column"):
        assert all(np.array_equal(store[name][key], value) for key, value in zip(CAPTIONS, RAGGED, strict=True))
    changed = [value + 1 if number % 50 == 1 else value for number, value in enumerate(RAGGED)]
    store.write("text/clip/ragged", CAPTIONS, changed)
    assert store.write("text/clip/copy", CAPTIONS, store["text/clip/ragged"]).n_new == 3
    assert all(np.array_equal(store["text/clip/copy"][key], one) for key, one in zip(CAPTIONS, changed, strict=True))


def test_whole_numbers_and_doubles_are_rounded_where_a_dtype_is_given(store: Store) -> None:
    counts = np.arange(900).reshape(150, 6)
    for values in (counts, list(counts), in_batches(counts), counts.astype("float64")):
        store.write("video/clip/counts", VIDEOS, values, dtype="float32", mode="replace")
        np.testing.assert_array_equal(np.asarray(store["video/clip/counts"]), counts.astype("float32"))
    store.write("video/clip/half", VIDEOS, POOLED, dtype=np.float16)  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.asarray(store["video/clip/half"]), POOLED.astype("float16"))


def test_a_source_is_what_json_reads_of_it(store: Store) -> None:
    for source in ({"model": "mine", "layers": (1, 2)}, {"layers": [1, 2], "model": "mine"}):
        store.write("video/clip/mean", VIDEOS, POOLED, source=source)
    assert store["video/clip/mean"].recipe == {"source": {"model": "mine", "layers": [1, 2]}}


def test_an_encoder_s_name_may_be_that_of_a_model(store: Store) -> None:
    store.write("video/clip+bert/aligned.ridge", VIDEOS, POOLED)
    assert list(store) == ["video/clip+bert/aligned.ridge"]


@pytest.mark.usefixtures("small_files")
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
    "an empty key": ({"keys": [""]}, "video_id of row 0 is empty"),
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
    "whole numbers over floats": ({"values": np.ones((1, 6), "int64")}, "int64.*dtype='float32'"),
    "truth values": ({"variant": "video/clip/new", "values": np.ones((1, 6), bool), "dtype": "float32"}, "is bool"),
    "complex numbers": ({"variant": "video/clip/new", "values": np.ones((1, 6), "complex64")}, "is complex64"),
    "None for a value": ({"variant": "video/clip/new", "values": [None]}, "row 'a' is object"),
    "masked values": ({"values": np.ma.masked_less(POOLED[:1], 10)}, "masked"),
    "beyond float32": ({"values": np.full((1, 6), 1e300), "dtype": "float32"}, "row 'a' holds 1e.300.*Scale"),
    "no values": ({"values": None}, "not NoneType"),
    "no keys": ({"keys": None}, "not one NoneType"),
    "half a surrogate pair": ({"keys": ["\ud800"]}, "UTF-8"),
    "a negative caption_index": ({"variant": "text/clip/new", "keys": [("a", -1)]}, "caption_index -1"),
    "a dtype that is none": ({"dtype": object()}, "float16, float32"),
    "a source of NaN": ({"variant": "video/clip/new", "source": {"lr": float("nan")}}, "source isn't what JSON"),
    "a source that isn't JSON": ({"variant": "video/clip/new", "source": {"model": object()}}, "source isn't what"),
    "a number as source": ({"variant": "video/clip/new", "source": 3}, "not int"),
    "a number as split": ({"splits": [1]}, "split of 'a' is 1"),
    "one number as splits": ({"splits": 1}, "one name"),
    "no split": ({"splits": {"a": None}}, "split of 'a' is None"),
    "a mapping": ({"values": {"a": POOLED[0]}}, "not dict"),
    "batches that aren't": ({"values": iter(POOLED[0].tolist())}, "a batch is an array"),
    "too few splits": ({"splits": []}, "1 keys, but 0 splits"),
    "a split of another key": ({"splits": {"z": "test"}}, "key 'z'"),
    "an empty split": ({"splits": ""}, "name of a split"),
    "an unknown mode": ({"mode": "overwrite"}, "update, append, replace"),
    "an unknown dtype": ({"dtype": "float8"}, "float16, float32"),
    "another source": ({"source": "other"}, "one source"),
    "no variant's name": ({"variant": "clip/mean"}, "video/ENCODER/VARIANT"),
    "no name": ({"variant": 3}, "3 isn't a variant's name"),
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


@pytest.mark.parametrize("values", [POOLED + 1, None], ids=["array", "generator"])
def test_a_read_only_folder_a_second_writer_and_a_newer_schema_are_refused(store: Store, values: Any) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    folder = store.path / "video/clip/mean"
    manifest = json.loads((folder / "zarr.json").read_text())

    def refused(error: type[ReelstoreError], message: str, variant: str = "video/clip/mean") -> None:
        before = files(store.path)
        given_values = in_batches(POOLED + 1) if values is None else values
        with pytest.raises(error, match=message):
            store.write(variant, VIDEOS, given_values)
        assert files(store.path) == before

    with FolderLock(folder):
        refused(StoreError, "another process is writing")
    folder.chmod(0o555)
    refused(StoreError, r"read-only \(mode 555\)")
    folder.chmod(0o755)
    folder.parent.chmod(0o555)
    refused(StoreError, r"read-only \(mode 555\)", "video/clip/new")
    folder.parent.chmod(0o755)
    manifest["attributes"]["reelstore"]["schema_version"] = 99
    (folder / "zarr.json").write_text(json.dumps(manifest))
    refused(NewerSchemaError, "schema version 99")


def test_a_file_where_a_store_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OccupiedError, match="isn't a folder"):
        reelstore.open(tmp_path / "file", create=True)
    with pytest.raises(ReelstoreError, match="file"):
        reelstore.open(tmp_path / "file/store", create=True).write("video/clip/mean", VIDEOS, POOLED)
    assert (tmp_path / "file").read_text() == "mine"


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


@pytest.mark.parametrize("variant", ["video/clip/mean", "video/clip/new"])
@pytest.mark.parametrize("n_before", [0, 1, 5])
def test_a_full_disk_is_named_whenever_it_is_full(
    store: Store, monkeypatch: pytest.MonkeyPatch, variant: str, n_before: int
) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    before, left, fsync = files(store.path), iter(range(n_before)), os.fsync

    def full(descriptor: int) -> None:
        if next(left, None) is None and stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="the disk is full"):
        store.write(variant, VIDEOS, POOLED + 1)
    monkeypatch.undo()
    assert files(store.path) == before and list(store) == ["video/clip/mean"]


def test_a_disk_too_full_for_a_generator_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, **options: Any) -> None: ...
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None: ...
        def close(self) -> None: ...
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reelstore.store.spool.TemporaryFile", Full)
    with pytest.raises(StoreError, match="the disk is full"):
        store.write("video/clip/mean", VIDEOS, in_batches(POOLED))
    assert not store.path.exists()


def test_a_limit_of_files_is_named_and_nothing_is_left(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    before = files(store.path)

    def limited() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        for values in (POOLED + 1, in_batches(POOLED + 1)):
            with pytest.raises(StoreError, match="Raise the limit"):
                store.write("video/clip/mean", VIDEOS, values)

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
            with suppress(KeyError):
                store.rename("video/clip/mean", "video/other/new")
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
    for boundary in random.Random(f"{what} {after}").sample(range(1, 90), soak(6, 80)):
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
        assert without_groups(store) == without_groups(expected), f"killed at call {boundary}"
        check_sound(store)


def without_groups(store: Store) -> dict[str, bytes]:
    """Files of variants: a kill may leave the groups of an encoder that has none any more."""
    return {key: content for key, content in files(store.path).items() if key.count("/") > 2}


def test_delete_removes_what_is_listed_and_leaves_the_rest(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    store.write("video/clip/max", VIDEOS, POOLED)
    store.delete("video/clip/mean")
    assert list(store) == ["video/clip/max"] and not (store.path / "video/clip/mean").exists()
    store.write("text/bert/mean", CAPTIONS, DENSE)
    store.delete("text/bert/mean")
    assert sorted(path.name for path in store.path.iterdir()) == ["video", "zarr.json"], "the groups are gone too"
    (store.path / "video/clip/max/notes.txt").write_text("mine")
    with pytest.raises(OccupiedError, match=r"notes\.txt"):
        store.delete("video/clip/max")
    assert list(store) == [] and (store.path / "video/clip/max/notes.txt").read_text() == "mine"
    with pytest.raises(KeyError, match="No variant"):
        store.delete("video/clip/max")


@settings(max_examples=soak(25, 300), deadline=None)
@given(
    st.sampled_from(["pooled", "dense", "ragged"]),
    st.lists(
        st.tuples(
            st.sampled_from(["update", "append", "replace", "delete", "rename"]),
            st.lists(
                st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=8, unique_by=lambda x: x[0]
            ),
            st.booleans(),
            st.sampled_from([None, "train", "test"]),
        ),
        max_size=6,
    ),
)
def test_any_sequence_of_writes_is_that_of_a_dict(
    tmp_path_factory: pytest.TempPathFactory, layout: str, steps: list
) -> None:
    store = reelstore.open(tmp_path_factory.mktemp("model") / "s", create=True)
    model: dict[str, tuple[np.ndarray, str]] = {}
    names = ["video/m/one", "video/m/two"]
    for mode, items, as_generator, split in steps:
        shape = {"pooled": lambda n: (2,), "dense": lambda n: (3, 2), "ragged": lambda n: (n, 2)}[layout]
        rows = {f"k{key}": np.full(shape(content), content + 1, "float16") for key, content in items}
        if mode == "delete":
            if model:
                store.delete(names[0])
            model = {}
            continue
        if mode == "rename":
            if model:
                store.rename(*names)
                names.reverse()
            continue
        values: Any = list(rows.values()) if layout == "ragged" else np.stack(list(rows.values()))
        given_as = in_batches(values, 3) if as_generator else values
        if mode == "append" and model.keys() & rows.keys():
            with pytest.raises(StoreError):
                store.write(names[0], list(rows), given_as, mode=mode, splits=split)
            continue
        store.write(names[0], list(rows), given_as, mode=mode, splits=split)
        old = {} if mode == "replace" else model
        new = {key: (value, split or (old[key][1] if key in old else "all")) for key, value in rows.items()}
        model = {**old, **new}
    if not model:
        assert len(store) == 0
        return
    assert list(store) == [names[0]]
    found = open_variant(store.path / names[0])
    assert found.ids == list(model) and found.splits == [split for _, split in model.values()]
    assert all(np.array_equal(found[key], value) for key, (value, _) in model.items())
    check_sound(store)


def test_a_value_beyond_its_dtype_names_the_row_wherever_it_is(store: Store) -> None:
    values = POOLED.copy()
    values[77, 2] = 1e5
    with pytest.raises(ValueRangeError, match="'video77' holds 100000"):
        store.write("video/clip/mean", VIDEOS, in_batches(values), dtype="float16")
    assert list(store) == []


KEYS_OF_ARROW = {
    "text": (pa.array(["a", "b"]), ["a", "b"]),
    "a slice": (pa.array(["x", "a", "b", "y"]).slice(1, 2), ["a", "b"]),
    "a slice of large text": (pa.array(["x", "a", "b"], pa.large_string()).slice(1), ["a", "b"]),
    "chunks": (pa.chunked_array([["a"], [], ["b"]]), ["a", "b"]),
    "slices of chunks": (pa.chunked_array([["x", "a"], ["b", "y"]]).slice(1, 2), ["a", "b"]),
}


@pytest.mark.parametrize("what", KEYS_OF_ARROW)
def test_keys_of_arrow_are_those_of_its_values(store: Store, what: str) -> None:
    given, expected = KEYS_OF_ARROW[what]
    store.write("video/clip/mean", given, POOLED[:2])
    rows = store["video/clip/mean"]
    assert rows.ids == expected and rows.ids.to_arrow().to_pylist() == expected
    names = ["video_id", "caption_index"]
    ids, numbers = pa.array(["x", "é", "é", "y"]), pa.array([9, 0, 3, 9], pa.int64())
    whole = pa.StructArray.from_arrays([ids, numbers], names)
    for keys in (whole.slice(1, 2), pa.StructArray.from_arrays([ids.slice(1, 2), numbers.slice(1, 2)], names)):
        store.write("text/clip/mean", keys, POOLED[:2], mode="replace")
        assert store["text/clip/mean"].ids == [("é", 0), ("é", 3)]
        assert store["text/clip/mean"].ids[1:].to_arrow().to_pylist() == [{"video_id": "é", "caption_index": 3}]


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([1, 2]),
        pa.array(["a", None]),
        pa.array([b"a", b"b"]),
        pa.table({"video_id": ["a", "b"]}),
        pa.array([{"video_id": "a", "caption_index": 0}, None]),
        pa.array([{"video_id": "a"}, {"video_id": "b"}]),
    ],
    ids=str,
)
def test_arrow_that_is_no_keys_is_refused_in_a_line(store: Store, keys: Any) -> None:
    with pytest.raises(StoreError, match=r"keys|caption_index"):
        store.write("video/clip/mean", keys, POOLED[:2])
    assert not list(store)


@pytest.mark.parametrize("key", [5, None, ("a",), ("a", 1), (3, 4), ("a", 1.5), ("a", -1), ("a", 2**70), b"a", 1.5])
def test_splits_of_what_is_no_key_are_refused_in_a_line(store: Store, key: Any) -> None:
    for splits in ({key: "train"}, {"a": "train", key: "test"}):
        with pytest.raises(StoreError, match="which isn't among those written"):
            store.write("video/clip/mean", ["a", "b"], POOLED[:2], splits=splits)
    assert not list(store)

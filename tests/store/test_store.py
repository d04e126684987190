"""The store, from outside: what was written is what is read, by us and by a plain Zarr client."""

import hashlib
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import FailedRowError, MissingRowError, SchemaError, StoreError, ValueRangeError
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_store, open_variant
from reelstore.store.update import VariantUpdate

from .made import DIM, files, folder_of, spec, table_of, value_of, write


@pytest.mark.parametrize("n_tokens", [0, 4, None])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_was_written_is_what_is_read(tmp_path: Path, n_tokens: int | None, dtype: str) -> None:
    of = spec(n_tokens, dtype=dtype)
    keys = [f"video{number}" for number in range(150)]
    write(folder_of(tmp_path, of), of, keys)
    rows = open_store(tmp_path / "store" / "set")[f"video/fake/{of.variant}"]
    assert rows.ids == keys
    for key in ["video0", "video64", "video149"]:
        np.testing.assert_array_equal(rows[key], value_of(key, of).astype(dtype))
    order = ["video149", "video3", "video3", "video70"]
    for got, key in zip(rows[order], order, strict=True):
        np.testing.assert_array_equal(got, value_of(key, of).astype(dtype))


@given(lengths=st.lists(st.integers(0, 40), max_size=30), picks=st.lists(st.integers(0, 10**6), max_size=20))
@settings(max_examples=40, deadline=None)
def test_ragged_tokens_of_any_length_come_back_in_any_order(tmp_path_factory, lengths, picks) -> None:
    of = spec(None, side="text")
    keys = [(f"video{number // 3}", number % 3) for number in range(len(lengths))]
    folder = folder_of(tmp_path_factory.mktemp("ragged"), of)
    write(folder, of, keys, lengths=dict(zip(keys, lengths, strict=True)))
    rows = open_variant(folder)
    assert len(rows) == len(keys)
    positions = [pick % len(keys) for pick in picks] if keys else []
    for position, got in zip(positions, rows.take(positions), strict=True):
        want = value_of(keys[position], of, lengths[position]).astype(np.float16)
        np.testing.assert_array_equal(got, want)
    for got, key, length in zip(rows.walk(range(len(keys))), keys, lengths, strict=True):
        np.testing.assert_array_equal(got, value_of(key, of, length).astype(np.float16))


@pytest.mark.parametrize("n_tokens", [0, 4, None])
def test_plain_zarr_and_tensorstore_read_the_same_values(tmp_path: Path, n_tokens: int | None) -> None:
    of = spec(n_tokens)
    keys = [f"video{number}" for number in range(70)]
    folder = folder_of(tmp_path, of)
    write(folder, of, keys)
    want = np.concatenate([value_of(key, of).reshape(-1, *of.row_shape) for key in keys]).astype(np.float16)
    group = zarr.open_group(folder, mode="r")
    np.testing.assert_array_equal(group["values"][:], want)
    other = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / "values")}}, read=True
    ).result()
    np.testing.assert_array_equal(other.read().result(), want)
    ids, ends = group["video_id"][:].tobytes(), group["video_id_offsets"][:]
    assert [ids[a:b].decode() for a, b in pairwise(ends)] == keys


@pytest.mark.parametrize("n_tokens", [0, None])
def test_bytes_are_the_same_grown_shrunk_reordered_or_from_scratch(tmp_path: Path, n_tokens: int | None) -> None:
    of = spec(n_tokens)
    keys = [f"video{number}" for number in range(200)]
    target = [*keys[100:150], "new", *keys[:40], *keys[160:]]
    grown, scratch = folder_of(tmp_path / "a", of), folder_of(tmp_path / "b", of)
    write(grown, of, keys[:90])
    write(grown, of, keys)
    report = write(grown, of, target)
    assert report.n_new == 1
    write(scratch, of, target)
    assert files(grown) == files(scratch)


def test_an_unchanged_update_touches_no_file(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    keys = [f"video{number}" for number in range(70)]
    write(folder, of, keys)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    report = write(folder, of, keys)
    assert report.n_new == report.n_bytes_written == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_appending_leaves_full_shards_alone(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    keys = [f"video{number}" for number in range(128)]
    write(folder, of, keys)
    before = {key: (folder / key).stat().st_ino for key in ("values/c/0/0", "values/c/1/0")}
    write(folder, of, [*keys, "one more"])
    assert before == {key: (folder / key).stat().st_ino for key in before}


def test_linked_files_are_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a", "b"])
    cache = tmp_path / "cache"
    cache.mkdir()
    for number, path in enumerate(p for p in folder.rglob("*") if p.is_file()):
        kept = cache / str(number)
        shutil.move(path, kept)
        kept.chmod(0o444)
        if number % 2:
            path.hardlink_to(kept)
        else:
            path.symlink_to(kept)
    before = files(cache)
    write(folder, of, ["b", "c", "d"])
    assert files(cache) == before
    assert open_variant(folder).ids == ["b", "c", "d"]


def test_a_failed_row_keeps_its_reason_and_is_never_a_value(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a", "broken", "c"], failed=("broken",))
    rows = open_variant(folder)
    assert rows.status.tolist() == [1, 2, 1]
    assert rows.failures == {"broken": "no frames"}
    assert rows.ok().ids == ["a", "c"]
    with pytest.raises(FailedRowError, match=r"broken.*no frames"):
        rows["broken"]
    with pytest.raises(FailedRowError):
        rows.array()
    report = write(folder, of, ["a", "broken", "c", "d"])
    assert report.n_new == 1, "a failed row isn't tried again unasked"
    again = VariantUpdate(folder, of, table_of(["a", "broken", "c", "d"], of), retry_failed=True)
    assert again.todo.tolist() == [1]


def test_a_split_is_a_view_with_the_same_interface(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, [f"video{number}" for number in range(12)])
    test = open_variant(folder).split("test")
    assert test.ids == ["video0", "video5", "video10"]
    np.testing.assert_array_equal(test.array()[1], value_of("video5", of).astype(np.float16))
    np.testing.assert_array_equal(test.take([2, 0])[0], value_of("video10", of).astype(np.float16))
    with pytest.raises(MissingRowError, match="video1"):
        test["video1"]
    with pytest.raises(StoreError, match="no split 'val'"):
        open_variant(folder).split("val")


@pytest.mark.parametrize(("bad", "words"), [(np.nan, "NaN"), (np.inf, "NaN or infinity"), (7e4, "float32")])
def test_values_that_cannot_be_stored_are_refused_and_nothing_changes(tmp_path: Path, bad: float, words: str) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a"])
    before = files(folder)
    update = VariantUpdate(folder, of, table_of(["a", "b"], of))
    with pytest.raises(ValueRangeError, match=rf"'b'.*{words}"):
        update.put(1, np.full(DIM, bad, dtype=np.float32))
    assert files(folder) == before


def test_a_wrong_width_and_a_double_key_are_refused(tmp_path: Path) -> None:
    of = spec()
    update = VariantUpdate(folder_of(tmp_path, of), of, table_of(["a"], of))
    with pytest.raises(StoreError, match=r"'a' has shape \(7,\)"):
        update.put(0, np.zeros(7, dtype=np.float32))
    with pytest.raises(StoreError, match="'a' occurs twice"):
        _ = table_of(["a", "a"], of).row_of


def test_another_recipe_takes_nothing_over(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a", "b"])
    other = VariantSpec("video", "fake", "mean", DIM, 0, "float16", {"weights": "others"})
    assert VariantUpdate(folder, other, table_of(["a", "b"], other)).todo.tolist() == [0, 1]


def test_a_newer_schema_and_a_foreign_group_are_refused(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a"])
    path = folder / "zarr.json"
    group = json.loads(path.read_text())
    group["attributes"]["reelstore"]["schema_version"] = 99
    path.write_text(json.dumps(group))
    with pytest.raises(SchemaError, match="schema version 99"):
        open_variant(folder)
    path.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    with pytest.raises(SchemaError, match="not a reelstore variant"):
        open_variant(folder)


def test_every_file_of_a_variant_is_in_its_digests(tmp_path: Path) -> None:
    of = spec(None, side="text")
    folder = folder_of(tmp_path, of)
    write(folder, of, [("a", 0), ("a", 1)])
    rows = open_variant(folder)
    here = {key: hashlib.sha256(content).hexdigest() for key, content in files(folder).items() if key != "zarr.json"}
    assert here == dict(rows.file_digests)

"""Rows by key and position, against NumPy as the model; values are the same in every encoding of the files."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import reelstore
from reelstore.errors import FailedRowError, MissingRowError, RowPositionError, StoreError
from reelstore.store.open import Store, open_store, open_variant
from reelstore.store.read import Rows

from .made import CAPTIONS, TOKENS, VALUES, VIDEOS, folder_of, spec, value_of, write


@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
def test_values_are_the_same_in_every_encoding(library, layout: str, encoding: str, is_mapped: bool) -> None:
    variant = library[layout, encoding]
    rows = variant.open()
    assert rows.mapped == is_mapped
    order = [46, 0, 3, 3, -1, 20, 45, -47]
    for got, position in zip(rows.take(order), order, strict=True):
        np.testing.assert_array_equal(got, variant.values[position])
    for got, value in zip(rows.walk(range(47)), variant.values, strict=True):
        np.testing.assert_array_equal(got, value)
    if layout != "ragged":
        np.testing.assert_array_equal(rows.array(), variant.values)


@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
@pytest.mark.parametrize("encoding", ["zstd", "gzip chunks", "big endian", "half rows"])
def test_arrays_too_large_to_hold_are_read_as_asked(library, monkeypatch, layout: str, encoding: str) -> None:
    monkeypatch.setattr("reelstore.store.zarr_array.HELD_BYTES", 0)
    variant = library[layout, encoding]
    rows = variant.open()
    order = [46, 0, 3, 3, -1, 20, 45, -47]
    want = [variant.values[position] for position in order]
    for got, value in zip(rows.take(order), want, strict=True):
        np.testing.assert_array_equal(got, value)
    for got, value in zip(rows.walk(range(47)), variant.values, strict=True):
        np.testing.assert_array_equal(got, value)
    if layout == "ragged":
        np.testing.assert_array_equal(rows.take_ragged(order)[0], np.concatenate(want))
        values, mask = rows.take_padded(order, 40)
        np.testing.assert_array_equal(values[mask], np.concatenate(want))
        assert not values[~mask].any()
    else:
        np.testing.assert_array_equal(rows.array(), variant.values)
        assert len(rows.take([])) == 0


@st.composite
def positions(draw: Any, count: int) -> list[int]:
    """Positions among `count`, from either end, in any order, some twice."""
    return draw(st.lists(st.integers(-count, count - 1), max_size=12)) if count else []


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_views_of_views_give_what_numpy_gives(library, data) -> None:
    layout = data.draw(st.sampled_from(["pooled", "dense"]))
    variant = library[layout, data.draw(st.sampled_from(sorted({encoding for _, encoding in library})))]
    rows, model, keys = variant.open(), np.array(variant.values), np.array(variant.keys)
    for _ in range(data.draw(st.integers(0, 3))):
        if data.draw(st.booleans()):
            picks = sorted(set(np.array(data.draw(positions(len(rows))), dtype=int) % max(len(rows), 1)))
            rows, model, keys = rows.select([rows.ids[pick] for pick in picks]), model[picks], keys[picks]
        else:
            is_test = np.array([int(key.removeprefix("video")) % 3 == 0 for key in keys], dtype=bool)
            rows, model, keys = rows.split("test"), model[is_test], keys[is_test]
    assert rows.ids == keys.tolist()
    np.testing.assert_array_equal(rows.array(), model)
    picks = data.draw(positions(len(rows)))
    want = model[np.array(picks, dtype=int)]
    np.testing.assert_array_equal(rows.take(picks), want)
    out = np.full(want.shape, np.nan, dtype=rows.dtype)
    assert rows.take(np.array(picks, dtype=np.int32), out=out) is out
    np.testing.assert_array_equal(out, want)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_ragged_batches_hold_each_item_at_its_offset_and_under_its_mask(library, data) -> None:
    variant = library["ragged", data.draw(st.sampled_from(sorted({encoding for _, encoding in library})))]
    rows, model = variant.open(), variant.values
    if data.draw(st.booleans()):
        rows, model = rows.split("train"), [v for number, v in enumerate(model) if number % 3]
    picks = data.draw(positions(len(rows)))
    want = [model[pick] for pick in picks]
    counts = np.array([len(value) for value in want], dtype=int)
    packed = np.concatenate([np.zeros((0, 6), dtype=np.float16), *want])
    np.testing.assert_array_equal(rows.token_counts[picks] if picks else [], counts)

    spare = data.draw(st.sampled_from([None, 0, 5]))
    out = None if spare is None else np.full((len(packed) + spare, 6), np.nan, dtype=np.float16)
    values, offsets = rows.take_ragged(picks, out=out)
    np.testing.assert_array_equal(values, packed)
    assert offsets.dtype == np.int64
    np.testing.assert_array_equal(offsets, np.concatenate([[0], np.cumsum(counts)]))
    assert out is None or not len(packed) or np.shares_memory(values, out)

    longest = int(counts.max(initial=0))
    length = data.draw(st.sampled_from([None, longest, longest + 3]))
    width = longest if length is None else length
    out = np.full((len(picks), width, 6), np.nan, dtype=np.float16) if data.draw(st.booleans()) else None
    values, mask = rows.take_padded(picks, length, out=out)
    assert values.shape == (len(picks), width, 6) and mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, np.arange(width) < counts[:, None])
    np.testing.assert_array_equal(values[mask], packed)
    assert not values[~mask].any()
    assert out is None or values is out


@pytest.mark.parametrize("encoding", ["as written", "shards of zarr-python", "zstd"])
@pytest.mark.parametrize("n_rows", [0, 1, 64, 65])
@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
def test_stores_of_no_row_one_row_and_a_row_beyond_a_shard(written, layout: str, n_rows: int, encoding: str) -> None:
    variant = written(layout, [2] * n_rows, encoding)
    rows = variant.open()
    assert len(rows) == n_rows and rows.ids == variant.keys
    backwards = list(range(n_rows))[::-1]
    for got, position in zip(rows.take(backwards), backwards, strict=True):
        np.testing.assert_array_equal(got, variant.values[position])
    assert len(rows.take([])) == 0
    assert len(rows.split("test") if n_rows else rows) == -(-n_rows // 3)
    with pytest.raises(RowPositionError, match=rf"positions {n_rows} to {n_rows} of {n_rows} rows"):
        rows.take([n_rows])


@pytest.mark.parametrize("dim", [2048, 5000])
@pytest.mark.parametrize("encoding", ["as written", "shards of zarr-python", "chunks of zarr-python"])
def test_long_items_are_copied_whole_as_short_ones_are(written, dim: int, encoding: str) -> None:
    counts = [0, 90, 3, 41, 0]
    variant = written("ragged", counts, encoding, dim=dim)
    rows = variant.open()
    assert rows.mapped
    picks = [3, 1, 0, 1, 2]
    values, offsets = rows.take_ragged(picks)
    padded, mask = rows.take_padded(picks, 100)
    for pick, (start, stop), row, real in zip(picks, pairwise(offsets), padded, mask, strict=True):
        np.testing.assert_array_equal(values[start:stop], variant.values[pick])
        np.testing.assert_array_equal(row[: counts[pick]], variant.values[pick])
        assert not row[counts[pick] :].any() and real.sum() == counts[pick]


def test_dense_tokens_come_ragged_and_padded_too(written) -> None:
    variant = written("dense", [3] * 70)
    rows = variant.open()
    values, offsets = rows.take_ragged([69, 2])
    np.testing.assert_array_equal(values, np.concatenate([variant.values[69], variant.values[2]]))
    assert offsets.tolist() == [0, 3, 6]
    padded, mask = rows.take_padded([69, 2], 5)
    np.testing.assert_array_equal(padded[:, :3], [variant.values[69], variant.values[2]])
    assert not padded[:, 3:].any() and mask.tolist() == [[True] * 3 + [False] * 2] * 2
    assert rows.token_counts.tolist() == [3] * 70 and rows.n_tokens_total == 210


@pytest.mark.parametrize("compressors", [None, "auto"])
@pytest.mark.parametrize("shards", [None, (20, 6)])
def test_blocks_left_out_by_another_client_are_missing(written, shards: Any, compressors: Any) -> None:
    """To Zarr they are the fill value; among a store's rows they would be zeros that nobody embedded."""

    variant = written("pooled", [1] * 60)
    values = np.array(variant.values)
    values[20:45] = 0  # a shard of which nothing is there, and a chunk of another
    array = zarr.create_array(
        variant.folder / "values", shape=values.shape, dtype=values.dtype, chunks=(5, 6), shards=shards,
        compressors=compressors, overwrite=True,
    )  # fmt: skip
    array[:] = values
    assert not (variant.folder / f"values/c/{1 if shards else 4}").exists()
    with pytest.raises(StoreError, match=rf"{variant.folder}/values/c/{1 if shards else 4}/0 is missing"):
        variant.open().take([0])
    array.update_attributes({})
    values[20:40] = 1
    array[:] = values
    where = "values/c/2/0 is damaged: 1 of its 4 chunks are missing" if shards else "values/c/8/0 is missing"
    with pytest.raises(StoreError, match=rf"{variant.folder}/{where}"):
        variant.open().take([0])


def test_what_does_not_fit_is_refused_with_what_would(written) -> None:
    pooled, ragged = written("pooled", [1] * 5).open(), written("ragged", [2, 0, 4]).open()
    for wrong in ([0.0], [True, False], [[0]], 0, ["video0"]):
        with pytest.raises(RowPositionError, match="positions are a list of integers"):
            pooled.take(wrong)
    for out in (np.zeros((2, 6), "float32"), np.zeros((3, 6), "float16"), np.zeros((6, 2), "float16").T):
        with pytest.raises(StoreError, match=r"out= must be \(2, 6\) float16, in C order"):
            pooled.take([0, 1], out=out)
    with pytest.raises(StoreError, match=r"out= must be \(6, 6\).*it is \(5, 6\)"):
        ragged.take_ragged([0, 2], out=np.zeros((5, 6), "float16"))
    with pytest.raises(StoreError, match="'video2' has 4 tokens, there is room for 3"):
        ragged.take_padded([0, 2], 3)
    with pytest.raises(StoreError, match="give out= to take_ragged"):
        ragged.take([0], out=np.zeros((2, 6), "float16"))
    with pytest.raises(StoreError, match="they have no tokens"):
        pooled.take_ragged([0])
    with pytest.raises(StoreError, match=r"use take_ragged\(\)"):
        ragged.array()


@pytest.mark.parametrize("layout", ["pooled", "ragged"])
def test_a_failed_row_is_refused_in_every_way_of_asking(written, layout: str) -> None:
    variant = written(layout, [2] * 70, failed=(66,))
    rows = variant.open()
    asking = [lambda r, i: r.take(i), lambda r, i: list(r.walk(i))]
    if layout == "ragged":
        asking += [lambda r, i: r.take_ragged(i), lambda r, i: r.take_padded(i)]
    for ask in asking:
        with pytest.raises(FailedRowError, match=r"'video66' first \(failed: no frames\)"):
            ask(rows, [1, 66])
        with pytest.raises(FailedRowError, match="'video66'"):
            ask(rows.split("test"), [-2])
        assert len(ask(rows.ok(), [0, -1])) == 2
    np.testing.assert_array_equal(rows.ok().take([66])[0], variant.values[67])


def test_batches_are_aligned_and_the_reader_s_to_keep(written) -> None:
    rows = written("pooled", [1] * 70, dim=2048).open()
    batch = rows.take([5, 6, 7])
    assert batch.ctypes.data % 4096 == 0 and batch.flags.writeable
    batch[:] = 0
    assert rows.take([5]).any()
    assert not rows.array().flags.writeable
    assert rows.array().ctypes.data % 2**21 == 0  # so that large files may be mapped by huge pages


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


def test_a_wrong_caption_of_many_names_the_first_of_them(store: Store) -> None:
    store.write("text/clip/many", [("v1", number) for number in range(12)], np.ones((12, 4), "float16"))
    with pytest.raises(KeyError, match=r"'v1' has captions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\.$"):
        store["text/clip/many"]["v1", 12]


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

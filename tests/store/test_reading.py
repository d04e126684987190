"""Reading, from outside: NumPy is the model, and however the values lie in files, they are the same."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelstore.errors import FailedRowError, RowPositionError, StoreError
from reelstore.store.arrays import aligned_empty


@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
def test_values_are_the_same_however_they_lie_in_files(library, layout: str, encoding: str, is_mapped: bool) -> None:
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
    import zarr

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


@pytest.mark.parametrize("shape", [(), 3, (0, 4), (31,), (1, 2048), (256, 4096), (7, 3, 1000)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_buffers_begin_at_a_page_or_a_cache_line(shape, dtype: str) -> None:
    buffer, model = aligned_empty(shape, dtype), np.empty(shape, dtype)
    assert (buffer.shape, buffer.dtype) == (model.shape, model.dtype)
    assert buffer.flags.c_contiguous and buffer.flags.writeable
    assert not buffer.size or buffer.ctypes.data % (4096 if buffer.nbytes >= 4096 else 64) == 0


def test_batches_are_aligned_and_the_reader_s_to_keep(written) -> None:
    rows = written("pooled", [1] * 70, dim=2048).open()
    batch = rows.take([5, 6, 7])
    assert batch.ctypes.data % 4096 == 0 and batch.flags.writeable
    batch[:] = 0
    assert rows.take([5]).any()
    assert not rows.array().flags.writeable
    assert rows.array().ctypes.data % 2**21 == 0  # so that large files may be mapped by huge pages

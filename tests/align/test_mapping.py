"""A map applied to rows of a store: by batches, each distinct row once."""

import numpy as np
import pytest

from reelstore.align import items, mapping
from reelstore.align.items import batches, read_items
from reelstore.align.mapping import first_equal, mapped, mapped_batches
from reelstore.arrays import Tokens
from reelstore.errors import AlignerError


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "BATCH_ROWS", 7)
    monkeypatch.setattr(mapping, "BATCH_ROWS", 7)


def sums(given: items.Items) -> np.ndarray:
    if isinstance(given, Tokens):
        return np.add.reduceat(given.values.astype(np.float32), given.offsets[:-1], axis=0)
    return given.astype(np.float32) * 2


@pytest.mark.parametrize("kind", ["pooled", "dense", "ragged"])
def test_every_layout_is_mapped_in_order(kind, write_variant, small_batches) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 4)) if kind == "pooled" else rng.normal(size=(20, 3, 4))
    if kind == "ragged":
        values = [row[: 1 + number % 3] for number, row in enumerate(values)]
    rows = write_variant(kind, values)
    wanted = [row * 2 if kind == "pooled" else row.sum(axis=0) for row in (np.float16(v) for v in values)]
    np.testing.assert_allclose(mapped(sums, rows), np.array(wanted, dtype=np.float32), atol=4e-3)


def test_equal_rows_are_mapped_once_and_tie(write_variant, small_batches) -> None:
    """The map's numbers depend on the place in a batch, as a matrix product's last bits may."""
    values = np.random.default_rng(0).normal(size=(30, 4))
    values[[8, 15, 29]] = values[2]
    values[28] = values[27]
    calls: list[int] = []

    def by_place(given: np.ndarray) -> np.ndarray:
        calls.append(len(given))
        return given.astype(np.float32) + np.arange(len(given), dtype=np.float32)[:, None]

    rows = write_variant("pooled", values)
    out = mapped(by_place, rows)
    for row in (8, 15, 29):
        assert np.array_equal(out[row], out[2])
    assert np.array_equal(out[28], out[27]) and not np.array_equal(out[0], out[1])
    assert set(calls) == {7}, "batches are filled up to one size"


def test_repeated_rows_may_wait_in_a_file(write_variant, small_batches, monkeypatch) -> None:
    values = np.tile(np.random.default_rng(0).normal(size=(9, 4)), (3, 1))
    rows = write_variant("pooled", values)
    wanted = mapped(sums, rows)
    monkeypatch.setattr(mapping, "REPEATED_BYTES", 8)
    assert np.array_equal(mapped(sums, rows), wanted)


def test_the_first_of_equal_rows_is_found_by_content(write_variant) -> None:
    one, two = np.ones((2, 4)), np.ones((3, 4))
    assert first_equal(write_variant("ragged", [one, two, one, two[:1]])).tolist() == [0, 1, 0, 3]


def test_no_rows_give_no_batches(write_variant) -> None:
    rows = write_variant("pooled", np.ones((3, 4))).select([])
    assert list(mapped_batches(sums, rows)) == [] and len(mapped(sums, rows)) == 0


def test_batches_stay_within_bytes_and_a_long_row_is_one(write_variant, monkeypatch) -> None:
    monkeypatch.setattr(items, "BATCH_BYTES", 4 * 2 * 5)  # 5 tokens of 4 float16
    rows = write_variant("ragged", [np.ones((n, 4)) for n in (2, 2, 2, 9, 1)])
    assert [some.tolist() for some in batches(rows)] == [[0, 1], [2], [3], [4]]
    assert [some.tolist() for some in batches(rows, np.array([4, 3, 0]))] == [[4], [3], [0]]


def test_a_row_without_tokens_is_named(write_variant) -> None:
    rows = write_variant("ragged", [np.ones((1, 4)), np.ones((0, 4))])
    with pytest.raises(AlignerError, match=r"row \('v1', 0\) has no tokens"):
        list(batches(rows))


def test_tokens_are_padded_with_zeros_and_a_mask(write_variant) -> None:
    tokens = read_items(write_variant("ragged", [np.ones((1, 4)), np.full((3, 4), 2.0)]), np.array([1, 0]))
    assert isinstance(tokens, Tokens)
    values, mask = tokens.padded()
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    assert np.array_equal(values.sum(axis=(1, 2)), [24, 4])

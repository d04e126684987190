"""Rows on their way: what is staged is found again by what determined it."""

from pathlib import Path

import numpy as np
import pytest

from reelstore.errors import StoreError
from reelstore.store.staging import StagedIndex, Staging, staged_rows
from reelstore.store.update import VariantUpdate

from .made import files, folder_of, spec, table_of, value_of, write

KEYS = ["a", "b", "c"]


def stage(staging: Staging, name: str, values: dict) -> None:
    of = spec()
    table = table_of(list(values), of)
    staging.write(name, {of.variant: staged_rows(of, table.keys, table.fingerprints, list(values.values()))})


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")])
def test_a_value_counts_more_than_a_reason_whichever_was_staged_first(tmp_path: Path, names: tuple[str, str]) -> None:
    of = spec()
    staging = Staging(tmp_path / "staging")
    stage(staging, names[0], {"a": value_of("a", of), "b": "no frames", "c": "no frames"})
    stage(staging, names[1], {"b": value_of("b", of)})
    update = VariantUpdate(folder_of(tmp_path, of), of, table_of(KEYS, of))
    index = StagedIndex(staging)
    assert index.has(of.variant, update.table.fingerprints, failed=False).tolist() == [True, True, False]
    index.give(update)
    update.finish()
    write(folder_of(tmp_path / "at once", of), of, KEYS, failed=("c",))
    assert files(folder_of(tmp_path, of)) == files(folder_of(tmp_path / "at once", of))


def test_a_row_that_is_not_staged_is_named(tmp_path: Path) -> None:
    of = spec()
    staging = Staging(tmp_path / "staging")
    stage(staging, "some", {"a": value_of("a", of)})
    update = VariantUpdate(folder_of(tmp_path, of), of, table_of(KEYS, of))
    with pytest.raises(StoreError, match="row 'b' of mean isn't staged"):
        StagedIndex(staging).give(update)


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    """So that two workers on one task do no harm."""
    of = spec()
    values = {key: value_of(key, of) for key in KEYS}
    for name in ("one", "another"):
        stage(Staging(tmp_path / name), "task", values)
    assert files(tmp_path / "one") == files(tmp_path / "another")
    assert np.array_equal(Staging(tmp_path / "one").read("task")["mean"].values[0], values["a"].astype(np.float16))

"""Staged rows found again, equal ones among them."""

from pathlib import Path

import numpy as np

from reelstore.store.reader import open_variant
from reelstore.store.schema import VariantSpec
from reelstore.store.staging import StagedIndex, Staging, staged_rows
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.writer import row_fingerprints


def test_rows_that_repeat_in_every_task_cost_one_reading_of_each(tmp_path: Path, monkeypatch) -> None:
    """As of captions that are the same sentence: whichever of the equal rows is taken, files are read in turn."""
    spec = VariantSpec("text", "fake", "mean", 4, 0, "float32", {})
    keys = [(f"v{number}", 0) for number in range(60)]
    contents = [f"{0 if number % 3 == 0 else number:064x}" for number in range(60)]
    values = [np.full(4, int(content, 16), dtype=np.float32) for content in contents]
    table = RowTable(keys, ["train"] * 60, row_fingerprints(spec.fingerprint, contents))
    staging = Staging(tmp_path / "staged")
    for start in range(0, 60, 10):
        rows = slice(start, start + 10)
        staged = staged_rows(spec, keys[rows], table.fingerprints[rows], values[rows])
        staging.write(f"task{start}", {"mean": staged})
    read, names = Staging.read, []
    monkeypatch.setattr(Staging, "read", lambda self, name: names.append(name) or read(self, name))
    update = VariantUpdate(tmp_path / "a/text/fake/mean", spec, table)
    StagedIndex(staging).give(update)
    update.finish()
    assert names == [f"task{start}" for start in range(0, 60, 10)]
    assert np.array_equal(open_variant(tmp_path / "a/text/fake/mean").array(), np.stack(values))

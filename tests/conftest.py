"""A variant in a folder, written as the pipeline writes it."""

import hashlib
from pathlib import Path

import pytest

from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints


@pytest.fixture
def write_variant(tmp_path):
    def write(keys, values, splits, *, side="video", name="mean", dtype="float16", folder=None, failed=()) -> Path:
        n_tokens = values.shape[1] if values.ndim == 3 else 0
        spec = VariantSpec(side, "drawn", name, values.shape[-1], n_tokens, dtype, {"weights": "none"})
        contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
        table = RowTable(keys, splits, row_fingerprints(spec.fingerprint, contents))
        path = folder or tmp_path / "store" / "drawn" / side / "drawn" / name
        update = VariantUpdate(path, spec, table)
        for row in update.todo:
            if keys[row] in failed:
                update.fail(int(row), "no frames")
            else:
                update.put(int(row), values[row])
        update.finish()
        return path

    return write

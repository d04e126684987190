"""A variant in store/drawn, written as the pipeline writes it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints


@pytest.fixture
def write_variant():
    return _write


def _write(
    side: str,
    encoder: str,
    variant: str,
    keys: list,
    values: np.ndarray | list[np.ndarray],
    *,
    failed: tuple = (),
    splits: list[str] | None = None,
) -> None:
    """Embeddings (n, dim), or a list of ragged tokens (n_tokens, dim); all of the split test by default."""
    n_tokens = None if isinstance(values, list) else 0
    spec = VariantSpec(side, encoder, variant, values[0].shape[-1], n_tokens, "float16", {"weights": "none"})
    contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
    table = RowTable(keys, splits or ["test"] * len(keys), row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(Path("store/drawn", side, encoder, variant), spec, table)
    for row in update.todo:
        if keys[row] in failed:
            update.fail(int(row), "no frames")
        else:
            update.put(int(row), values[row].astype(np.float32))
    update.finish()

"""Stores of every released schema version: read as they are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from reelstore.store.format import SCHEMA_VERSION
from reelstore.store.open import open_variant
from reelstore.store.verify import check_variant

from .made import files

GOLDEN = Path(__file__).parents[1] / "golden"
_spec = importlib.util.spec_from_file_location("make_store", GOLDEN / "make_store.py")
assert _spec is not None and _spec.loader is not None
make_store = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_store)
VERSIONS = range(2, SCHEMA_VERSION + 1)
SPECS = make_store.SPECS


def check(folder: Path, of) -> None:
    rows = open_variant(folder)
    assert rows.ids == make_store.keys_of(of)
    for key, value in make_store.expected(of):
        if isinstance(value, str):
            assert rows.failures[key] == value
        else:
            np.testing.assert_array_equal(rows[key], value)


@pytest.mark.parametrize("of", SPECS, ids=lambda of: f"{of.side}-{of.variant}")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read_and_sound(version: int, of) -> None:
    folder = GOLDEN / f"store-v{version}" / of.side / of.encoder / of.variant
    check(folder, of)
    assert not list(check_variant(folder, quick=False))


@pytest.mark.parametrize("of", SPECS, ids=lambda of: f"{of.side}-{of.variant}")
def test_the_present_version_is_written_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of) -> None:
    monkeypatch.setattr(make_store, "GOLDEN", tmp_path / "golden")
    monkeypatch.setattr(make_store, "SPECS", [of])
    make_store.main()
    made = tmp_path / "golden" / of.side / of.encoder / of.variant
    assert files(made) == files(GOLDEN / f"store-v{SCHEMA_VERSION}" / of.side / of.encoder / of.variant)

"""Stores of every schema version there was: read as they are, and migrated without embedding."""

import importlib.util
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from reelstore.errors import SchemaError, StoreError
from reelstore.store.integrity import check_variant
from reelstore.store.migrate import migrate
from reelstore.store.reader import open_variant
from reelstore.store.schema import SCHEMA_VERSION

from .made import files, soak
from .test_killed import dying_at, in_child

GOLDEN = Path(__file__).parents[1] / "golden"
_spec = importlib.util.spec_from_file_location("make_store", GOLDEN / "make_store.py")
assert _spec is not None and _spec.loader is not None
make_store = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_store)
VERSIONS = range(1, SCHEMA_VERSION + 1)
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


@pytest.mark.parametrize("of", SPECS, ids=lambda of: f"{of.side}-{of.variant}")
def test_an_old_version_migrates_to_the_bytes_of_the_present_one(tmp_path: Path, of) -> None:
    name = Path(of.side, of.encoder, of.variant)
    folder = tmp_path / "golden" / name
    shutil.copytree(GOLDEN / "store-v1" / name, folder)
    report = migrate(folder)
    assert report is not None and report.n_new == 0
    check(folder, of)
    assert files(folder) == files(GOLDEN / f"store-v{SCHEMA_VERSION}" / name)
    assert migrate(folder) is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("after", [False, True])
def test_a_killed_migration_goes_on_where_it_was(tmp_path: Path, after: bool) -> None:
    of = SPECS[0]
    name = Path(of.side, of.encoder, of.variant)
    folder = tmp_path / "golden" / name
    for boundary in random.Random(after).sample(range(1, 140), soak(8, 100)):
        shutil.rmtree(tmp_path / "golden", ignore_errors=True)
        shutil.copytree(GOLDEN / "store-v1" / name, folder)

        def killed(boundary: int = boundary) -> None:
            dying_at(boundary, after=after)
            migrate(folder)

        in_child(killed)
        migrate(folder)
        assert files(folder) == files(GOLDEN / f"store-v{SCHEMA_VERSION}" / name)


def test_a_damaged_old_version_is_not_migrated(tmp_path: Path) -> None:
    of = SPECS[0]
    folder = tmp_path / "golden" / of.side / of.encoder / of.variant
    shutil.copytree(GOLDEN / "store-v1" / of.side / of.encoder / of.variant, folder)
    shard = folder / "values" / "c" / "0" / "0" / "0"
    shard.write_bytes(b"\x01" + shard.read_bytes()[1:])
    before = files(folder)
    with pytest.raises((StoreError, SchemaError), match="aren't what their digest says"):
        migrate(folder)
    assert files(folder) == before

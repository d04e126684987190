"""A store of schema 2 becomes one of schema 3: the same rows, the bytes that writing them gives, killed or not."""

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import reelstore
from reelstore.cli import main
from reelstore.errors import StoreError, StoreNotFoundError
from reelstore.store.migrate import migrate_variant, schema_of
from reelstore.store.open import open_variant
from reelstore.store.verify import check_groups, check_variant

from .made import dying_at, files, in_child, soak

GOLDEN = Path(__file__).parents[1] / "golden"
OLD = GOLDEN / "store-v2"
VARIANTS = sorted(path.parent.relative_to(OLD) for path in OLD.glob("*/*/*/zarr.json"))
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def copied(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN / "store-v2", tmp_path / "store" / "golden-set")


def test_migrated_is_what_writing_gives(tmp_path: Path) -> None:
    store = copied(tmp_path)
    done = CliRunner().invoke(main, ["migrate", str(store)])
    assert done.exit_code == 0 and "4 of 4 variants" in done.output, done.output
    for variant in VARIANTS:
        assert files(store / variant) == files(GOLDEN / "store-v3" / variant)
        assert not [*check_variant(store / variant, quick=False), *check_groups(store / variant)]
    before = files(store)
    assert "0 of 4 variants" in CliRunner().invoke(main, ["migrate", str(store)]).output
    assert files(store) == before


def test_both_schemas_are_read_side_by_side_and_an_update_brings_the_new_one(tmp_path: Path) -> None:
    store = reelstore.open(copied(tmp_path))
    assert migrate_variant(store.path / VARIANTS[0]) is not None
    for name in store:
        old = open_variant(GOLDEN / "store-v2" / name)
        assert store[name].ids == old.ids and store[name].fingerprint == old.fingerprint
        for row in np.flatnonzero(old.status == 1).tolist():
            np.testing.assert_array_equal(store[name][row], old[row])
    assert [schema_of(store.path / name) for name in sorted(store)] == [3, 2, 2, 2]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_killed_at_any_call_a_variant_is_the_old_or_the_new_one(tmp_path: Path, variant: Path, after: bool) -> None:
    old, new = files(GOLDEN / "store-v2" / variant), files(GOLDEN / "store-v3" / variant)
    for boundary in range(1, 500, soak(17, 1)):
        folder = copied(tmp_path) / variant

        def killed(folder: Path = folder, boundary: int = boundary) -> None:
            dying_at(boundary, after=after)
            migrate_variant(folder)

        ended = in_child(killed)
        with suppress(StoreNotFoundError):  # while files get their names
            assert open_variant(folder).ids == open_variant(OLD / variant).ids
        migrate_variant(folder)
        assert files(folder) == new != old
        shutil.rmtree(tmp_path / "store")
        if ended:
            return
    pytest.fail("it never came to its end")


def test_damaged_rows_stop_it_and_nothing_changes(tmp_path: Path) -> None:
    folder = copied(tmp_path) / "video/golden/mean"
    shard = folder / "values/c/0/0"
    shard.write_bytes(b"\1" + shard.read_bytes()[1:])
    before = files(folder)
    with pytest.raises(StoreError, match=r"64 rows are damaged.*reelstore repair"):
        migrate_variant(folder)
    assert files(folder) == before


def test_there_is_nothing_to_migrate_where_no_variant_is(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", str(tmp_path)])
    assert done.exit_code == 1 and "no variant" in done.output

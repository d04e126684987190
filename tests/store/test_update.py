"""Updates: rows with the same fingerprint are reused; the bytes depend on the rows alone, not on the history."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from reelstore.errors import FailedRowError, StoreError, ValueRangeError
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.update import VariantUpdate

from .made import DIM, files, folder_of, spec, table_of, write


@pytest.mark.parametrize("n_tokens", [0, None])
def test_bytes_are_the_same_grown_shrunk_reordered_or_from_scratch(tmp_path: Path, n_tokens: int | None) -> None:
    of = spec(n_tokens)
    keys = [f"video{number}" for number in range(200)]
    target = [*keys[100:150], "new", *keys[:40], *keys[160:]]
    grown, scratch = folder_of(tmp_path / "a", of), folder_of(tmp_path / "b", of)
    write(grown, of, keys[:90])
    write(grown, of, keys)
    report = write(grown, of, target)
    assert report.n_new == 1
    write(scratch, of, target)
    assert files(grown) == files(scratch)


def test_an_unchanged_update_touches_no_file(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    keys = [f"video{number}" for number in range(70)]
    write(folder, of, keys)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    report = write(folder, of, keys)
    assert report.n_new == report.n_bytes_written == 0
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.usefixtures("small_files")
def test_appending_leaves_full_shards_alone(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    keys = [f"video{number}" for number in range(128)]
    write(folder, of, keys)
    before = {key: (folder / key).stat().st_ino for key in ("values/c/0/0", "values/c/1/0")}
    write(folder, of, [*keys, "one more"])
    assert before == {key: (folder / key).stat().st_ino for key in before}


def test_linked_files_are_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a", "b"])
    cache = tmp_path / "cache"
    cache.mkdir()
    for number, path in enumerate(p for p in folder.rglob("*") if p.is_file()):
        kept = cache / str(number)
        shutil.move(path, kept)
        kept.chmod(0o444)
        if number % 2:
            path.hardlink_to(kept)
        else:
            path.symlink_to(kept)
    before = files(cache)
    write(folder, of, ["b", "c", "d"])
    assert files(cache) == before
    assert open_variant(folder).ids == ["b", "c", "d"]


def test_a_failed_row_keeps_its_reason_and_is_never_a_value(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a", "broken", "c"], failed=("broken",))
    rows = open_variant(folder)
    assert rows.status.tolist() == [1, 2, 1]
    assert rows.failures == {"broken": "no frames"}
    assert rows.ok().ids == ["a", "c"]
    with pytest.raises(FailedRowError, match=r"broken.*no frames"):
        rows["broken"]
    with pytest.raises(FailedRowError):
        rows.array()
    report = write(folder, of, ["a", "broken", "c", "d"])
    assert report.n_new == 1, "a failed row isn't tried again unasked"
    again = VariantUpdate(folder, of, table_of(["a", "broken", "c", "d"], of), retry_failed=True)
    assert again.todo.tolist() == [1]


@pytest.mark.parametrize(("bad", "words"), [(np.nan, "NaN"), (np.inf, "NaN or infinity"), (7e4, "float32")])
def test_values_that_cannot_be_stored_are_refused_and_nothing_changes(tmp_path: Path, bad: float, words: str) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a"])
    before = files(folder)
    update = VariantUpdate(folder, of, table_of(["a", "b"], of))
    with pytest.raises(ValueRangeError, match=rf"'b'.*{words}"):
        update.put(1, np.full(DIM, bad, dtype=np.float32))
    assert files(folder) == before


def test_a_wrong_width_and_a_double_key_are_refused(tmp_path: Path) -> None:
    of = spec()
    update = VariantUpdate(folder_of(tmp_path, of), of, table_of(["a"], of))
    with pytest.raises(StoreError, match=r"'a' has shape \(7,\)"):
        update.put(0, np.zeros(7, dtype=np.float32))
    with pytest.raises(StoreError, match="'a' occurs twice"):
        _ = table_of(["a", "a"], of).row_of


def test_another_recipe_takes_nothing_over(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a", "b"])
    other = VariantSpec("video", "fake", "mean", DIM, 0, "float16", {"weights": "others"})
    assert VariantUpdate(folder, other, table_of(["a", "b"], other)).todo.tolist() == [0, 1]

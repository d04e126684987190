"""Another name for a variant: its files, splits and failures are the same."""

from pathlib import Path

import numpy as np
import pytest

import reelstore
from reelstore.errors import ReelstoreError, StoreError
from reelstore.store.open import Store

from .made import check_sound, files, folder_of, spec, write

VIDEOS = [f"video{number}" for number in range(150)]
POOLED = np.random.default_rng(0).normal(size=(150, 6)).astype("float32")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return reelstore.open(tmp_path / "mine", create=True)


def test_rename_moves_rows_with_their_splits_and_failures(store: Store) -> None:
    of = spec(None)
    write(folder_of(store.path, of), of, VIDEOS, failed=("video3",), lengths={"video4": 0})
    root = reelstore.open(store.path / "store")
    old = root["set/video/fake/tokens"]
    values, splits, failures = [old[key] for key in old.ok().ids], old.splits, dict(old.failures)
    root.rename("set/video/fake/tokens", "set/video/other/words")
    rows = root["set/video/other/words"]
    assert (rows.splits, rows.failures, rows.encoder, rows.variant) == (splits, failures, "other", "words")
    assert all(np.array_equal(one, rows[key]) for key, one in zip(rows.ok().ids, values, strict=True))
    assert "set/video/fake/tokens" not in root
    with pytest.raises(StoreError, match="would be text"):
        root.rename("set/video/other/words", "set/text/other/words")
    assert not (root.path / "set/video/fake").exists(), "the group is gone with its last variant"
    check_sound(root)


def test_rename_keeps_the_very_files_and_copies_what_others_share(store: Store, tmp_path: Path) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    shard = Path("values/c/0/0")
    before, inode = files(store.path / "video/clip/mean"), (store.path / "video/clip/mean" / shard).stat().st_ino
    store.rename("video/clip/mean", "video/other/mean")
    after = files(store.path / "video/other/mean")
    assert (store.path / "video/other/mean" / shard).stat().st_ino == inode
    assert {key for key in before if before[key] != after[key]} == {"zarr.json"} and before.keys() == after.keys()
    cache = tmp_path / "cache"
    cache.mkdir()
    for number, path in enumerate(sorted((store.path / "video/other/mean").rglob("*"))):
        if path.is_file() and path.name != "zarr.json":
            path.rename(cache / str(number))
            path.symlink_to(cache / str(number)) if number % 2 else path.hardlink_to(cache / str(number))
    cached = files(cache)
    store.rename("video/other/mean", "video/clip/mean")
    assert files(store.path / "video/clip/mean") == before and files(cache) == cached
    assert {path.stat().st_nlink for path in cache.iterdir()} == {1}
    assert not any(path.is_symlink() for path in store.path.rglob("*"))
    assert store.write("video/clip/mean", VIDEOS, POOLED).n_bytes_written == 0


@pytest.mark.usefixtures("small_files")
def test_rename_refuses_what_is_there_and_what_is_missing(store: Store) -> None:
    store.write("video/clip/mean", VIDEOS, POOLED)
    store.write("video/clip/max", VIDEOS, POOLED)
    (store.path / "video/clip/mine").mkdir()
    (store.path / "video/clip/mine/notes.txt").write_text("mine")
    before = files(store.path)
    for new, message in {
        "video/clip/max": "is there already",
        "video/clip/mean": "the name it has",
        "video/clip/mine": "notes.txt",
        "video/values/mean": "reserved",
        "video/clip/a b": "letters, digits",
        "mean": "video/ENCODER/VARIANT",
    }.items():
        with pytest.raises(ReelstoreError, match=message):
            store.rename("video/clip/mean", new)
        assert files(store.path) == before
    with pytest.raises(KeyError, match="Did you mean video/clip/mean"):
        store.rename("video/clip/meen", "video/clip/new")
    (store.path / "video/clip/mean/values/c/1/0").unlink()
    before = files(store.path)
    with pytest.raises(StoreError, match="values/c/1/0 is missing"):
        store.rename("video/clip/mean", "video/clip/new")
    assert files(store.path) == before and "video/clip/new" not in store

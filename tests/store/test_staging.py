"""Staged rows found again, equal ones among them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from reelstore.errors import StoreError
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_variant
from reelstore.store.staging import StagedIndex, Staging, staged_rows
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints


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


@pytest.mark.parametrize(
    "changed",
    [
        {"mean/values": np.zeros((3, 4), np.float32)},
        {"mean/values": np.zeros(16, np.float32)},
        {"mean/fingerprints": np.zeros((4, 8), np.uint8)},
        {"mean/fingerprints": np.zeros((4, 16), np.int64)},
        {"mean/counts": np.array([1, 1, 1, 2])},
        {"mean/counts": np.array([-1, 3, 1, 1])},
        {"mean/counts": np.array([2**62, 2**62, 1, 1])},
    ],
    ids=lambda changed: " ".join(
        f"{name} {value.dtype} {value.shape} {value.flat[0]}" for name, value in changed.items()
    ),
)
def test_staged_rows_that_contradict_themselves_are_refused_whatever_their_checksum(tmp_path: Path, changed) -> None:
    from safetensors.numpy import load_file, save_file

    from reelstore.store import staging as module

    spec = VariantSpec("text", "fake", "mean", 4, 0, "float32", {})
    staging = Staging(tmp_path / "staged")
    fingerprints = np.arange(64, dtype=np.uint8).reshape(4, 16)
    staging.write("a" * 24, {"mean": staged_rows(spec, list("wxyz"), fingerprints, [np.ones(4, np.float32)] * 4)})
    path = tmp_path / "staged" / f"{'a' * 24}.safetensors"
    tensors = {**load_file(path), **changed}
    about = {"reasons": {"mean": [None] * 4}, "sha256": module._digest(tensors)}
    save_file(tensors, path, {module.ABOUT: json.dumps(about)})
    with pytest.raises(StoreError, match="was damaged"):
        staging.read("a" * 24)


@pytest.mark.parametrize("content", [b"", b"x" * 100, "pipe", "device", "folder"], ids=str)
def test_what_is_not_a_staged_file_is_not_read(tmp_path: Path, content) -> None:
    path = tmp_path / f"{'b' * 24}.safetensors"
    if content == "pipe":
        os.mkfifo(path)
    elif content == "device":
        path.symlink_to("/dev/zero")
    elif content == "folder":
        path.mkdir()
    else:
        path.write_bytes(content)
        (tmp_path / "model.safetensors").write_bytes(content)
    assert list(Staging(tmp_path).fingerprints()) == []
    assert (tmp_path / "model.safetensors").exists() == isinstance(content, bytes)

"""Where the system maps no more, files are read instead: the same rows, within few descriptors and little space."""

import gc
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelstore.errors import StoreError
from reelstore.store import mmap as mapped
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

RAW = ["as written", "shards of zarr-python", "chunks of zarr-python", "shards of tensorstore"]


@pytest.fixture
def no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "MOST_ADDRESS_BYTES", 0)


@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
@pytest.mark.parametrize("encoding", RAW)
@given(data=st.data(), read_bytes=st.sampled_from([1, 100, 2**20]), sequential=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_read_is_what_would_be_mapped(
    library: Any, layout: str, encoding: str, data: st.DataObject, read_bytes: int, sequential: bool
) -> None:
    variant = library[layout, encoding]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "_READ_BYTES", read_bytes)
        want = variant.open()
        assert want.mapped
        patch.setattr(mapped, "MOST_ADDRESS_BYTES", 0)
        got = variant.open()
        assert not got.mapped
        if sequential:
            got.advise("sequential")
        picks = np.array(data.draw(st.lists(st.integers(-47, 46), max_size=60)), dtype=np.int64)
        if data.draw(st.booleans()):
            picks = np.unique(picks % 47)
        for one, other in zip(got.walk(picks), want.walk(picks), strict=True):
            np.testing.assert_array_equal(one, other)
        for take in {"pooled": ["take"], "dense": ["take", "take_ragged", "take_padded"]}.get(
            layout, ["take", "take_ragged", "take_padded"]
        ):
            for one, other in zip(getattr(got, take)(picks), getattr(want, take)(picks), strict=True):
                np.testing.assert_array_equal(one, other)
        if layout != "pooled":
            for one, other in zip(got.take_padded(picks, 40), want.take_padded(picks, 40), strict=True):
                np.testing.assert_array_equal(one, other)
        if layout != "ragged":
            np.testing.assert_array_equal(got.array(), want.array())
            np.testing.assert_array_equal(got.ok().split("test").array(), want.ok().split("test").array())
            assert not got.array().flags.writeable
        assert got.ids == want.ids and not got.mapped


def test_arrays_share_the_mappings_of_a_process(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries, threads and large arrays need mappings too, so that arrays never take the last one."""
    variant = written("pooled", [1] * 150)  # three files
    gc.collect()
    in_use = sum(mapped._MAPPED.values())
    monkeypatch.setattr(mapped, "_most_mappings", lambda: in_use + 3 + 1)  # and one for a table's column
    first, second = variant.open(), variant.open()
    np.testing.assert_array_equal(first.array(), variant.values)
    np.testing.assert_array_equal(second.array(), variant.values)
    assert first.mapped and not second.mapped
    del first
    gc.collect()
    assert variant.open().mapped and not second.mapped


CHILD = """
import ctypes, mmap, os, pathlib, resource, sys, threading
import numpy as np
from reelstore.store.open import open_variant

def used(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024

limit, folder, n = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
picks = np.random.default_rng(0).integers(0, n, 500)
ascending = np.unique(picks)  # a library that is loaded needs mappings
kept = []
if limit in ("space", "space and descriptors"):
    bound = used("VmSize") + 24 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
if limit in ("descriptors", "space and descriptors"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
if limit == "mappings":
    try:
        while True:
            kept.append(mmap.mmap(-1, mmap.PAGESIZE))
    except OSError:
        del kept[-50:]  # what memory and imports of its own need
rows = open_variant(folder)
for asked in (picks, ascending):
    assert (rows.take(asked)[:, 0] == asked % 1000).all()
for row, values in zip(range(0, n, 7), rows.walk(np.arange(0, n, 7))):
    assert (values == row % 1000).all()
rows.advise("sequential")
assert (rows.take(np.arange(500))[:, 0] == np.arange(500) % 1000).all()
assert len(rows.ids) == n and rows.split("test")
print("mapped" if rows.mapped else "read")
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """75 files of 512 KiB."""
    from reelstore.store.format import VariantSpec
    from reelstore.store.table import RowTable
    from reelstore.store.update import VariantUpdate

    n = 4800
    folder = tmp_path_factory.mktemp("store") / "video/fake/mean"
    spec = VariantSpec("video", "fake", "mean", 4096, 0, "float16", {})
    table = RowTable([f"video{row}" for row in range(n)], ["test"] * n, np.zeros((n, 16), np.uint8))
    with VariantUpdate(folder, spec, table) as update:
        for row in range(n):
            update.put(row, np.full(4096, row % 1000, np.float16))
        update.finish()
    return folder, n


@pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux's /proc")
@pytest.mark.parametrize(
    ("limit", "how"),
    [
        ("none", "mapped"),
        ("descriptors", "mapped"),
        ("space", "read"),
        ("space and descriptors", "read"),
        ("mappings", "read"),
    ],
)
def test_rows_are_read_within_the_limits_of_a_process(many: tuple[Path, int], limit: str, how: str) -> None:
    folder, n = many
    command = [sys.executable, "-c", CHILD, limit, str(folder), str(n)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.stdout == f"{how}\n", done.stderr


@pytest.mark.skipif("REELSTORE_SOAK" not in os.environ, reason="make soak: 70,000 files")
def test_more_files_than_a_process_may_map(written: Any) -> None:
    n = 70_000
    variant = written("pooled", [1] * n, dim=4)
    values = np.array(variant.values)
    folder = variant.folder / "values"
    zarr.create_array(
        folder, shape=values.shape, dtype=values.dtype, chunks=(1, 4), compressors=None, overwrite=True
    )  # fmt: skip
    for row, value in enumerate(values):
        (folder / "c" / str(row)).mkdir(parents=True)
        (folder / "c" / str(row) / "0").write_bytes(value.tobytes())
    rows = variant.open()
    np.testing.assert_array_equal(rows.array(), values)
    assert not rows.mapped
    picks = np.random.default_rng(0).integers(0, n, 1000)
    np.testing.assert_array_equal(rows.take(picks), values[picks])


def first_file(rows: Rows) -> Path:
    return min(path for path in (rows.folder / "values/c").rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", ["pooled", "ragged"])
def test_a_file_cut_short_while_it_is_walked_is_named(written: Any, monkeypatch: Any, layout: str) -> None:
    """In this process, whose mapping of the file would end it with SIGBUS: what is read in order isn't mapped."""
    monkeypatch.setattr(mapped, "_READ_BYTES", 2**16)
    variant = written(layout, [9] * 600, dim=2048)
    rows = variant.open()
    rows.take([0])
    assert rows.mapped
    walking = rows.walk(np.arange(600))
    before = next(walking)
    for file in (rows.folder / "values/c").rglob("*"):
        if file.is_file():
            os.truncate(file, 100)
    np.testing.assert_array_equal(before, variant.values[0])
    with pytest.raises(StoreError, match=rf"{rows.folder}/values/c/\d+/0 became shorter.*dvc checkout"):
        list(walking)


@pytest.mark.usefixtures("no_space")
@pytest.mark.parametrize("spoil", ["shorter", "exchanged", "written in place", "gone", "a pipe"])
def test_files_that_changed_since_they_were_checked_are_named(written: Any, spoil: str) -> None:
    rows = written("pooled", [1] * 150).open()
    rows.take([0])
    file = first_file(rows)
    content, changed = file.read_bytes(), file.stat().st_mtime_ns
    if spoil == "shorter":
        os.truncate(file, 10)
    elif spoil == "exchanged":
        file.rename(file.with_name("other"))
        file.write_bytes(content)
    elif spoil == "written in place":
        file.write_bytes(content)
        os.utime(file, ns=(changed + 1, changed + 1))
    else:
        file.unlink()
        if spoil == "a pipe":
            os.mkfifo(file)
    words = "became shorter" if spoil == "shorter" else "written anew since it was opened"
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for ask in (lambda: rows.take([3, 1]), lambda: rows.take([1, 3]), rows.array, lambda: list(rows.walk([0, 1]))):
        with pytest.raises(StoreError, match=f"^{file} .*{words}"):
            ask()
    np.testing.assert_array_equal(rows.take([149]), rows.take([149]))
    assert not n_open or len(os.listdir("/proc/self/fd")) == n_open


def test_values_read_through_zarr_are_of_the_version_that_was_opened(written: Any, monkeypatch: Any) -> None:
    """No mapping keeps the old files, and zarr-python opens them each time."""
    monkeypatch.setattr("reelstore.store.zarr_array.HELD_BYTES", 0)
    early = written("pooled", [1] * 70, "zstd")
    rows = early.open()
    np.testing.assert_array_equal(rows.take([3, 1]), [early.values[3], early.values[1]])
    written("pooled", [2] * 71, "zstd")
    for ask in (lambda: rows.take([3]), rows.array, lambda: list(rows.walk([0]))):
        with pytest.raises(StoreError, match="written anew since it was opened"):
            ask()


def test_a_padded_batch_of_long_items_is_read(written: Any, no_space: None) -> None:
    counts = [0, 90, 3, 41, 0]
    variant = written("ragged", counts, dim=5000)
    rows = variant.open()
    values, offsets = rows.take_ragged([3, 1, 0, 1, 2])
    for pick, (start, stop) in zip([3, 1, 0, 1, 2], pairwise(offsets), strict=True):
        np.testing.assert_array_equal(values[start:stop], variant.values[pick])
    assert not rows.mapped and open_variant(variant.folder).n_tokens_total == sum(counts)

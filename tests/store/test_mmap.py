"""What mapping must not do: give wrong numbers of damaged files, end before its arrays, leak, need more than NumPy."""

import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reelstore
from reelstore.errors import StoreError
from reelstore.store import mmap as mapped
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

from .made import files, folder_of, read_all, spec, write

needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="looks into Linux's /proc")


def mappings_of(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


@pytest.fixture
def copied(library, encoding: str, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A copy of a pooled variant's folder in every encoding, and a file of its values."""
    folder = shutil.copytree(library["pooled", encoding].folder, tmp_path / "variant")
    yield folder, folder / library["pooled", encoding].file.relative_to(library["pooled", encoding].folder)


def test_a_file_cut_anywhere_is_named_and_never_read_as_numbers(copied) -> None:
    folder, file = copied
    content = file.read_bytes()
    for size in [*range(0, len(content), 7), len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(StoreError, match=f"{file} is damaged.*dvc checkout"):
            read_all(open_variant(folder))


@given(fraction=st.floats(0, 1, exclude_max=True), layout=st.sampled_from(["pooled", "dense", "ragged"]))
@settings(max_examples=100, deadline=None)
def test_a_mapped_file_of_any_wrong_length_is_refused(library, tmp_path_factory, fraction: float, layout: str) -> None:
    folder = shutil.copytree(library[layout, "as written"].folder, tmp_path_factory.mktemp("cut") / "variant")
    file = next(path for path in (folder / "values").rglob("0") if path.is_file())
    os.truncate(file, int(fraction * file.stat().st_size))
    with pytest.raises(StoreError, match=str(file)):
        read_all(open_variant(folder))


@pytest.mark.parametrize("encoding", ["as written", "shards of zarr-python", "shards of tensorstore", "zstd"])
@pytest.mark.parametrize("place", [-1, -4, -5, -20])
def test_an_index_with_a_flipped_byte_is_named(copied, place: int) -> None:
    folder, file = copied
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=f"{file} is damaged"):
        read_all(open_variant(folder))


def test_an_index_beyond_its_file_is_refused(library, tmp_path: Path) -> None:
    """A right checksum over what can't be: the chunks in order, the file without them."""
    folder = shutil.copytree(library["pooled", "shards of zarr-python"].folder, tmp_path / "variant")
    file = folder / "values/c/0/0"
    file.write_bytes(file.read_bytes()[-(4 * 16 + 4) :])
    with pytest.raises(StoreError, match=f"{file} is damaged: it has 68 bytes, its index lists 240 and its own"):
        read_all(open_variant(folder))


@pytest.mark.parametrize("encoding", ["as written", "zstd"])
def test_a_listed_file_that_is_missing_is_named(copied) -> None:
    """`values/c/0/0` is among the variant's digests; the name is the same in both."""
    folder, _ = copied
    (folder / "values/c/0/0").unlink()
    with pytest.raises(StoreError, match=rf"{folder}/values/c/0/0 is missing.*dvc checkout"):
        read_all(open_variant(folder))


@needs_proc
@pytest.mark.parametrize("layout", ["pooled", "dense"])
def test_an_array_outlives_its_rows_and_its_files_and_then_gives_the_memory_back(written, layout: str) -> None:
    variant = written(layout, [1] * 150, dim=2048)  # shards of whole pages, one array side by side
    rows = variant.open()
    row, array = rows.array()[3], rows.array()
    n_files = len(mappings_of(variant.folder))
    assert n_files == {"pooled": 3, "dense": 10}[layout]
    del rows, array
    gc.collect()
    assert len(mappings_of(variant.folder)) == n_files
    for file in (variant.folder / "values").rglob("0"):
        file.unlink(missing_ok=True) if file.is_file() else None
    np.testing.assert_array_equal(row, variant.values[3])
    del row
    gc.collect()
    assert not mappings_of(variant.folder)


@needs_proc
def test_a_thousand_openings_leave_no_descriptor_and_no_mapping(written) -> None:
    variant = written("ragged", [2] * 20)
    damaged = shutil.copytree(variant.folder, variant.folder.parent / "damaged")
    (damaged / "values/c/0/0").write_bytes(b"")

    def counts() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().splitlines())

    def use() -> None:
        rows = open_variant(variant.folder)
        rows.take_ragged([3, 4])
        list(rows.walk([1]))
        with pytest.raises(StoreError):
            open_variant(damaged).take_ragged([3])

    use()
    n_descriptors, n_mappings = counts()
    for _ in range(1000):
        use()
    found = counts()
    assert found[0] <= n_descriptors
    assert found[1] <= n_mappings + 20  # the allocator has mappings of its own
    assert not mappings_of(variant.folder)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("encoding", ["as written", "zstd"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_rows_work_in_another_process(copied, library, encoding: str, method: str) -> None:
    folder, _ = copied
    view = open_variant(folder).split("test")
    view.take([0])  # a mapping that can't travel, and caches that needn't
    _ = view.index_of("video3")
    with multiprocessing.get_context(method).Pool(1) as pool:
        # A child that can't unpickle its task dies, and its pool would wait for ever.
        found = pool.apply_async(view.take, ([2, 0],)).get(timeout=60)
    values = library["pooled", encoding].values
    np.testing.assert_array_equal(found, [values[6], values[0]])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_forks_reads_on_through_the_mapping(written) -> None:
    variant = written("pooled", [1] * 70)
    rows = variant.open()
    before = rows.array()
    child = os.fork()
    if not child:
        right = np.array_equal(rows.take([69])[0], variant.values[69]) and np.array_equal(before, variant.values)
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_may_share_rows(written) -> None:
    variant = written("pooled", [1] * 150)
    rows, model = variant.open(), np.array(variant.values)
    wrong: list[int] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            picks = rng.integers(0, 150, 20)
            if not np.array_equal(rows.take(picks), model[picks]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def flags_of(folder: Path) -> set[str]:
    """What the system was told of each mapped file of values: `rr` random, `sr` sequential reads."""
    found, here = set(), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            here = f"{folder}/values" in line
        elif here and line.startswith("VmFlags:"):
            found.add(" ".join({"rr", "sr"} & set(line.split())))
    return found


@needs_proc
def test_the_system_is_told_how_files_will_be_read(written, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = written("pooled", [1] * 150)
    rows = variant.open()
    read_all(rows)
    assert flags_of(variant.folder) == {""}
    for pattern, flag in [("random", "rr"), ("sequential", "sr"), ("normal", "")]:
        rows.advise(pattern)
        assert flags_of(variant.folder) == {flag}
    walking = rows.walk(range(3))  # reads the files, so that random reads go on as they were
    next(walking)
    assert flags_of(variant.folder) == {""}
    with pytest.raises(StoreError, match=r"No pattern 'fast'\. There are: normal, random, sequential"):
        rows.advise("fast")

    rows.advise("random")
    again = pickle.loads(pickle.dumps(rows))
    del rows
    gc.collect()
    read_all(again)
    assert flags_of(variant.folder) == {"rr"}

    del again
    gc.collect()
    memory = os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(os, "sysconf", lambda name: 0 if name == "SC_PHYS_PAGES" else memory)
    larger_than_memory = variant.open()
    read_all(larger_than_memory)
    assert flags_of(variant.folder) == {"rr"}


def test_a_mapped_store_is_read_with_numpy_alone(library) -> None:
    code = """
import sys
import numpy
before = {name.split(".")[0] for name in sys.modules}
import reelstore
from reelstore.store.open import open_variant
pooled, ragged = (open_variant(__import__("pathlib").Path(path)) for path in sys.argv[1:])
pooled.split("test").take([0, 1]), pooled["video3"], list(pooled.walk([2])), ragged.take_padded([0, 1])
assert pooled.mapped and ragged.mapped
print(*{name.split(".")[0] for name in sys.modules} - before - sys.stdlib_module_names)
"""
    folders = [str(library[layout, "as written"].folder) for layout in ("pooled", "ragged")]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"reelstore", "google_crc32c"}


@pytest.mark.parametrize("layout", ["pooled", "dense", "ragged"])
@given(data=st.data(), read_bytes=st.sampled_from([1, 100, 2**20]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_read_in_order_give_what_their_mapping_gives(
    library, encoding: str, layout: str, data: st.DataObject, read_bytes: int
) -> None:
    mapped, in_order = (open_variant(library[layout, encoding].folder) for _ in range(2))
    in_order.advise("sequential")
    positions = st.lists(st.integers(0, len(mapped) - 1), max_size=80)
    picks = np.array(data.draw(st.one_of(positions, positions.map(lambda found: sorted(set(found))))), dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reelstore.store.mmap._READ_BYTES", read_bytes)
        for take in {"pooled": ["take"], "dense": ["take", "take_padded"], "ragged": ["take_ragged", "take_padded"]}[
            layout
        ]:
            want, got = getattr(mapped, take)(picks), getattr(in_order, take)(picks)
            for one, other in zip(want, got, strict=True):
                assert np.array_equal(one, other)


def test_a_file_exchanged_since_it_was_mapped_is_named(written) -> None:
    variant = written("pooled", [1] * 150)
    rows = variant.open()
    rows.advise("sequential")
    read_all(rows)
    file = next(path for path in (variant.folder / "values/c").rglob("0") if path.is_file())
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.replace(other, file)
    with pytest.raises(StoreError, match=f"{file} was rewritten"):
        read_all(rows)
    file.unlink()
    with pytest.raises(StoreError, match=f"{file} was rewritten"):
        read_all(rows)


def test_a_file_that_became_shorter_is_named_and_files_are_closed(written) -> None:
    variant = written("pooled", [1] * 150)
    rows = variant.open()
    rows.advise("sequential")
    read_all(rows)
    file = next(path for path in (variant.folder / "values/c").rglob("0") if path.is_file())
    os.truncate(file, 10)
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with pytest.raises(StoreError, match=f"{file} became shorter"):
        read_all(rows)
    assert not n_open or len(os.listdir("/proc/self/fd")) == n_open


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


@pytest.mark.usefixtures("small_files")
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
    n = 4800
    store = reelstore.open(tmp_path_factory.mktemp("store"), create=True)
    values = np.broadcast_to((np.arange(n) % 1000).astype(np.float16)[:, None], (n, 4096))
    store.write("video/fake/mean", [f"video{row}" for row in range(n)], values, splits="test")
    return store.path / "video/fake/mean", n


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


@pytest.mark.usefixtures("no_space", "small_files")
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
    words = "became shorter" if spoil == "shorter" else "rewritten since it was opened"
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for ask in (lambda: rows.take([3, 1]), lambda: rows.take([1, 3]), rows.array, lambda: list(rows.walk([0, 1]))):
        with pytest.raises(StoreError, match=f"^{file} .*{words}"):
            ask()
    np.testing.assert_array_equal(rows.take([149]), rows.take([149]))
    assert not n_open or len(os.listdir("/proc/self/fd")) == n_open


def test_a_padded_batch_of_long_items_is_read(written: Any, no_space: None) -> None:
    counts = [0, 90, 3, 41, 0]
    variant = written("ragged", counts, dim=5000)
    rows = variant.open()
    values, offsets = rows.take_ragged([3, 1, 0, 1, 2])
    for pick, (start, stop) in zip([3, 1, 0, 1, 2], pairwise(offsets), strict=True):
        np.testing.assert_array_equal(values[start:stop], variant.values[pick])
    assert not rows.mapped and open_variant(variant.folder).n_tokens_total == sum(counts)


def test_what_is_read_can_t_be_written_through_to_the_files(tmp_path: Path) -> None:
    of = spec(dim=32)  # 64 rows are a page
    folder = folder_of(tmp_path, of)
    write(folder, of, [f"video{number}" for number in range(150)])
    before = files(folder)
    assert open_variant(folder).mapped
    with pytest.raises(ValueError, match="read-only"):
        open_variant(folder).array()[0] = 1
    batch = open_variant(folder).take([0, 1])
    batch[:] = np.float16(7)
    assert files(folder) == before

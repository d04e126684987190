"""What mapping must not do: give wrong numbers of damaged files, end before its arrays, leak, need more than NumPy."""

import copy
import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelstore.errors import SchemaError, StoreError
from reelstore.store.open import open_variant
from reelstore.store.read import Rows

needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="looks into Linux's /proc")


def mappings_of(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


def everything(rows: Rows) -> None:
    list(rows.take(np.arange(len(rows))))


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
            everything(open_variant(folder))


@given(fraction=st.floats(0, 1, exclude_max=True), layout=st.sampled_from(["pooled", "dense", "ragged"]))
@settings(max_examples=100, deadline=None)
def test_a_mapped_file_of_any_wrong_length_is_refused(library, tmp_path_factory, fraction: float, layout: str) -> None:
    folder = shutil.copytree(library[layout, "as written"].folder, tmp_path_factory.mktemp("cut") / "variant")
    file = next(path for path in (folder / "values").rglob("0") if path.is_file())
    os.truncate(file, int(fraction * file.stat().st_size))
    with pytest.raises(StoreError, match=str(file)):
        everything(open_variant(folder))


@pytest.mark.parametrize("column", ["status", "offsets", "video_id", "video_id_offsets", "split", "fingerprint"])
def test_a_table_s_file_cut_short_or_missing_is_named(library, tmp_path: Path, column: str) -> None:
    folder = shutil.copytree(library["ragged", "as written"].folder, tmp_path / "variant")
    file = next(path for path in (folder / column / "c").rglob("*") if path.is_file())
    for spoil in (lambda: os.truncate(file, 100), file.unlink):
        spoil()
        with pytest.raises(StoreError, match=str(file)):
            rows = open_variant(folder)
            everything(rows)
            _ = rows.ids


@pytest.mark.parametrize("encoding", ["as written", "shards of zarr-python", "shards of tensorstore", "zstd"])
@pytest.mark.parametrize("place", [-1, -4, -5, -20])
def test_an_index_with_a_flipped_byte_is_named(copied, place: int) -> None:
    folder, file = copied
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=f"{file} is damaged"):
        everything(open_variant(folder))


def test_an_index_beyond_its_file_is_refused(library, tmp_path: Path) -> None:
    """A right checksum over what can't be: the chunks in order, the file without them."""
    folder = shutil.copytree(library["pooled", "shards of zarr-python"].folder, tmp_path / "variant")
    file = folder / "values/c/0/0"
    file.write_bytes(file.read_bytes()[-(4 * 16 + 4) :])
    with pytest.raises(StoreError, match=f"{file} is damaged: it has 68 bytes, its index speaks of 240 and itself"):
        everything(open_variant(folder))


@pytest.mark.parametrize("encoding", ["as written", "zstd"])
def test_a_listed_file_that_is_missing_is_named(copied) -> None:
    """`values/c/0/0` is among the variant's digests; the name is the same in both."""
    folder, _ = copied
    (folder / "values/c/0/0").unlink()
    with pytest.raises(StoreError, match=rf"{folder}/values/c/0/0 is missing.*dvc checkout"):
        everything(open_variant(folder))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "the array 'values' is missing"),
        (b"{", "isn't JSON"),
        (b"[]", "isn't a Zarr array's"),
        (b'{"node_type": "array", "shape": [47, 6]}', "zarr-python can't read it"),
    ],
)
def test_metadata_that_is_none_is_named(library, tmp_path: Path, content: bytes | None, words: str) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    path = folder / "values/zarr.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StoreError, match=words):
        everything(open_variant(folder))


def test_metadata_of_another_shape_is_refused(library, tmp_path: Path) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    path = folder / "values/zarr.json"
    path.write_text(path.read_text().replace("47", "46"))
    with pytest.raises(SchemaError, match=r"holds \(46, 6\) float16 where .* says \(47, 6\) float16"):
        everything(open_variant(folder))


def test_metadata_that_zarr_can_t_read_either_is_named(library, tmp_path: Path) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    path = folder / "values/zarr.json"
    path.write_text(path.read_text().replace("sharding_indexed", "of-the-future"))
    with pytest.raises(StoreError, match=f"{path} is damaged: zarr-python can't read it.*of-the-future"):
        everything(open_variant(folder))


@needs_proc
@pytest.mark.parametrize("layout", ["pooled", "dense"])
def test_an_array_outlives_its_rows_and_its_files_and_then_gives_the_memory_back(written, layout: str) -> None:
    variant = written(layout, [1] * 150, dim=2048)  # shards of whole pages, one array side by side
    rows = variant.open()
    row, array = rows.array()[3], rows.array()
    n_files = len(mappings_of(variant.folder))
    assert n_files == 3
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


def test_rows_pickle_small_and_not_across_versions_of_the_variant(written) -> None:
    variant = written("pooled", [1] * 70)
    rows = variant.open()
    _ = rows.ids, rows.array(), rows.index_of("video3")
    stored = pickle.dumps(rows.split("test"))
    assert len(stored) < 1000
    np.testing.assert_array_equal(copy.deepcopy(rows).take([4])[0], variant.values[4])
    written("pooled", [1] * 71)
    with pytest.raises(StoreError, match="written anew since these rows were pickled"):
        pickle.loads(stored)


def test_rows_opened_before_the_variant_was_written_anew_do_not_mix_versions(written) -> None:
    early = written("pooled", [1] * 70)
    late, mapped = early.open(), early.open()
    everything(mapped)
    written("pooled", [1] * 5)
    with pytest.raises(StoreError, match="written anew since it was opened"):
        late.take([0])
    with pytest.raises(StoreError, match="written anew since it was opened"):
        list(mapped.walk([0]))
    np.testing.assert_array_equal(mapped.take([69])[0], early.values[69])


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
    everything(rows)
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
    everything(again)
    assert flags_of(variant.folder) == {"rr"}

    del again
    gc.collect()
    memory = os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(os, "sysconf", lambda name: 0 if name == "SC_PHYS_PAGES" else memory)
    larger_than_memory = variant.open()
    everything(larger_than_memory)
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
    everything(rows)
    file = next(path for path in (variant.folder / "values/c").rglob("0") if path.is_file())
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.replace(other, file)
    with pytest.raises(StoreError, match=f"{file} was written anew"):
        everything(rows)
    file.unlink()
    with pytest.raises(StoreError, match=f"{file} was written anew"):
        everything(rows)


def test_a_file_that_became_shorter_is_named_and_files_are_closed(written) -> None:
    variant = written("pooled", [1] * 150)
    rows = variant.open()
    rows.advise("sequential")
    everything(rows)
    file = next(path for path in (variant.folder / "values/c").rglob("0") if path.is_file())
    os.truncate(file, 10)
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with pytest.raises(StoreError, match=f"{file} became shorter"):
        everything(rows)
    assert not n_open or len(os.listdir("/proc/self/fd")) == n_open

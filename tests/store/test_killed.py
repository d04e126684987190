"""A writer killed at any instant: nothing published is lost, nothing half-written counts, the next run ends alike."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reelstore.errors import StoreNotFoundError
from reelstore.store.open import open_variant
from reelstore.store.verify import check_variant

from .made import dying_at, files, folder_of, in_child, soak, spec, value_of, write

OLD = [f"video{number}" for number in range(150)]
NEW = [*OLD[:20], "inserted", *OLD[40:], *(f"added{number}" for number in range(70))]
N_NEW = 71
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def check_between(folder: Path, of) -> None:
    """What a reader finds while nobody writes: one whole version, or none at all."""
    try:
        rows = open_variant(folder)
    except StoreNotFoundError:
        return
    assert rows.ids in (OLD, NEW)
    for key, got in zip(rows.ids, rows.take(range(len(rows))), strict=True):
        assert (got == value_of(key, of).astype("float16")).all()


@pytest.fixture(params=[0, 4, None], ids=["pooled", "dense", "ragged"])
def stores(request, tmp_path: Path):
    """A spec, a store of the old rows, and the bytes of one of the new rows made at once."""
    of = spec(request.param)
    scratch, old = folder_of(tmp_path / "scratch", of), folder_of(tmp_path / "old", of)
    write(scratch, of, NEW)
    write(old, of, OLD)
    return of, old, files(scratch)


def resumed(tmp_path: Path, stores, kill: Callable[[Callable[[], None]], bool]) -> bool:
    """Kill one update, look, run it again, look again; whether the first one had come to its end."""
    of, old, expected = stores
    folder = folder_of(tmp_path / "killed", of)
    shutil.rmtree(tmp_path / "killed", ignore_errors=True)
    shutil.copytree(old, folder)
    ended = kill(lambda: write(folder, of, NEW))
    check_between(folder, of)
    report = write(folder, of, NEW)
    assert report.n_new in (0, N_NEW), "rows that were published are never recomputed"
    assert not report.repaired
    assert files(folder) == expected
    assert not list(check_variant(folder, quick=False))
    return ended


def test_at_every_call_to_the_operating_system(tmp_path: Path, stores) -> None:
    counted = tmp_path / "calls"

    def kill_at(boundary: int, *, after: bool) -> bool:
        def work(job: Callable[[], None]) -> None:
            calls = dying_at(boundary, after=after)
            job()
            counted.write_text(str(next(calls)))

        return resumed(tmp_path, stores, lambda job: in_child(lambda: work(job)))

    assert kill_at(10**6, after=False)
    n_calls = int(counted.read_text())
    assert n_calls > 30, "an update of so many files makes more calls"
    boundaries = random.Random(0).sample(range(1, n_calls + 1), soak(12, n_calls))
    ended = [kill_at(boundary, after=after) for boundary in boundaries for after in (False, True)]
    assert sum(ended) <= 4, "threads make some calls more or fewer; the last of them may not come"


def test_at_random_instants(tmp_path: Path, stores) -> None:
    started = time.perf_counter()
    resumed(tmp_path, stores, in_child)
    whole = time.perf_counter() - started
    rng = random.Random(1)
    ended = [
        resumed(tmp_path, stores, lambda job: in_child(job, seconds=rng.uniform(0, whole / 3)))
        for _ in range(soak(8, 200))
    ]
    assert not all(ended), "some must have been killed before their end"


def test_a_torn_manifest_isn_t_a_version(tmp_path: Path, stores) -> None:
    of, old, expected = stores
    before = files(old)
    (old / "zarr.json.partial").write_bytes(before["zarr.json"][:-20])
    check_between(old, of)
    assert write(old, of, OLD).n_bytes_written == 0
    assert files(old) == before
    assert write(old, of, NEW).n_new == N_NEW
    assert files(old) == expected


def test_what_was_half_written_goes_and_what_isn_t_ours_stays(tmp_path: Path, stores) -> None:
    of, old, expected = stores
    theirs = {"values/c/99/0": b"junk", "notes.txt": b"mine", "download.partial": b"half of a film"}
    for name, content in theirs.items():
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(content)
    (old / "status" / "c" / "0.partial").write_bytes(b"half")
    first = next(iter(sorted((old / "values").rglob("0"))))
    first.unlink() if first.is_file() else None
    for _ in range(2):
        write(old, of, NEW)
        assert files(old) == expected | theirs


def test_two_writers_don_t_meet(tmp_path: Path) -> None:
    from reelstore.errors import StoreError
    from reelstore.store.update import VariantUpdate

    from .made import table_of

    of = spec()
    folder = folder_of(tmp_path, of)
    first = VariantUpdate(folder, of, table_of(["a"], of))
    with pytest.raises(StoreError, match="another process is writing"):
        VariantUpdate(folder, of, table_of(["a"], of))
    first.put(0, value_of("a", of))
    first.finish()
    assert write(folder, of, ["a"]).n_new == 0


def test_what_a_manifest_names_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch, stores) -> None:
    """After a power failure any part of what wasn't synced may be lost."""
    of, _, expected = stores
    folder = folder_of(tmp_path / "new", of)
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        calls.append(("sync", os.path.realpath(f"/proc/self/fd/{descriptor}")))

    def renamed(source: Path, target: Path) -> None:
        replace(source, target)
        calls.append(("rename", str(target)))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write(folder, of, NEW)
    counts = calls.index(("sync", f"{folder}/zarr.json.partial"))
    before = {path for kind, path in calls[:counts] if kind == "sync"}
    inside = {str(parent) for key in expected for parent in (folder / key).parents if parent.is_relative_to(folder)}
    assert {f"{folder}/{key}.partial" for key in expected if key != "zarr.json"} <= before
    assert inside | {str(folder.parents[level]) for level in range(5)} <= before, "and every name on the way to them"
    first = calls.index(("rename", f"{folder}/values/zarr.json"))
    assert ("sync", str(folder)) in calls[counts:first], "the new manifest's name is there before any file's"
    last = calls.index(("rename", f"{folder}/zarr.json"))
    renames = [number for number, (kind, _) in enumerate(calls) if kind == "rename" and number < last]
    assert inside <= {path for kind, path in calls[renames[-1] : last] if kind == "sync"}
    assert ("sync", str(folder)) in calls[last:]

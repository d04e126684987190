"""A changed byte anywhere is found, named, and repaired without touching what is sound."""

import json
import random
import shutil
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from reelstore.errors import MissingRowError, SchemaError
from reelstore.store.format import manifest_bytes, variant_digest
from reelstore.store.groups import variant_folders
from reelstore.store.open import open_variant
from reelstore.store.verify import check_between, check_groups, check_variant

from .made import files, folder_of, soak, spec, write

KEYS = [f"video{number}" for number in range(150)]


@pytest.fixture(params=[0, 4, None], ids=["pooled", "dense", "ragged"])
def stored(request, tmp_path: Path, small_files):
    of = spec(request.param)
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS, failed=("video7", "video100"))
    return of, folder


def found(folder: Path, *, quick: bool = False) -> list[str]:
    return [str(finding) for finding in [*check_groups(folder), *check_variant(folder, quick=quick)]]


def test_a_sound_variant_has_no_findings(stored) -> None:
    _, folder = stored
    assert found(folder) == found(folder, quick=True) == []


def test_a_flipped_byte_in_any_file_is_found_and_named(stored) -> None:
    _, folder = stored
    rng = random.Random(0)
    groups = [folder.parents[level] / "zarr.json" for level in range(3)]
    for path in [*sorted(p for p in folder.rglob("*") if p.is_file()), *groups]:
        content = path.read_bytes()
        for _ in range(soak(2, 25)):
            flipped = bytearray(content)
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            assert any(str(path) in finding for finding in found(folder)), path
        path.write_bytes(content)
    assert found(folder) == []


@pytest.mark.parametrize("quick", [False, True])
def test_truncated_missing_swapped_and_unrecognised_files_are_found(stored, quick: bool) -> None:
    _, folder = stored
    keep = folder.parent / "keep"
    shutil.copytree(folder, keep)
    shards = sorted(p for p in (folder / "values" / "c").rglob("*") if p.is_file())

    def again() -> None:
        shutil.rmtree(folder)
        shutil.copytree(keep, folder)

    for path in [p for p in folder.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert any(str(path) in finding for finding in found(folder, quick=quick)), path
        path.unlink()
        assert any(str(path) in finding for finding in found(folder, quick=quick)), path
        again()
    if not quick and len(shards) > 1:
        first, second = shards[0].read_bytes(), shards[1].read_bytes()
        shards[0].write_bytes(second)
        shards[1].write_bytes(first)
        assert {str(path) for path in shards[:2]} <= {finding.split(": ")[0] for finding in found(folder)}
        again()
    (folder / "values" / "c" / "77").write_bytes(b"x")
    assert found(folder, quick=quick) == [f"{folder}/values/c/77: isn't a file of this variant"]


def test_a_bad_shard_is_named_with_its_rows_and_only_those_are_recomputed(stored) -> None:
    of, folder = stored
    before = files(folder)
    shard = sorted(p for p in (folder / "values" / "c").rglob("*") if p.is_file())[0]
    content = bytearray(shard.read_bytes())
    content[3] ^= 4
    shard.write_bytes(content)
    (finding,) = found(folder)
    n_bad = {"pooled": 16, "dense": 4, "ragged": 6}[of.layout]  # rows of the first block
    assert f"damaged are rows 0 to {n_bad - 1}, 'video0' to 'video{n_bad - 1}'" in finding
    report = write(folder, of, KEYS, failed=("video7", "video100"))
    assert report.repaired == (shard.relative_to(folder).as_posix(),)
    assert report.n_new == n_bad
    assert files(folder) == before


@pytest.mark.parametrize("array", ["fingerprint", "status", "video_id", "video_id_offsets", "split"])
@pytest.mark.parametrize("part", ["zarr.json", "c"])
def test_bad_tables_cost_no_row(stored, array: str, part: str) -> None:
    of, folder = stored
    before = files(folder)
    path = next(p for p in sorted((folder / array).rglob("*")) if p.is_file() and (part in p.relative_to(folder).parts))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    report = write(folder, of, KEYS)
    assert report.n_new == 0
    assert files(folder) == before


def test_a_damaged_manifest_is_refused_rather_than_overwritten(stored) -> None:
    of, folder = stored
    path = folder / "zarr.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"split"', b'"splat"').replace(b"no frames", b"no flames"))
    before = files(folder)
    with pytest.raises(SchemaError, match="doesn't match its checksum"):
        write(folder, of, KEYS)
    assert files(folder) == before


def test_a_variant_moved_to_another_name_is_found(stored) -> None:
    _, folder = stored
    moved = folder.with_name("max")
    folder.rename(moved)
    assert "was moved here" in found(moved)[0]


def test_every_variant_below_a_folder_is_looked_at_damaged_ones_too(tmp_path: Path) -> None:
    pooled, dense = spec(), spec(4)
    for of in (pooled, dense):
        write(folder_of(tmp_path, of), of, ["a", "b"])
    (folder_of(tmp_path, dense) / "zarr.json").unlink()
    assert variant_folders(tmp_path) == sorted(folder_of(tmp_path, of) for of in (pooled, dense))
    assert "zarr.json: is missing" in found(folder_of(tmp_path, dense))[0]


def test_files_that_agree_with_their_digests_and_not_with_each_other_are_found(tmp_path: Path) -> None:
    """As a writer with a fault would leave them."""
    from reelstore.store.files import read_manifest
    from reelstore.store.format import manifest_bytes, variant_digest

    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS[:10])
    attributes = dict(read_manifest(folder) or {})
    status = folder / "status" / "c" / "0"
    status.write_bytes(bytes([2]) + status.read_bytes()[1:])
    digests = {**attributes["digests"], "status/c/0": __import__("hashlib").sha256(status.read_bytes()).hexdigest()}
    attributes |= {"digests": digests, "digest": variant_digest(digests)}
    (folder / "zarr.json").write_bytes(manifest_bytes(attributes))
    assert f"{folder}: 1 rows failed, 0 reasons are stored" in found(folder)
    assert np.isfinite(open_variant(folder).ok().array()).all()


def test_what_lies_between_variants_is_found_but_for_files_of_dvc_and_git(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS)
    store = tmp_path / "store"
    (folder.parent / "mean.dvc").write_text("")
    (folder.parent / ".gitignore").write_text("/mean\n")
    assert not list(check_between(store, [folder]))
    (folder.parents[2] / "notes.txt").write_text("")
    (folder.parents[1] / "zarr.json.1-2.partial").write_text("")
    (folder.parent / "meen" / "c").mkdir(parents=True)
    found = [str(finding).removeprefix(f"{store}/set/") for finding in check_between(store, [folder])]
    assert found == [
        "notes.txt: isn't part of a store",
        "video/fake/meen: isn't part of a store: there is no variant in it",
        "video/zarr.json.1-2.partial: is left over from an interrupted write",
    ]
    assert open_variant(folder).ids == KEYS


@pytest.mark.parametrize(
    ("array", "words"),
    [
        ("checksum", "block 0 of video_id isn't what its checksum says"),
        ("key_index", "key_index isn't the index of these keys"),
    ],
)
def test_an_array_that_contradicts_the_others_is_found_though_all_digests_fit(stored, array: str, words: str) -> None:
    """A writer that lies: its files are what its manifest says."""
    _, folder = stored
    file = folder / array / "c/0"
    content = bytearray(file.read_bytes())
    content[0:8], content[8:16] = content[8:16], content[0:8]
    file.write_bytes(content)
    manifest = json.loads((folder / "zarr.json").read_text())["attributes"]["reelstore"]
    del manifest["checksum"]
    manifest["digests"][f"{array}/c/0"] = sha256(content).hexdigest()
    manifest["digest"] = variant_digest(manifest["digests"])
    (folder / "zarr.json").write_bytes(manifest_bytes(manifest))
    assert any(words in finding for finding in found(folder)), found(folder)


@pytest.mark.parametrize("row", [149, 2**32 - 1])
def test_an_index_that_leads_beyond_its_run_is_named_by_whoever_follows_it(stored, row: int) -> None:
    _, folder = stored
    file = folder / "key_index/c/0"
    content = bytearray(file.read_bytes())
    entries = np.frombuffer(content, np.uint64, 32)
    entries[...] = (entries >> np.uint64(32) << np.uint64(32)) | np.uint64(row)
    file.write_bytes(content)
    rows = open_variant(folder)
    for key in KEYS:
        with suppress(SchemaError, MissingRowError):  # named, or not found; never another key's row
            assert rows.ids[rows.index_of(key)] == key

"""A variant is recognised by its manifest, not by names or other metadata; the groups above it."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from reelstore.errors import OccupiedError, SchemaError, StoreError, StoreNotFoundError
from reelstore.project.stores.inventory import inventory
from reelstore.project.stores.verify import verify
from reelstore.records import ARRAY_NAMES, RESERVED_NAMES
from reelstore.store.chunks import layouts
from reelstore.store.commit import remove_variant
from reelstore.store.format import SCHEMA_VERSION
from reelstore.store.groups import GROUP, drop_consolidated, variant_folders
from reelstore.store.open import open_store, open_variant
from reelstore.store.update import VariantUpdate
from reelstore.store.verify import check_between, check_groups, check_variant
from reelstore.store.write import VariantWriter

from .made import files, folder_of, spec, table_of, value_of, write

KEYS = [f"video{number}" for number in range(5)]
CAPTIONS = [(key, 0) for key in KEYS]
LEVELS = {"root": ".", "dataset": "set", "side": "set/video", "encoder": "set/video/fake"}
NAMES = ["set/text/fake/mean", "set/video/fake/mean", "set/video/fake/tokens"]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("written")
    for of, keys in ((spec(0), KEYS), (spec(None), KEYS), (spec(0, side="text"), CAPTIONS)):
        write(folder_of(root, of), of, keys)
    return root / "store"


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """A root with one dataset: videos pooled and as tokens, captions pooled."""
    return shutil.copytree(written, tmp_path / "store")


def consolidate(path: Path) -> None:
    with warnings.catch_warnings():  # zarr-python warns that the specification doesn't have it
        warnings.simplefilter("ignore")
        zarr.open_group(path, mode="a")
        zarr.consolidate_metadata(path)
    assert '"consolidated_metadata"' in (path / "zarr.json").read_text()


def findings(path: Path) -> list[str]:
    return [str(finding) for finding in verify(path, progress=lambda done, total: None).findings]


def listed(path: Path) -> list[str]:
    """What each of those that walk a store sees, which must be the same."""
    names = [folder.relative_to(path).as_posix() for folder in variant_folders(path)]
    found = inventory(path)
    assert names == list(open_store(path))
    seen = sorted([*(variant.path for variant in found.variants), *found.damaged])
    assert names == [folder.relative_to(path).as_posix() for folder in seen]
    return names


def forge(folder: Path, of, keys: list) -> None:
    """A sound variant under a name that is refused today."""
    folder.mkdir(parents=True)
    writer = VariantWriter(folder, of, table_of(keys, of), None)
    writer.append(np.stack([value_of(key, of) for key in keys]))
    writer.publish()
    for group in folder.parents[:3]:
        (group / "zarr.json").write_bytes(GROUP)


@pytest.mark.parametrize("level", [*LEVELS.values(), "set/video/fake/mean"], ids=[*LEVELS, "variant"])
def test_consolidated_metadata_changes_nothing_in_what_is_listed_opened_and_verified(store: Path, level: str) -> None:
    rows = open_variant(store / "set/video/fake/mean")
    consolidate(store / level)
    assert listed(store) == NAMES
    assert findings(store) == findings(store / "set") == findings(store / "set/video/fake/mean") == []
    for name in NAMES:
        assert len(open_store(store)[name]) == 5
    assert (rows["video3"] == value_of("video3", spec(0)).astype(np.float16)).all()  # opened before


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("change", ["grown", "new", "removed"])
def test_no_client_reads_by_old_metadata_after_a_write(store: Path, level: str, change: str) -> None:
    consolidate(store / level)
    before = (store / level / "zarr.json").read_bytes()
    folder, of = store / "set/video/fake/mean", spec(0)
    write(folder, of, KEYS)
    assert (store / level / "zarr.json").read_bytes() == before  # nothing was written
    if change == "new":
        folder, of = store / "set/video/fake/max", replace(of, variant="max")
    if change == "removed":
        remove_variant(folder)
    else:
        write(folder, of, [*KEYS, "video5"])
    group, name = zarr.open_group(store / level, mode="r"), folder.relative_to(store / level).as_posix()
    assert (name in group) == folder.exists() == (name in listed(store / level)) == (change != "removed")
    if change != "removed":
        assert group[f"{name}/values"].shape == (6, of.dim)
    assert (store / level / "zarr.json").read_bytes() == GROUP
    assert findings(store) == []


def test_a_variant_s_own_consolidated_metadata_goes_when_it_is_written(store: Path) -> None:
    folder = store / "set/video/fake/mean"
    consolidate(folder)
    before = files(folder)
    write(folder, spec(0), KEYS)
    assert files(folder) == before  # nothing was written
    write(folder, spec(0), [*KEYS, "video5"])
    assert b"consolidated" not in (folder / "zarr.json").read_bytes()
    assert zarr.open_group(folder, mode="r")["values"].shape == (6, 6)


def test_a_group_s_own_attributes_outlive_its_consolidated_metadata(store: Path) -> None:
    zarr.open_group(store / "set", mode="a").attrs["curator"] = "me"
    consolidate(store / "set")
    write(store / "set/video/fake/mean", spec(0), [*KEYS, "video5"])
    group = json.loads((store / "set/zarr.json").read_text())
    assert group == {"zarr_format": 3, "node_type": "group", "attributes": {"curator": "me"}}


def test_consolidated_metadata_of_a_version_before_is_found_and_taken_out(store: Path) -> None:
    consolidate(store / "set")
    old = (store / "set/zarr.json").read_bytes()
    write(store / "set/video/fake/mean", spec(0), [*KEYS, "video5"])
    (store / "set/zarr.json").write_bytes(old)  # as git checkout of one, and dvc checkout of the other, leave it
    assert zarr.open_group(store / "set", mode="r")["video/fake/mean/values"].shape == (5, 6)
    (found,) = findings(store)
    assert found.startswith(f"{store / 'set/zarr.json'}: its consolidated metadata is outdated for video/fake/mean")
    drop_consolidated(store / "set/video/fake/mean")
    assert findings(store) == []
    assert (store / "set/zarr.json").read_bytes() == GROUP


@pytest.mark.parametrize("place", ["dataset", "encoder", "variant"])
@pytest.mark.parametrize("name", [*ARRAY_NAMES, "c", "zarr.json", "Values", "ZARR.JSON", "half.partial"])
def test_reserved_names_are_refused_when_written_and_read_where_they_are(tmp_path: Path, name: str, place: str) -> None:
    of = spec(0)
    of = replace(of, **({place: name} if place != "dataset" else {}))
    folder = tmp_path / "store" / (name if place == "dataset" else "set") / "video" / of.encoder / of.variant
    with pytest.raises(SchemaError, match=f"the name '{name}' of the {place} is reserved"):
        VariantUpdate(folder, of, table_of(KEYS, of))
    assert not (tmp_path / "store").exists()
    if name == "zarr.json" and place != "dataset":  # a group's own file has the name
        return
    forge(folder, of, KEYS)
    key = folder.relative_to(tmp_path / "store").as_posix()
    assert listed(tmp_path / "store") == [key]
    assert findings(tmp_path / "store") == []
    assert len(open_store(tmp_path / "store")[key]) == 5
    before = files(tmp_path)
    with pytest.raises(SchemaError, match="reserved"):
        VariantUpdate(folder, of, table_of([*KEYS, "video5"], of))
    assert files(tmp_path) == before


def test_every_array_s_name_is_reserved() -> None:
    for of in (spec(0), spec(None, side="text")):
        assert {*layouts(of, 3, 3, 9, SCHEMA_VERSION)} < RESERVED_NAMES


def test_names_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    names = ["clip", "CLIP", "clip.b", "clip-b", "clip+clip", "valuesx", "reelstore"]
    for name in names:
        of = replace(spec(0), encoder=name)
        write(folder_of(tmp_path, of), of, KEYS)
    assert sorted(listed(tmp_path / "store")) == sorted(f"set/video/{name}/mean" for name in names)
    assert findings(tmp_path / "store") == []


@pytest.mark.parametrize("content", [b"", b"{", b'{\n "attributes": {\n  "reelst', b"\x00\xff", b"not JSON"])
@pytest.mark.parametrize("around", ["groups", "consolidated"])
def test_a_manifest_that_was_cut_is_found(store: Path, content: bytes, around: str) -> None:
    if around == "consolidated":
        consolidate(store / "set")
    folder = store / "set/video/fake/mean"
    (folder / "zarr.json").write_bytes(content)
    assert listed(store) == NAMES
    assert any(finding.startswith(f"{folder}/zarr.json: ") for finding in findings(store))
    assert any(finding.startswith(f"{folder}/zarr.json: ") for finding in findings(folder))


@pytest.mark.parametrize("by", ["reelstore", "zarr"])
def test_a_manifest_cut_anywhere_is_found_beside_files_of_others(store: Path, by: str) -> None:
    folder = store / "set/video/fake/mean"
    if by == "zarr":
        consolidate(folder)
    (folder / "notes.txt").write_text("mine")
    whole = (folder / "zarr.json").read_bytes()
    for size in range(60, len(whole), 97):
        (folder / "zarr.json").write_bytes(whole[:size])
        assert variant_folders(folder) == [folder]


def test_a_variant_without_manifest_and_status_is_found(store: Path) -> None:
    folder = store / "set/video/fake/mean"
    (folder / "zarr.json").unlink()
    shutil.rmtree(folder / "status")
    assert listed(store) == NAMES
    assert f"{folder}/zarr.json: is missing" in findings(store)


OTHERS = {
    "a group that only says the word": {"note": '"reelstore"', "reelstore": "made by"},
    "a group with attributes under the word": {"reelstore": {"note": 1}},
    "a group with a list under the word": {"reelstore": ["schema_version"]},
    "a plain group": {},
}


@pytest.mark.parametrize("above", ["set/video/fake", "set/video", "set", "."])
@pytest.mark.parametrize("name", OTHERS)
def test_somebody_else_s_groups_are_no_variants_and_hide_none(store: Path, above: str, name: str) -> None:
    group = zarr.open_group(store / above / "theirs", mode="w", attributes=OTHERS[name])
    for array in ("values", "status", "video_id", "mine"):
        group.create_array(array, data=np.arange(4), attributes={"reelstore": {"schema_version": 2}})
    consolidate(store / above / "theirs")
    assert listed(store) == NAMES
    assert [str(one) for one in check_between(store, variant_folders(store))] == [
        f"{store / above / 'theirs'}: isn't part of a store: there is no variant in it"
    ]
    with pytest.raises(StoreNotFoundError, match="No variant"):
        open_store(store)[(Path(above) / "theirs").as_posix()]
    with pytest.raises((SchemaError, OccupiedError)):
        VariantUpdate(store / above / "theirs", spec(0), table_of(KEYS, spec(0)))


@pytest.mark.parametrize("attributes", [{"reelstore": "made by"}, {"reelstore": {"note": 1}}])
def test_a_group_above_that_says_the_word_stays_a_group(store: Path, attributes: dict) -> None:
    zarr.open_group(store / "set", mode="a").attrs.update(attributes)
    write(store / "set/video/fake/mean", spec(0), [*KEYS, "video5"])
    assert listed(store) == NAMES
    assert findings(store) == [f"{store / 'set/zarr.json'}: isn't the empty group it should be"]


def test_hidden_folders_and_files_of_zarr_2_are_named_and_hide_nothing(store: Path) -> None:
    shutil.copytree(store / "set/video/fake/mean", store / "set/video/fake/.copies/mean")
    names = [".zgroup", ".zattrs", ".zmetadata"]
    for name in names:
        (store / "set" / name).write_text('{"zarr_format": 2, "metadata": {"reelstore": {"schema_version": 2}}}')
    assert listed(store) == NAMES
    assert findings(store) == [
        *(f"{store}/set/{name}: isn't part of a store" for name in sorted(names)),
        f"{store}/set/video/fake/.copies: isn't part of a store: there is no variant in it",
    ]


def test_a_variant_inside_a_variant_is_an_unrecognised_folder(store: Path) -> None:
    folder = store / "set/video/fake/mean"
    shutil.copytree(store / "set/video/fake/tokens", folder / "inner")
    assert listed(store) == NAMES
    assert any(
        finding.startswith(f"{folder}/inner/zarr.json: isn't a file of this variant") for finding in findings(store)
    )
    assert len(open_variant(folder / "inner")) == 5


@pytest.mark.parametrize("place", ["set/copied", "set/video/copied", "set/video/fake/copied", "set/text/fake/max"])
def test_a_variant_copied_elsewhere_is_named_and_nothing_outside_the_store_is(store: Path, place: str) -> None:
    shutil.copytree(store / "set/video/fake/mean", store / place)
    found = [str(one) for one in [*check_groups(store / place), *check_variant(store / place, quick=True)]]
    assert f"{store / place}: holds video/fake/mean: it was moved here from elsewhere" in found
    assert all(finding.startswith(str(store)) for finding in found)
    assert place in listed(store)


def test_a_read_only_group_is_refused_before_anything_is_written(store: Path) -> None:
    consolidate(store / "set")
    before = files(store)
    (store / "set").chmod(0o555)
    try:
        with pytest.raises(StoreError, match="read-only"):
            write(store / "set/video/fake/mean", spec(0), [*KEYS, "video5"])
    finally:
        (store / "set").chmod(0o755)
    assert files(store) == before


@pytest.mark.parametrize("above", ["a file", "a link to a disk"])
def test_what_stands_above_a_variant_is_refused(tmp_path: Path, above: str) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    folder.parents[1].mkdir(parents=True)
    if above == "a file":
        folder.parent.write_text("mine")
    else:
        folder.parent.symlink_to("a disk")
    with pytest.raises(OccupiedError, match=rf"fake is {above}.* Move it away"):
        write(folder, of, KEYS)
    assert folder.parent.is_symlink() or folder.parent.read_text() == "mine"


def test_groups_above_are_written_even_if_the_variant_is_as_it_should_be(tmp_path: Path) -> None:
    """As after a kill between the two."""
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS)
    whole = files(tmp_path)
    (folder.parents[0] / "zarr.json").unlink()
    (folder.parents[1] / "zarr.json").unlink()
    (folder.parents[2] / "zarr.json.partial").write_bytes(whole["store/set/zarr.json"][:10])
    assert len(list(check_groups(folder))) == 2
    assert write(folder, of, KEYS).n_bytes_written == 0
    assert files(tmp_path) == whole

"""Whatever is in a folder before a variant is written there: it is repaired, or refused by name and untouched."""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from reelstore.errors import OccupiedError, SchemaError
from reelstore.project.stores.inventory import inventory
from reelstore.store.commit import is_variant, remove_variant
from reelstore.store.groups import variant_folders
from reelstore.store.verify import check_between, check_groups, check_variant

from .made import files, folder_of, spec, write

KEYS = [f"video{number}" for number in range(70)]


def a_file_for_a_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def a_folder_for_a_file(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("something")


def linked_away(path: Path, elsewhere: Path) -> None:
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


HEALED: dict[str, Callable[[Path, Path], object]] = {
    # name: what is done to a sound variant's folder, with a folder elsewhere
    "a file half-written": lambda folder, _: (folder / "values/c/0/0.partial").write_bytes(b"half"),
    "a shard that is gone": lambda folder, _: (folder / "values/c/0/0").unlink(),
    "a pipe for a shard": lambda folder, _: ((folder / "values/c/1/0").unlink(), os.mkfifo(folder / "values/c/1/0")),
    "a link in a circle": lambda folder, _: (
        (folder / "values/c/0/0").unlink(),
        (folder / "values/c/0/0").symlink_to("0"),
    ),
    "an array linked away": lambda folder, elsewhere: linked_away(folder / "values", elsewhere),
    "a folder of files linked away": lambda folder, elsewhere: linked_away(folder / "values" / "c", elsewhere),
}
KEPT: dict[str, Callable[[Path, Path], object]] = {
    "a file": lambda folder, _: (folder / "notes.txt").write_text("mine"),
    "a download": lambda folder, _: (folder / "film.mp4.partial").write_text("half"),
    "a pipe": lambda folder, _: os.mkfifo(folder / "values/c/pipe"),
    "an empty folder": lambda folder, _: (folder / "thoughts").mkdir(),
    "a folder": lambda folder, _: shutil.copytree(folder, folder / "copy"),
    "another's folder linked in": lambda folder, elsewhere: (
        shutil.copytree(folder, elsewhere),
        (folder / "theirs").symlink_to(elsewhere),
    ),
}
REFUSED: dict[str, Callable[[Path, Path], object]] = {
    "a file for the variant": lambda folder, _: a_file_for_a_folder(folder),
    "a file for an array": lambda folder, _: a_file_for_a_folder(folder / "values"),
    "a file for a folder of files": lambda folder, _: a_file_for_a_folder(folder / "status" / "c"),
    "a folder for a shard": lambda folder, _: a_folder_for_a_file(folder / "values/c/0/0"),
    "a folder for the manifest": lambda folder, _: a_folder_for_a_file(folder / "zarr.json"),
    "a file for a new shard": lambda folder, _: (
        write(folder, spec(), KEYS[:64]),
        (folder / "values/c/1").mkdir(),
        (folder / "values/c/1/0").write_text("mine"),
    ),
    "a folder for a new manifest": lambda folder, _: (folder / "zarr.json.partial").mkdir(),
    "a folder half-written": lambda folder, _: (folder / "values/c/1/0.partial/deep").mkdir(parents=True),
    "a link to nothing for an array": lambda folder, _: (
        shutil.rmtree(folder / "split"),
        (folder / "split").symlink_to("nowhere"),
    ),
    "a manifest linked to nothing": lambda folder, _: (
        (folder / "zarr.json").unlink(),
        (folder / "zarr.json").symlink_to("nowhere"),
    ),
    "a variant without its manifest": lambda folder, _: (folder / "zarr.json").unlink(),
    "another tool's array": lambda folder, _: emptied_for(folder, "values/zarr.json", b'{"zarr_format": 3}'),
    "a thesis": lambda folder, _: emptied_for(folder, "thesis.tex", b"years of work"),
    "a Zarr v2 group": lambda folder, _: emptied_for(folder, ".zgroup", b'{"zarr_format": 2}'),
    "a Zarr v3 group": lambda folder, _: emptied_for(
        folder, "zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    ),
    "a download": lambda folder, _: emptied_for(folder, "film.mp4.partial", b"half"),
    "a link to a person's folder": lambda folder, elsewhere: (
        emptied_for(folder, "thesis.tex", b"years of work"),
        linked_away(folder, elsewhere),
    ),
    "a link to an empty folder": lambda folder, elsewhere: (
        shutil.rmtree(folder),
        elsewhere.mkdir(),
        folder.symlink_to(elsewhere),
    ),
    "a link to nothing": lambda folder, elsewhere: (shutil.rmtree(folder), folder.symlink_to(elsewhere)),
    "a link to another variant": lambda folder, elsewhere: (
        write(elsewhere / "max", replace(spec(), variant="max"), KEYS),
        shutil.rmtree(folder),
        folder.symlink_to(elsewhere / "max"),
    ),
    "a person's folder linked above": lambda folder, elsewhere: (
        elsewhere.mkdir(),
        (elsewhere / "thesis.tex").write_text("years of work"),
        shutil.rmtree(folder.parent),
        folder.parent.symlink_to(elsewhere),
    ),
    "another tool's group above": lambda folder, _: (folder.parents[1] / "zarr.json").write_text('{"mine": 1}'),
}


def emptied_for(folder: Path, name: str, content: bytes) -> None:
    shutil.rmtree(folder)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(content)


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that is there: contents of files, what links lead to, and folders."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        kind = f"-> {os.readlink(path)}" if path.is_symlink() else "a folder" if path.is_dir() else "a pipe"
        regular = path.is_file() and not path.is_symlink()
        found[path.relative_to(folder).as_posix()] = path.read_bytes() if regular else kind
    return found


@pytest.mark.parametrize("name", HEALED)
def test_the_variant_is_what_it_would_be_in_an_empty_folder(tmp_path: Path, name: str, small_files: None) -> None:
    of = spec()
    folder, elsewhere = folder_of(tmp_path, of), tmp_path / "elsewhere"
    write(folder, of, KEYS)
    expected = tree(folder)
    HEALED[name](folder, elsewhere)
    theirs = tree(elsewhere)
    assert "linked" in name or found_in(folder), "verify sees it"
    report = write(folder, of, KEYS)
    assert tree(folder) == expected
    assert not found_in(folder)
    if "linked" in name:
        assert report.n_new == 0, "rows behind a link are there"
    assert tree(elsewhere) == theirs, "what a link leads to isn't ours"


@pytest.mark.parametrize("name", KEPT)
def test_what_the_manifest_doesn_t_list_stays(tmp_path: Path, name: str) -> None:
    of = spec()
    folder, elsewhere = folder_of(tmp_path, of), tmp_path / "elsewhere"
    write(folder, of, KEYS)
    ours = files(folder)
    KEPT[name](folder, elsewhere)
    before, theirs = tree(folder), tree(elsewhere)
    assert found_in(folder), "verify sees it"
    assert write(folder, of, KEYS).n_bytes_written == 0
    write(folder, of, KEYS[:10])
    write(folder, of, KEYS)
    assert tree(folder) == before
    assert tree(elsewhere) == theirs
    remove_variant(folder)
    assert tree(folder) == {key: value for key, value in before.items() if key not in ours and has(folder, key)}
    assert set(before) - set(tree(folder)) <= {*ours, *folders_of(ours)}


def has(folder: Path, key: str) -> bool:
    return os.path.lexists(folder / key)


def folders_of(names: Iterable[str]) -> set[str]:
    return {parent.as_posix() for name in names for parent in Path(name).parents}


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("name", REFUSED)
def test_what_isn_t_ours_is_refused_by_name_and_untouched(tmp_path: Path, name: str) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS)
    REFUSED[name](folder, tmp_path / "elsewhere")
    before = tree(tmp_path)
    with pytest.raises((OccupiedError, SchemaError), match=str(folder.parents[1])):
        write(folder, of, [*KEYS, "another"])
    assert tree(tmp_path) == before
    store = tmp_path / "store"
    variants = variant_folders(store)
    assert [*check_between(store, variants), *(f for v in variants for f in found_in(v))], "verify sees it"
    assert tree(tmp_path) == before


def found_in(folder: Path) -> list[str]:
    return [str(finding) for finding in [*check_groups(folder), *check_variant(folder, quick=False)]]


def test_a_variant_may_itself_be_a_link(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS)
    expected = files(folder)
    linked_away(folder, tmp_path / "larger disk")
    assert [line.path for line in inventory(tmp_path / "store").variants] == [folder]
    (folder / "status" / "c" / "0").unlink()
    assert variant_folders(tmp_path / "store") == [folder]
    assert any("status/c/0: is missing" in finding for finding in found_in(folder))
    write(folder, of, KEYS)
    assert folder.is_symlink()
    assert files(tmp_path / "larger disk") == expected


def test_a_variant_is_of_a_folder_only_by_side_encoder_and_name(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, KEYS[:5])
    assert is_variant(folder)
    for elsewhere in (folder.with_name("max"), folder.parents[1] / "other" / "mean"):
        shutil.copytree(folder, elsewhere)
        assert not is_variant(elsewhere), "a copy that somebody put there"

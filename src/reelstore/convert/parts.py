"""One whole in several files: numbered parts, `data-00000-of-00003.arrow`; or what `datasets` saved to disk."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from reelstore.errors import ForeignFileError
from reelstore.io import read_json
from reelstore.records import shortened

TABLES = (".parquet", ".arrow", ".feather")
_NUMBERED = re.compile(r"(.*?)[-_.]?([0-9]{1,18})(?:-of-([0-9]{1,18}))?", re.DOTALL)
_MOST = 10**6
"""Parts that a folder may say it has."""


class Part(NamedTuple):
    """One file: its name before the number (`img_emb`), and its place in the whole."""

    path: Path
    stem: str
    number: int


class Shard(NamedTuple):
    """One file of a table, and the split that its rows are in where the folder says so."""

    path: Path
    split: str | None


def parts_of(folder: Path, endings: Collection[str]) -> list[Part]:
    """The files of a folder that end so, by stem, then by number, not by letter: 2 before 10.

    Raises:
        ForeignFileError: there is none, one has no number, two have the same, or one is missing: numbers begin with 0
            or 1, and a name may say how many there are.
    """
    try:
        names = sorted(e.name for e in os.scandir(folder) if not e.name.startswith(".") and not e.is_dir())
    except OSError as error:
        raise ForeignFileError(f"{folder} can't be read as a folder: {error.strerror}.") from error
    paths = [folder / name for name in names if Path(name).suffix in endings]
    if not paths:
        raise ForeignFileError(f"{folder} has no files that end in {', '.join(endings)}.")
    if len(paths) == 1 and _total(paths[0]) <= 1:
        return [Part(paths[0], paths[0].stem, 0)]
    found: dict[tuple[str, int], Path] = {}
    for path in paths:
        match = _NUMBERED.fullmatch(path.stem)
        if match is None:
            raise ForeignFileError(f"{path} has no number: parts of a whole are numbered, like img_emb_0.npy.")
        key = match[1], int(match[2])
        if key in found:
            raise ForeignFileError(f"{found[key]} and {path} are both part {key[1]}.")
        found[key] = path
    parts = [Part(found[key], *key) for key in sorted(found)]
    for stem in {part.stem for part in parts}:
        here = [part for part in parts if part.stem == stem]
        totals = {_total(part.path) for part in here}
        first = min(here[0].number, 1)
        expected = range(first, max(first + max(totals), here[-1].number + 1))
        missing = sorted({*expected} - {part.number for part in here}) if len(expected) < _MOST else [here[-1].number]
        if len(totals) > 1 or missing:
            said = f"part {missing[0]} isn't there" if missing else "their names say different numbers of parts"
            raise ForeignFileError(f"{folder} has {len(here)} parts of {stem!r}, numbered from {first}: {said}.")
    return parts


def one_whole(path: Path, endings: Collection[str]) -> list[Part]:
    """The parts of one whole: a file itself, or the files of a folder, which must have one stem.

    Raises:
        ForeignFileError: as of `parts_of`; a file is one of several parts.
    """
    if not path.is_dir():
        if _total(path) > 1:
            raise ForeignFileError(f"{path} is one of {_total(path)} parts. Name the folder that they are in.")
        return [Part(path, path.stem, 0)]
    parts = parts_of(path, endings)
    stems = sorted({part.stem for part in parts})
    if len(stems) > 1:
        raise ForeignFileError(f"{path} has parts of several wholes: {', '.join(map(repr, stems[:5]))}. Separate them.")
    return parts


def shards_of(path: Path) -> list[Shard]:
    """The files of a Parquet or Arrow table, in order.

    Args:
        path: a file; a folder of numbered ones; a `Dataset` or `DatasetDict` that Hugging Face's `datasets` saved to
            disk, whose splits are folders; or files `<split>-00000-of-00002.parquet`.

    Raises:
        ForeignFileError: it is none of these, or a file isn't there.
    """
    if not path.is_dir():
        if path.suffix not in TABLES:
            raise ForeignFileError(
                f"{path} must end in .parquet, .arrow or .feather. Vectors in cells of CSV or JSON are text: write "
                "Parquet (pandas: to_parquet), or an .npy file beside a table of keys (reelstore import array)."
            )
        return [Shard(part.path, None) for part in one_whole(path, TABLES)]
    if (path / "dataset_dict.json").exists():
        splits = _listed(path / "dataset_dict.json", "splits")
        return [Shard(shard.path, split) for split in splits for shard in _saved(path / split)]
    if (path / "state.json").exists():
        return _saved(path)
    parts = parts_of(path, TABLES)
    several = len({part.stem for part in parts}) > 1
    return [Shard(part.path, part.stem if several else None) for part in parts]


def _total(path: Path) -> int:
    """How many parts a file's name says there are: 3 of `data-00000-of-00003.arrow`, 0 where it says nothing."""
    match = _NUMBERED.fullmatch(path.stem)
    return int(match[3]) if match is not None and match[3] is not None else 0


def _saved(folder: Path) -> list[Shard]:
    """The files of a `Dataset` that was saved to disk."""
    state = folder / "state.json"
    if state.exists() and isinstance(found := read_json(state), dict) and found.get("_indices_data_files"):
        raise ForeignFileError(
            f"{state} selects rows by indices. Write them out: datasets' flatten_indices, then save."
        )
    return [Shard(folder / name, None) for name in _listed(state, "_data_files", "filename")]


def _listed(path: Path, key: str, inner: str | None = None) -> list[str]:
    """Names in a list of a JSON file, of files or folders beside it."""
    try:
        found: Any = read_json(path)
    except FileNotFoundError:
        raise ForeignFileError(f"{path.parent} lacks {path.name}, which datasets' save_to_disk writes.") from None
    entries = found.get(key) if isinstance(found, dict) else None
    names: list[str] = []
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get(inner) if isinstance(entry, dict) else entry
        if not isinstance(name, str) or Path(name).name != name or name in names:
            raise ForeignFileError(f"{path}: {key} holds {shortened(name)}, which isn't a name, or is there twice.")
        names.append(name)
    if not names:
        raise ForeignFileError(f"{path} lists no {key}, as datasets' save_to_disk does.")
    for name in names:
        if not (path.parent / name).exists():
            raise ForeignFileError(f"{path} lists {name}, which isn't there.")
    return names

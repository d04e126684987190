"""The Parquet or Arrow files that one table is in: one file, numbered shards, or what `datasets` saved to disk."""

from pathlib import Path
from typing import Any, NamedTuple

from reelstore.convert.parts import one_whole, parts_of
from reelstore.errors import ForeignFileError
from reelstore.io import read_json
from reelstore.records import shortened

ENDINGS = (".parquet", ".arrow", ".feather")


class Shard(NamedTuple):
    """One file, and the split that its rows are in where the folder says so."""

    path: Path
    split: str | None


def shards_of(path: Path) -> list[Shard]:
    """The files of a table, in order.

    Args:
        path: a file; a folder of numbered ones; a `Dataset` or `DatasetDict` that Hugging Face's `datasets` saved to
            disk, whose splits are folders; or files `<split>-00000-of-00002.parquet`.

    Raises:
        ForeignFileError: it is none of these, or a file isn't there.
    """
    if not path.is_dir():
        if path.suffix not in ENDINGS:
            raise ForeignFileError(
                f"{path} must end in .parquet, .arrow or .feather. Vectors in cells of CSV or JSON are text: write "
                "Parquet (pandas: to_parquet), or an .npy file beside a table of keys (reelstore import array)."
            )
        return [Shard(part.path, None) for part in one_whole(path, ENDINGS)]
    if (path / "dataset_dict.json").exists():
        splits = _listed(path / "dataset_dict.json", "splits")
        return [Shard(shard.path, split) for split in splits for shard in _saved(path / split)]
    if (path / "state.json").exists():
        return _saved(path)
    parts = parts_of(path, ENDINGS)
    several = len({part.stem for part in parts}) > 1
    return [Shard(part.path, part.stem if several else None) for part in parts]


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

"""A directory of videos and a captions table: what most users bring. docs/dataset-folder.md shows it."""

import json
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

import pandas as pd

from reelstore.datasets.base import Built, Say
from reelstore.datasets.clips import refuse_outside, stems, video_files
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DatasetError
from reelstore.params import DatasetParams
from reelstore.records import Caption, Dataset, Video

COLUMNS = ("video_id", "caption")
OPTIONAL_COLUMNS = ("path", "split", "group")


def build(params: DatasetParams, folder: Path, *, say: Say) -> Built:
    """Read the table, find each video's file, hash it, and split.

    The table has a row for each caption: `video_id`, `caption`, and if wanted `path` (relative to the directory; else
    the file is found by its stem), `split` and `group` (of near-duplicates, which share a split).

    Raises:
        DatasetError: the message names the column, row or id.
    """
    source = Path(params.source)
    if not source.is_dir():
        raise DatasetError(f"dataset.source ({source}) isn't a directory of videos.")
    table = read_table(source / params.captions)
    by_video = {str(video_id): rows for video_id, rows in table.groupby("video_id", sort=False)}
    files = _find_files(source, by_video)
    videos, captions = [], []
    say(f"hashing {len(by_video)} videos")
    for video_id, rows in by_video.items():
        group = _single(rows, "group", video_id) or video_id
        split = _single(rows, "split", video_id) or split_of_group(group, params.splits, seed=params.seed)
        with open(source / files[video_id], "rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        videos.append(Video(video_id, files[video_id], digest, split, group))
        texts = [str(text) for text in rows["caption"]][: params.max_captions]
        captions += [Caption(video_id, index, text) for index, text in enumerate(texts)]
    n_unused = len(video_files(source)) - len(set(files.values()))
    left_out = (f"{n_unused} files without captions",) if n_unused > 0 else ()
    return Built(Dataset(params.name, source, tuple(videos), tuple(captions)), left_out)


def read_table(path: Path) -> pd.DataFrame:
    """The captions table, all columns as text; empty cells are None."""
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": _read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": _read_lines,
        ".ndjson": _read_lines,
    }
    if not path.is_file():
        raise DatasetError(f"The captions table {path} doesn't exist (dataset.captions, relative to dataset.source).")
    if path.suffix not in readers:
        raise DatasetError(f"{path}: the ending must be one of {', '.join(readers)}.")
    try:
        table = readers[path.suffix](path)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} can't be read as {path.suffix[1:]}: {error}") from error
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise DatasetError(f"{path} lacks the column {missing[0]!r}. It has: {', '.join(map(str, table.columns))}.")
    for column in COLUMNS:
        empty = table.index[table[column].isna() | (table[column].astype(str).str.strip() == "")]
        if len(empty):
            raise DatasetError(f"{path}: row {int(empty[0]) + 1} has no {column} ({len(empty)} such rows).")
    if not len(table):
        raise DatasetError(f"{path} has no rows.")
    table["video_id"] = table["video_id"].astype(str)
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])


def _read_lines(path: Path) -> pd.DataFrame:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return pd.DataFrame(rows)


def _find_files(source: Path, by_video: dict[str, pd.DataFrame]) -> dict[str, str]:
    """video_id -> path relative to the directory."""
    by_stem = stems(source)
    files, missing = {}, []
    for video_id, rows in by_video.items():
        path = _single(rows, "path", video_id)
        if path is None:
            named = by_stem.get(video_id, [])
            if len(named) > 1:
                raise DatasetError(f"Video {video_id!r} could be {named[0]} or {named[1]}. Add a `path` column.")
            path = named[0] if named else None
        if path is None or not (source / path).is_file():
            missing.append(f"{video_id} ({path})" if path else video_id)
            continue
        refuse_outside(source, path, video_id)
        files[video_id] = Path(path).as_posix()
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(by_video)} videos of the table have no file in {source}: "
            f"{', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}."
        )
    return files


def _single(rows: pd.DataFrame, column: str, video_id: str) -> str | None:
    """The one value a video's rows have in an optional column."""
    if column not in rows.columns:
        return None
    values = sorted(set(rows[column].dropna().astype(str)))
    if len(values) > 1:
        raise DatasetError(f"Video {video_id!r} has two values of {column}: {values[0]!r} and {values[1]!r}.")
    return values[0] if values else None

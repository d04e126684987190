"""A directory of videos and a captions table: what most users bring. docs/dataset-folder.md shows it."""

from hashlib import file_digest
from pathlib import Path

from reelstore.datasets.base import BuildResult, DatasetParams, Say
from reelstore.datasets.clips import irregular_clips, refuse_outside, stems, video_files
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DatasetError, ForeignFileError
from reelstore.io import open_regular
from reelstore.records import Caption, Dataset, Video
from reelstore.tables import Table, read_table

COLUMNS = ("video_id", "caption")
OPTIONAL_COLUMNS = ("path", "split", "group")
INDEX = "caption_index"


class FolderParams(DatasetParams):
    """A folder's own settings."""

    captions: str = "captions.csv"
    """The captions table, relative to source (CSV, TSV, Parquet, Arrow, JSON or JSON lines;
    a caption may be a list)."""


def build(params: FolderParams, folder: Path, *, say: Say) -> BuildResult:
    """Read the table, find each video's file, hash it, and split.

    The table has a row for each caption, or for several where `caption` is a list: `video_id`, `caption`, and if wanted
    `caption_index`, `path` (relative to the directory; else the file is found by its stem), `split` (of all videos or
    of none) and `group` (of near-duplicates, which share a split).

    Raises:
        DatasetError: the message names the column, row or id.
    """
    source = Path(params.source)
    if not source.is_dir():
        raise DatasetError(f"dataset.source ({source}) isn't a directory of videos.")
    table = read_captions(source / params.captions)
    by_video: dict[str, list[int]] = {}
    for row, video_id in enumerate(table.full("video_id")):
        by_video.setdefault(video_id, []).append(row)
    texts = table.full("caption")
    indices = table.numbers(INDEX) if INDEX in table else None
    files = _find_files(source, table, by_video)
    splits = _splits(table, by_video)
    videos, captions = [], []
    say(f"hashing {len(by_video)} videos")
    for video_id, rows in by_video.items():
        group = _single(table, rows, "group", video_id) or video_id
        split = splits.get(video_id) or split_of_group(group, params.splits, seed=params.seed)
        with open_regular(source / files[video_id]) as file:
            digest = file_digest(file, "sha256").hexdigest()
        videos.append(Video(video_id, files[video_id], digest, split, group))
        numbered = [(count if indices is None else indices[row], row) for count, row in enumerate(rows)]
        captions += [Caption(video_id, index, texts[row]) for index, row in numbered[: params.max_captions]]
    n_unused = len(video_files(source)) - len(set(files.values()))
    left_out = (f"{n_unused} files without captions",) if n_unused > 0 else ()
    return BuildResult(Dataset(params.name, source, tuple(videos), tuple(captions)), left_out)


def read_captions(path: Path) -> Table:
    """The captions table: `video_id` and `caption`, and what there is of the other columns, a row for each caption.

    Raises:
        DatasetError: it isn't there or can't be read, or a cell is empty or none that a store can keep.
    """
    if not path.exists():
        raise DatasetError(f"The captions table {path} doesn't exist (dataset.captions, relative to dataset.source).")
    try:
        table = read_table(path, (*COLUMNS, INDEX, *OPTIONAL_COLUMNS), captions="caption")
        for column in COLUMNS:
            if column not in table:
                raise DatasetError(f"{path} lacks the column {column!r}. It has: {', '.join(table.names[:20])}.")
            for row, cell in enumerate(table.columns[column]):
                if cell is None or not cell.strip():
                    n_empty = sum(not (one or "").strip() for one in table.columns[column])
                    raise DatasetError(f"{table.where(row)}: row {row + 1} has no {column} ({n_empty} such rows).")
        table.ids("video_id")
        for column in OPTIONAL_COLUMNS:
            table.check_names(column, few=column == "split")
        table.refuse_blanks("group")
        if INDEX in table:
            table.numbers(INDEX)
    except ForeignFileError as error:
        raise DatasetError(str(error)) from None
    return table


def _splits(table: Table, by_video: dict[str, list[int]]) -> dict[str, str]:
    """video_id -> split, of all videos; of none where no row has one."""
    splits = {video_id: _single(table, rows, "split", video_id) for video_id, rows in by_video.items()}
    known = {video_id: split for video_id, split in splits.items() if split is not None}
    if known and len(known) < len(splits):
        video_id = next(video_id for video_id, split in splits.items() if split is None)
        raise DatasetError(
            f"{table.where(by_video[video_id][0])}: video {video_id!r} has no split, and {len(known)} of {len(splits)} "
            "videos have one. Give every video its split, or remove the column to have all of them drawn."
        )
    return known


def _find_files(source: Path, table: Table, by_video: dict[str, list[int]]) -> dict[str, str]:
    """video_id -> path relative to the directory."""
    by_stem = stems(source)
    files: dict[str, str] = {}
    missing: dict[str, str | None] = {}
    for video_id, rows in by_video.items():
        path = _single(table, rows, "path", video_id)
        if path is None:
            named = by_stem.get(video_id, [])
            if len(named) > 1:
                raise DatasetError(f"Video {video_id!r} could be {named[0]} or {named[1]}. Add a `path` column.")
            path = named[0] if named else None
        if path is None or not (source / path).is_file():
            missing[video_id] = path
            continue
        refuse_outside(source, path, video_id)
        files[video_id] = Path(path).as_posix()
    if missing:
        irregular, shown = irregular_clips(source), []
        for video_id, path in [*missing.items()][:10]:
            name = video_id if video_id == video_id.strip() else repr(video_id)
            what = path or irregular.get(video_id)
            shown.append(f"{name} ({what})" if what else name)
        raise DatasetError(
            f"{len(missing)} of {len(by_video)} videos of the table have no file in {source}: "
            f"{', '.join(shown)}{', …' if len(missing) > 10 else ''}."
        )
    return files


def _single(table: Table, rows: list[int], column: str, video_id: str) -> str | None:
    """The one value a video's rows have in an optional column."""
    if column not in table:
        return None
    values = sorted({cell for row in rows if (cell := table.columns[column][row]) is not None})
    if len(values) > 1:
        raise DatasetError(f"Video {video_id!r} has two values of {column}: {values[0]!r} and {values[1]!r}.")
    return values[0] if values else None

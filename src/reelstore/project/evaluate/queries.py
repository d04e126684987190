"""queries.parquet read back: a row for each query, every column of its type, every key once."""

from collections.abc import Mapping
from pathlib import Path

from reelstore.errors import DamagedFileError
from reelstore.parquet import Columns, read_columns

KEY = ("direction", "video_id", "caption_index")
NOT_METRICS = (*KEY, "rank", "greater", "equal", "hardest_negative_video_id", "hardest_negative_caption_index", "gap")
_COLUMNS = {"direction": "text", "video_id": "text", "caption_index": "whole?", "rank": "number", "MRR": "number"}
_KNOWN = {"hardest_negative_video_id": "text?"}
_DIRECTIONS = ("t2v", "v2t")


def read_queries(path: Path | str, *, content: bytes | None = None) -> Columns:
    """Column -> a value a query. A metric is None in the direction that doesn't have it.

    Args:
        path: of the file.
        content: of it, where it isn't on this disk.

    Raises:
        DamagedFileError: it isn't such a table; the message has what is wrong.
        IrregularFileError, OSError: as of `io.open_regular`.
    """
    columns = read_columns(path, {**_COLUMNS, **_KNOWN}, others="number?", content=content)
    wrong = next((one for one in columns["direction"] if one not in _DIRECTIONS), None)
    if wrong is not None:
        raise DamagedFileError(f"{path}: direction is {wrong!r:.60}; t2v or v2t is expected.")
    if min(columns["rank"], default=1) < 1:
        raise DamagedFileError(f"{path}: a rank is {min(columns['rank']):g}; they begin at 1.")
    keys = list(zip(*(columns[name] for name in KEY), strict=True))
    if len(set(keys)) < len(keys):
        raise DamagedFileError(f"{path} has a query twice.")
    for name, values in columns.items():
        for direction in _DIRECTIONS if name not in NOT_METRICS else ():
            pairs = zip(values, columns["direction"], strict=True)
            empty = {value is None for value, one in pairs if one == direction}
            if len(empty) > 1:
                raise DamagedFileError(f"{path}: {name} is empty for some queries of {direction}.")
    return columns


def check_means(columns: Columns, metrics: Mapping[str, Mapping[str, float]], *, queries: Path, path: Path) -> None:
    """Refuse metrics that aren't the means of these queries.

    Raises:
        DamagedFileError: one of the files was changed, or they are of two evaluations.
    """
    for direction in _DIRECTIONS:
        rows = [row for row, one in enumerate(columns["direction"]) if one == direction]
        for name, value in metrics[direction].items():
            values = [columns[name][row] for row in rows] if name in columns else []
            if not values or values[0] is None:
                continue
            mean = sum(values) / len(values)
            if abs(mean - value) > 1e-6 + 1e-9 * abs(value):
                raise DamagedFileError(
                    f"{path} says {direction}.{name} {value:g}, the queries in {queries} give {mean:.6g}: one of both "
                    "was changed, or they are of two evaluations."
                )

"""Pairs on disk: one Parquet file a split, keys and labels; the same pairs give the same bytes."""

from pathlib import Path

from reelstore.errors import DamagedFileError, DatasetError
from reelstore.pairs.build import Pair
from reelstore.parquet import read_columns

_COLUMNS = {"video_id": "text", "caption_video_id": "text", "caption_index": "whole", "label": "whole"}
_AGAIN = "Run dvc repro pairs, or fetch it with dvc pull."


def pairs_parquet(pairs: list[Pair]) -> memoryview:
    """Columns video_id, caption_video_id (string), caption_index (int32), label (int8), in the pairs' order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = dict(zip(_COLUMNS, (pa.string(), pa.string(), pa.int32(), pa.int8()), strict=True))
    table = pa.table({name: pa.array([getattr(pair, name) for pair in pairs], kind) for name, kind in types.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return memoryview(sink.getvalue())


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a file of `pairs_parquet`.

    Raises:
        DatasetError: there are none, or these aren't pairs.
    """
    try:
        columns = read_columns(path, _COLUMNS)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(f"{path} is missing. {_AGAIN}") from None
    except DamagedFileError as error:
        raise DatasetError(f"{path} isn't a table of pairs: {error} {_AGAIN}") from error
    for row, (index, label) in enumerate(zip(columns["caption_index"], columns["label"], strict=True)):
        if not 0 <= index < 2**31 or label not in (0, 1):
            raise DatasetError(f"{path}, row {row}: caption_index is {index}, label {label}. {_AGAIN}")
    return [Pair(*row) for row in zip(*(columns[name] for name in _COLUMNS), strict=True)]

"""Pairs on disk: one Parquet file a split, keys and labels; the same pairs give the same bytes."""

from pathlib import Path

from reelstore.errors import DatasetError
from reelstore.io import write_atomically
from reelstore.pairs.build import Pair

_COLUMNS = ("video_id", "caption_video_id", "caption_index", "label")


def write_pairs(path: Path, pairs: list[Pair]) -> None:
    """Write `pairs_parquet` of the pairs."""
    write_atomically(path, pairs_parquet(pairs))


def pairs_parquet(pairs: list[Pair]) -> memoryview:
    """Columns video_id, caption_video_id (string), caption_index (int32), label (int8), in the pairs' order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = dict(zip(_COLUMNS, (pa.string(), pa.string(), pa.int32(), pa.int8()), strict=True))
    table = pa.table({name: pa.array([getattr(pair, name) for pair in pairs], kind) for name, kind in types.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())


def read_pairs(path: Path) -> list[Pair]:
    """Pairs as written by `write_pairs`.

    Raises:
        DatasetError: there are none, or these aren't pairs.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DatasetError(f"{path} is missing. Run dvc repro pairs, or fetch it with dvc pull.")
    try:
        with pa.OSFile(str(path)) as file:
            columns = pq.read_table(file, columns=list(_COLUMNS)).to_pydict()
        return [Pair(*row) for row in zip(*(columns[name] for name in _COLUMNS), strict=True)]
    except (pa.ArrowException, KeyError) as error:
        raise DatasetError(f"{path} isn't a table of pairs: {error}. Run dvc repro pairs.") from error

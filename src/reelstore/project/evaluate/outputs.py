"""Where results of `evaluate --output` go: only where nothing else is."""

import os
from collections.abc import Sequence
from pathlib import Path

from reelstore.errors import DamagedFileError, ForeignFileError, OccupiedError
from reelstore.io import open_regular, read_json
from reelstore.tables.arrow import ArrowFile


def refuse_outputs(folder: Path, inputs: Sequence[Path], *, store: Path | None = None) -> None:
    """Raise OccupiedError where results would be in a store, or replace an input or what no evaluation wrote."""
    if store is not None and folder.resolve().is_relative_to(store.resolve()):
        raise OccupiedError(f"{folder} is in the store {store}, which holds nothing else. Choose another --output.")
    taken = {path.resolve() for path in inputs}
    for name, is_ours in _OURS.items():
        path = folder / name
        if path.resolve() in taken:
            raise OccupiedError(f"{path} is an input; results would replace it. Choose another --output.")
        if os.path.lexists(path) and not (path.is_file() and is_ours(path)):
            raise OccupiedError(f"{path} isn't of an evaluation. Move it away, or choose another --output.")


def _is_metrics(path: Path) -> bool:
    try:
        return {"t2v", "v2t", "health"} <= {*read_json(path)}
    except (DamagedFileError, TypeError):
        return False


def _is_curve(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(len(_CURVE)) == _CURVE


def _is_queries(path: Path) -> bool:
    try:
        names: list[str] = ArrowFile(path).schema.names
    except ForeignFileError:
        return False
    return names[:2] == ["direction", "video_id"]


_CURVE = b"k,recall,chance\n"
_OURS = {
    "metrics.json": _is_metrics,
    "t2v_recall.csv": _is_curve,
    "v2t_recall.csv": _is_curve,
    "queries.parquet": _is_queries,
}
"""Files of an evaluation, and whether one that is there is such."""

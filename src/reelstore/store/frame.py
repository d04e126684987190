"""Rows as a data frame, and as a table in a notebook."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reelstore.errors import ForeignFileError
from reelstore.layout import layout_of
from reelstore.store.format import FAILED, OK, STATUS_NAMES
from reelstore.store.keys import Key

if TYPE_CHECKING:
    import pandas as pd

    from reelstore.store.read import Rows

_SHOWN, _WIDTH = 5, 80
"""Rows shown at either end, and characters of a cell."""
_NAME = "captions.jsonl"
_COLUMNS = "video_id", "caption_index", "text"


def rows_frame(rows: "Rows", tables: Path | None) -> "pd.DataFrame":
    """See `Rows.to_pandas`."""
    import pandas as pd

    keys = list(rows.ids)
    columns: dict[str, Any] = {"video_id": [key if isinstance(key, str) else key[0] for key in keys]}
    if rows.side == "text":
        columns["caption_index"] = np.array([key[1] for key in keys], dtype=np.int64)
    columns["split"] = pd.Categorical(np.asarray(rows.splits))
    statuses = pd.Index([STATUS_NAMES[number] for number in sorted(STATUS_NAMES)])
    columns["status"] = pd.Categorical.from_codes(rows.status, statuses)
    failures = rows.failures
    columns["failure"] = [failures.get(key) for key in keys] if failures else [None] * len(keys)
    columns["n_tokens"] = rows.token_counts
    if rows.side == "text" and (path := _captions(rows.folder, tables)) is not None:
        texts = _texts(path)
        columns["text"] = [texts.get(key) for key in keys]
    return pd.DataFrame(columns)


def rows_html(rows: "Rows") -> str:
    """The first and last rows: key, split, tokens, and the first numbers."""
    count = len(rows)
    shown = [*range(count)] if count <= 2 * _SHOWN else [*range(_SHOWN), *range(count - _SHOWN, count)]
    part = rows.at(shown)
    tokens, lines = part.token_counts.tolist(), []
    for place, (number, key, split) in enumerate(zip(shown, part.ids, part.splits, strict=True)):
        if place and number != shown[place - 1] + 1:
            lines.append("<tr><td colspan=5>...</td></tr>")
        cells = (number, _words(key), split, tokens[place] or "", _numbers(part, place, key))
        lines.append("<tr>" + "".join(f"<td>{escape(_short(str(cell)))}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{cell}</th>" for cell in ("", "key", "split", "tokens", f"values ({rows.dtype})"))
    about = f"{rows!r}, shape {rows.shape}, digest {rows.digest[:12]}"
    return f"<p>{escape(about)}</p><table><tr>{head}</tr>{''.join(lines)}</table>"


def _numbers(rows: "Rows", place: int, key: Key) -> str:
    status = int(rows.status[place])
    if status != OK:
        return f"{STATUS_NAMES[status]}: {rows.failures.get(key, '')}" if status == FAILED else STATUS_NAMES[status]
    values = rows[place].reshape(-1)
    return " ".join(f"{value:.3g}" for value in values[:4].tolist()) + (" ..." if len(values) > 4 else "")


def _words(key: Key) -> str:
    return key if isinstance(key, str) else f"{key[0]}, caption {key[1]}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _captions(folder: Path, tables: Path | None) -> Path | None:
    """The file that has the captions' texts: the one given, or that of the project whose store this is."""
    if tables is not None:
        path = tables / _NAME if tables.is_dir() else tables
        if not path.exists():
            raise ForeignFileError(
                f"{path} isn't there. tables= is a file with the columns {', '.join(_COLUMNS)}, or the folder of a "
                "dataset's tables."
            )
        return path
    if len(folder.absolute().parents) < 5:
        return None
    data = layout_of(folder.absolute().parents[2]).data
    return next((path for path in (data / "tables" / _NAME, data / _NAME) if path.is_file()), None)


def _texts(path: Path) -> dict[Key, str]:
    """Caption's key -> its text."""
    from reelstore.tables.table import read_table

    table = read_table(path, _COLUMNS)
    video_id, caption_index, text = _COLUMNS
    keys = zip(table.full(video_id), table.numbers(caption_index), strict=True)
    return dict(zip(keys, table.full(text), strict=True))

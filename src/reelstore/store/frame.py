"""Rows as people look at them: a data frame, and a table in a notebook."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reelstore.io import open_regular
from reelstore.store.format import FAILED, STATUS_NAMES
from reelstore.store.table import Key

if TYPE_CHECKING:
    import pandas as pd

    from reelstore.store.read import Rows

_SHOWN = 5
"""Rows shown at either end."""
_CAPTIONS = "captions.jsonl"


def rows_frame(rows: "Rows") -> "pd.DataFrame":
    """See `Rows.to_pandas`."""
    import pandas as pd

    keys = rows.ids
    columns: dict[str, Any] = {"video_id": rows.video_ids}
    if rows.side == "text":
        columns["caption_index"] = np.array([key[1] for key in keys], dtype=np.int64)
    columns["split"] = pd.Categorical(rows.splits)
    names = [STATUS_NAMES[number] for number in sorted(STATUS_NAMES)]
    columns["status"] = pd.Categorical([names[number] for number in rows.status.tolist()], names)
    failures = rows.failures
    columns["failure"] = [failures.get(key) for key in keys] if failures else [None] * len(keys)
    columns["n_tokens"] = rows.token_counts
    if rows.side == "text" and (texts := _texts(rows.folder)):
        columns["text"] = [texts.get(key) for key in keys]
    return pd.DataFrame(columns)


def rows_html(rows: "Rows") -> str:
    """The first and last rows: key, split, status, tokens, and the first numbers."""
    count = len(rows)
    shown = [*range(count)] if count <= 2 * _SHOWN else [*range(_SHOWN), *range(count - _SHOWN, count)]
    part = rows.at(np.array(shown, dtype=np.int64))
    lines = []
    for place, (number, key, split) in enumerate(zip(shown, part.ids, part.splits, strict=True)):
        if place and number != shown[place - 1] + 1:
            lines.append("<tr><td colspan=5>...</td></tr>")
        status = int(part.status[place])
        numbers = part.failures[key] if status == FAILED else _numbers(part, place) if status else ""
        cells = (number, _words(key), split, part.token_counts[place] or "", numbers)
        lines.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{cell}</th>" for cell in ("", "key", "split", "tokens", f"values ({rows.dtype})"))
    about = f"{rows!r}, shape {rows.shape}, digest {rows.digest[:12]}"
    return f"<p>{escape(about)}</p><table><tr>{head}</tr>{''.join(lines)}</table>"


def _numbers(rows: "Rows", place: int) -> str:
    values = rows[place].reshape(-1)[:4]
    return " ".join(f"{value:.3g}" for value in values.tolist()) + (" ..." if rows.dim > 4 else "")


def _words(key: Key) -> str:
    return key if isinstance(key, str) else f"{key[0]}, caption {key[1]}"


def _texts(folder: Path) -> dict[Key, str]:
    """Captions of the dataset whose store this is, where a project has them beside its store."""
    import json

    dataset = folder.absolute().parents[2]
    path = dataset.parents[1] / "data" / dataset.name / _CAPTIONS
    if not path.is_file():
        return {}
    with open_regular(path) as lines:
        found = (json.loads(line) for line in lines)
        return {(str(one["video_id"]), int(one["caption_index"])): str(one["text"]) for one in found}

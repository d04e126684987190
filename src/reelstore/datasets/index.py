"""A dataset's tables on disk: dataset.json, videos.jsonl, captions.jsonl; the same rows give the same bytes."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reelstore.errors import DamagedFileError, DatasetError
from reelstore.io import open_regular, parsed_json, replace_together
from reelstore.plain import read_typed, typed
from reelstore.records import Caption, Dataset, Protocol, Video

Row = TypeVar("Row", Video, Caption)
LINE_BYTES = 2**24
"""Of a row at most: an id, a path or a caption is far shorter."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_AGAIN = "Run dvc repro dataset, or fetch them with dvc pull."
CLIPS = "clips"
"""Folder of fetched clips inside a dataset's own. dataset.json names it, or the user's, from the project's folder."""


def write_index(folder: Path, dataset: Dataset, *, kind: str) -> None:
    """Write the tables together; dataset.json, which makes them count, last."""
    about: dict[str, Any] = {"name": dataset.name, "kind": kind, "clips": dataset.clips.as_posix()}
    if dataset.protocols:
        about["protocols"] = {split: asdict(protocol) for split, protocol in dataset.protocols.items()}
    if dataset.missing:
        about["missing"] = dataset.missing
    replace_together(
        {
            folder / "videos.jsonl": _lines(asdict(video) for video in dataset.videos),
            folder / "captions.jsonl": _lines(asdict(caption) for caption in dataset.captions),
            folder / "dataset.json": (json.dumps(about, indent=1) + "\n").encode(),
        }
    )


@dataclass(frozen=True)
class _About:
    """What dataset.json holds."""

    name: str
    kind: str
    clips: str
    protocols: dict[str, Protocol] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_index(folder: Path, *, name: str | None = None) -> Dataset:
    """The dataset whose tables are in `folder`.

    Args:
        folder: data/<name>.
        name: that the dataset must have; folders of outputs are named after it.

    Raises:
        DatasetError: there are none, they are another dataset's, or a line isn't a row; the message has the file and
            the line.
    """
    try:
        about = _about(folder / "dataset.json")
        if name not in (None, about.name):
            raise DamagedFileError(f"{folder}/dataset.json is of the dataset {about.name!r:.60}, not of {name}.")
        videos = _rows(folder / "videos.jsonl", Video)
        captions = _rows(folder / "captions.jsonl", Caption)
        return Dataset(about.name, Path(about.clips), videos, captions, about.protocols, about.missing)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetError(f"{error.filename} is missing. {_AGAIN}") from error
    except (DatasetError, DamagedFileError) as error:
        raise DatasetError(f"The tables in {folder} can't be read: {error} {_AGAIN}") from error


def read_protocols(folder: Path) -> tuple[dict[str, Protocol], dict[str, tuple[str, ...]]]:
    """Of each split the published one it is, and the ids that have no file; nothing where there are no tables."""
    try:
        about = _about(folder / "dataset.json")
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}
    except DamagedFileError as error:
        raise DatasetError(f"The tables in {folder} can't be read: {error} {_AGAIN}") from error
    return about.protocols, about.missing


def read_splits(folder: Path) -> dict[str, str]:
    """video_id -> split; nothing where there are no tables."""
    try:
        return {video.video_id: video.split for video in _rows(folder / "videos.jsonl", Video)}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (DatasetError, DamagedFileError) as error:
        raise DatasetError(f"The tables in {folder} can't be read: {error} {_AGAIN}") from error


def _about(path: Path) -> _About:
    about: _About = read_typed(path, _About)
    if not _NAME.fullmatch(about.name):
        raise DamagedFileError(f"{path}: name is {about.name!r:.60}, which can't name a folder.")
    for split, protocol in about.protocols.items():
        if protocol.n_videos < 0 or protocol.n_captions < 0:
            raise DamagedFileError(f"{path}: protocols.{split:.60} has a negative number.")
    return about


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    rows = []
    with open_regular(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), 1):
            source = f"{path}, line {number}"
            if len(line) > LINE_BYTES:
                raise DamagedFileError(f"{source} has more than {LINE_BYTES} bytes.")
            if line != b"\n":
                rows.append(typed(parsed_json(line, source), kind, source))
    return tuple(rows)

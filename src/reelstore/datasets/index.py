"""A dataset's tables on disk: dataset.json, videos.jsonl, captions.jsonl; the same rows give the same bytes."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reelstore.errors import DatasetError
from reelstore.io import replace_together
from reelstore.records import Caption, Dataset, Protocol, Video

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


def read_index(folder: Path) -> Dataset:
    """The dataset whose tables lie in `folder`.

    Raises:
        DatasetError: there are none, or a line isn't a row.
    """
    try:
        about = json.loads((folder / "dataset.json").read_text())
        videos = tuple(Video(**row) for row in _rows(folder / "videos.jsonl"))
        captions = tuple(Caption(**row) for row in _rows(folder / "captions.jsonl"))
    except FileNotFoundError as error:
        raise DatasetError(f"{error.filename} is missing. Run dvc repro dataset, or fetch it with dvc pull.") from error
    except (ValueError, TypeError) as error:
        raise DatasetError(f"The tables in {folder} can't be read: {error}. Run dvc repro dataset.") from error
    protocols, missing = read_protocols(folder)
    return Dataset(
        name=about["name"],
        clips=Path(about["clips"]),
        videos=videos,
        captions=captions,
        protocols=protocols,
        missing=missing,
    )


def read_protocols(folder: Path) -> tuple[dict[str, Protocol], dict[str, tuple[str, ...]]]:
    """Of each split the published one it is, and the ids that have no file; nothing where there are no tables."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}, {}
    try:
        about = json.loads(path.read_text())
        protocols = {split: Protocol(**values) for split, values in about.get("protocols", {}).items()}
        return protocols, {split: tuple(ids) for split, ids in about.get("missing", {}).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} can't be read: {error}. Run dvc repro dataset.") from error


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]

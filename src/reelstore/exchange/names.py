"""A file's or tensor's name <-> the key of the item in it: `video7890`, and `video7890-1` for its first caption."""

import os
import re
from typing import Any

from reelstore.errors import ExportError, ForeignFileError
from reelstore.exchange.base import Key
from reelstore.records import MAX_CAPTION_INDEX, Side, name_fault, shortened

FIRST = 1
"""The number of a video's first caption in names, whose `caption_index` is 0; as the report's files have it."""
_NUMBERED = re.compile(r"(.+)[-/]([0-9]+)", re.DOTALL)
_LONGEST = 200
"""UTF-8 bytes of a name; most file systems take 255, with an ending."""


def key_of(name: str, side: Side, *, where: str, first: int = FIRST) -> Key:
    """The key that a name stands for.

    Args:
        name: of a file without its ending, of a tensor or dataset; `/` does for `-`.
        side: `video`, where the whole name is the id, or `text`.
        where: what messages call it.
        first: number of a video's first caption.

    Raises:
        ForeignFileError: a store can't keep it, or a caption's name has no number, or one below `first` or too high.
    """
    fault = name_fault(name)
    if fault is not None:
        raise ForeignFileError(f"{where}: the name of an item {fault}: {shortened(name)}.")
    if side == "video":
        return name
    found = _NUMBERED.fullmatch(name)
    if found is None:
        raise ForeignFileError(
            f"{where}: a caption's name is <video_id>-<number>, like video7890-1; {name!r} has no number. "
            "(Videos go below .../video/.)"
        )
    number = int(found[2]) if len(found[2]) < 20 else MAX_CAPTION_INDEX + 2
    if number - first > MAX_CAPTION_INDEX:
        raise ForeignFileError(f"{where}: the number of {name!r} is too high; at most {MAX_CAPTION_INDEX} is kept.")
    if number < first:
        raise ForeignFileError(
            f"{where}: captions are numbered from {first}, this one is {number}. Numbered from 0? Say --first 0."
        )
    return found[1], number - first


def name_of(key: Key) -> str:
    """The name of an item: the video's id, or with a caption's number from 1."""
    return key if isinstance(key, str) else f"{key[0]}-{key[1] + FIRST}"


def file_name_of(key: Key, ending: str) -> str:
    """The same as a file's name.

    Raises:
        ExportError: the id can't be one.
    """
    name = name_of(key)
    if name.startswith(".") or re.search(r"[/\\\x00]", name) or len(os.fsencode(name)) > _LONGEST:
        raise ExportError(
            f"The key {key!r} can't be a file's name (a dot in front, a slash, or too long). Export Parquet instead."
        )
    return name + ending


def natural(name: str) -> tuple[Any, ...]:
    """To sort by: video2 before video10."""
    parts: list[Any] = re.split("([0-9]+)", name)
    parts[1::2] = map(int, parts[1::2])
    return (*parts, name)


def natural_key(key: Key) -> tuple[Any, ...]:
    """To sort keys by."""
    return (natural(key), 0) if isinstance(key, str) else (natural(key[0]), key[1])

"""A file's or tensor's name <-> the key of the item in it: `video7890`, and `video7890-1` for its first caption."""

import os
import re
from dataclasses import dataclass
from typing import Any, Literal

from reelstore.errors import ExportError, ForeignFileError
from reelstore.records import MAX_CAPTION_INDEX, Side, name_fault, shortened
from reelstore.store.keys import Key

FIRST = 1
"""The number of a video's first caption in names, whose `caption_index` is 0; as the report's files have it."""
Captions = Literal["numbered", "one", "rows"]
"""What an item of the text side is: a caption whose name has a number, a video's only caption, or all of a video's
captions, a row each; the latter two are named by the video's id."""
_NUMBERED = re.compile(r"(.+)[-/]([0-9]+)", re.DOTALL)
_LONGEST = 200
"""UTF-8 bytes of a name; most file systems take 255, with an ending."""


@dataclass(frozen=True)
class Affixes:
    """What names have before and after the id: `msr_vtt-I3D-RGBFeatures-`, `.mp4`."""

    prefix: str = ""
    suffix: str = ""

    def __bool__(self) -> bool:
        return bool(self.prefix or self.suffix)

    def __str__(self) -> str:
        said = {"--prefix": self.prefix, "--suffix": self.suffix}
        return " ".join(f"{option} {shortened(text)}" for option, text in said.items() if text)

    def fit(self, name: str) -> bool:
        """Whether a name has both, and an id between them."""
        longer = len(name) > len(self.prefix) + len(self.suffix)
        return longer and name.startswith(self.prefix) and name.endswith(self.suffix)

    def off(self, name: str) -> str:
        """The id in a name that has both."""
        return name[len(self.prefix) : len(name) - len(self.suffix)]


NO_AFFIXES = Affixes()


def key_of(
    name: str,
    side: Side,
    *,
    where: str,
    first: int = FIRST,
    captions: Captions = "numbered",
    affixes: Affixes = NO_AFFIXES,
) -> Key:
    """The key that a name stands for; of `captions="rows"` the video's id.

    Args:
        name: of a file without its ending, of a tensor or dataset; `/` does for `-`.
        side: `video`, where the whole name is the id, or `text`.
        where: what messages call it.
        first: number of a video's first caption.
        captions: what an item of the text side is.
        affixes: taken off, of the name or of the id in it.

    Raises:
        ForeignFileError: a store can't keep it, it lacks an affix, or a caption's name has no number, or one below
            `first` or too high.
    """
    fault = name_fault(name)
    if fault is not None:
        raise ForeignFileError(f"{where}: the name of an item {fault}: {shortened(name)}.")
    found = _NUMBERED.fullmatch(name) if side == "text" and captions == "numbered" else None
    if found is not None and affixes.fit(found[1]):
        video_id, digits = affixes.off(found[1]), found[2]
    else:
        if not affixes.fit(name):
            raise ForeignFileError(f"{where}: {name!r} doesn't have {affixes}, which others have.")
        name = affixes.off(name)
        if side == "video" or captions == "rows":
            return name
        if captions == "one":
            return name, 0
        found = _NUMBERED.fullmatch(name)
        if found is None:
            raise ForeignFileError(
                f"{where}: a caption's name is <video_id>-<number>, like video7890-1; {name!r} has no number. If an "
                "item is a video's only caption, say --captions one; if it holds all of a video's captions, a row "
                "each, --captions rows. (Videos go below .../video/.)"
            )
        video_id, digits = found[1], found[2]
    number = int(digits) if len(digits) < 20 else MAX_CAPTION_INDEX + 2
    if number - first > MAX_CAPTION_INDEX:
        raise ForeignFileError(
            f"{where}: the number of {name!r} is too high; at most {MAX_CAPTION_INDEX} is kept. If it is part of the "
            "video's id, say --captions one."
        )
    if number < first:
        raise ForeignFileError(
            f"{where}: captions are numbered from {first}, this one is {number} ({name!r}). "
            "Numbered from 0? Say --first 0."
        )
    return video_id, number - first


def is_padded(name: str) -> bool:
    """Whether a caption's number has zeros in front, as dates have: `2024-01`."""
    found = _NUMBERED.fullmatch(name)
    return found is not None and len(found[2]) > 1 and found[2].startswith("0")


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


def natural_order(key: Key) -> tuple[Any, ...]:
    """To sort keys by: video2 before video10."""
    video_id, index = (key, 0) if isinstance(key, str) else key
    parts: list[Any] = re.split("([0-9]+)", video_id)
    parts[1::2] = map(int, parts[1::2])
    return (*parts, video_id), index

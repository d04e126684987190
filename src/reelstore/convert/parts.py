"""A folder of numbered parts of one whole: `img_emb_0.npy` to `img_emb_10.npy`, `data-00000-of-00003.arrow`."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from reelstore.errors import ForeignFileError

_NUMBERED = re.compile(r"(.*?)[-_.]?([0-9]{1,18})(?:-of-([0-9]{1,18}))?", re.DOTALL)
_MOST = 10**6
"""Parts that a folder may say it has."""


@dataclass(frozen=True)
class Part:
    """One file.

    Attributes:
        path: of the file.
        stem: its name before the number: `img_emb`.
        number: its place in the whole.
    """

    path: Path
    stem: str
    number: int


def parts_of(folder: Path, endings: Collection[str]) -> list[Part]:
    """The files of a folder that end so, by stem, then by number, not by letter: 2 before 10.

    Raises:
        ForeignFileError: there is none, one has no number, two have the same, or one is lacking: numbers begin with 0
            or 1, and a name may say how many there are.
    """
    try:
        names = sorted(e.name for e in os.scandir(folder) if not e.name.startswith(".") and not e.is_dir())
    except OSError as error:
        raise ForeignFileError(f"{folder} can't be read as a folder: {error.strerror}.") from error
    paths = [folder / name for name in names if Path(name).suffix in endings]
    if not paths:
        raise ForeignFileError(f"{folder} has no files that end in {', '.join(endings)}.")
    if len(paths) == 1 and total_of(paths[0]) <= 1:
        return [Part(paths[0], paths[0].stem, 0)]
    found: dict[tuple[str, int], Path] = {}
    for path in paths:
        match = _NUMBERED.fullmatch(path.stem)
        if match is None:
            raise ForeignFileError(f"{path} has no number: parts of a whole are numbered, like img_emb_0.npy.")
        key = match[1], int(match[2])
        if key in found:
            raise ForeignFileError(f"{found[key]} and {path} are both part {key[1]}.")
        found[key] = path
    parts = [Part(found[key], *key) for key in sorted(found)]
    for stem in {part.stem for part in parts}:
        here = [part for part in parts if part.stem == stem]
        totals = {total_of(part.path) for part in here}
        first = min(here[0].number, 1)
        expected = range(first, max(first + max(totals), here[-1].number + 1))
        lacking = sorted({*expected} - {part.number for part in here}) if len(expected) < _MOST else [here[-1].number]
        if len(totals) > 1 or lacking:
            said = f"part {lacking[0]} isn't there" if lacking else "their names say different numbers of parts"
            raise ForeignFileError(f"{folder} has {len(here)} parts of {stem!r}, numbered from {first}: {said}.")
    return parts


def total_of(path: Path) -> int:
    """How many parts a file's name says there are: 3 of `data-00000-of-00003.arrow`, 0 where it says nothing."""
    match = _NUMBERED.fullmatch(path.stem)
    return int(match[3]) if match is not None and match[3] is not None else 0


def one_whole(path: Path, endings: Collection[str]) -> list[Part]:
    """The parts of one whole: a file itself, or the files of a folder, which must have one stem.

    Raises:
        ForeignFileError: as of `parts_of`; a file is one of several parts.
    """
    if not path.is_dir():
        if total_of(path) > 1:
            raise ForeignFileError(f"{path} is one of {total_of(path)} parts. Name the folder that they are in.")
        return [Part(path, path.stem, 0)]
    parts = parts_of(path, endings)
    stems = sorted({part.stem for part in parts})
    if len(stems) > 1:
        raise ForeignFileError(f"{path} has parts of several wholes: {', '.join(map(repr, stems[:5]))}. Separate them.")
    return parts

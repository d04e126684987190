"""Files of clips below a directory, by the name of each."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from reelstore.errors import DatasetError, ReelstoreError
from reelstore.io import read_bytes, write_atomically

VIDEO_ENDINGS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".ogv"}
    | {".gif", ".webp", ".png", ".jpg", ".jpeg"}
)


def write_clip(path: Path, content: bytes) -> None:
    """Write a clip that was fetched or drawn; one that is there with the same content stays."""
    try:
        if read_bytes(path) == content:
            return
    except (OSError, ReelstoreError):  # not there, or something else
        pass
    write_atomically(path, content)


def video_files(source: Path) -> list[str]:
    """Every video and picture below `source`, relative to it, sorted. Linked directories aren't entered.

    Only regular files, and links to such: a folder, pipe or device isn't a clip, with any name.
    """
    return sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix.lower() in VIDEO_ENDINGS and path.is_file()
    )


def stems(source: Path) -> dict[str, list[str]]:
    """Name without ending -> the files that have it."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for file in video_files(source):
        by_stem[Path(file).stem].append(file)
    return by_stem


def irregular_clips(source: Path) -> dict[str, str]:
    """Name without ending -> what has the name of a clip and is no file, in words: `video0.mp4 is a folder`."""
    named = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in VIDEO_ENDINGS)
    return {path.stem: f"{path.relative_to(source)} {_is_instead(path)}" for path in named if not path.is_file()}


def _is_instead(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "is a link to nothing"
    return "is a folder" if path.is_dir() else "isn't a regular file"


def clips_by_stem(source: Path, video_ids: Iterable[str]) -> dict[str, str]:
    """video_id -> its file, for those that have one.

    Raises:
        DatasetError: a video has two files, or its file is outside of `source`.
    """
    by_stem, files = stems(source), {}
    for video_id in video_ids:
        named = by_stem.get(video_id, [])
        if len(named) > 1:
            raise DatasetError(f"Video {video_id!r} could be {named[0]} or {named[1]}; keep one of them in {source}.")
        if named:
            refuse_outside(source, named[0], video_id)
            files[video_id] = named[0]
    return files


def refuse_outside(source: Path, path: str, video_id: str) -> None:
    """Raise DatasetError where a path, or the link it is, leaves `source`."""
    if not (source / path).resolve().is_relative_to(source.resolve()):
        raise DatasetError(f"Video {video_id!r}: {path} leaves {source}.")

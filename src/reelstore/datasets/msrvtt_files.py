"""The files of MSR-VTT as they are published: the official JSON, and the lists of later cuts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, DatasetError, ForeignFileError
from reelstore.io import read_json, read_text
from reelstore.records import name_fault, shortened
from reelstore.tables import is_code, read_table

TEST_CSV = "MSRVTT_JSFUSION_test.csv"
TEST_COLUMNS = ("key", "vid_key", "video_id", "sentence")
ANNOTATIONS = (("train_val_videodatainfo.json", "test_videodatainfo.json"), ("MSRVTT_data.json",))
"""Published names, two forms of the same; the first form of which every file is there is read, else what there is."""
SPLITS = ("train", "validate", "test")


@dataclass(frozen=True)
class Annotations:
    """What the official JSON says.

    Attributes:
        files: where it was read.
        split_of: video_id -> `train`, `validate` or `test`.
        captions: video_id -> its captions in the order of their `sen_id`, repeated ones too.
    """

    files: tuple[Path, ...]
    split_of: Mapping[str, str]
    captions: Mapping[str, tuple[str, ...]]


def read_annotations(source: Path) -> Annotations:
    """The official JSON, in one file or two, wherever it is below `source`; none gives empty annotations.

    Raises:
        DatasetError: a file isn't of the published shape, or two say different things of one video.
    """
    split_of: dict[str, str] = {}
    sentences: dict[str, list[tuple[int, str]]] = {}
    named_in: dict[str, Path] = {}
    files = _annotation_files(source)
    for path in files:
        videos, lines = _read_json(path)
        for number, video in enumerate(videos):
            video_id = checked_id(video, path, f"videos[{number}]")
            if video_id in split_of:
                raise DatasetError(f"{path}: videos[{number}] is {video_id} again. Each clip must be there once.")
            if video.get("split") not in list(SPLITS):
                raise DatasetError(
                    f"{path}: videos[{number}] ({video_id}) has the split {shortened(video.get('split'))}; "
                    f"{', '.join(SPLITS)} are expected."
                )
            split_of[video_id] = video["split"]
        for number, line in enumerate(lines):
            video_id = checked_id(line, path, f"sentences[{number}]")
            named_in.setdefault(video_id, path)
            texts = as_texts(line.get("caption"))
            if type(line.get("sen_id")) is not int or not texts:
                raise DatasetError(
                    f"{path}: sentences[{number}] of {video_id} needs a sen_id and a caption, or a list of captions: "
                    f"{shortened(line)}."
                )
            sentences.setdefault(video_id, []).extend((line["sen_id"], text) for text in texts)
    unrecognised = [video_id for video_id in sentences if video_id not in split_of]
    if unrecognised:
        path = named_in[unrecognised[0]]
        raise DatasetError(f"{path}: sentences name {unrecognised[0]}, which `videos` doesn't have.")
    ordered = {v: tuple(text for _, text in sorted(of, key=lambda s: s[0])) for v, of in sentences.items()}
    return Annotations(files, split_of, ordered)


def as_texts(caption: Any) -> list[str]:
    """The captions that a value is or lists; none where it, or an element, isn't a sentence."""
    texts = caption if isinstance(caption, list) else [caption]
    return texts if all(map(_is_sentence, texts)) else []


def _is_sentence(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and "\0" not in text and not is_code(text)


class Lists:
    """The lists of other cuts, found by their published names wherever they are below `source`."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def video_ids(self, name: str, *, optional: bool = False) -> list[str]:
        """The ids of a list: a CSV with a column `video_id`, or a text with one id a line.

        Raises:
            DatasetError: it isn't there and isn't `optional`, or an id is there twice.
        """
        path = find(self._source, name)
        if path is None:
            if optional:
                return []
            raise DatasetError(f"{name} isn't in {self._source}. docs/dataset-msrvtt.md says where it comes from.")
        if path.suffix == ".csv":
            ids = [checked_id(row, path, f"line {line}") for line, row in _read_csv(path, ("video_id",))]
        else:
            lines = read_text(path).split("\n")
            ids = [
                checked_id({"video_id": text.strip()}, path, f"line {n}")
                for n, text in enumerate(lines, 1)
                if text.strip()
            ]
        seen: set[str] = set()
        for video_id in ids:
            if video_id in seen:
                raise DatasetError(f"{path} lists {video_id} twice.")
            seen.add(video_id)
        return ids

    @cached_property
    def test_captions(self) -> dict[str, str]:
        """1k-A: video_id -> the one caption of each test clip.

        Raises:
            DatasetError: the CSV isn't there, lacks a column, or has two captions of one clip.
        """
        path = find(self._source, TEST_CSV)
        if path is None:
            raise DatasetError(f"{TEST_CSV} isn't in {self._source}. docs/dataset-msrvtt.md says where it comes from.")
        captions: dict[str, str] = {}
        for line, row in _read_csv(path, TEST_COLUMNS, captions="sentence"):
            video_id = checked_id(row, path, f"line {line}")
            if video_id in captions:
                raise DatasetError(f"{path}, line {line}: {video_id} again; 1k-A has one caption a clip.")
            if not (row["sentence"] or "").strip():
                raise DatasetError(f"{path}, line {line}: {video_id} has no sentence.")
            captions[video_id] = str(row["sentence"])
        return captions


def find(source: Path, name: str) -> Path | None:
    """The one file of this name below `source`."""
    found = sorted(source.rglob(name))
    if len(found) > 1:
        raise DatasetError(f"{name} is in {source} twice: {found[0]} and {found[1]}. Keep one.")
    if found and not found[0].resolve().is_relative_to(source.resolve()):
        raise DatasetError(f"{found[0]} leaves {source}.")
    return found[0] if found else None


def checked_id(row: Mapping[str, Any], path: Path, where: str) -> str:
    """A row's video_id, which must be a name and no path."""
    video_id = row.get("video_id")
    if not isinstance(video_id, str) or name_fault(video_id) or not _is_file_name(video_id):
        shown = shortened(video_id)
        raise DatasetError(f"{path}: {where} has the video_id {shown}; a name such as video7010 is expected.")
    return video_id


def _is_file_name(text: str) -> bool:
    return not set(text) & {*"/\\"} and text not in (".", "..") and text == text.strip()


def _annotation_files(source: Path) -> tuple[Path, ...]:
    forms = [[path for name in names if (path := find(source, name))] for names in ANNOTATIONS]
    whole = [paths for paths, names in zip(forms, ANNOTATIONS, strict=True) if len(paths) == len(names)]
    return tuple(next(iter(whole or [paths for paths in forms if paths]), []))


def _read_json(path: Path) -> tuple[list[Any], list[Any]]:
    try:
        content = read_json(path)
    except DamagedFileError as error:
        raise DatasetError(str(error)) from None
    parts = [content.get(key) if isinstance(content, dict) else None for key in ("videos", "sentences")]
    if not all(isinstance(part, list) and all(isinstance(row, dict) for row in part) for part in parts):
        raise DatasetError(f"{path} must have the lists `videos` and `sentences`, as the official annotations have.")
    videos, sentences = parts
    return videos or [], sentences or []


def _read_csv(
    path: Path, columns: tuple[str, ...], *, captions: str | None = None
) -> list[tuple[int, dict[str, str | None]]]:
    """Line number and cells of every row."""
    try:
        table = read_table(path, columns, captions=captions)
    except ForeignFileError as error:
        raise DatasetError(str(error)) from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise DatasetError(f"{path} lacks the column {missing[0]!r}. It has: {', '.join(table.names[:20])}.")
    cells = zip(*(table.columns[column] for column in columns), strict=True)
    return [(line, dict(zip(columns, row, strict=True))) for line, row in zip(table.lines, cells, strict=True)]

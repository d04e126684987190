"""MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each, in the cuts that papers use.

You bring clips and annotations; docs/dataset-msrvtt.md says from where and what their licence is.
"""

import re
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Literal

from reelstore.datasets.base import BuildResult, DatasetParams, Say
from reelstore.datasets.clips import clips_by_stem, irregular_clips
from reelstore.datasets.msrvtt_cuts import CUTS, PARTS, Cut, divide
from reelstore.datasets.msrvtt_files import Annotations, Lists, read_annotations
from reelstore.errors import DatasetError, UnknownNameError
from reelstore.io import open_regular
from reelstore.records import Caption, Dataset, Video
from reelstore.settings import Listed

DEFAULT_CUT = "1k-a"


class MsrvttParams(DatasetParams):
    """MSR-VTT's own settings."""

    cut: str = ""
    """`1k-a` (also where this is empty), `1k-a-7k`, `1k-b`, `full` or `official`."""
    parts: Listed[Literal["train", "validation", "test"]] = ()
    """Those wanted; all where this is empty."""


def build(params: MsrvttParams, folder: Path, *, say: Say, cuts: Mapping[str, Cut] = CUTS) -> BuildResult:
    """Read the annotations, divide the clips as `dataset.cut` says, and find each one's file by its name.

    A clip without a file is left out with its captions, and counted beside every score.

    Args:
        params: of the dataset.
        folder: where tables go.
        say: takes progress.
        cuts: the known ones.

    Raises:
        DatasetError: the message names the file, line or video.
        UnknownNameError: no such cut.
    """
    source, name = Path(params.source), params.cut or DEFAULT_CUT
    if not source.is_dir():
        raise DatasetError(f"dataset.source ({source}) isn't a directory. Put MSR-VTT's clips and annotations there.")
    if name not in cuts:
        raise UnknownNameError("cut of msrvtt", name, cuts)
    cut, parts = cuts[name], params.parts or PARTS
    annotations, lists = read_annotations(source), Lists(source)
    say(f"annotations: {', '.join(str(file) for file in annotations.files) or 'none'}")
    part_of, protocols = divide(cut, annotations, lists, parts=parts, share=_share(params), seed=params.seed)
    if not part_of:
        raise DatasetError(f"msrvtt/{name} has no videos here; {source} needs the annotations. docs/dataset-msrvtt.md")
    captions = _captions(cut, part_of, annotations, lists, limit=params.max_captions)
    files = clips_by_stem(source, part_of)
    if not files:
        first = min(part_of)
        instead = irregular_clips(source).get(first)
        raise DatasetError(
            f"{source} has none of the {len(part_of)} clips of msrvtt/{name}, such as {first}.mp4"
            f"{f': {instead}' if instead else ''}."
        )
    say(f"hashing {len(files)} clips")
    videos = []
    for video_id in sorted(files, key=_number):
        with open_regular(source / files[video_id]) as file:
            digest = file_digest(file, "sha256").hexdigest()
        videos.append(Video(video_id, files[video_id], digest, part_of[video_id], video_id))
    missing = {
        part: tuple(sorted((v for v, of in part_of.items() if of == part and v not in files), key=_number))
        for part in protocols
    }
    dataset = Dataset(
        params.name,
        source,
        tuple(videos),
        tuple(caption for video in videos for caption in captions[video.video_id]),
        protocols=protocols,
        missing={part: ids for part, ids in missing.items() if ids},
    )
    return BuildResult(dataset, tuple(_left_out(dataset)))


def _share(params: DatasetParams) -> float:
    train, validation = (params.splits.get(part, 0.0) for part in ("train", "validation"))
    return validation / (train + validation) if train + validation else 0.0


def _captions(
    cut: Cut, part_of: Mapping[str, str], annotations: Annotations, lists: Lists, *, limit: int
) -> dict[str, list[Caption]]:
    """Captions of every video; a number stays with its sentence in every cut, so that no cut embeds it again."""
    captions = {}
    for video_id, part in part_of.items():
        texts = annotations.captions.get(video_id, ())
        numbered = list(enumerate(texts))[:limit]
        if part == "test" and cut.one_caption == "listed":
            sentence = lists.test_captions[video_id]
            same = [index for index, text in enumerate(texts) if _plain(text) == _plain(sentence)]
            numbered = [(same[0] if same else len(texts), sentence)]
        elif part == "test" and cut.one_caption == "first":
            numbered = numbered[:1]
        if not numbered:
            raise DatasetError(f"{video_id} is in msrvtt/{cut.name}/{part}, and the annotations have no caption of it.")
        captions[video_id] = [Caption(video_id, index, text) for index, text in numbered]
    return captions


def _left_out(dataset: Dataset) -> list[str]:
    """What is missing of each part, in words."""
    split_of = {video.video_id: video.split for video in dataset.videos}
    lines = []
    for part, protocol in dataset.protocols.items():
        n_videos = sum(split == part for split in split_of.values())
        n_captions = sum(split_of[caption.video_id] == part for caption in dataset.captions)
        without = dataset.missing.get(part, ())
        if (n_videos, n_captions) != (protocol.n_videos, protocol.n_captions):
            names = f"; no clip of {', '.join(without[:5])}{', …' if len(without) > 5 else ''}" if without else ""
            lines.append(
                f"{protocol.name} isn't whole: {n_videos} of {protocol.n_videos} videos, "
                f"{n_captions} of {protocol.n_captions} captions{names}"
            )
    return lines


def _number(video_id: str) -> tuple[int, str]:
    """video2 before video10."""
    digits = re.search(r"\d+$", video_id)
    return (int(digits[0]) if digits else -1, video_id)


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()

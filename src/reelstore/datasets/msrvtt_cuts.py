"""MSR-VTT's cuts: who is in which part, and how many there are when nothing is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from reelstore.datasets.msrvtt_files import Annotations, Lists
from reelstore.errors import DatasetError
from reelstore.records import Protocol

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Cut:
    """One way to divide the clips.

    Attributes:
        name: `1k-a`.
        n_videos: part -> videos, as published; a part that isn't there has none of its own.
        n_captions: part -> captions, 20 a video but for parts with one.
        members: (annotations, lists) -> the ids of a part.
        one_caption: what the caption of a test clip is: `listed` in the CSV, the `first` annotated, or '' for all.
    """

    name: str
    n_videos: Mapping[str, int]
    n_captions: Mapping[str, int]
    members: Mapping[str, Callable[[Annotations, Lists], Sequence[str]]]
    one_caption: str = ""

    def protocol(self, part: str, *, n_held_out: int = 0) -> Protocol:
        """What a part has when nothing is missing.

        Args:
            part: `train`, `validation` or `test`.
            n_held_out: training videos that are validation, where the cut has none of its own.
        """
        name = f"msrvtt/{self.name}/{'val' if part == 'validation' else part}"
        if part in self.n_videos and not n_held_out:
            return Protocol(name, self.n_videos[part], self.n_captions[part])
        n_videos = n_held_out if part == "validation" else self.n_videos["train"] - n_held_out
        return Protocol(name, n_videos, n_videos * CAPTIONS_PER_VIDEO)


CAPTIONS_PER_VIDEO = 20


def held_out(train: Sequence[str], share: float, *, seed: int) -> frozenset[str]:
    """A share of the training videos, by seed; what others there are hardly moves one."""
    by_hash = sorted(train, key=lambda video_id: sha256(f"{seed} {video_id}".encode()).digest())
    return frozenset(by_hash[: round(share * len(train))])


def _of_split(*splits: str) -> Callable[[Annotations, Lists], Sequence[str]]:
    return lambda annotations, lists: [v for v, split in annotations.split_of.items() if split in splits]


def _without_the_test(annotations: Annotations, lists: Lists) -> Sequence[str]:
    listed = lists.video_ids("MSRVTT_train.9k.csv", optional=True)
    test = set(lists.test_captions)
    return listed or [video_id for video_id in annotations.split_of if video_id not in test]


def _seven_thousand(annotations: Annotations, lists: Lists) -> Sequence[str]:
    return lists.video_ids("MSRVTT_train.7k.csv", optional=True) or _of_split("train", "validate")(annotations, lists)


_OFFICIAL = {"train": _of_split("train"), "validation": _of_split("validate"), "test": _of_split("test")}
_OFFICIAL_VIDEOS = {"train": 6513, "validation": 497, "test": 2990}
_OFFICIAL_CAPTIONS = {"train": 130_260, "validation": 9_940, "test": 59_800}

CUTS: dict[str, Cut] = {
    # Of the dataset's authors; `full` is what papers on retrieval call it.
    "official": Cut("official", _OFFICIAL_VIDEOS, _OFFICIAL_CAPTIONS, _OFFICIAL),
    "full": Cut("full", _OFFICIAL_VIDEOS, _OFFICIAL_CAPTIONS, _OFFICIAL),
    # JSFusion's test clips and captions; everything else trains, or the official train and validation ("7k").
    "1k-a": Cut(
        "1k-a",
        {"train": 9000, "test": 1000},
        {"train": 180_000, "test": 1000},
        {"train": _without_the_test, "test": lambda annotations, lists: list(lists.test_captions)},
        one_caption="listed",
    ),
    "1k-a-7k": Cut(
        "1k-a-7k",
        {"train": 7010, "test": 1000},
        {"train": 140_200, "test": 1000},
        {"train": _seven_thousand, "test": lambda annotations, lists: list(lists.test_captions)},
        one_caption="listed",
    ),
    # Of MoEE; the first caption of each test clip.
    "1k-b": Cut(
        "1k-b",
        {"train": 6656, "test": 1000},
        {"train": 133_120, "test": 1000},
        {
            "train": lambda annotations, lists: lists.video_ids("train_list_miech.txt"),
            "test": lambda annotations, lists: lists.video_ids("test_list_miech.txt"),
        },
        one_caption="first",
    ),
}


def divide(
    cut: Cut, annotations: Annotations, lists: Lists, *, parts: Sequence[str], share: float, seed: int
) -> tuple[dict[str, str], dict[str, Protocol]]:
    """Every video's part, and the protocol of each part.

    Args:
        cut: how to divide.
        annotations: official ones.
        lists: files of other cuts.
        parts: those wanted; the files of others needn't be there.
        share: of the training videos that are validation where the cut has none: its test clips must not choose.
        seed: of which these are.

    Raises:
        DatasetError: a file is missing, or a video is in two parts.
    """
    part_of: dict[str, str] = {}
    protocols: dict[str, Protocol] = {}
    for part in PARTS:
        if part not in parts or part not in cut.members:
            continue
        for video_id in cut.members[part](annotations, lists):
            if part_of.setdefault(video_id, part) != part:
                raise DatasetError(f"{video_id} is in {part_of[video_id]} and in {part} of msrvtt/{cut.name}.")
        protocols[part] = cut.protocol(part)
    if "train" in parts and "validation" in parts and "validation" not in cut.members:
        chosen = held_out([v for v, part in part_of.items() if part == "train"], share, seed=seed)
        part_of |= dict.fromkeys(chosen, "validation")
        n_held_out = round(share * cut.n_videos["train"])
        for part in ("train", "validation"):
            protocols[part] = cut.protocol(part, n_held_out=n_held_out)
    return part_of, protocols

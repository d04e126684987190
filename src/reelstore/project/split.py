"""The split a stage measures on: its rows, and the published split it is or isn't."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelstore.datasets.index import read_protocols, read_splits
from reelstore.errors import DatasetError, ParamsError
from reelstore.evaluation.matched import Matched, match
from reelstore.project.settings import Params
from reelstore.store.read import Rows


def matched_split(params: Params, videos: Sequence[Rows], texts: Sequence[Rows], asked: str) -> Matched:
    """What these variants have of a split.

    Args:
        params: of the project.
        videos: variants of the videos.
        texts: variants of the captions.
        asked: `test`, or the full name of a published split, `msrvtt/1k-a/test`, if the tables are of its cut.

    Raises:
        ParamsError: the tables are of another cut.
        DatasetError: the tables have a stored video in another split; aligners would be fitted on what is measured.
    """
    protocols, _ = read_protocols(params.layout.data)
    split = asked
    if "/" in asked:
        named = {protocol.name: split for split, protocol in protocols.items()}
        if asked not in named:
            raise ParamsError(
                f"The tables in {params.layout.data} don't have the split {asked}. They have: "
                f"{', '.join(named) or 'none of a published name'}. Change dataset.cut and run dvc repro dataset; "
                "what is stored stays."
            )
        split = named[asked]
    _refuse_other_splits(videos[0], split, params.layout.data)
    matched = match(videos, texts, split)
    return replace(matched, protocol=protocols[split]) if split in protocols else matched


def _refuse_other_splits(videos: Rows, split: str, folder: Path) -> None:
    split_of = read_splits(folder)
    moved = [key for key in videos.split(split).ids if split_of.get(str(key), split) != split]
    if moved:
        raise DatasetError(
            f"{videos.folder} has {len(moved)} videos in the split {split} that {folder} has in another one, such as "
            f"{moved[0]!r} ({split_of[str(moved[0])]}): the tables were written again after it. Run dvc repro, "
            "or reelstore embed; rows that are there stay."
        )


def counts_in_words(details: Mapping[str, Any]) -> str:
    """`msrvtt/1k-a/test split, 998 of 1000 videos, 998 of 1000 captions, not whole`, from a result's details."""
    published = details.get("protocol")
    if published is None:
        return f"{details['split']} split, {details['n_videos']} videos, {details['n_captions']} captions"
    parts = [
        f"{details[key]} of {published[key]} {what}" if details[key] != published[key] else f"{details[key]} {what}"
        for key, what in (("n_videos", "videos"), ("n_captions", "captions"))
    ]
    return ", ".join([f"{details['split']} split", *parts, *([] if published["whole"] else ["not whole"])])

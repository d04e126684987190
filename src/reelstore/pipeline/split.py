"""The split a stage measures on: its rows, and the published split it is or isn't."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reelstore.datasets.index import read_protocols
from reelstore.errors import ParamsError
from reelstore.evaluation.matched import Matched, match
from reelstore.params import Params
from reelstore.store.reader import Rows


def matched_split(params: Params, videos: Sequence[Rows], texts: Sequence[Rows], asked: str) -> Matched:
    """What these variants have of a split.

    Args:
        params: of the project.
        videos: variants of the videos.
        texts: variants of the captions.
        asked: `test`, or the full name of a published split, `msrvtt/1k-a/test`, if the tables are of its cut.

    Raises:
        ParamsError: the tables are of another cut.
    """
    protocols, _ = read_protocols(params.data_folder)
    split = asked
    if "/" in asked:
        named = {protocol.name: split for split, protocol in protocols.items()}
        if asked not in named:
            raise ParamsError(
                f"The tables in {params.data_folder} don't have the split {asked}. They have: "
                f"{', '.join(named) or 'none of a published name'}. Change dataset.cut and run dvc repro dataset; "
                "what is stored stays."
            )
        split = named[asked]
    matched = match(videos, texts, split)
    return replace(matched, protocol=protocols[split]) if split in protocols else matched


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

"""Items of a dataset -> the network's input, got ready ahead of the encoder in threads."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelstore.encoders.base import Encoder
from reelstore.errors import DatasetError, UndecodableVideoError
from reelstore.records import Caption, Video

TOKENISED_TOGETHER, TOKENISED_AHEAD = 64, 8
"""Captions that a thread tokenises at a time, and how many such slices it is ahead of the encoder."""
DECODED_AHEAD = 8
"""Videos whose frames wait for the encoder."""


def prepared(encoder: Encoder, items: Iterable[Any], clips: Path, *, workers: int) -> Iterator[Any]:
    """The network's input for each item, in order, or the error that says why a video has none.

    Args:
        encoder: that it is for.
        items: videos or captions.
        clips: folder of the videos.
        workers: threads that decode.

    Raises:
        DatasetError: a file isn't there, or isn't that of the dataset's table.
    """
    if encoder.spec.side == "text":
        return _tokenised(encoder, items)
    return _decoded(encoder, items, clips, workers)


def _tokenised(encoder: Encoder, captions: Iterable[Caption]) -> Iterator[Any]:
    """The network's input for each caption, tokenised ahead of the encoder, some at a time."""
    from reelstore.video import decode_ahead

    source = iter(captions)
    slices = iter(lambda: list(islice(source, TOKENISED_TOGETHER)), [])

    def prepare(some: list[Caption]) -> list[Any]:
        return [encoder.prepare(caption.text) for caption in some]

    for _, prepared in decode_ahead(slices, prepare, workers=1, depth=TOKENISED_AHEAD):
        if isinstance(prepared, Exception):
            raise prepared
        yield from prepared


def _decoded(
    encoder: Encoder, videos: Iterable[Video], clips: Path, workers: int
) -> Iterator[npt.NDArray[np.float32] | UndecodableVideoError]:
    """The network's input for each video, decoded ahead of the encoder."""
    from reelstore.video import Sampling, decode, decode_ahead

    sampling = Sampling(**encoder.frames)  # type: ignore[attr-defined]  # only video encoders have it
    size = getattr(encoder, "frame_size", None)  # some want their frames scaled by the decoder

    def load(video: Video) -> npt.NDArray[np.float32]:
        return encoder.prepare(decode(_read_clip(clips, video), sampling=sampling, size=size))

    for video, result in decode_ahead(videos, load, workers=workers, depth=DECODED_AHEAD):
        if isinstance(result, Exception) and not isinstance(result, UndecodableVideoError):
            result.add_note(f"video {video.video_id!r}")
            raise result
        yield result


def _read_clip(clips: Path, video: Video) -> bytes:
    path = clips / video.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{path} is missing (video {video.video_id!r}). Run dvc pull, or dvc repro dataset."
        ) from None
    if sha256(content).hexdigest() != video.sha256:
        raise DatasetError(
            f"{path} isn't the file the dataset's table names (video {video.video_id!r}). Run dvc repro dataset."
        )
    return content

"""Preprocess a dataset's items for the network, in threads that run ahead of it."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from reelstore.arrays import Array
from reelstore.bounds import ItemBounds
from reelstore.encoders.base import Encoder
from reelstore.errors import DatasetError, IrregularFileError, LongTextError, UndecodableVideoError, UnusableItemError
from reelstore.io import open_regular
from reelstore.records import Caption, Frames, Video

TOKENISED_TOGETHER, TOKENISED_AHEAD = 64, 8
"""Captions that a thread tokenises at a time, and how many such slices it is ahead of the encoder."""
DECODED_AHEAD = 8
"""Videos whose frames wait for the encoder."""


def preprocessed(
    encoder: Encoder, items: Iterable[Any], clips: Path, *, workers: int, bounds: ItemBounds
) -> Iterator[Array | UnusableItemError]:
    """The network's input for each item, in order, or the error that says why it has none.

    Args:
        encoder: that it is for.
        items: videos or captions.
        clips: folder of the videos.
        workers: threads that decode.
        bounds: what an item may take.

    Raises:
        DatasetError: a file isn't there, or isn't that of the dataset's table.
    """
    if encoder.spec.side == "text":
        return _tokenised(encoder, items, bounds)
    return _decoded(encoder, items, clips, workers, bounds)


def _tokenised(
    encoder: Encoder, captions: Iterable[Caption], bounds: ItemBounds
) -> Iterator[Array | UnusableItemError]:
    """The network's input for each caption, tokenised ahead of the encoder, some at a time."""
    from reelstore.prefetch import prefetch

    source = iter(captions)
    slices = iter(lambda: list(islice(source, TOKENISED_TOGETHER)), [])

    def load(caption: Caption) -> Array | UnusableItemError:
        try:
            bounds.check_text(caption.text)
        except LongTextError as error:
            return error
        return encoder.prepare(caption.text)

    for _, prepared in prefetch(slices, lambda some: list(map(load, some)), workers=1, depth=TOKENISED_AHEAD):
        if isinstance(prepared, Exception):
            raise prepared
        yield from prepared


def _decoded(
    encoder: Encoder, videos: Iterable[Video], clips: Path, workers: int, bounds: ItemBounds
) -> Iterator[Array | UnusableItemError]:
    """The network's input for each video, decoded ahead of the encoder."""
    from reelstore.prefetch import prefetch
    from reelstore.video import Sampling, decode

    sampling = Sampling(**encoder.frames)  # type: ignore[attr-defined]  # only video encoders have it
    size = getattr(encoder, "frame_size", None)  # some want their frames scaled by the decoder

    def load(video: Video) -> Array:
        content = _read_clip(clips, video, bounds)
        return _prepared(encoder, decode(content, sampling=sampling, size=size, bounds=bounds), bounds)

    for video, result in prefetch(videos, load, workers=workers, depth=DECODED_AHEAD):
        if isinstance(result, Exception) and not isinstance(result, UnusableItemError):
            result.add_note(f"video {video.video_id!r}")
            raise result
        yield result


def _prepared(encoder: Encoder, frames: Frames, bounds: ItemBounds) -> Array:
    if len(frames) > bounds.max_sampled_frames:
        raise UndecodableVideoError(
            f"{len(frames):,} of its frames are wanted; embed.max_sampled_frames allows {bounds.max_sampled_frames:,}"
        )
    try:
        return encoder.prepare(frames)
    except MemoryError as error:
        raise UndecodableVideoError(f"there isn't memory for its {len(frames):,} frames") from error


def _read_clip(clips: Path, video: Video, bounds: ItemBounds) -> bytes:
    """A clip's bytes, if they are those of the dataset's table.

    They are read once and decoded from memory: a file may be replaced or cut while it is read.
    """
    from reelstore.video.limits import check_file

    path = clips / video.path
    try:
        with open_regular(path) as file:
            check_file(file.seek(0, 2), bounds)
            file.seek(0)
            content = file.read(bounds.max_file_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{path} is missing (video {video.video_id!r}). Run dvc pull, or dvc repro dataset."
        ) from None
    except IrregularFileError as error:
        raise DatasetError(f"{error} It should be the video {video.video_id!r}. Run dvc repro dataset.") from None
    check_file(len(content), bounds)
    if sha256(content).hexdigest() != video.sha256:
        raise DatasetError(
            f"{path} isn't the file the dataset's table names (video {video.video_id!r}). Run dvc repro dataset."
        )
    return content

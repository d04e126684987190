"""Frames of video files, by PyAV."""

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
from av.stream import Disposition

from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames
from reelstore.video.sampling import Sampling
from reelstore.video.shown import Picture, Shown, pick

KEPT_BYTES = 64 * 2**20
"""Decoded frames up to this size are kept while counting; a file with more is decoded a second time."""

_NO_OTHER_FILES = {"protocol_whitelist": "none"}
# Playlists name other files; what a video holds must come from its own bytes.


def sampled(file: BinaryIO, sampling: Sampling) -> Frames:
    """The frames that `sampling` takes of a video.

    Headers lie about the number of frames, so they are counted by decoding all of them.
    """
    kept: list[Shown] = []
    n_frames = n_bytes = 0
    for shown, size in _decoded(file):
        n_frames += 1
        n_bytes += size
        if n_bytes <= KEPT_BYTES:
            kept.append(shown)
        else:
            kept.clear()
    if not n_frames:
        raise UndecodableVideoError("it has a video stream without frames")
    wanted = sampling.indices(n_frames)
    return pick(kept if n_bytes <= KEPT_BYTES else (shown for shown, _ in _decoded(file)), wanted)


def _decoded(file: BinaryIO) -> Iterator[tuple[Shown, int]]:
    """Every frame in turn, and the bytes it takes until it is turned into RGB."""
    file.seek(0)
    # Metadata is free text in any encoding, and of no use here.
    with av.open(file, mode="r", metadata_errors="replace", options=_NO_OTHER_FILES) as container:
        stream = _stream(container)
        stream.thread_type = "NONE"  # files are decoded in parallel; threads within one would only compete
        start: float | None = None
        damaged = False
        for index, frame in enumerate(container.decode(stream)):
            time = frame.time if frame.time is not None else index / float(stream.average_rate or 1)
            start = time if start is None else start
            # Frames up to the next key frame are predicted from a damaged one.
            damaged = frame.is_corrupt or (damaged and not frame.key_frame)
            yield (
                Shown(time - start, _Picture(frame, index, damaged)),
                sum(plane.buffer_size for plane in frame.planes),
            )


def _stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first one that moves: the cover of a record is a video stream too, of one picture."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise UndecodableVideoError("it has no video stream")
    if streams[0].codec_context is None:
        raise UndecodableVideoError("nothing here decodes its codec")
    return streams[0]


class _Picture:
    """A decoded frame on its way to RGB."""

    def __init__(self, frame: av.VideoFrame, index: int, damaged: bool) -> None:
        self._frame = frame
        self._index = index
        self._damaged = damaged

    def __call__(self) -> Picture:
        if self._damaged:
            raise UndecodableVideoError(f"frame {self._index} is damaged")
        pixels = self._frame.to_ndarray(format="rgb24")
        # `rotation` is counter-clockwise, as np.rot90 turns.
        return np.ascontiguousarray(np.rot90(pixels, k=round(self._frame.rotation / 90) % 4))

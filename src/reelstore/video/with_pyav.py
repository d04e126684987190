"""Frames of video files, by PyAV."""

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

import av
import numpy as np
from av.stream import Disposition

from reelstore.errors import UndecodableVideoError
from reelstore.params import ItemBounds
from reelstore.records import Frames
from reelstore.video.limits import check_frames, check_picture, check_seconds, decoder_errors
from reelstore.video.sampling import Sampling
from reelstore.video.shown import Picture, Shown, Size, pick

KEPT_BYTES = 64 * 2**20
"""Decoded frames up to this size are kept while counting; a file with more is decoded a second time."""
_KEPT_FRAMES = 2**14
"""The same of their number: a frame takes two kilobytes beside its pixels."""

_NO_OTHER_FILES = {"protocol_whitelist": "none"}
# Playlists name other files; what a video holds must come from its own bytes.
_MAJOR_VERSION = int(av.__version__.split(".")[0])


class _Source(NamedTuple):
    file: BinaryIO
    bounds: ItemBounds


def sampled(file: BinaryIO, sampling: Sampling, size: Size | None, bounds: ItemBounds) -> Frames:
    """The frames that `sampling` takes of a video.

    Headers lie about the number of frames, so they are counted by decoding all of them. Of a file too long to keep, the
    frames are kept that would be wanted if each packet were a frame; mostly it is so, and nothing is decoded again.
    """
    source = _Source(file, bounds)
    n_packets, average_fps = _packets(source)
    likely = np.unique(sampling.indices(n_packets)) if 0 < n_packets <= bounds.max_frames else np.empty(0, np.int64)
    first: dict[int, Shown] = {}
    chosen: dict[int, Shown] = {}
    n_frames = n_bytes = n_bytes_chosen = n_likely = 0
    for index, (shown, n_bytes_of_frame) in enumerate(_decoded(source, size)):
        n_frames += 1
        n_bytes += n_bytes_of_frame
        if n_bytes <= KEPT_BYTES and n_frames <= _KEPT_FRAMES:
            first[index] = shown
        else:
            first.clear()
        if n_likely < len(likely) and likely[n_likely] == index:
            n_likely += 1
            n_bytes_chosen += n_bytes_of_frame
            if n_bytes_chosen <= KEPT_BYTES and n_likely <= _KEPT_FRAMES:
                chosen[index] = shown
            else:
                chosen.clear()
    if not n_frames:
        raise UndecodableVideoError("it has a video stream without frames")
    wanted = sampling.indices(n_frames)
    kept = first or chosen
    if kept.keys() >= set(wanted.tolist()):
        frames = pick((kept.get(index, _NOT_KEPT) for index in range(n_frames)), wanted, bounds)
    else:
        frames = pick((shown for shown, _ in _decoded(source, size)), wanted, bounds)
    return replace(frames, average_fps=average_fps)


def _packets(source: _Source) -> tuple[int, float | None]:
    """Packets of the video, most likely a frame each (0 where they can't be counted), and its frames per second."""
    with decoder_errors(), _opened(source) as container:
        stream = _stream(container)
        rate = float(stream.average_rate) if stream.average_rate else None
        try:
            n_packets = 0
            for packet in container.demux(stream):
                n_packets += bool(packet.size)
                check_frames(n_packets // 2, source.bounds)  # a frame may come as two fields
            return n_packets, rate
        except av.FFmpegError:  # decoding will say what is wrong
            return 0, rate


def _not_kept() -> Picture:
    raise AssertionError("only frames that were kept are asked for")


_NOT_KEPT = Shown(0.0, _not_kept)


def _opened(source: _Source) -> av.container.InputContainer:
    file = source.file
    file.seek(0)
    # Decoders are given this too, while the file's streams are looked at.
    options = {**_NO_OTHER_FILES, **_max_pixels(source.bounds)}
    # Metadata is free text in any encoding, and of no use here.
    if _MAJOR_VERSION >= 19:  # it always replaces what it can't read
        return av.open(file, mode="r", options=options)
    return av.open(file, mode="r", metadata_errors="replace", options=options)


def _max_pixels(bounds: ItemBounds) -> dict[str, str]:
    """A decoder's own limit, before it takes memory: twice ours, since it counts what is cut from a picture's edges."""
    return {"max_pixels": str(min(2 * bounds.max_frame_pixels, 2**31 - 1))}


def _decoded(source: _Source, size: Size | None) -> Iterator[tuple[Shown, int]]:
    """Every frame in turn, and the bytes it takes until it is turned into RGB."""
    bounds = source.bounds
    with decoder_errors(), _opened(source) as container:
        stream = _stream(container)
        check_picture(stream.codec_context.width, stream.codec_context.height, bounds)
        stream.codec_context.options = _max_pixels(bounds)
        stream.thread_type = "NONE"  # files are decoded in parallel; threads within one would only compete
        start: float | None = None
        damaged = False
        n_pixels = 0
        for index, frame in enumerate(container.decode(stream)):
            time = frame.time if frame.time is not None else index / float(stream.average_rate or 1)
            start = time if start is None else start
            check_frames(index + 1, bounds)
            check_picture(frame.width, frame.height, bounds)
            check_seconds(time - start, index, bounds)
            n_pixels += frame.width * frame.height
            if n_pixels > bounds.max_decoded_pixels:
                raise UndecodableVideoError(
                    f"its first {index + 1:,} frames have more pixels than embed.max_decoded_pixels allows, "
                    f"{bounds.max_decoded_pixels:,}"
                )
            # Frames up to the next key frame are predicted from a damaged one.
            damaged = frame.is_corrupt or (damaged and not frame.key_frame)
            yield (
                Shown(time - start, _Picture(frame, index, damaged, size)),
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


_TURNS: list[list[tuple[str, ...]]] = [
    [],
    [("transpose", "cclock")],
    [("hflip",), ("vflip",)],
    [("transpose", "clock")],
]
"""Filters for each number of quarter turns, counter-clockwise."""


class _Picture:
    """A decoded frame on its way to RGB."""

    def __init__(self, frame: av.VideoFrame, index: int, damaged: bool, size: Size | None) -> None:
        self._frame = frame
        self._index = index
        self._damaged = damaged
        self._size = size

    def __call__(self) -> Picture:
        if self._damaged:
            raise UndecodableVideoError(f"frame {self._index} is damaged")
        # `rotation` is counter-clockwise, as np.rot90 turns.
        with decoder_errors():
            quarter_turns = round(self._frame.rotation / 90) % 4
            if self._size:
                return _scaled(self._frame, quarter_turns, self._size)
            return np.ascontiguousarray(np.rot90(self._frame.to_ndarray(format="rgb24"), k=quarter_turns))


def _scaled(frame: av.VideoFrame, quarter_turns: int, size: Size) -> Picture:
    """Turned and scaled in the frame's own pixel format, then RGB: the bytes that decord's readers give.

    `frame.reformat` scales with other flags, and scaling RGB sees colours that were already interpolated.
    """
    height, width = size
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)]
    nodes += [graph.add(*turn) for turn in _TURNS[quarter_turns]]
    nodes += [graph.add("scale", f"{width}:{height}:flags=bilinear"), graph.add("format", "rgb24")]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    picture: Picture = graph.vpull().to_ndarray()  # type: ignore[assignment]  # rgb24 is bytes
    return picture

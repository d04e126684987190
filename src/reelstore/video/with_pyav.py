"""Frames of video files, by PyAV."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import av
import numpy as np
from av.stream import Disposition

from reelstore.arrays import UInt8Array
from reelstore.bounds import ItemBounds
from reelstore.errors import UndecodableVideoError
from reelstore.records import Frames
from reelstore.video.frames import Shown, Size, pick
from reelstore.video.limits import check_frames, check_picture, check_seconds, decoder_errors
from reelstore.video.orientation import Orientation
from reelstore.video.rgb import orientation_of, to_rgb
from reelstore.video.sampling import Sampling
from reelstore.video.transparency import alpha_decoder, check_hevc_alpha

KEPT_BYTES = 64 * 2**20
"""Decoded frames up to this size are kept while counting; a file with more is decoded a second time."""
_KEPT_FRAMES = 2**14
"""The same of their number: a frame takes two kilobytes beside its pixels."""
_RESTART_SECONDS = 0.5
"""Times that fall by more begin again; by less, packets are out of order."""

_NO_OTHER_FILES = {"protocol_whitelist": "none"}
# Playlists name other files; what a video holds must come from its own bytes.
_MAJOR_VERSION = int(av.__version__.split(".")[0])


if TYPE_CHECKING:
    _Packet = av.Packet[av.VideoStream]


class _Source(NamedTuple):
    file: BinaryIO
    bounds: ItemBounds


def sampled(file: BinaryIO, sampling: Sampling, size: Size | None, bounds: ItemBounds) -> Frames:
    """The frames that `sampling` takes of a video.

    Headers name wrong numbers of frames, so frames are counted by decoding all of them. Of a file too long to keep, the
    frames are kept that would be wanted if each packet were a frame; mostly it is so, and nothing is decoded again.
    """
    source = _Source(file, bounds)
    n_packets, average_fps = _packets(source)
    likely = np.unique(sampling.indices(n_packets)) if 0 < n_packets <= bounds.max_frames else np.empty(0, np.int64)
    times: list[float] = []
    first: dict[int, Shown] = {}
    chosen: dict[int, Shown] = {}
    n_frames = n_bytes = n_bytes_chosen = n_likely = 0
    for index, (shown, n_bytes_of_frame) in enumerate(_decoded(source, size)):
        n_frames += 1
        times.append(shown.seconds)
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
    # An AVI or ASF states when a frame is decoded, not when it is shown: the same times, in another order.
    ascending = np.sort(times)
    return replace(frames, pts_seconds=ascending[wanted] - ascending[0], average_fps=average_fps)


def _packets(source: _Source) -> tuple[int, float | None]:
    """Packets of the video, most likely a frame each (0 where they can't be counted), and its frames per second.

    Raises:
        UndecodableVideoError: the last one isn't whole, or is beyond the end of the file.
    """
    with decoder_errors(), _opened(source) as container:
        stream = _stream(container)
        rate = float(stream.average_rate) if stream.average_rate else None
        n_packets, is_last_cut = 0, False
        try:
            for packet in container.demux(stream):
                if packet.size:
                    n_packets, is_last_cut = n_packets + 1, packet.is_corrupt
                check_frames(n_packets // 2, source.bounds)  # a frame may come as two fields
        except av.FFmpegError:  # decoding will say what is wrong
            n_packets = 0
        if is_last_cut or _is_cut_by_index(container, stream, source.file.seek(0, 2)):
            raise UndecodableVideoError("the file is truncated")
        return n_packets, rate


def _is_cut_by_index(container: av.container.InputContainer, stream: av.VideoStream, n_bytes: int) -> bool:
    """Whether an MP4 has a sample beyond the file's end: where its box of samples has no size, nothing else tells."""
    return container.format.name.startswith("mov") and any(
        entry.pos + entry.size > n_bytes for entry in stream.index_entries
    )


def _not_kept() -> UInt8Array:
    raise AssertionError("only frames that were kept are asked for")


_NOT_KEPT = Shown(0.0, _not_kept)


def _opened(source: _Source) -> av.container.InputContainer:
    file = source.file
    file.seek(0)
    # Decoders are given this too, while the file's streams are probed.
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
        is_plain_bitmap = _is_plain_bitmap(stream)
        start: float | None = None
        damaged = False
        n_pixels = 0
        for index, (frame, time, orientation) in enumerate(_frames(container, stream, bounds)):
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
                Shown(time, partial(_picture, frame, index, damaged, size, orientation, is_plain_bitmap)),
                sum(plane.buffer_size for plane in frame.planes),
            )


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, bounds: ItemBounds
) -> Iterator[tuple[av.VideoFrame, float, Orientation | None]]:
    """Every frame with its time in seconds and how it is turned, where it doesn't itself say so.

    A frame without a time follows the one before at the stream's frame rate, or 25 frames per second where it has none.
    """
    step = float(1 / (stream.average_rate or stream.guessed_rate or 25))
    last_time, n_since = -step, 0
    for frame, orientation in _turned(container, stream, bounds):
        n_since += 1
        if frame.time is not None:
            last_time, n_since = frame.time, 0
        yield frame, last_time + n_since * step, orientation


def _turned(
    container: av.container.InputContainer, stream: av.VideoStream, bounds: ItemBounds
) -> Iterator[tuple[av.VideoFrame, Orientation | None]]:
    decoder = alpha_decoder(stream)
    orientation: Orientation | None = None
    packets = _continuous(container.demux(stream), stream)
    for index, packet in enumerate(packets):
        if not index:
            check_hevc_alpha(stream, packet)
        if decoder is None:
            yield from ((frame, None) for frame in packet.decode())
            continue
        if not index:
            decoder.options = _max_pixels(bounds)
            decoder.thread_count = 1
        if orientation is None:  # only the stream's own decoder is told the container's display matrix
            orientation = next((orientation_of(frame) for frame in packet.decode()), None)
        # The packet at the end is empty.
        yield from ((frame, orientation) for frame in decoder.decode(packet if packet.size else None))


def _continuous(packets: Iterator["_Packet"], stream: av.VideoStream) -> Iterator["_Packet"]:
    """Packets whose times go on where the file's begin again: joined transport streams, chapters of a DVD."""
    last = offset = 0
    frame_ticks = restart_ticks = 0
    for packet in packets:
        if not restart_ticks and packet.time_base:
            restart_ticks = max(1, round(_RESTART_SECONDS / packet.time_base))
            frame_ticks = round(1 / (packet.time_base * (stream.average_rate or 25)))
        if packet.dts is not None:
            fall = last - (packet.dts + offset)
            if fall > restart_ticks:
                offset += fall + (packet.duration or frame_ticks)
            last = packet.dts + offset
        if offset and packet.size:
            packet.dts = None if packet.dts is None else packet.dts + offset
            packet.pts = None if packet.pts is None else packet.pts + offset
        yield packet


def _stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first one that moves: the cover of a record is a video stream too, of one picture."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise UndecodableVideoError("it has no video stream")
    if streams[0].codec_context is None:
        raise UndecodableVideoError("nothing here decodes its codec")
    return streams[0]


def _is_plain_bitmap(stream: av.VideoStream) -> bool:
    """Whether it is an AVI of uncompressed bitmaps, whose fourth byte of 32 bits is mostly unused."""
    return stream.codec_context.name == "rawvideo" and not stream.codec_context.codec_tag.strip("\0")


def _picture(
    frame: av.VideoFrame,
    index: int,
    damaged: bool,
    size: Size | None,
    orientation: Orientation | None,
    is_plain_bitmap: bool,
) -> UInt8Array:
    if damaged:
        raise UndecodableVideoError(f"frame {index} is damaged")
    return to_rgb(frame, size, orientation=orientation, zero_alpha_is_opaque=is_plain_bitmap)

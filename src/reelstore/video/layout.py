"""Read a file's structure before a library opens it: how much work it is, and whether it is complete."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from reelstore.bounds import ItemBounds
from reelstore.errors import UndecodableVideoError
from reelstore.video.limits import check_frames

GIF_MAGIC = (b"GIF87a", b"GIF89a")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
MAX_PARTS = 2_000_000
"""Blocks of a GIF, chunks of a PNG, boxes of an MP4: files with more would keep Python busy for minutes."""
_BOXES_OF_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
_START_OF_SCAN = b"\xff\xda"
_READ_BYTES = 2**20


@dataclass(frozen=True)
class GifLayout:
    """What is in a GIF.

    Attributes:
        width: of the canvas, which grows with pictures that go beyond it.
        height: of the same.
        n_pictures: how many pictures it has.
        is_whole: whether it has its end mark; True too where it isn't a GIF any more, as the decoder will say.
    """

    width: int
    height: int
    n_pictures: int
    is_whole: bool


def read_gif(file: BinaryIO, bounds: ItemBounds) -> GifLayout:
    """Walk through a GIF's blocks.

    Raises:
        UndecodableVideoError: it has more pictures than allowed, or more blocks than one can walk through.
    """
    file.seek(6)
    width, height = _two_numbers(file.read(4))
    _skip_gif_colours(file, then=2)
    n_pictures, steps = 0, iter(range(MAX_PARTS))
    for _ in steps:
        introducer = file.read(1)
        if introducer == b"\x00":  # stray zeros between blocks are common
            continue
        if introducer == b"!":
            file.seek(1, 1)
        elif introducer == b",":
            place = file.read(8)
            (left, top), (w, h) = _two_numbers(place[:4]), _two_numbers(place[4:])
            width, height, n_pictures = max(width, left + w), max(height, top + h), n_pictures + 1
            check_frames(n_pictures, bounds)
            _skip_gif_colours(file, then=1)
        else:
            return GifLayout(width, height, n_pictures, is_whole=bool(introducer))
        _skip_gif_data(file, steps)
    raise _too_many("blocks")


def check_png(file: BinaryIO) -> None:
    """Walk through a PNG's chunks, as far as they go.

    Raises:
        UndecodableVideoError: there are more than a PNG needs.
    """
    file.seek(len(PNG_MAGIC))
    for _ in range(MAX_PARTS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    raise _too_many("chunks")


def n_jpeg_scans(file: BinaryIO) -> int:
    """How often a JPEG goes over its picture: each scan of a progressive one takes as long as the first.

    Marks within its metadata are counted too.
    """
    file.seek(0)
    n_scans, last = 0, b""
    for block in iter(lambda: file.read(_READ_BYTES), b""):
        n_scans += (last + block).count(_START_OF_SCAN)
        last = block[-1:]
    return n_scans


def boxes(
    file: BinaryIO, n_bytes: int, *, within: tuple[bytes, ...] = _BOXES_OF_BOXES
) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content and end of each box of an MP4, those within others after them.

    Where one isn't a box or has no length, those beside it end.

    Raises:
        UndecodableVideoError: there are more than one can walk through.
    """
    spans, steps = [(0, n_bytes)], iter(range(MAX_PARTS))
    while spans:
        start, stop = spans.pop()
        for _ in steps:
            if start + 8 > stop:
                break
            file.seek(start)
            size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if size == 1:
                size = int.from_bytes(file.read(8), "big")
            if size < 8:  # 0: it goes on to the end, wherever that is; anything else isn't a box
                break
            content = file.tell()
            if kind in within:
                spans.append((content, min(start + size, stop)))
            start += size
            yield kind, content, start
        else:
            raise _too_many("boxes")


def n_mp4_sample_bytes(file: BinaryIO, n_bytes: int) -> int:
    """Bytes of an MP4's samples, at least, by the largest of its tables that names only their number.

    FFmpeg takes memory for each sample, whether it is in the file or not.
    """
    most = 0
    for kind, content, _ in boxes(file, n_bytes):
        if kind in (b"stsz", b"trun"):
            file.seek(content + 4)  # after version and flags
            first, second = (int.from_bytes(file.read(4), "big") for _ in range(2))
            most = max(most, first * second if kind == b"stsz" else first)
    return most


def _too_many(kind: str) -> UndecodableVideoError:
    return UndecodableVideoError(f"it consists of too many {kind}")


def _two_numbers(content: bytes) -> tuple[int, int]:
    return int.from_bytes(content[:2], "little"), int.from_bytes(content[2:4], "little")


def _skip_gif_colours(file: BinaryIO, *, then: int) -> None:
    flags = file.read(1)
    has_table = bool(flags) and flags[0] & 0x80
    file.seek((3 << (flags[0] & 7) + 1 if has_table else 0) + then, 1)


def _skip_gif_data(file: BinaryIO, steps: Iterator[int]) -> None:
    for _ in steps:
        length = file.read(1)
        if not length or length == b"\x00":
            return
        file.seek(length[0], 1)

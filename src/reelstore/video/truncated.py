"""Find files that end before their headers say they do.

Decoders stop quietly at the end of a cut file, and sampling would then spread over the part that is left. Where a
container doesn't state its length, its last part does: a file is cut where that part is. Such a container that was cut
exactly between two parts can't be told from a whole one, nor can a raw stream (with_pyav.py looks at the last packet).
"""

from typing import BinaryIO

from reelstore.video.layout import boxes, n_mp4_sample_bytes
from reelstore.video.truncated_streams import MAX_WALKED, is_stream_truncated

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_CLUSTER = b"\x1f\x43\xb6\x75"
_MP4_BEGINNINGS = b"ftyp styp moov moof mdat sidx free skip wide pnot uuid udta junk prfl PICT".split()
_MP4_PAYLOADS = (b"moov", b"mdat", b"moof")
_UNKNOWN_RIFF_SIZES = (0, 0xFFFFFFFF)
"""Written in a stream, an AVI keeps one of these in place of its size."""
_MOST_RIFFS = 4096


def is_truncated(file: BinaryIO) -> bool:
    """True if the container's own lengths reach past the end of the file; where it has none, False.

    Knows MP4 and MOV (boxes), Matroska and WebM (elements), AVI and WebP (RIFF), and what truncated_streams.py knows.

    Raises:
        UndecodableVideoError: it consists of too many parts to find out.
    """
    n_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head.startswith(b"RIFF"):
        return _is_riff_truncated(file, n_bytes)
    if head.startswith(_EBML):
        return _is_matroska_truncated(file, n_bytes)
    if head[4:8] in _MP4_BEGINNINGS:
        return _is_mp4_truncated(file, n_bytes)
    return is_stream_truncated(file, n_bytes)


def _is_riff_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """Of one RIFF or, as in an AVI beyond 1 GiB, several."""
    start = 0
    for _ in range(_MOST_RIFFS):
        if start >= n_bytes:
            break
        file.seek(start)
        head = file.read(12)
        size = int.from_bytes(head[4:8], "little")
        if not head.startswith(b"RIFF") or size in _UNKNOWN_RIFF_SIZES:
            return _is_avi_data_truncated(file, n_bytes)
        start += 8 + size + size % 2
    return start - size % 2 > n_bytes


def _is_avi_data_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """By the list of its data, or by the last chunk in it where that has no size either."""
    start, is_within = 12, False
    for _ in range(MAX_WALKED):
        file.seek(start)
        head = file.read(12)
        kind, size = head[:4], int.from_bytes(head[4:8], "little")
        if len(head) < 8:
            return is_within and bool(head.strip(b"\0"))
        is_data = kind == b"LIST" and head[8:12] == b"movi"
        if is_data and size in _UNKNOWN_RIFF_SIZES:
            start, is_within = start + 12, True
            continue
        start += 8 + size
        if start > n_bytes:
            return is_data or (is_within and kind[:2].isdigit())
        start += size % 2
    return False


def _is_matroska_truncated(file: BinaryIO, n_bytes: int) -> bool:
    file.seek(len(_EBML))
    header_size = _ebml_size(file)
    if header_size is None:
        return False
    file.seek(header_size, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return False
    size = _ebml_size(file)
    start = file.tell()
    return _is_live_segment_truncated(file, start, n_bytes) if size is None else start + size > n_bytes


def _is_live_segment_truncated(file: BinaryIO, start: int, n_bytes: int) -> bool:
    """By the last element of a recording that states no size for the whole, and mostly none for its clusters."""
    for _ in range(MAX_WALKED):
        if start >= n_bytes:
            return start > n_bytes
        file.seek(start)
        first = file.read(1)
        if first[0] < 0x10:  # no element: names have up to four bytes
            return False
        name = first + file.read(8 - first[0].bit_length())
        size = _ebml_size(file)
        if size is None:
            if file.tell() < n_bytes and name != _CLUSTER:
                return False
            if file.tell() >= n_bytes:  # cut within a name or a size
                return True
        start = file.tell() + (size or 0)
    return False


def _ebml_size(file: BinaryIO) -> int | None:
    """A length whose leading zero bits say how many bytes it takes; all ones means unknown, as in a live stream."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    n_bytes = 9 - first[0].bit_length()
    rest = file.read(n_bytes - 1)
    all_ones = (1 << 7 * n_bytes) - 1
    size = int.from_bytes(first + rest, "big") & all_ones
    return None if size == all_ones or len(rest) < n_bytes - 1 else size


def _is_mp4_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """By a box of pictures or their index that overruns the file, or an index of fragments that does."""
    if n_mp4_sample_bytes(file, n_bytes) > n_bytes:
        return True
    stop, has_fragments = 0, False
    indices: list[tuple[int, int]] = []
    for kind, content, stop in boxes(file, n_bytes, within=()):
        if stop > n_bytes and kind in _MP4_PAYLOADS:
            return True
        if kind == b"sidx":
            indices = [*indices[:1], (content, stop)]  # of all fragments, or of those that follow it: first or last
        has_fragments |= kind == b"moof"
    if any(_sidx_stop(file, *index) > n_bytes for index in indices):
        return True
    return has_fragments and stop < n_bytes < stop + 8  # cut within a box's length and kind


def _sidx_stop(file: BinaryIO, content: int, stop: int) -> int:
    """End of the last fragment that a segment index names (ISO/IEC 14496-12, 8.16.3)."""
    file.seek(content)
    number_bytes = 8 if file.read(1) == b"\1" else 4
    file.seek(content + 12 + number_bytes)  # after version, flags, id, timescale and the earliest time
    first_offset = int.from_bytes(file.read(number_bytes), "big")
    n_references = int.from_bytes(file.read(4), "big") & 0xFFFF
    references = file.read(12 * n_references)
    sizes = [int.from_bytes(references[at : at + 4], "big") & 0x7FFFFFFF for at in range(0, len(references), 12)]
    return stop + first_offset + sum(sizes)

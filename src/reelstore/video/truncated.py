"""Whether a file ends before it says it does.

Decoders stop quietly at the end of a cut WebM or Matroska (or GIF: layout.py), and sampling would then spread over the
part that is left. Transport streams and Ogg announce no length, nor does an MP4 in fragments that ends between two of
them; there a cut can't be told.
"""

from typing import BinaryIO

from reelstore.video.layout import boxes, n_mp4_sample_bytes

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MP4_BEGINNINGS = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"free", b"skip", b"wide", b"pnot")
_MP4_PAYLOADS = (b"moov", b"mdat", b"moof")


def is_truncated(file: BinaryIO) -> bool:
    """True if the container's own lengths reach past the end of the file; where it has none, False.

    Knows MP4 and MOV (boxes), Matroska and WebM (segment), AVI and WebP (RIFF).

    Raises:
        UndecodableVideoError: it consists of too many parts to find out.
    """
    n_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head.startswith(b"RIFF"):
        return _riff_stop(head) > n_bytes
    if head.startswith(_EBML):
        return _segment_stop(file) > n_bytes
    if head[4:8] in _MP4_BEGINNINGS and n_mp4_sample_bytes(file, n_bytes) > n_bytes:
        return True
    return head[4:8] == b"ftyp" and _last_box_stop(file, n_bytes) > n_bytes


def _riff_stop(head: bytes) -> int:
    size = int.from_bytes(head[4:8], "little")
    # Written in a stream, an AVI keeps one of these in place of its size.
    return 0 if size in (0, 0xFFFFFFFF) else 8 + size


def _segment_stop(file: BinaryIO) -> int:
    file.seek(len(_EBML))
    header_size = _ebml_size(file)
    if header_size is None:
        return 0
    file.seek(header_size, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


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


def _last_box_stop(file: BinaryIO, n_bytes: int) -> int:
    """End of the first box of pictures or their index that overruns the file; else 0."""
    return next((stop for kind, _, stop in boxes(file, n_bytes) if stop > n_bytes and kind in _MP4_PAYLOADS), 0)

"""What a compressed Arrow file says its buffers grow to, before any of them is unpacked.

Source of the layout: https://arrow.apache.org/docs/format/Columnar.html, "IPC File Format" and "IPC Streaming Format",
and its Message.fbs.
"""

import os
import struct
from typing import BinaryIO

_FOOTER = struct.Struct("<i6s")
_BLOCK = struct.Struct("<qi4xq")
_BUFFER = struct.Struct("<qq")
_DICTIONARY, _BATCH = 2, 3
"""Types of messages."""
CONTINUES = b"\xff" * 4
"""Before the length of each message of a stream."""
_PREFIX = len(CONTINUES) + 4


def claimed_bytes(file: BinaryIO) -> int:
    """Bytes of all buffers, unpacked, of the batch that has most; 0 where none is compressed.

    Raises:
        struct.error, IndexError, ValueError: the file is damaged.
    """
    size = os.fstat(file.fileno()).st_size
    length, _ = _FOOTER.unpack(_read(file, size - _FOOTER.size, _FOOTER.size))
    footer = _read(file, size - _FOOTER.size - length, length)
    root = _follow(footer, 0)
    most = 0
    for number in (2, 3):  # dictionaries, record batches
        field = _field(footer, root, number)
        if field is None:
            continue
        start = _follow(footer, field)
        for block in range(min(_u32(footer, start), length // _BLOCK.size)):
            offset, n_metadata, _ = _BLOCK.unpack_from(footer, start + 4 + block * _BLOCK.size)
            most = max(most, _of_batch(file, offset, n_metadata))
    return most


def claimed_by_stream(file: BinaryIO) -> int:
    """The same of a stream, message after message, up to the mark of its end.

    Raises:
        struct.error, IndexError, ValueError: the file is damaged, or has no such mark: it was cut short.
    """
    size = os.fstat(file.fileno()).st_size
    offset, most = 0, 0
    while True:
        prefix = _read(file, offset, _PREFIX)
        if prefix[:4] != CONTINUES:
            raise ValueError("a message in it doesn't begin as one")
        n_metadata = _PREFIX + _u32(prefix, 4)
        if n_metadata == _PREFIX:
            if offset + _PREFIX < size:
                raise ValueError(f"{size - offset - _PREFIX} bytes follow its end")
            return most
        most = max(most, _of_batch(file, offset, n_metadata))
        message = _read(file, offset + _PREFIX, n_metadata - _PREFIX)
        body = _field(message, _follow(message, 0), 3)
        n_bytes = 0 if body is None else int(struct.unpack_from("<q", message, body)[0])
        if n_bytes < 0:
            raise ValueError("a message in it has a negative length")
        offset += n_metadata + n_bytes


def _of_batch(file: BinaryIO, offset: int, n_metadata: int) -> int:
    message = _read(file, offset, n_metadata)
    message = message[_PREFIX if message[:4] == CONTINUES else 4 :]
    root = _follow(message, 0)
    kind, header = _field(message, root, 1), _field(message, root, 2)
    if kind is None or header is None or message[kind] not in (_DICTIONARY, _BATCH):
        return 0
    batch = _follow(message, header)
    if message[kind] == _DICTIONARY:
        data = _field(message, batch, 1)
        if data is None:
            return 0
        batch = _follow(message, data)
    buffers = _field(message, batch, 2)
    if buffers is None or _field(message, batch, 3) is None:  # not compressed: no longer than the file
        return 0
    start, total = _follow(message, buffers), 0
    for number in range(min(_u32(message, start), n_metadata // _BUFFER.size)):
        place, length = _BUFFER.unpack_from(message, start + 4 + number * _BUFFER.size)
        if length >= 8:
            unpacked = struct.unpack("<q", _read(file, offset + n_metadata + place, 8))[0]
            total += max(unpacked, length)  # -1: this buffer isn't compressed
    return total


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset < 0 or length < 0:
        raise ValueError("a place in it is negative")
    content = os.pread(file.fileno(), length, offset)
    if len(content) < length:
        raise ValueError("it ends too early")
    return content


def _u32(content: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", content, place)[0])


def _follow(content: bytes, place: int) -> int:
    return place + _u32(content, place)


def _field(content: bytes, table: int, number: int) -> int | None:
    """Place of a table's field; None where it has its default."""
    names = table - int(struct.unpack_from("<i", content, table)[0])
    at = 4 + 2 * number
    if at + 2 > struct.unpack_from("<H", content, names)[0]:
        return None
    place = int(struct.unpack_from("<H", content, names + at)[0])
    return table + place if place else None

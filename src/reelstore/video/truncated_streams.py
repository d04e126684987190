"""Find streaming containers that end within a part: transport and program streams, Ogg, FLV, ASF."""

from typing import BinaryIO

MAX_WALKED = 2**20
"""Parts that are walked through to find the last: some hours of a video's. A file of more isn't judged."""
_TRANSPORT_SYNC = b"\x47"
_TRANSPORT_PACKETS = [(188, 0), (192, 4), (204, 0)]
"""Bytes of a packet, and where its sync byte is: as broadcast, on Blu-ray discs, with error correction."""
_PACK = b"\0\0\1\xba"
_END_CODE = 0xB9
_FIRST_STREAM_ID = 0xBB
_TAIL_BYTES = 2**18
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_FLV_TAGS = (8, 9, 18)
_FLV_TAG_HEADER = 11


def is_stream_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """True if the last part of one of these containers isn't whole; False too where it is none of them."""
    file.seek(0)
    head = file.read(1024)
    if head.startswith(b"OggS"):
        return _is_ogg_truncated(file, n_bytes)
    if head.startswith(b"FLV\1"):
        return _is_flv_truncated(file, n_bytes, start=int.from_bytes(head[5:9], "big") + 4)
    if head.startswith(_ASF_HEADER):
        return _is_asf_truncated(file, n_bytes)
    if head.startswith(_PACK):
        return _is_program_stream_truncated(file, n_bytes)
    for size, at in _TRANSPORT_PACKETS:
        if len(head) > 3 * size and all(head[at + i * size :][:1] == _TRANSPORT_SYNC for i in range(4)):
            return n_bytes % size != 0
    return False


def _is_ogg_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """By its last page (RFC 3533, 6)."""
    start = 0
    for _ in range(MAX_WALKED):
        file.seek(start)
        head = file.read(27)
        if not head or not head.startswith(b"OggS"[: len(head)]):
            return False
        if len(head) < 27:
            return True
        lengths = file.read(head[26])
        start += 27 + head[26] + sum(lengths)
        if len(lengths) < head[26] or start > n_bytes:
            return True
    return False


def _is_flv_truncated(file: BinaryIO, n_bytes: int, *, start: int) -> bool:
    """By its last tag (Adobe's specification of FLV 10.1, E.4); the length that follows each may be missing."""
    for _ in range(MAX_WALKED):
        file.seek(start)
        head = file.read(_FLV_TAG_HEADER)
        if not head or head[0] & 0x1F not in _FLV_TAGS:
            return False
        start += _FLV_TAG_HEADER + int.from_bytes(head[1:4], "big")
        if len(head) < _FLV_TAG_HEADER or start > n_bytes or start < n_bytes < start + 4:
            return True
        start += 4
    return False


def _is_asf_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """By the size of its data, or of one packet where it was broadcast (Advanced Systems Format 1.2, 3.2 and 5)."""
    file.seek(16)
    start = int.from_bytes(file.read(8), "little")
    file.seek(0)
    header = file.read(min(start, _TAIL_BYTES))
    properties = header.find(_ASF_FILE_PROPERTIES)
    file.seek(start)
    data = file.read(50)
    if properties < 0 or not _ASF_DATA.startswith(data[:16]):
        return start > n_bytes
    is_broadcast = header[properties + 88 : properties + 89] and header[properties + 88] & 1
    packet_bytes = int.from_bytes(header[properties + 92 : properties + 96], "little")
    if len(data) < 50:
        return True
    if is_broadcast:
        return packet_bytes > 0 and (n_bytes - start - 50) % packet_bytes != 0
    return start + int.from_bytes(data[16:24], "little") > n_bytes


def _is_program_stream_truncated(file: BinaryIO, n_bytes: int) -> bool:
    """By its last packet, found from the first pack near the end (ISO/IEC 13818-1, 2.5.3)."""
    file.seek(max(0, n_bytes - _TAIL_BYTES))
    tail = file.read()
    at = tail.find(_PACK)
    while 0 <= at < len(tail):
        code = tail[at : at + 4]
        if len(code) < 4 or not code.startswith(_PACK[:3]):
            return len(code) < 4 and b"\1" in code
        if code == _PACK:
            is_mpeg_2 = tail[at + 4 : at + 5] >= b"\x40"
            at += 14 + (tail[at + 13 : at + 14] or b"\0")[0] % 8 if is_mpeg_2 else 12
        elif code[3] == _END_CODE:
            at += 4
        elif code[3] < _FIRST_STREAM_ID:
            return False
        else:
            at += 6 + int.from_bytes(tail[at + 4 : at + 6], "big")
    return at > len(tail)

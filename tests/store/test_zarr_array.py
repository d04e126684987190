"""Damaged files of encoded values: impossible shard indices, and chunks that expand beyond their size."""

import gzip
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import tensorstore
import zarr
from numcodecs import Zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from reelstore.errors import StoreError
from reelstore.store.open import open_variant
from reelstore.store.zarr_array import zstd_content_bytes

from .made import read_all

Index = np.ndarray
ABSENT = 2**64 - 1


def with_index(file: Path, change: Callable[[Index, int], object]) -> None:
    """Change a shard's index, (4, 2), and make its checksum fit."""
    content = file.read_bytes()
    index = np.frombuffer(bytearray(content[-68:-4]), "<u8").reshape(4, 2)
    change(index, len(content))
    encoded = index.tobytes()
    file.write_bytes(content[:-68] + encoded + struct.pack("<I", google_crc32c.value(encoded)))


def put(place: Any, value: Any) -> Callable[[Index, int], object]:
    return lambda index, size: index.__setitem__(place, value)


INDICES: dict[str, tuple[Callable[[Index, int], object], str]] = {
    "a chunk left out": (put(2, ABSENT), "1 of its 4 chunks are missing"),
    "all left out": (put(slice(None), ABSENT), "4 of its 4 chunks are missing"),
    "an offset left out": (put((0, 0), ABSENT), "aren't within"),
    "a length left out": (put((0, 1), ABSENT), "aren't within"),
    "an empty chunk": (put((1, 1), 0), "aren't within"),
    "beyond the file": (lambda index, size: index.__setitem__((3, 0), size), "aren't within"),
    "far beyond": (put((3, 0), 2**62), "aren't within"),
    "around the end of numbers": (put(3, [ABSENT - 5, 10]), "aren't within"),
    "into the index": (lambda index, size: index.__setitem__((3, 1), size - index[3, 0]), "aren't within"),
    "overlapping": (lambda index, size: index.__setitem__((1, 0), index[1, 0] - 1), "overlap"),
    "the same twice": (lambda index, size: index.__setitem__(1, index[0]), "overlap"),
    "all in one": (lambda index, size: index.__setitem__(0, [0, size - 68]), "overlap"),
}


@pytest.mark.parametrize("what", INDICES)
@pytest.mark.parametrize("encoding", ["zstd", "big endian", "shards of zarr-python", "shards of tensorstore"])
def test_an_index_that_cannot_be_is_named(library: Any, tmp_path: Path, encoding: str, what: str) -> None:
    """Mapped or not: zarr-python would read zeros, or bytes from elsewhere in the file."""
    folder = shutil.copytree(library["pooled", encoding].folder, tmp_path / "variant")
    file = folder / "values/c/0/0"
    change, words = INDICES[what]
    with_index(file, change)
    with pytest.raises(StoreError, match=f"^{file} is damaged: .*{words}"):
        read_all(open_variant(folder))


def test_chunks_in_another_order_are_read_as_their_index_says(library: Any, tmp_path: Path) -> None:
    written = library["pooled", "shards of zarr-python"]
    folder = shutil.copytree(written.folder, tmp_path / "variant")
    file = folder / "values/c/0/0"
    content = file.read_bytes()
    file.write_bytes(content[60:120] + content[:60] + content[120:])
    with_index(file, lambda index, size: index.__setitem__((slice(0, 2), 0), [60, 0]))
    rows = open_variant(folder)
    assert not rows.mapped
    np.testing.assert_array_equal(rows.array(), written.values)


def rewritten(folder: Path, values: np.ndarray, **options: Any) -> None:
    array = zarr.create_array(
        folder / "values", shape=values.shape, dtype=values.dtype, overwrite=True,
        **{"config": {"write_empty_chunks": True}, **options},
    )  # fmt: skip
    array[:] = values


CODECS: dict[str, dict[str, Any]] = {
    "zstd": {"compressors": ZstdCodec()},
    "zstd with a checksum": {"compressors": ZstdCodec(level=9, checksum=True)},
    "gzip": {"compressors": GzipCodec()},
    "blosc": {"compressors": BloscCodec(cname="lz4")},
    "blosc of zstd": {"compressors": BloscCodec(cname="zstd", shuffle="bitshuffle")},
    "zstd and crc32c": {"compressors": [ZstdCodec(), Crc32cCodec()]},
    "transposed": {"filters": [TransposeCodec(order=(1, 0))], "compressors": GzipCodec()},
    "big endian": {"serializer": BytesCodec(endian="big"), "compressors": ZstdCodec()},
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("shards", [None, (20, 6)])
@pytest.mark.parametrize("constant", [False, True])
def test_what_compressors_of_zarr_write_is_read(
    written: Any, name: str, shards: tuple[int, int] | None, constant: bool
) -> None:
    variant = written("pooled", [1] * 47)
    values = np.zeros((47, 6), "float16") if constant else np.array(variant.values)
    rewritten(variant.folder, values, chunks=(5, 6), shards=shards, **CODECS[name])
    np.testing.assert_array_equal(open_variant(variant.folder).array(), values)
    file = variant.folder / "values/c/0/0"
    content = file.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 20)):
        file.write_bytes(content[:size])
        with pytest.raises(StoreError, match=f"^{file} is damaged"):
            read_all(variant.open())


def test_frames_of_zstd_that_say_no_size_are_read(written: Any) -> None:
    variant = written("pooled", [1] * 47)
    values = np.array(variant.values)
    shutil.rmtree(variant.folder / "values")
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {"level": 3}}]
    metadata = {"shape": [47, 6], "data_type": "float16", "codecs": codecs}
    metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": [10, 6]}}
    kvstore = {"driver": "file", "path": str(variant.folder / "values")}
    spec = {"driver": "zarr3", "kvstore": kvstore, "metadata": metadata, "create": True}
    array = tensorstore.open({**spec, "store_data_equal_to_fill_value": True}).result()
    array[...] = values
    np.testing.assert_array_equal(open_variant(variant.folder).array(), values)


@pytest.mark.parametrize("n_bytes", [0, 1, 59, 60, 61, 255, 256, 300, 70_000])
def test_a_frame_s_header_says_its_size(n_bytes: int) -> None:
    frame = np.frombuffer(Zstd().encode(bytes(n_bytes)), np.uint8)
    assert zstd_content_bytes(frame) == n_bytes


def rle_frame(n_bytes: int, header: bytes) -> bytes:
    """A frame of zeros, 4 bytes for each 128 KiB of them."""
    n_blocks = -(-n_bytes // 2**17)
    sizes = [2**17] * (n_blocks - 1) + [n_bytes - (n_blocks - 1) * 2**17]
    blocks = [(size << 3 | 1 << 1 | (n == n_blocks - 1)).to_bytes(3, "little") + b"\0" for n, size in enumerate(sizes)]
    return b"\x28\xb5\x2f\xfd" + header + b"".join(blocks)


GIB = 2**30
BOMBS: dict[str, tuple[Any, bytes]] = {
    "zstd that says so": (ZstdCodec(), rle_frame(GIB, b"\x80\x58" + GIB.to_bytes(4, "little"))),
    "zstd that says nothing": (ZstdCodec(), rle_frame(GIB, b"\x00\x58")),
    "zstd with a false header": (ZstdCodec(), rle_frame(GIB, b"\x20" + bytes([60]))),
    "zstd that says 2^63": (ZstdCodec(), rle_frame(GIB, b"\xc0\x58" + (2**63).to_bytes(8, "little"))),
    "zstd of less, that says nothing": (ZstdCodec(), rle_frame(59, b"\x00\x58")),
    "zstd of more, that says nothing": (ZstdCodec(), rle_frame(61, b"\x00\x58")),
    "frames after a frame": (ZstdCodec(), rle_frame(60, b"\x20" + bytes([60])) + rle_frame(GIB, b"\x00\x58")),
    "gzip": (GzipCodec(), gzip.compress(bytes(2**27))),
    "gzips after a gzip": (GzipCodec(), gzip.compress(bytes(60)) + gzip.compress(bytes(2**27))),
    "gzip of less": (GzipCodec(), gzip.compress(bytes(59))),
    "blosc that says so": (BloscCodec(), struct.pack("<BBBBIII", 2, 1, 2, 2, GIB, GIB, 32) + bytes(16)),
    "blosc that says it is longer": (BloscCodec(), struct.pack("<BBBBIII", 2, 1, 2, 2, 60, 60, 2**31 - 1) + bytes(16)),
    "blosc of less": (BloscCodec(), struct.pack("<BBBBIII", 2, 1, 0x12, 2, 16, 16, 32) + bytes(16)),
    "blosc of nothing": (BloscCodec(), struct.pack("<BBBBIII", 2, 1, 0x12, 2, 60, 0, 16)),
}


def put_chunk(file: Path, content: bytes) -> None:
    """Make this the first chunk of a shard."""
    start = len(content)
    file.write_bytes(content + file.read_bytes())
    with_index(file, lambda index, size: (index[:, 0].__iadd__(start), index.__setitem__(0, [0, start])))


def test_a_chunk_that_expands_beyond_its_size_is_refused_within_its_memory(written: Any, tmp_path: Path) -> None:
    variant = written("pooled", [1] * 47)
    np.testing.assert_array_equal(np.frombuffer(Zstd().decode(rle_frame(60, b"\x00\x58")), np.uint8), np.zeros(60))
    folders = {}
    for name, (codec, bomb) in BOMBS.items():
        for sharded in (False, True):
            folder = shutil.copytree(variant.folder, tmp_path / f"{name} {sharded}")
            rewritten(
                folder, np.array(variant.values), chunks=(5, 6), shards=(20, 6) if sharded else None, compressors=codec
            )
            file = folder / "values/c/0/0"
            if sharded:
                put_chunk(file, bomb)
            else:
                file.write_bytes(bomb)
            folders[str(folder)] = str(file)
    code = """
import json, pathlib, resource, sys
import numpy, zarr
from reelstore.errors import StoreError
from reelstore.store import zarr_array
from reelstore.store.open import open_variant
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
for folder, file in json.loads(sys.argv[1]).items():
    for held in (2**30, 0):
        zarr_array.HELD_BYTES = held
        try:
            found = open_variant(pathlib.Path(folder)).take([0])
        except StoreError as error:
            assert file in str(error), error
        else:
            print(folder, "was read as", found)
print((peak() - before) // 2**20, "MiB")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(folders)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *read, peak = done.stdout.splitlines()
    assert not read
    assert int(peak.split()[0]) < 100


def test_values_read_through_zarr_are_of_the_version_that_was_opened(written: Any, monkeypatch: Any) -> None:
    """No mapping keeps the old files, and zarr-python opens them each time."""
    monkeypatch.setattr("reelstore.store.zarr_array.HELD_BYTES", 0)
    early = written("pooled", [1] * 70, "zstd")
    rows = early.open()
    np.testing.assert_array_equal(rows.take([3, 1]), [early.values[3], early.values[1]])
    written("pooled", [2] * 71, "zstd")
    for ask in (lambda: rows.take([3]), rows.array, lambda: list(rows.walk([0]))):
        with pytest.raises(StoreError, match="rewritten since it was opened"):
            ask()

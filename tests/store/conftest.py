"""Small stores with known values, and the ways other clients may have written the same values."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

import reelstore
from reelstore.store import chunks
from reelstore.store.open import Store, open_variant
from reelstore.store.read import Rows

from .made import CAPTIONS, TEXT, TOKENS, VALUES, VIDEOS, spec, value_of, write

ENCODINGS = {
    # name: (chunk rows, shard rows, codec options, whether the files hold the rows as they are)
    "as written": None,
    "shards of zarr-python": (5, 20, {}, True),
    "chunks of zarr-python": (7, None, {}, True),
    "shards of tensorstore": (5, 20, "tensorstore", True),
    "zstd": (5, 20, {"compressors": ZstdCodec()}, False),
    "gzip chunks": (7, None, {"compressors": GzipCodec()}, False),
    "inner crc32c": (5, 20, {"compressors": Crc32cCodec()}, False),
    "big endian": (5, 20, {"serializer": BytesCodec(endian="big")}, False),
    "big endian chunks": (7, None, {"serializer": BytesCodec(endian="big")}, False),
    "index at the start": (5, 20, "index at the start", False),
    "half rows": (7, None, "half rows", False),
    "names of version 2": (7, None, {"chunk_key_encoding": {"name": "v2", "separator": "."}}, False),
}
"""Encodings of `values`; all of them are valid Zarr."""
MAPPED = {name: how is None or how[3] for name, how in ENCODINGS.items()}


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 64 rows of 6 float16 each, and blocks of 16 of them."""
    monkeypatch.setattr(chunks, "LEAST_VALUES_BYTES", 64 * 12)
    monkeypatch.setattr(chunks, "LEAST_BYTES", 256)
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 16 * 12)


@dataclass(frozen=True)
class Written:
    """A variant in a folder and what it should give."""

    folder: Path
    keys: list[Any]
    values: list[np.ndarray]

    def open(self) -> Rows:
        return open_variant(self.folder)

    @property
    def file(self) -> Path:
        """The first file of `values`."""
        files = (path for path in (self.folder / "values").rglob("*") if path.is_file() and path.name != "zarr.json")
        return min(files, key=lambda path: (len(path.name), path))


def write_drawn(
    root: Path, layout: str, counts: list[int], *, dim: int = 6, dtype: str = "float16", failed: tuple[int, ...] = ()
) -> Written:
    """A variant whose every third row is of `test`.

    Args:
        root: of the store.
        layout: `pooled`, `dense` or `ragged`.
        counts: tokens of each item; where the layout isn't ragged, only their number counts.
        dim: width.
        dtype: stored dtype.
        failed: rows without a value.
    """
    of = spec({"pooled": 0, "dense": 3, "ragged": None}[layout], dtype=dtype, dim=dim)
    keys = [f"video{number}" for number in range(len(counts))]
    lengths = dict(zip(keys, counts, strict=True))
    folder = root / of.side / of.encoder / of.variant
    write(folder, of, keys, failed=[keys[row] for row in failed], lengths=lengths, every=3)
    return Written(folder, keys, [value_of(key, of, count).astype(dtype) for key, count in lengths.items()])


def encode(written: Written, encoding: str) -> None:
    """Rewrite the variant's `values`, as another client or another choice of codecs would."""
    how = ENCODINGS[encoding]
    if how is None:
        return
    chunk_rows, shard_rows, options, _ = how
    values = zarr.open_array(written.folder / "values", mode="r")[:]
    row = values.shape[1:]
    path = written.folder / "values"
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    chunks, shards = (chunk_rows, *row), None if shard_rows is None else (shard_rows, *row)
    if options == "tensorstore":
        _with_tensorstore(path, values, chunks, shards)
        return
    if options == "index at the start":
        codec = ShardingCodec(chunk_shape=chunks, codecs=[BytesCodec(endian="little")], index_location="start")
        options, chunks, shards = {"serializer": codec}, shards, None
    elif options == "half rows":
        options, chunks = {}, (chunk_rows, *row[:-1], row[-1] // 2)
    array = zarr.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        **{"compressors": None, "filters": None, "config": {"write_empty_chunks": True}, **options},
    )
    array[:] = values


def _with_tensorstore(path: Path, values: np.ndarray, chunks: tuple[int, ...], shards: Any) -> None:
    metadata = {
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shards}},
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": chunks,
                    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                },
            }
        ],
    }
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "metadata": metadata}
    spec |= {"create": True, "store_data_equal_to_fill_value": True}
    array = tensorstore.open(spec).result()
    array[...] = values
    # What matters here is that the metadata differs from ours and says the same.
    assert json.loads((path / "zarr.json").read_text())["node_type"] == "array"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a variant and, if asked to, encodes its values otherwise: written(layout, counts, encoding, ...)."""

    def make(layout: str, counts: list[int], encoding: str = "as written", **options: Any) -> Written:
        variant = write_drawn(tmp_path / "store", layout, counts, **options)
        encode(variant, encoding)
        return variant

    return make


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Written]:
    """(layout, encoding) -> a variant of 47 rows."""
    counts = [*np.random.default_rng(1).integers(0, 6, 45).tolist(), 0, 30]
    variants = {}
    for layout in ("pooled", "dense", "ragged"):
        original = write_drawn(tmp_path_factory.mktemp("library"), layout, counts)
        for encoding in ENCODINGS:
            folder = shutil.copytree(original.folder, tmp_path_factory.mktemp("library") / "variant")
            variants[layout, encoding] = replace(original, folder=folder)
            encode(variants[layout, encoding], encoding)
    return variants


@pytest.fixture(params=list(ENCODINGS))
def encoding(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def is_mapped(encoding: str) -> bool:
    return MAPPED[encoding]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Videos pooled, captions pooled and as tokens, and the captions' texts; tests leave it as it was."""
    store = reelstore.open(tmp_path_factory.mktemp("stores") / "store" / "mine", create=True)
    store.write("video/clip/mean", VIDEOS, VALUES, splits=["train" if n < 70 else "test" for n in range(100)])
    store.write("text/clip/mean", CAPTIONS, TEXT)
    store.write("text/clip/tokens", CAPTIONS, TOKENS)
    data = store.path.parents[1] / "data" / "mine"
    data.mkdir(parents=True)
    lines = (
        f'{{"video_id": "{video}", "caption_index": {index}, "text": "caption {index} of {video}"}}\n'
        for video, index in CAPTIONS
    )
    (data / "captions.jsonl").write_text("".join(lines))
    return store


@pytest.fixture
def rows(store: Store) -> Rows:
    return store["video/clip/mean"]

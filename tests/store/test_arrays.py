"""Arrays with false metadata, and paths that aren't regular files: one clear error, before any row is read."""

import copy
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelstore.errors import SchemaError, StoreError
from reelstore.store.arrays import aligned_empty
from reelstore.store.open import open_variant

from .made import read_all, soak

Change = Callable[[dict[str, Any]], object]
HUGE = 2**62
COLUMNS = ["status", "offsets", "video_id", "video_id_offsets", "split", "fingerprint"]


def grid(metadata: dict[str, Any]) -> dict[str, Any]:
    return metadata["chunk_grid"]["configuration"]


def keys(metadata: dict[str, Any]) -> dict[str, Any]:
    return metadata["chunk_key_encoding"]["configuration"]


def sharding(metadata: dict[str, Any]) -> dict[str, Any]:
    return {codec["name"]: codec for codec in metadata["codecs"]}["sharding_indexed"]["configuration"]


def first(numbers: list[Any], change: Callable[[int], Any]) -> None:
    numbers[0] = change(numbers[0])


LIES: dict[str, Change] = {
    "shorter": lambda m: first(m["shape"], lambda n: n - 1),
    "longer": lambda m: first(m["shape"], lambda n: n + 1),
    "by a file longer": lambda m: first(m["shape"], lambda n: n + 10**6),
    "negative": lambda m: first(m["shape"], lambda n: -n),
    "huge": lambda m: first(m["shape"], lambda n: HUGE),
    "beyond int64": lambda m: first(m["shape"], lambda n: 10**40),
    "a float": lambda m: first(m["shape"], float),
    "a text": lambda m: first(m["shape"], str),
    "true": lambda m: first(m["shape"], lambda n: True),
    "a list in it": lambda m: first(m["shape"], lambda n: [n]),
    "no axis": lambda m: m.update(shape=[]),
    "one axis more": lambda m: m["shape"].append(1),
    "one axis more of none": lambda m: m["shape"].insert(0, 0),
    "shape a number": lambda m: m.update(shape=47),
    "shape a text": lambda m: m.update(shape="47"),
    "shape null": lambda m: m.update(shape=None),
    "chunk of none": lambda m: first(grid(m)["chunk_shape"], lambda n: 0),
    "negative chunk": lambda m: first(grid(m)["chunk_shape"], lambda n: -n),
    "huge chunk": lambda m: first(grid(m)["chunk_shape"], lambda n: HUGE),
    "chunk beyond int64": lambda m: first(grid(m)["chunk_shape"], lambda n: 10**40),
    "chunk twice as large": lambda m: first(grid(m)["chunk_shape"], lambda n: 2 * n),
    "chunk half as large": lambda m: first(grid(m)["chunk_shape"], lambda n: n // 2),
    "chunk a float": lambda m: first(grid(m)["chunk_shape"], float),
    "chunk a text": lambda m: grid(m).update(chunk_shape="64"),
    "chunk of no axis": lambda m: grid(m).update(chunk_shape=[]),
    "chunk of more axes": lambda m: grid(m)["chunk_shape"].append(1),
    "no chunk": lambda m: grid(m).clear(),
    "grid a list": lambda m: m.update(chunk_grid=[1]),
    "grid irregular": lambda m: m["chunk_grid"].update(name="rectilinear"),
    "grid configured by a list": lambda m: m["chunk_grid"].update(configuration=[1]),
    "float64": lambda m: m.update(data_type="float64"),
    "uint16": lambda m: m.update(data_type="uint16"),
    "object": lambda m: m.update(data_type="object"),
    "O": lambda m: m.update(data_type="|O"),
    "string": lambda m: m.update(data_type="string"),
    "fixed string": lambda m: m.update(data_type={"name": "fixed_length_utf32", "configuration": {"length_bytes": 4}}),
    "bool": lambda m: m.update(data_type="bool"),
    "complex": lambda m: m.update(data_type="complex64"),
    "structured": lambda m: m.update(data_type={"name": "structured", "configuration": {"fields": [["a", "int8"]]}}),
    "dtype a list": lambda m: m.update(data_type=["float16"]),
    "dtype a number": lambda m: m.update(data_type=5),
    "no dtype": lambda m: m.pop("data_type"),
    "unknown codec": lambda m: m["codecs"].append({"name": "of-the-future"}),
    "codec of numcodecs": lambda m: m["codecs"].insert(
        0, {"name": "numcodecs.astype", "configuration": {"encode_dtype": "<f8", "decode_dtype": "<f2"}}
    ),
    "no codecs": lambda m: m.update(codecs=[]),
    "codecs a text": lambda m: m.update(codecs="bytes"),
    "codecs a mapping": lambda m: m.update(codecs={"name": "bytes"}),
    "codec a number": lambda m: m.update(codecs=[1]),
    "codec without a name": lambda m: m.update(codecs=[{}]),
    "compressed, it says": lambda m: m.update(codecs=[{"name": "bytes", "configuration": {"endian": "big"}}, "zstd"]),
    "shards of nothing": lambda m: m.update(codecs=[{"name": "sharding_indexed"}]),
    "shards of chunks of none": lambda m: first(sharding(m)["chunk_shape"], lambda n: 0),
    "shards of huge chunks": lambda m: first(sharding(m)["chunk_shape"], lambda n: HUGE),
    "shards of larger chunks": lambda m: first(sharding(m)["chunk_shape"], lambda n: 2 * n),
    "shards of chunks that don't fit": lambda m: first(sharding(m)["chunk_shape"], lambda n: 3),
    "shards of more axes": lambda m: sharding(m)["chunk_shape"].append(1),
    "shards in shards": lambda m: sharding(m)["codecs"].insert(0, json.loads(json.dumps(m["codecs"][0]))),
    "shards of a text": lambda m: sharding(m).update(chunk_shape="1"),
    "shards without an index": lambda m: sharding(m).pop("index_codecs"),
    "a compressed index": lambda m: sharding(m)["index_codecs"].append({"name": "zstd"}),
    "an index that isn't checked": lambda m: sharding(m)["index_codecs"].pop(),
    "an index of no codecs": lambda m: sharding(m)["index_codecs"].clear(),
    "an index elsewhere": lambda m: sharding(m).update(index_location="middle"),
    "an index at the start": lambda m: sharding(m).update(index_location="start"),
    "an index at a list": lambda m: sharding(m).update(index_location=["end"]),
    "storage transformers": lambda m: m.update(storage_transformers=[{"name": "encrypted"}]),
    "what must be understood": lambda m: m.update(encryption={"name": "aes"}),
    "Zarr 2": lambda m: m.update(zarr_format=2),
    "Zarr 4": lambda m: m.update(zarr_format=4),
    "a group": lambda m: m.update(node_type="group"),
    "names that leave": lambda m: keys(m).update(separator="/../../"),
    "names with dots": lambda m: keys(m).update(separator="."),
    "a separator that is a list": lambda m: keys(m).update(separator=["/"]),
    "names of version 2": lambda m: m["chunk_key_encoding"].update(name="v2"),
    "unknown names": lambda m: m["chunk_key_encoding"].update(name="hash"),
    "names a list": lambda m: m.update(chunk_key_encoding=["default"]),
}
SOUND: dict[str, Change] = {
    "fill value NaN": lambda m: m.update(fill_value="NaN"),
    "attributes": lambda m: m.update(attributes={"reelstore": {"schema_version": 99}}),
    "names of axes": lambda m: m.update(dimension_names=[None] * len(m["shape"])),
}


@pytest.fixture(params=[("pooled", "as written"), ("ragged", "as written"), ("dense", "zstd")], ids=" ".join)
def folder(request: pytest.FixtureRequest, library: Any, tmp_path: Path) -> Path:
    return shutil.copytree(library[request.param].folder, tmp_path / "variant")


@pytest.mark.parametrize("name", [*COLUMNS, "values"])
def test_metadata_that_lie_are_refused(folder: Path, name: str) -> None:
    path = folder / name / "zarr.json"
    if not path.exists():
        return
    sound = path.read_bytes()
    for what, change in LIES.items():
        metadata = json.loads(sound)
        try:
            change(metadata)
        except KeyError:  # what isn't in this encoding
            continue
        if metadata == json.loads(sound):
            continue
        path.write_text(json.dumps(metadata))
        try:
            read_all(open_variant(folder))
        except StoreError as error:
            assert str(folder / name) in str(error) and len(str(error)) < 1000, f"{what}: {error}"
        else:
            pytest.fail(f"{name}: {what} was read")
    for change in SOUND.values():
        metadata = json.loads(sound)
        change(metadata)
        path.write_text(json.dumps(metadata))
        read_all(open_variant(folder))


def test_found_and_expected_are_named(folder: Path) -> None:
    path = folder / "status/zarr.json"
    path.write_text(path.read_text().replace("uint8", "int16"))
    with pytest.raises(SchemaError, match=rf"{folder}/status holds \(47,\) int16 where .* says \(47,\) uint8.*dvc"):
        read_all(open_variant(folder))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"shape": [' + b"9" * 5000 + b"]}",
        b'{"node_type": "array", "shape": [NaN]}',
        b'{"node_type": "array", "shape": [1e400]}',
        b" " * (16 * 2**20 + 1),
    ],
    ids=["empty", "not UTF-8", "lists", "nested", "digits", "NaN", "infinite", "long"],
)
def test_json_that_is_none_is_named(library: Any, tmp_path: Path, content: bytes) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    for name in ("values", "status"):
        path = folder / name / "zarr.json"
        sound = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(StoreError, match=f"^{path} isn't"):
            read_all(open_variant(folder))
        path.write_bytes(sound)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # their names are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def _exchanged(path: Path) -> None:
    path.symlink_to(path.parent.parent / "zarr.json")


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "nothing in it": lambda path: path.touch(),
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a socket": _socket,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to another file": _exchanged,
}


@pytest.mark.parametrize("odd", ODD_FILES)
@pytest.mark.parametrize("name", ["values", "status", "video_id_offsets"])
@pytest.mark.parametrize("which", ["zarr.json", "the first file", "the folder"])
def test_what_is_no_file_is_named_and_never_waited_for(folder: Path, name: str, which: str, odd: str) -> None:
    path = folder / name / "zarr.json"
    if which == "the first file":
        path = min(path for path in (folder / name / "c").rglob("*") if path.is_file())
    if which == "the folder":
        path = folder / name
        shutil.rmtree(path)
    else:
        path.unlink()
    if odd == "a link to another file" and which != "the first file":
        return
    ODD_FILES[odd](path)
    with pytest.raises(StoreError, match=str(path) if which == "the first file" else name):
        read_all(open_variant(folder))


def test_a_folder_behind_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "values", tmp_path / "elsewhere")
    (folder / "values").symlink_to(tmp_path / "elsewhere")
    read_all(open_variant(folder))


@pytest.mark.parametrize("rows", [HUGE, 2**40])
def test_a_shape_that_manifest_and_metadata_agree_on_asks_for_its_files(folder: Path, rows: int) -> None:
    """Nothing is reserved or counted before the files are there."""
    from reelstore.store.variant import open_array

    path = folder / "fingerprint/zarr.json"
    metadata = json.loads(path.read_text())
    for chunk in (512, HUGE, rows):
        metadata["shape"][0], metadata["chunk_grid"]["configuration"]["chunk_shape"][0] = rows, chunk
        path.write_text(json.dumps(metadata))
        with pytest.raises(StoreError, match=f"{folder}/fingerprint"):
            open_array(folder, "fingerprint", rows, (16,), "uint8", refuse_changed=lambda: None)


ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 6, 47, 64, 2**31, HUGE, 2**63, 2**64, 10**30, 1.0, 1e308, "", "/", "..", "default",
    "float32", "object", "bytes", "crc32c", "sharding_indexed", "start", "é\x1b[2J", [], [0], [1, 6], [[]], {},
    {"name": "bytes"}, {"name": "zstd"}, {"name": None}, {"configuration": []}, {"name": "regular"},
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every mapping or list within a value, with each of its keys."""
    if isinstance(value, dict | list):
        here = list(value) if isinstance(value, dict) else list(range(len(value)))
        return [(value, key) for key in here] + [place for key in here for place in places(value[key])]
    return []


def test_any_change_of_metadata_gives_an_error_or_the_same_rows(folder: Path) -> None:
    def found() -> tuple[Any, ...]:
        rows = open_variant(folder)
        values = [value.tobytes() for value in rows.take(np.arange(len(rows)))]
        return rows.ids, rows.status.tolist(), rows.token_counts.tolist(), rows.table.splits, values

    expected, draw = found(), random.Random(5)
    paths = sorted(folder.glob("*/zarr.json"))
    n_refused, n_tries = 0, soak(150, 5000)
    for number in range(n_tries):
        path = draw.choice([*paths, folder / "values/zarr.json"])
        sound = path.read_bytes()
        metadata = json.loads(sound)
        for _ in range(draw.choice([1, 1, 1, 2, 4])):
            inside, key = draw.choice(places(metadata))
            how = draw.randrange(4)
            if how == 0:
                del inside[key]
            elif how == 1 and isinstance(inside, list):
                inside.insert(key, copy.deepcopy(draw.choice(ODD_VALUES)))
            elif how == 2 and type(inside[key]) is int:
                inside[key] += draw.choice([-1, 1, 64, -2 * inside[key], inside[key]])
            else:
                inside[key] = copy.deepcopy(draw.choice(ODD_VALUES))
            if not places(metadata):
                break
        content = json.dumps(metadata).encode()
        if number % 10 == 0:
            content = content[: draw.randrange(len(content))]
        path.write_bytes(content)
        try:
            assert found() == expected, content
        except StoreError as error:
            assert str(folder) in str(error)
            n_refused += 1
        path.write_bytes(sound)
    assert n_refused > n_tries // 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "the array 'values' is missing"),
        (b"{", "isn't JSON"),
        (b"[]", "isn't a Zarr array's"),
        (b'{"node_type": "array", "shape": [47, 6]}', "zarr-python can't read it"),
    ],
)
def test_metadata_that_is_none_is_named(library, tmp_path: Path, content: bytes | None, words: str) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    path = folder / "values/zarr.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StoreError, match=words):
        read_all(open_variant(folder))


def test_metadata_of_another_shape_is_refused(library, tmp_path: Path) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    path = folder / "values/zarr.json"
    path.write_text(path.read_text().replace("47", "46"))
    with pytest.raises(SchemaError, match=r"holds \(46, 6\) float16 where .* says \(47, 6\) float16"):
        read_all(open_variant(folder))


def test_metadata_that_zarr_can_t_read_either_is_named(library, tmp_path: Path) -> None:
    folder = shutil.copytree(library["pooled", "as written"].folder, tmp_path / "variant")
    path = folder / "values/zarr.json"
    path.write_text(path.read_text().replace("sharding_indexed", "of-the-future"))
    with pytest.raises(StoreError, match=f"{path} is damaged: zarr-python can't read it.*of-the-future"):
        read_all(open_variant(folder))


@pytest.mark.parametrize("shape", [(), 3, (0, 4), (31,), (1, 2048), (256, 4096), (7, 3, 1000)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_buffers_begin_at_a_page_or_a_cache_line(shape, dtype: str) -> None:
    buffer, model = aligned_empty(shape, dtype), np.empty(shape, dtype)
    assert (buffer.shape, buffer.dtype) == (model.shape, model.dtype)
    assert buffer.flags.c_contiguous and buffer.flags.writeable
    assert not buffer.size or buffer.ctypes.data % (4096 if buffer.nbytes >= 4096 else 64) == 0

"""How arrays are cut into files: few files, small appends, and blocks whose checksums anybody can compute."""

import json
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given
from hypothesis import strategies as st

import reelstore
from reelstore.store.chunks import BLOCK_BYTES, MOST_BYTES, ArrayLayout, key_runs, layouts
from reelstore.store.format import SCHEMA_VERSION, VariantSpec

from .made import files

MIB = 2**20
ID_BYTES = 9


def arrays_of(n: int, dim: int, side: str, tokens: int | None = None) -> dict[str, ArrayLayout]:
    """Of a variant of float16 whose rows have so many tokens on average; embeddings where it is None."""
    n_tokens = 0 if tokens is None else None
    spec = VariantSpec(side, "e", "v", dim, n_tokens, "float16", {})  # type: ignore[arg-type]
    return layouts(spec, n, n * (tokens or 1), n * ID_BYTES, SCHEMA_VERSION)


def n_files(arrays: dict[str, ArrayLayout]) -> list[int]:
    return [-(-(one.n_rows or 0) // one.file_rows) for one in arrays.values()]


def pushed(before: dict[str, ArrayLayout], after: dict[str, ArrayLayout]) -> int:
    """Bytes of the files that appending rows changes or adds, and of the manifest."""
    total = 100 * sum(n_files(after))
    for name, array in after.items():
        assert array.n_rows is not None and before[name].n_rows is not None
        same = (before[name].file_rows, before[name].inner_rows) == (array.file_rows, array.inner_rows)
        first = before[name].n_rows // array.file_rows if same else 0
        if name == "checksum":
            first = 0
        if name == "key_index" and same:
            first = unchanged_files(before[name], array)
        total += sum(array.file_bytes(number) for number in range(first, -(-array.n_rows // array.file_rows)))
    return total


def unchanged_files(before: ArrayLayout, after: ArrayLayout) -> int:
    total = 0
    for one, other in zip(key_runs(before), key_runs(after), strict=False):
        if one != other:
            break
        total += one
    return total // after.file_rows


@pytest.mark.parametrize("dim", [64, 512, 4096])
@pytest.mark.parametrize("side", ["video", "text"])
def test_ten_million_rows_are_in_few_files(dim: int, side: str) -> None:
    assert sum(n_files(arrays_of(10**7, dim, side))) <= 600
    assert sum(n_files(arrays_of(10**7, 64, side, tokens=16))) <= 600


@given(
    n=st.integers(1, 10**8),
    dim=st.integers(1, 200_000),
    side=st.sampled_from(["video", "text"]),
    tokens=st.none() | st.integers(1, 64),
)
def test_files_and_blocks_are_within_their_bounds(n: int, dim: int, side: str, tokens: int | None) -> None:
    for name, array in arrays_of(n, dim, side, tokens).items():
        assert array.inner_rows is not None and array.file_rows % array.inner_rows == 0
        assert array.inner_rows == 1 or array.inner_rows * array.row_bytes <= BLOCK_BYTES
        assert array.row_bytes <= 8192 or array.file_rows == 1 or array.file_rows * array.row_bytes <= MOST_BYTES
        at_most = array.file_rows * array.row_bytes > MOST_BYTES // 2
        assert -(-(array.n_rows or 0) // array.file_rows) <= 256 or at_most, name


@pytest.mark.parametrize(
    ("n", "dim", "side"),
    [
        (10_000, 512, "video"),
        (200_000, 512, "text"),
        (10_000, 4096, "video"),
        (200_000, 4096, "text"),
        (10**7, 64, "video"),
        (10**7, 64, "text"),
    ],
)
def test_one_percent_more_pushes_little(n: int, dim: int, side: str) -> None:
    before, after = arrays_of(n, dim, side), arrays_of(n + n // 100, dim, side)
    bytes_of = [
        sum((one.n_rows or 0) * one.row_bytes for name, one in arrays.items() if name != "checksum")
        for arrays in (before, after)
    ]
    assert pushed(before, after) <= 2 * (bytes_of[1] - bytes_of[0]) + MIB


def test_what_is_pushed_is_what_the_layout_says(tmp_path: Path) -> None:
    store = reelstore.open(tmp_path / "s", create=True)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20_200, 64)).astype("f2")
    keys = [f"v{n:08d}" for n in range(20_200)]
    store.write("video/e/v", keys[:20_000], values[:20_000])
    before, was = files(tmp_path / "s/video/e/v"), store["video/e/v"]._variant.layouts
    report = store.write("video/e/v", keys[20_000:], values[20_000:])
    after = files(tmp_path / "s/video/e/v")
    changed = sum(len(content) for name, content in after.items() if before.get(name) != content)
    assert abs(changed - pushed(was, store["video/e/v"]._variant.layouts)) < 40_000
    assert changed <= 2 * 200 * (128 + 9 + 8 + 8 + 16 + 2) + MIB and report.n_new == 200
    fresh = reelstore.open(tmp_path / "fresh", create=True)
    fresh.write("video/e/v", keys, values)
    assert files(tmp_path / "fresh/video/e/v") == after


@pytest.mark.parametrize("client", ["zarr", "tensorstore"])
def test_checksums_and_index_are_what_the_format_page_says(tmp_path: Path, client: str) -> None:
    store = reelstore.open(tmp_path / "s", create=True)
    keys = [(f"vidéo{n // 3}", n % 3) for n in range(9000)]
    store.write("text/e/v", keys, np.random.default_rng(0).normal(size=(9000, 40)).astype("f4"))
    folder = tmp_path / "s/text/e/v"

    def read(name: str) -> np.ndarray:
        if client == "zarr":
            return np.asarray(zarr.open_array(folder / name, mode="r")[...])
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / name)}}
        return np.asarray(tensorstore.open(spec).result().read().result())

    ids, ends = read("video_id").tobytes(), read("video_id_offsets")
    index = read("key_index")
    first_run = json.loads((folder / "key_index/zarr.json").read_text())["chunk_grid"]["configuration"]["chunk_shape"][
        0
    ]
    assert (np.diff(index[:first_run]) > 0).all() and (np.diff(index[first_run:]) > 0).all() and first_run < 9000
    hashes, rows = index >> np.uint64(32), (index & np.uint64(2**32 - 1)).astype(int)
    rows[first_run:] += first_run
    assert sorted(rows) == list(range(9000))
    for hash_of, row in list(zip(hashes, rows, strict=True))[::997]:
        key = ids[ends[row] : ends[row + 1]] + int(read("caption_index")[row]).to_bytes(4, "little")
        assert google_crc32c.value(key) == hash_of
    names = ["video_id", "video_id_offsets", "status", "split", "fingerprint", "key_index", "caption_index", "values"]
    expected = []
    for name in names:
        about = json.loads((folder / name / "zarr.json").read_text())
        block = about["codecs"][0]["configuration"]["chunk_shape"][0]
        array = read(name)
        for start in range(0, len(array), block):
            rows_of = np.zeros((block, *array.shape[1:]), array.dtype)
            rows_of[: len(array) - start] = array[start : start + block]
            expected.append(google_crc32c.value(rows_of.tobytes()))
    assert read("checksum").tolist() == expected

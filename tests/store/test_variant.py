"""Tables that contradict their manifest or themselves: an error that names the array, before any key is wrong."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelstore.errors import SchemaError, StoreError
from reelstore.store.format import layouts_of, manifest_bytes, variant_digest
from reelstore.store.open import open_variant

from .made import read_all, spec, write

N = 70
I64 = np.iinfo(np.int64)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ragged captions of seven videos, the last row failed."""
    folder = tmp_path_factory.mktemp("store") / "text/fake/tokens"
    lengths = {(f"vidéo{row // 10}", row % 10): row % 4 for row in range(N)}
    write(folder, spec(None, side="text"), list(lengths), failed=list(lengths)[-1:], lengths=lengths)
    read_all(open_variant(folder))
    return folder


def edited(folder: Path, name: str, change: Callable[[np.ndarray], object]) -> None:
    """Change an array in its one file; readers don't compare it with its digest."""
    file = folder / name / "c/0"
    metadata = json.loads((folder / name / "zarr.json").read_text())
    content = bytearray(file.read_bytes())
    values = np.frombuffer(content, dtype=metadata["data_type"], count=metadata["shape"][0])
    change(values)
    file.write_bytes(content)


def put(place: int | slice, value: Any) -> Callable[[np.ndarray], object]:
    return lambda values: values.__setitem__(place, value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("video_id_offsets", put(0, 1), "doesn't ascend from 0"),
        ("video_id_offsets", put(3, 0), "doesn't ascend from 0"),
        ("video_id_offsets", put(3, -5), "doesn't ascend from 0"),
        ("video_id_offsets", put(3, I64.max), "doesn't ascend from 0"),
        ("video_id_offsets", put(N, I64.max), "the ids have 490 bytes"),
        ("video_id_offsets", put(N, 10**6), "the ids have 490 bytes"),
        ("video_id_offsets", put(slice(1, N + 1), I64.min), "doesn't ascend from 0"),
        ("video_id_offsets", put(1, 4), "isn't UTF-8"),
        ("video_id", put(0, 0xFF), "isn't UTF-8"),
        ("video_id", put(slice(0, 3), [0xED, 0xA0, 0x80]), "isn't UTF-8"),
        ("video_id", put(slice(None), ord("v")), "occurs twice"),
        ("caption_index", put(0, -1), "they count from 0"),
        ("caption_index", put(0, 1), "occurs twice"),
        ("split", put(0, 2), "there are 2 names"),
        ("split", put(N - 1, 255), "there are 2 names"),
        ("status", put(0, 3), "no status has"),
        ("status", put(N - 1, 7), "no status has"),
        ("status", put(N - 1, 1), "didn't fail"),
        ("offsets", put(0, 1), "doesn't ascend from 0"),
        ("offsets", put(0, -1), "doesn't ascend from 0"),
        ("offsets", put(5, I64.max), "doesn't ascend from 0"),
        ("offsets", put(N, I64.max), "values has 102 rows"),
        ("offsets", put(N, 103), "values has 102 rows"),
        ("offsets", lambda values: values.__imul__(0), "values has 102 rows"),
        ("offsets", put(slice(5, 9), [I64.max, I64.min, I64.max, 9]), "doesn't ascend from 0"),
    ],
)
def test_numbers_that_cannot_be_are_named(
    captions: Path, tmp_path: Path, name: str, change: Callable[[np.ndarray], object], words: str
) -> None:
    folder = shutil.copytree(captions, tmp_path / "variant")
    edited(folder, name, change)
    with pytest.raises(SchemaError, match=f"^{folder}/.*{words}"):
        read_all(open_variant(folder))


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ([[["nobody", 0], "x"]], r"'nobody', 0\) failed, which isn't a row"),
        ([[["vidéo6", 10], "x"]], "which isn't a row"),
        ([[["vidéo0", 0], "x"]], "which didn't fail"),
    ],
)
def test_reasons_of_rows_that_did_not_fail_are_named(captions: Path, tmp_path: Path, failures: Any, words: str) -> None:
    folder = shutil.copytree(captions, tmp_path / "variant")
    attributes = json.loads((folder / "zarr.json").read_text())["attributes"]["reelstore"]
    attributes = {**attributes, "failures": failures}
    del attributes["checksum"]
    (folder / "zarr.json").write_bytes(manifest_bytes(attributes))
    with pytest.raises(SchemaError, match=words):
        read_all(open_variant(folder))


def test_a_table_beyond_memory_is_an_error_of_the_store(captions: Path, tmp_path: Path) -> None:
    """A file with holes takes no space, at any size it claims."""
    folder = shutil.copytree(captions, tmp_path / "variant")
    n_bytes = 2**40
    metadata = json.loads((folder / "video_id/zarr.json").read_text())
    metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"] = [n_bytes], [n_bytes]
    (folder / "video_id/zarr.json").write_text(json.dumps(metadata))
    os.truncate(folder / "video_id/c/0", n_bytes)
    edited(folder, "video_id_offsets", put(N, n_bytes))
    attributes = json.loads((folder / "zarr.json").read_text())["attributes"]["reelstore"]
    del attributes["checksum"]
    attributes["n_id_bytes"] = n_bytes
    digests = {key: digest for key, digest in attributes["digests"].items() if "/c/" not in key}
    for layout in layouts_of(attributes).values():
        assert layout.n_rows is not None
        digests |= {layout.file_key(n): "0" * 64 for n in range(-(-layout.n_rows // layout.file_rows))}
    attributes |= {"digests": digests, "digest": variant_digest(digests)}
    (folder / "zarr.json").write_bytes(manifest_bytes(attributes))
    code = """
import pathlib, resource, sys
from reelstore.errors import StoreError
from reelstore.store.open import open_variant
resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
try:
    open_variant(pathlib.Path(sys.argv[1])).ids[0]
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"{folder}/video_id/zarr.json is damaged") and "chunks, the limit" in done.stdout


@pytest.mark.parametrize("column", ["status", "offsets", "video_id", "video_id_offsets", "split", "fingerprint"])
def test_a_table_s_file_cut_short_or_missing_is_named(library, tmp_path: Path, column: str) -> None:
    folder = shutil.copytree(library["ragged", "as written"].folder, tmp_path / "variant")
    file = next(path for path in (folder / column / "c").rglob("*") if path.is_file())
    for spoil in (lambda: os.truncate(file, 100), file.unlink):
        spoil()
        with pytest.raises(StoreError, match=str(file)):
            rows = open_variant(folder)
            read_all(rows)
            _ = rows.ids


def test_rows_pickle_small_and_not_across_versions_of_the_variant(written) -> None:
    variant = written("pooled", [1] * 70)
    rows = variant.open()
    _ = rows.ids, rows.array(), rows.index_of("video3")
    stored = pickle.dumps(rows.split("test"))
    assert len(stored) < 1000
    np.testing.assert_array_equal(copy.deepcopy(rows).take([4])[0], variant.values[4])
    written("pooled", [1] * 71)
    with pytest.raises(StoreError, match="rewritten since these rows were pickled"):
        pickle.loads(stored)


def test_rows_opened_before_the_variant_was_rewritten_do_not_mix_versions(written) -> None:
    early = written("pooled", [1] * 70)
    late, mapped = early.open(), early.open()
    read_all(mapped)
    written("pooled", [1] * 5)
    with pytest.raises(StoreError, match="rewritten since it was opened"):
        late.take([0])
    with pytest.raises(StoreError, match="rewritten since it was opened"):
        list(mapped.walk([0]))
    np.testing.assert_array_equal(mapped.take([69])[0], early.values[69])

"""The format as other clients read it; false manifests with a valid checksum give one clear error."""

import copy
import hashlib
import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

import reelstore
from reelstore.errors import ReelstoreError, SchemaError, StoreError
from reelstore.store.format import manifest_bytes, parse_manifest, variant_digest
from reelstore.store.open import open_variant
from reelstore.store.verify import check_variant

from .made import files, folder_of, soak, spec, value_of, write

KEYS = [f"video{number}" for number in range(70)]
ODD: list[Any] = [None, True, -1, 0, 3, 2**62, 10**30, 1.5, "", "object", "../../x", "é\x1b[2J", [], [[]], {}, {"a": 1}]
NAMES = [
    "values/../../../../.bashrc",
    "/etc/passwd",
    "../mean/zarr.json",
    "values/c/0/0/../../../../x",
    "values/c/00/0",
    "values/c/0",
    "values/c/0/0/0/0",
    "values/c/0/0.partial",
    "values/c/2/0",
    "values/c/99999999999/0",
    "values/c/-1/0",
    "values\\c\\0\\0",
    "VALUES/c/0/0",
    "offsets/zarr.json",
    "zarr.json",
    "values",
    "values/c/0/0\x00",
    "",
]


@pytest.fixture(params=[0, 4, None], ids=["pooled", "dense", "ragged"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    of = spec(request.param)
    folder = folder_of(tmp_path / "home" / "project", of)
    write(folder, of, KEYS, failed=("video7",))
    (tmp_path / "home" / ".bashrc").write_text("my own")
    return of, folder


def reseal(folder: Path, attributes: dict[str, Any]) -> None:
    """What anybody can do: the manifest's own digests and checksum, computed once more."""
    changed = {name: value for name, value in attributes.items() if name != "checksum"}
    with suppress(AttributeError, KeyError, TypeError):  # a digest of what isn't a mapping
        if changed.get("digest") == attributes_of(folder).get("digest"):
            changed["digest"] = variant_digest(changed["digests"])
    (folder / "zarr.json").write_bytes(manifest_bytes(changed))


def attributes_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "zarr.json").read_text())["attributes"]["reelstore"]


def false_manifests(attributes: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in attributes.keys() - {"checksum"}:
        for value in ODD:
            if type(value) is not type(attributes[name]) or attributes[name] != value:
                yield f"{name} = {value!r}", {**attributes, name: value}
        yield f"no {name}", {other: value for other, value in attributes.items() if other != name}
    for name in ("n_rows", "n_value_rows", "dim"):
        for more in (-1, 1, 64):
            yield f"{name} + {more}", {**attributes, name: attributes[name] + more}
    for key in attributes["digests"]:
        yield f"{key} unlisted", _with_digests(attributes, {key: None})
    for key in NAMES:
        yield f"lists {key!r}", _with_digests(attributes, {key: "0" * 64})
    for digest in ("", "0" * 63, "G" * 64, 5, None, ["0" * 64]):
        yield f"a digest is {digest!r}", {**attributes, "digests": {**attributes["digests"], "status/c/0": digest}}
    for failures in ([["video7"]], [[7, "x"]], [["video7", 1]], [["video7", "x"], ["video7", "y"]], [[["v", 0], "x"]]):
        yield f"failures {failures}", {**attributes, "failures": failures}
    for splits in (["train", "train"], [1], [["train"]], [f"s{n}" for n in range(257)]):
        yield f"splits {splits!r:.40}", {**attributes, "splits": splits}


def _with_digests(attributes: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(attributes)
    changed["digests"] |= change
    changed["digests"] = {key: digest for key, digest in changed["digests"].items() if digest is not None}
    return changed


def test_every_false_manifest_is_found_by_readers_verify_and_writers(stored: Any, tmp_path: Path) -> None:
    of, folder = stored
    attributes, sound = attributes_of(folder), files(folder)
    right, values = open_variant(folder).ok().ids, list(open_variant(folder).ok().take(range(len(KEYS) - 1)))
    every = list(false_manifests(attributes))
    assert len(every) > 250
    for what, manifest in random.Random(0).sample(every, soak(100, len(every))):
        (folder / "zarr.json").write_bytes(sound["zarr.json"])
        reseal(folder, manifest)
        before = files(tmp_path)
        with suppress(StoreError):
            rows = open_variant(folder).ok()
            assert rows.ids == right, f"{what} was read"
            assert all(np.array_equal(*pair) for pair in zip(rows.take(range(len(rows))), values, strict=True)), what
        for quick in (True, False):
            assert list(check_variant(folder, quick=quick)), f"verify finds {what}"
        assert files(tmp_path) == before, what
        try:
            write(folder, of, KEYS, failed=("video7",))
        except ReelstoreError:
            assert files(tmp_path) == before, what
        else:
            assert files(folder) == sound, f"{what} was repaired"


def test_a_link_inside_the_folder_and_a_name_that_climbs_write_nothing(stored: Any, tmp_path: Path) -> None:
    """The manifest lists a file outside the folder, reached through a link inside it, so that every digest fits."""
    of, folder = stored
    deep = folder.joinpath("x", *"dddddddd")
    deep.mkdir(parents=True)
    for path in list((folder / "values").iterdir()):
        path.rename(deep / path.name)
    (folder / "values").rmdir()
    (folder / "values").symlink_to(os.path.relpath(deep, folder))
    up = "../" * 9
    payload = Path(os.path.normpath(deep / up / ".bashrc"))
    payload.write_text("echo from a store\n")
    attributes = attributes_of(folder)
    digest = hashlib.sha256(payload.read_bytes()).hexdigest()
    reseal(folder, _with_digests(attributes, {f"values/{up}.bashrc": digest}))
    with pytest.raises(SchemaError, match="isn't the name of one of a variant's files"):
        write(folder, of, [*KEYS, "another"])
    assert (tmp_path / "home" / ".bashrc").read_text() == "my own"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"attributes": {"reelstore": {"schema_version": 2}}}',
        b"[" * 100_000,
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"reelstore": {"schema_version": NaN}}}',
        b'{"attributes": "\\ud83d"}',
        b"\xff\xfe{\x00}\x00",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_isn_t_a_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(SchemaError, match=r"^here/zarr\.json"):
        parse_manifest(content, "here/zarr.json")


@pytest.mark.parametrize("n_tokens", [0, 4, None])
def test_plain_zarr_and_tensorstore_read_the_same_values(tmp_path: Path, n_tokens: int | None) -> None:
    of = spec(n_tokens)
    keys = [f"video{number}" for number in range(70)]
    folder = folder_of(tmp_path, of)
    write(folder, of, keys)
    want = np.concatenate([value_of(key, of).reshape(-1, *of.row_shape) for key in keys]).astype(np.float16)
    group = zarr.open_group(folder, mode="r")
    np.testing.assert_array_equal(group["values"][:], want)
    other = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / "values")}}, read=True
    ).result()
    np.testing.assert_array_equal(other.read().result(), want)
    ids, ends = group["video_id"][:].tobytes(), group["video_id_offsets"][:]
    assert [ids[a:b].decode() for a, b in pairwise(ends)] == keys


def test_a_newer_schema_and_another_tool_s_group_are_refused(tmp_path: Path) -> None:
    of = spec()
    folder = folder_of(tmp_path, of)
    write(folder, of, ["a"])
    path = folder / "zarr.json"
    group = json.loads(path.read_text())
    group["attributes"]["reelstore"]["schema_version"] = 99
    path.write_text(json.dumps(group))
    with pytest.raises(SchemaError, match="schema version 99"):
        open_variant(folder)
    path.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    with pytest.raises(SchemaError, match="not a reelstore variant"):
        open_variant(folder)


def test_every_file_of_a_variant_is_in_its_digests(tmp_path: Path) -> None:
    of = spec(None, side="text")
    folder = folder_of(tmp_path, of)
    write(folder, of, [("a", 0), ("a", 1)])
    rows = open_variant(folder)
    here = {key: hashlib.sha256(content).hexdigest() for key, content in files(folder).items() if key != "zarr.json"}
    assert here == dict(rows.file_digests)


def test_a_written_row_s_fingerprint_is_what_the_format_page_says(tmp_path: Path) -> None:
    store = reelstore.open(tmp_path / "mine", create=True)
    values = np.ones((2, 3), "float32")
    store.write("video/clip/mean", ["a", "b"], values, dtype="float16")
    rows = store["video/clip/mean"]
    content = hashlib.sha256(b"float16 (3,) " + values[0].astype("float16").tobytes()).hexdigest()
    expected = hashlib.sha256(f"{rows.fingerprint} {content}".encode()).digest()[:16]
    assert rows.recipe == {"source": "written"}
    assert rows.table.fingerprints[0].tobytes() == rows.table.fingerprints[1].tobytes() == expected

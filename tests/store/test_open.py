"""Stores and their names: mappings, roots of datasets, suggestions, what opening imports."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reelstore
from reelstore.errors import (
    NotBuiltError,
    OccupiedError,
    StoreNotFoundError,
)
from reelstore.store.open import Store, open_store
from reelstore.store.read import Rows

from .made import VALUES, VIDEOS


def test_a_root_of_several_datasets_lists_them_all(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for dataset in ("set", "other"):
        shutil.copytree(store.path, root / dataset)
    assert list(open_store(root)) == [f"{dataset}/{name}" for dataset in ("other", "set") for name in store]
    assert len(open_store(root)["other/video/clip/mean"]) == 100
    assert list(open_store(root / "set/text")) == ["clip/mean", "clip/tokens"]
    for name in ("video/clip/mean", "set/video/clip", "set//video/clip/mean", "../root/set/video/clip/mean", ""):
        with pytest.raises(StoreNotFoundError, match="No variant"):
            open_store(root)[name]


def test_a_damaged_variant_hides_no_other(tmp_path: Path) -> None:
    store = reelstore.open(tmp_path / "store", create=True)
    for name in ("video/a/mean", "video/b/mean"):
        store.write(name, VIDEOS, VALUES)
    (store.path / "video/a/mean/values/zarr.json").unlink()
    manifest = store.path / "video/a/mean/zarr.json"
    manifest.write_text(manifest.read_text().replace('"n_rows":', '"n_row":').replace('"dim":', '"dimm":'))
    html = store._repr_html_()
    assert "colspan=5" in html and "video/b/mean</td><td>100</td>" in html


def test_a_store_is_a_mapping_with_suggestions(store: Store) -> None:
    assert "video/clip/mean" in store and "video/clip" not in store and 3 not in store
    assert store.get("video/clip/none") is None
    with pytest.raises(KeyError, match="Did you mean video/clip/mean"):
        store["video/clp/mean"]
    with pytest.raises(KeyError, match=r"Below this name are: text/clip/mean, text/clip/tokens\."):
        store["text"]
    for name in ("../mine/video/clip/mean", "video//mean", "/etc", "", "a\0b", "x" * 300, 3, None):
        assert name not in store and store.get(name) is None
        with pytest.raises(KeyError, match="No variant"):
            store[name]


def test_roots_and_variants_open_as_one_would_expect(store: Store) -> None:
    assert isinstance(reelstore.open(store.path / "video/clip/mean"), Rows)
    root = reelstore.open(store.path.parent)
    assert "mine/video/clip/mean" in root
    one = re.search(r"of 1 datasets: mine. One of them: (reelstore.open\(.*\))\)", repr(root))
    assert one is not None and eval(one[1]).path == store.path
    with pytest.raises(KeyError, match=r"root of datasets \(mine\).*mine/video/clip/mean"):
        root["video/clip/mean"]


def test_what_is_not_built_yet_says_so_in_a_line(store: Store, tmp_path: Path) -> None:
    for options in ({"rev": "v1"}, {"repo": "x"}, {"remote": "r"}, {"storage_options": {}}):
        with pytest.raises(NotBuiltError, match="extra project"):
            reelstore.open(store.path, **options)
    for url in ("s3://bucket/store", "https://host/store"):
        for given in (url, Path(url)):
            with pytest.raises(NotBuiltError, match="extra s3"):
                reelstore.open(given)
    (tmp_path / "file").touch()
    with pytest.raises(OccupiedError, match="isn't a folder"):
        reelstore.open(tmp_path / "file", create=True)
    with pytest.raises(FileNotFoundError, match="create=True"):
        reelstore.open(tmp_path / "none")


def test_opening_and_reading_import_numpy_alone(store: Store) -> None:
    code = (
        "import sys, reelstore; rows = reelstore.open(sys.argv[1])['video/clip/mean']; rows[3]; rows['v3'];"
        "print({'torch', 'zarr', 'pandas', 'pyarrow', 'pydantic', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

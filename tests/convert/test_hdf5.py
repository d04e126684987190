"""HDF5 files from anywhere: nothing outside of the file is read, and a file that ends its reader is an error."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from reelstore.convert.hdf5 import Hdf5File
from reelstore.convert.items import Items, storage_of
from reelstore.convert.match_keys import KeyRule
from reelstore.convert.named import container_items
from reelstore.errors import ForeignFileError, IrregularFileError

ONES = np.ones(4, np.float32)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(ONES.tobytes())
    with h5py.File("other.h5", "w") as file:
        file["x"] = ONES


def made(make: Callable[[h5py.File], object]) -> Items:
    with h5py.File("a.h5", "w") as file:
        make(file)
    return container_items(Hdf5File(Path("a.h5")), KeyRule("video"))


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("a", layout)


def in_part(file: h5py.File) -> None:
    file.create_dataset("a", (2048, 4), "f4", chunks=(64, 4))[:2] = 1


def by_plugin(file: h5py.File) -> None:
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((4,))
    how.set_filter(305, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, space, how).write(h5py.h5s.ALL, h5py.h5s.ALL, ONES)


REFUSED = {
    "virtual": (virtual, "lie in another file"),
    "external": (lambda f: f.create_dataset("a", (4,), "f4", external=[("secret.bin", 0, 16)]), "lie in another file"),
    "external link": (lambda f: f.__setitem__("a", h5py.ExternalLink("other.h5", "x")), "holds no datasets"),
    "soft link": (lambda f: f.__setitem__("a", h5py.SoftLink("/nowhere")), "holds no datasets"),
    "plugin": (by_plugin, "the filter 305"),
    "never written": (lambda f: f.create_dataset("a", (2**40,), "f4", chunks=(1024,)), "were never written"),
    "in part": (in_part, "written in part"),
    "text": (lambda f: f.create_dataset("a", data="x"), r"has shape \(\)"),
    "no space": (lambda f: f.create_dataset("a", data=h5py.Empty("f4")), r"has shape \(\)"),
    "integers": (lambda f: f.create_dataset("a", data=[1, 2]), "floating point, these are not: int64"),
    "records": (lambda f: f.create_dataset("a", data=np.ones(2, [("x", "f4")])), "these are not: void"),
    "references": (lambda f: f.create_dataset("a", data=[f.ref], dtype=h5py.ref_dtype), "these are not: object"),
    "large": (lambda f: f.create_dataset("a", (2**29,), "f4").__setitem__(0, 1), "too large for one item"),
    "not UTF-8": (lambda f: f.create_dataset(b"caf\xe9", data=ONES), "isn't text that UTF-8 can hold"),
    "digits": (lambda f: f.create_dataset("9" * 5000, data=ONES), "has 5000 bytes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_isnt_in_the_file_or_no_embedding_is_refused(what: str) -> None:
    make, says = REFUSED[what]
    with pytest.raises(ForeignFileError, match=says):
        storage_of(made(make))


def test_links_and_types_beside_the_datasets_do_no_harm() -> None:
    def make(file: h5py.File) -> None:
        file["a"] = ONES
        file.create_dataset("g/b", data=2 * ONES.astype(">f4"), chunks=(2,), compression="gzip", shuffle=True)
        file["g/itself"] = file["/"]
        file["same"] = h5py.SoftLink("/a")
        file["type"] = np.dtype("f4")
        file["a"].attrs["x"] = "y"

    items = made(make)
    assert items.rows.keys == ["a", "g/b"]
    assert np.array_equal([value for block in items.values() for value in block], [ONES, 2 * ONES])


def test_a_file_that_ends_its_reader_is_an_error(tmp_path: Path) -> None:
    made(lambda file: file.create_dataset("a", data=ONES))
    container = Hdf5File(Path("a.h5"))
    items = container_items(container, KeyRule("video"))
    assert len(items) == 1
    container._reader._child.kill()
    with pytest.raises(ForeignFileError, match=r"a of a\.h5 can't be read as HDF5: .* ended with code -9"):
        [value for block in items.values() for value in block]


def test_a_module_in_the_working_folder_is_not_run() -> None:
    for name in ("h5py", "json", "numpy"):
        Path(f"{name}.py").write_text("open('ran', 'w')\n")
    assert len(made(lambda file: file.create_dataset("a", data=ONES))) == 1
    assert not Path("ran").exists()


def test_a_folder_is_refused() -> None:
    with pytest.raises(IrregularFileError, match="is a folder"):
        container_items(Hdf5File(Path()), KeyRule("video"))

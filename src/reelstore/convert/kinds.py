"""Which kind of file something is, by its first bytes, so that a file of another kind is refused with what to do."""

import struct
import zipfile
from pathlib import Path

from reelstore.errors import ForeignFileError
from reelstore.io import open_regular

_HEADS = {
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"FEA1": "feather 1",
    b"MATLAB 7.3": "mat 7.3",
    b"MATLAB 5.0": "mat 5",
    b"\x1f\x8b": "gzip",
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19": "torch",
    b"PK\x03\x04": "zip",
    b"\x80\x02": "pickle",
    b"\x80\x03": "pickle",
    b"\x80\x04": "pickle",
    b"\x80\x05": "pickle",
}
"""Beginnings, the longer of two before the shorter."""
_ADVICE = {
    "npy": "a .npy file. Import it with: reelstore import array; its folder, with: reelstore import npy",
    "npz": "an .npz file. Import it with: reelstore import npz",
    "hdf5": "an HDF5 file. Import it with: reelstore import hdf5",
    "parquet": "a Parquet file. Import it with: reelstore import parquet",
    "arrow": "an Arrow file. Import it with: reelstore import parquet",
    "safetensors": "a safetensors file. Import it with: reelstore import safetensors",
    "torch": "a file that torch saved. Import it with: reelstore import torch",
    "pickle": "a Python pickle. Reading one can run any code, so it isn't read. Where you trust it, write it with "
    "numpy.savez(path, **{id: array}), and import that with: reelstore import npz",
    "feather 1": "a Feather file of version 1. Write it as Parquet, and import that with: reelstore import parquet",
    "mat 7.3": "a MATLAB file. It is HDF5, but the axes of each array are reversed, so it isn't read. Write the arrays "
    "with numpy.save (h5py: file[name][()].T), and import them with: reelstore import array",
    "mat 5": "a MATLAB file. Write its arrays with numpy.save (scipy.io.loadmat), and import them with: reelstore "
    "import array",
    "gzip": "compressed by gzip. Unpack it first (gunzip, tar -xzf)",
    "zip": "a zip archive. Unpack it, and import the folder of .npy files with: reelstore import npy",
    "tar": "a tar archive, such as a shard of WebDataset. Unpack it (tar -xf), and import the folder of .npy files "
    "with: reelstore import npy",
    "lmdb": "an LMDB database, whose values are of no known form. Write them with numpy.savez(path, **{id: array}), "
    "and import that with: reelstore import npz",
}


def refuse_other(path: Path, *expected: str) -> None:
    """See that a file isn't of another kind than a command reads. What is of no known kind passes.

    Raises:
        ForeignFileError: it is; the message says how to import it.
    """
    found = kind_of(path)
    if found is not None and found not in expected:
        raise ForeignFileError(f"{path} is {_ADVICE[found]}.")


def kind_of(path: Path) -> str | None:
    """Kind of a file, or of a folder that is a database; None where it isn't known, or isn't there."""
    if path.is_dir():
        return "lmdb" if (path / "data.mdb").exists() else None
    if not path.exists():
        return None
    with open_regular(path) as file:
        head = file.read(2048 + 8)
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**32:
        return "safetensors"
    for beginning, kind in _HEADS.items():
        if head.startswith(beginning):
            return _in_zip(path) if kind == "zip" else kind
    if head[257:262] == b"ustar":
        return "tar"
    if any(head.startswith(b"\x89HDF\r\n\x1a\n", start) for start in (512, 1024, 2048)):
        return "hdf5"
    if head[16:20] == struct.pack("<I", 0xBEEFC0DE):
        return "lmdb"
    return "pickle" if path.suffix in (".pkl", ".pickle") else None


def _in_zip(path: Path) -> str:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # what zipfile raises on damaged files is of many kinds; the reader says what is wrong
        return {".npz": "npz", ".pt": "torch", ".pth": "torch"}.get(path.suffix, "zip")
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "torch" if any(name.endswith("data.pkl") for name in names) else "zip"

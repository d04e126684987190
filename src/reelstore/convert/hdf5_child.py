"""Reads one HDF5 file in a process of its own, which a damaged file may end.

It is run by `python -P -m reelstore.convert.hdf5_child FILE`. It answers on stdout, each answer 8 bytes of length,
little endian, then as many bytes: first a JSON array with what each dataset is; then, for each [name, rows] that comes
as a line of JSON on stdin, the bytes of its values, or of rows[0] to, without, rows[1] of them. An answer that is an
error is a JSON object {"error": ...} with its length negated.
"""

import json
import resource
import struct
import sys
from math import prod
from typing import Any

import h5py
import numpy as np

BUILT_IN = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Filters of HDF5 and h5py themselves; for others a library would be loaded by a number that the file gives."""


def main() -> None:
    """Serve one file, named by the first argument."""
    out = sys.stdout.buffer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would lie in the working folder
    try:
        file = h5py.File(sys.argv[1], "r")
        answer(out, json.dumps(found(file)).encode())
        for line in sys.stdin.buffer:
            name, rows = json.loads(line)
            value = np.asarray(file[name][()] if rows is None else file[name][slice(*rows)])
            answer(out, value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
    except Exception as error:  # what h5py raises on damaged files is of many kinds
        said = (str(error).splitlines() or [type(error).__name__])[0]
        answer(out, json.dumps({"error": said[:300]}).encode(), failed=True)


def found(file: Any) -> list[list[Any]]:
    """Name, shape, dtype, and what forbids to read it, of every dataset; links are not followed."""
    names: list[str | bytes] = []
    file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    return [[_as_text(name), *about(file[name])] for name in names]


def _as_text(name: str | bytes) -> str:
    """A dataset's name; what isn't UTF-8 in it becomes halves of surrogate pairs, which no store keeps."""
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def about(node: Any) -> tuple[list[int], str, str | None]:
    """Shape, dtype and what forbids to read a dataset."""
    dtype = node.dtype.newbyteorder("=").name
    shape = list(node.shape or ())
    if node.is_virtual or node.external:
        return shape, dtype, "lie in another file; it isn't read"
    filters = node.id.get_create_plist()
    numbers = [filters.get_filter(n)[0] for n in range(filters.get_nfilters())]
    strange = [number for number in numbers if number not in BUILT_IN]
    if strange:
        return shape, dtype, f"are encoded by the filter {strange[0]}, which HDF5 doesn't have; write them without it"
    if node.size and not node.id.get_storage_size():
        return shape, dtype, "were never written"
    if node.chunks and node.size:
        n_chunks = prod(-(-length // step) for length, step in zip(node.shape, node.chunks, strict=True))
        if node.id.get_num_chunks() < n_chunks:
            return shape, dtype, "were written in part only"
    return shape, dtype, None


def answer(out: Any, content: bytes, *, failed: bool = False) -> None:
    """Write an answer."""
    out.write(struct.pack("<q", -len(content) if failed else len(content)) + content)
    out.flush()


if __name__ == "__main__":
    main()

"""Reads one HDF5 file in a process of its own, which a damaged file may end.

It is run by `python -P -m reelstore.convert.hdf5_child FILE`. On stdout it answers with a line of JSON each time: first
{"datasets": [[name, shape, dtype, what forbids to read it], ...]}; then, for each [name, rows] that comes as a line of
JSON on stdin, {"n_bytes": n} and n bytes, the values, or rows[0] to, without, rows[1] of them. {"error": ...} is the
last answer.
"""

import json
import resource
import sys
from math import prod
from typing import Any

import h5py
import numpy as np

BUILT_IN = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Filters of HDF5 and h5py themselves; for others a library would be loaded by a number that the file gives."""


def main() -> None:
    """Serve one file, named by the first argument."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would be left in the working folder
    try:
        file = h5py.File(sys.argv[1], "r")
        answer({"datasets": found(file)})
        for line in sys.stdin.buffer:
            name, rows = json.loads(line)
            value = np.asarray(file[name][()] if rows is None else file[name][slice(*rows)])
            content = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
            answer({"n_bytes": len(content)}, content)
    except Exception as error:  # what h5py raises on damaged files is of many kinds
        said = (str(error).splitlines() or [type(error).__name__])[0]
        answer({"error": said[:300]})


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
    unknown = [number for number in numbers if number not in BUILT_IN]
    if unknown:
        return shape, dtype, f"are encoded by the filter {unknown[0]}, which HDF5 doesn't have; write them without it"
    if node.size and not node.id.get_storage_size():
        return shape, dtype, "were never written"
    if node.chunks and node.size:
        n_chunks = prod(-(-length // step) for length, step in zip(node.shape, node.chunks, strict=True))
        if node.id.get_num_chunks() < n_chunks:
            return shape, dtype, "were written in part only"
    return shape, dtype, None


def answer(about: dict[str, Any], content: bytes = b"") -> None:
    """Write an answer."""
    sys.stdout.buffer.write(json.dumps(about).encode() + b"\n" + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

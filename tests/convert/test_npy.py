"""One .npy file from anywhere: what its header says is checked before memory is taken for it."""

import os
from pathlib import Path

import numpy as np
import pytest

from reelstore.convert.npy import NpyRows, map_values, read_header, read_values
from reelstore.errors import ForeignFileError


def about(shape: str = "(4,)", descr: str = "'<f4'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def file(header: str | bytes, values: bytes = bytes(16), version: tuple[int, int] = (1, 0)) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + values


HEADERS = {
    "2^62": file(about("(4611686018427387904, 1)")),
    "2^62 by nothing": file(about("(4611686018427387904, 0)"), b""),
    "2^63 by nothing": file(about("(9223372036854775808, 0)"), b""),
    "negative": file(about("(-2, -2)")),
    "bool": file(about("(True, 4)")),
    "float": file(about("(2.0, 2)")),
    "no tuple": file(about("'ab'")),
    "70 axes": file(about("(" + "1," * 70 + "4)")),
    "digits": file(about(f"({'9' * 5000},)")),
    "objects": file(about("(2,)", "'|O'")),
    "records": file(about("(2,)", "[('a','<f4'),('b','<f4')]")),
    "parts": file(about("(1,)", "('<f4', (2, 2))")),
    "no bytes": file(about("(2,)", "'V0'"), b""),
    "no letters": file(about("(2,)", "'<U0'"), b""),
    "times": file(about("(2,)", "'<M8[s]'")),
    "no dtype": file(about("(4,)", "'zzz'")),
    "None": file(about("(4,)", "None")),
    "nested": file("(" * 3000 + ")" * 3000),
    "signs": file("-" * 9000 + "1"),
    "brackets": file("[" * 60_000),
    "list": file("[1]"),
    "NULs": file(bytes(50)),
    "no text": file(b"\xff" * 50),
    "order": file(about(fortran="5")),
    "version 9": file(about(), version=(9, 9)),
    "header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 50,
    "six bytes": b"\x93NUMPY",
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_cant_be_is_refused_by_every_reader(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(HEADERS[what])
    for read in (read_header, read_values, map_values, NpyRows):
        with pytest.raises(ForeignFileError, match=r"a\.npy"):
            read(path)


def test_rows_are_read_as_they_are_in_every_order(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    for number, form in enumerate((values, np.asfortranarray(values), values.astype(">f4"))):
        np.save(tmp_path / f"{number}.npy", form)
        rows = NpyRows(tmp_path / f"{number}.npy")
        assert rows.shape == values.shape
        assert np.array_equal(rows[1:3], values[1:3]) and np.array_equal(rows[3], values[3])
        assert rows[2:2].shape == (0, 3, 2)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1000, 8), np.float32))
    rows = NpyRows(tmp_path / "a.npy")
    os.truncate(tmp_path / "a.npy", 1000)
    with pytest.raises(ForeignFileError, match="changed while it was read"):
        rows[500:600]

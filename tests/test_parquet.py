"""Our own Parquet tables: no flipped byte gives another value, and none is larger than its file can be."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelstore.errors import DamagedFileError, IrregularFileError
from reelstore.io import write_atomically
from reelstore.pairs.build import Pair
from reelstore.pairs.files import pairs_parquet
from reelstore.parquet import read_columns

KINDS = {"video_id": "text", "caption_index": "whole", "label": "whole"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    pairs = [Pair(f"v{number % 40:03}", f"v{number % 40:03}", number % 7) for number in range(280)]
    write_atomically(path, pairs_parquet(pairs))
    return path


def test_no_damage_gives_other_values(table: Path):
    content, rng = table.read_bytes(), random.Random(0)
    whole = read_columns(table, KINDS)
    refused = 0
    for number in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        table.write_bytes(damaged[: rng.randrange(len(content))] if number % 5 == 0 else damaged)
        try:
            assert read_columns(table, KINDS) == whole
        except DamagedFileError as error:
            assert str(table) in str(error)
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"video_id": ["a"], "label": [1]}, "no column caption_index"),
        ({"video_id": ["a"], "caption_index": ["0"], "label": [1]}, "is string; whole is expected"),
        ({"video_id": [b"a"], "caption_index": [0], "label": [1]}, "is binary; text is expected"),
        ({"video_id": [None, "a"], "caption_index": [0, 1], "label": [1, 1]}, "row 0 is empty"),
        ({"video_id": [["a"]], "caption_index": [0], "label": [1]}, "text is expected"),
    ],
    ids=str,
)
def test_columns_of_another_type_are_named(tmp_path: Path, columns, says):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DamagedFileError, match=rf"t\.parquet.*{says}"):
        read_columns(tmp_path / "t.parquet", KINDS)


def test_a_number_that_is_none_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"rank": [1.0, float("inf")]}), tmp_path / "t.parquet")
    with pytest.raises(DamagedFileError, match="column rank holds NaN or infinity"):
        read_columns(tmp_path / "t.parquet", {"rank": "number"})


def test_more_rows_than_a_file_can_hold_are_not_read(tmp_path: Path):
    pq.write_table(pa.table({"label": pa.array([1], pa.int8()).take([0] * 20_000_000)}), tmp_path / "t.parquet")
    with pytest.raises(DamagedFileError, match="claims 20000000 rows"):
        read_columns(tmp_path / "t.parquet", {"label": "whole"})


def test_a_device_is_not_a_table(tmp_path: Path):
    (tmp_path / "t.parquet").symlink_to("/dev/zero")
    with pytest.raises(IrregularFileError, match="is a device"):
        read_columns(tmp_path / "t.parquet", KINDS)

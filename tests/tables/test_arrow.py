"""Damaged Parquet and Arrow files: an error that names the file, never the end of the process, never other memory."""

import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelstore.errors import ForeignFileError
from reelstore.tables import arrow
from reelstore.tables.arrow import ArrowFile
from reelstore.tables.claims import claimed_bytes
from reelstore.tables.columns import Wanted

N = 24
VECTORS = np.random.default_rng(0).random((N, 8), dtype=np.float32)
READ_ALL = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from reelstore.errors import ForeignFileError
from reelstore.convert.vectors import vector_items
from reelstore.tables import arrow
from reelstore.tables.arrow import ArrowFile
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, end=" ", flush=True)
    try:
        for block in vector_items(path, "video", vector="vector").values():
            pass
        for name in ArrowFile(path).schema.names:
            for array in ArrowFile(path).column(name):
                array.to_pylist()
        print("read", flush=True)
    except ForeignFileError as error:
        print("refused" if str(path) in str(error) or "row" in str(error) else f"unnamed: {error}", flush=True)
    except (ArithmeticError, ValueError):  # of to_pylist: a valid time that Python has no value for
        print("read", flush=True)
"""


def tables() -> list[pa.Table]:
    ids = [f"v{n}" for n in range(N)]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), 8)
    lists = pa.array(VECTORS.tolist(), pa.list_(pa.float32()))
    tokens = pa.array([[row.tolist()] * 2 for row in VECTORS], pa.list_(pa.list_(pa.float32(), 8)))
    large = pa.array(VECTORS.tolist(), pa.large_list(pa.float32()))
    split = pa.array(["a", "b"] * (N // 2)).dictionary_encode()
    others = {
        "view": pa.array([one * 9 for one in ids], pa.string_view()),
        "lists": pa.array(VECTORS.tolist(), pa.list_view(pa.float32())),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([10, N], pa.int32()), pa.array(["x", "y"])),
        "uuid": pa.array([bytes(16)] * N, pa.uuid()),
        "bool": pa.array([True, None] * (N // 2)),
    }
    plain = [pa.table({"video_id": ids, "split": split, "vector": v}) for v in (fixed, lists, tokens, large)]
    return [*plain, pa.table({"video_id": ids, "vector": fixed, **others}).replace_schema_metadata({"a": "b" * 20})]


def originals(folder: Path, ending: str) -> list[bytes]:
    found = []
    for table in tables():
        path = folder / f"original{ending}"
        if ending == ".parquet":
            for how in ({}, {"compression": "zstd", "row_group_size": 10, "use_dictionary": False}):
                pq.write_table(table.select(["video_id", "vector"]), path, **how)
                found.append(path.read_bytes())
            continue
        for compression in (None, "lz4", "zstd"):
            options = pa.ipc.IpcWriteOptions(compression=compression)
            for new in (pa.ipc.new_file, pa.ipc.new_stream):
                with new(path, table.schema, options=options) as file:
                    file.write_table(table, max_chunksize=10)
                found.append(path.read_bytes())
    return found


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes, numbers and lengths changed, cut, and copied over others."""
    spoiled = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        place, how = draw.randrange(len(spoiled)), draw.random()
        if how < 0.4:
            spoiled[place] = draw.randrange(256)
        elif how < 0.6:
            spoiled[place : place + 4] = draw.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", bytes(4), b"\1\0\0\0"])
        elif how < 0.8:
            spoiled[place : place + 8] = struct.pack("<q", draw.choice([2**63 - 1, -1, 0, 2**40]))
        elif how < 0.85:
            spoiled = spoiled[: place + 1]
        else:
            other = draw.randrange(len(spoiled))
            spoiled[place : place + 16] = spoiled[other : other + 16]
    return bytes(spoiled)


@pytest.mark.parametrize("ending", [".arrow", ".parquet"])
def test_damaged_files_are_read_as_they_are_or_refused(tmp_path: Path, ending: str) -> None:
    draw, folder = random.Random(14), tmp_path / "damaged"
    folder.mkdir()
    whole = originals(tmp_path, ending)
    for number in range(600):
        (folder / f"{number:03}{ending}").write_bytes(damaged(draw.choice(whole), draw))
    for number, content in enumerate(whole):
        (folder / f"whole{number}{ending}").write_bytes(content)
    done = subprocess.run([sys.executable, "-c", READ_ALL, folder], capture_output=True, text=True, timeout=300)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stdout.splitlines()[-1] + done.stderr[-500:]
    assert set(found.values()) == {"read", "refused"}
    assert len(found) == 600 + len(whole) and sum(what == "refused" for what in found.values()) > 200
    assert all(what == "read" for name, what in found.items() if name.startswith("whole"))


def test_more_rows_than_a_file_can_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    schema = pa.schema([("video_id", pa.null())])
    with pa.ipc.new_file(path, schema) as file:
        file.write_batch(pa.record_batch([pa.nulls(12345)], schema=schema))
    content = path.read_bytes()
    assert content.count(struct.pack("<q", 12345)) == 3  # of the batch, of the column, and how many are null
    path.write_bytes(content.replace(struct.pack("<q", 12345), struct.pack("<q", 2**40)))
    with pytest.raises(ForeignFileError, match="speaks of 1099511627776 rows"):
        ArrowFile(path).text(Wanted(["video_id"]))


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_stream_is_read_whole_or_refused(tmp_path: Path, compression: str | None) -> None:
    table, path = tables()[0].select(["video_id", "vector"]), tmp_path / "a.arrow"
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(table, max_chunksize=10)
    assert pa.chunked_array(ArrowFile(path).column("vector")).equals(table["vector"])
    whole = path.read_bytes()
    ends = [n for n in range(0, len(whole), 8) if whole[n : n + 4] == b"\xff\xff\xff\xff"]
    assert len(ends) == 5  # a schema, three batches, the end
    for spoiled in (*(whole[:end] for end in ends), whole[:-1], whole + whole, whole + b"\0"):
        path.write_bytes(spoiled)
        with pytest.raises(ForeignFileError, match=r"a\.arrow can't be read as arrow"):
            _ = ArrowFile(path).schema


def test_an_ending_of_another_kind_is_refused(tmp_path: Path) -> None:
    table = pa.table({"video_id": ["a"]})
    pq.write_table(table, tmp_path / "b.arrow")
    with pa.ipc.new_file(tmp_path / "c.parquet", table.schema) as file:
        file.write_table(table)
    for name in ("b.arrow", "c.parquet"):
        with pytest.raises(ForeignFileError, match=f"{name} can't be read as"):
            _ = ArrowFile(tmp_path / name).schema


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_what_grows_to_gigabytes_is_refused_before_it_does(tmp_path: Path, kind: str, monkeypatch) -> None:
    for limit in ("_FREE_BYTES", "_FREE_VALUES"):  # not gigabytes, so that the test is quick
        monkeypatch.setattr(arrow, limit, 1000)
    path, n = tmp_path / f"zeros.{kind}", 100 * 2**16
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(n, np.float32)), n // 100)
    table = pa.table({"video_id": [f"v{number}" for number in range(100)], "vector": vectors})
    if kind == "parquet":
        pq.write_table(table, path, compression="zstd")
    else:
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
            file.write_table(table)
    with pytest.raises(ForeignFileError, match=r"would grow to 262\d{5} bytes|6553600 values"):
        next(ArrowFile(path).column("vector"))


def test_what_buffers_grow_to_is_what_their_sizes_are(tmp_path: Path) -> None:
    for table in tables()[:4]:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(tmp_path / "a.arrow", table.schema, options=options) as file:
            file.write_table(table)
        with open(tmp_path / "a.arrow", "rb") as file:
            claimed = claimed_bytes(file)
        dictionary = table.column("split").chunk(0).dictionary.nbytes
        assert claimed == pytest.approx(table.nbytes - dictionary, rel=0.1)

"""Tables as others write them: what can't be stored is refused where it is read, with line and column."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelstore.errors import ForeignFileError, ReelstoreError
from reelstore.exchange.keys import KeyTable
from reelstore.tables import ENDINGS, read_table

DIGITS = "9" * 5000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(name: str, content: bytes | str) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ReelstoreError) as error:
        KeyTable.read(Path(name)).rows("text")
    message = str(error.value)
    assert name in message and len(message) < 600 and message.isprintable()
    return message


TEXTS = {
    "UTF-16": ("k.csv", "video_id\na\n".encode("utf-16"), "line 1, character 1: the byte 0xff isn't UTF-8"),
    "UTF-16 without mark": ("k.csv", "video_id\na\n".encode("utf-16-le"), "line 1, character 2: it is a NUL"),
    "Latin-1": ("k.tsv", b"video_id\na\ncaf\xe9\n", "line 3, character 4: the byte 0xe9 isn't UTF-8"),
    "NUL": ("k.csv", b"video_id\na\nb\0\n", "line 3, character 2: it is a NUL"),
    "quote": ("k.csv", 'video_id\na\n"b\nc\n', "line 3: it can't be read as csv: unexpected end of data"),
    "quote over much": ("k.csv", 'video_id\n"b\n' + "c\n" * 100_000, "line 2: it can't be read as csv: field larger"),
    "cell": ("k.csv", f"video_id\n{'b' * 200_000}\n", "line 2: it can't be read as csv: field larger"),
    "line": ("k.csv", f"video_id\n{'b' * 17 * 2**20}\n", "line 2: it has more than 16777216 characters"),
    "line of JSON": ("k.jsonl", f'{{"x":"{"b" * 17 * 2**20}"}}', "line 1: it has more than 16777216 characters"),
    "no cells": ("k.csv", "", "it is empty"),
    "no rows": ("k.jsonl", "\n", "has no rows"),
    "two columns": ("k.csv", "video_id,video_id\na,b\n", "two columns of one name: 'video_id'"),
    "long id": ("k.csv", f"video_id\n{'b' * 2000}\n", "line 2: video_id has 2000 bytes, at most 1024"),
    "empty id": ("k.csv", "video_id,x\n,b\n", "line 2: video_id is empty"),
    "empty split": ("k.csv", "video_id,split\na,\n", "line 2: split is empty"),
    "long split": ("k.csv", f"video_id,split\na,{'b' * 2000}\n", "line 2: split has 2000 bytes"),
    "257 splits": (
        "k.csv",
        "video_id,split\n" + "".join(f"v{n},s{n}\n" for n in range(300)),
        "line 258: split 's256' is number 257; a store keeps 256 at most",
    ),
    "index 2^31": ("k.csv", "video_id,caption_index\na,2147483648\n", "line 2: caption_index 2147483648, but at most"),
    "index -1": (
        "k.csv",
        "video_id,caption_index\na,-1\n",
        "line 2: caption_index must be whole numbers from 0, not '-1'",
    ),
    "index of digits": ("k.csv", f"video_id,caption_index\na,{DIGITS}\n", "line 2: caption_index 9999"),
    "index, Arabic": ("k.csv", "video_id,caption_index\na,١\n", "line 2: caption_index must be whole numbers"),
    "caption twice": (
        "k.csv",
        "video_id,caption_index\na,1\nb,1\na,1\n",
        "line 4: caption ('a', 1) is there already, on",
    ),
    "half of a pair": ("k.jsonl", '{"video_id":"\\ud83d"}', "line 1: video_id holds half of a surrogate pair"),
    "half as split": ("k.jsonl", '{"video_id":"a","split":"\\ud83d"}', "line 1: split holds half of a surrogate pair"),
    "half as reason": ("k.jsonl", '{"video_id":"a","failure":"\\ud83d"}', "line 1: failure holds half of a"),
    "NUL of JSON": ("k.jsonl", '{"video_id":"a\\u0000"}', "line 1: video_id holds a NUL"),
    "object": ("k.jsonl", '{"video_id":{}}', "line 1: video_id must be text or whole numbers of 64 bits, not {}"),
    "list": ("k.ndjson", '{"video_id":"a"}\n{"video_id":["a"]}', "line 2: video_id must be text or whole numbers"),
    "bool": ("k.jsonl", '{"video_id":true}', "line 1: video_id must be text or whole numbers of 64 bits, not True"),
    "float": ("k.jsonl", '{"video_id":1.5}', "line 1: video_id must be text or whole numbers of 64 bits, not 1.5"),
    "NaN": ("k.jsonl", '{"video_id":NaN}', "line 1: it can't be read as jsonl: NaN isn't a JSON number"),
    "number of digits": ("k.jsonl", f'{{"video_id":{DIGITS}}}', "line 1: it can't be read as jsonl: Exceeds the limit"),
    "100 bits": ("k.jsonl", f'{{"video_id":{10**40}}}', "line 1: video_id must be text or whole numbers of 64 bits"),
    "key twice": (
        "k.jsonl",
        '{"video_id":"a","video_id":"b"}',
        "line 1: it can't be read as jsonl: a key is there twice",
    ),
    "no object": ("k.jsonl", "[1]", "line 1: not an object of columns"),
    "nested": ("k.jsonl", "[" * 100_000, "line 1: it can't be read as jsonl"),
    "nested objects": ("k.jsonl", '{"video_id":' * 100_000, "line 1: it can't be read as jsonl"),
    "no Parquet": ("k.parquet", "video_id\na\n", "can't be read as parquet"),
    "no Arrow": ("k.arrow", "video_id\na\n", "can't be read as arrow"),
    "empty Parquet": ("k.parquet", "", "can't be read as parquet"),
    "empty Arrow": ("k.feather", "", "can't be read as feather"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_cell_that_cant_be_stored_is_refused_with_its_line(what: str) -> None:
    name, content, says = TEXTS[what]
    assert says in refused(name, content)


COLUMNS = {
    "null": (pa.array(["a", None]), "row 2: video_id is empty"),
    "only null": (pa.nulls(2), "row 1: video_id is empty"),
    "floats": (pa.array([1.0, 2.0]), "column 'video_id' must be text or whole numbers, not double"),
    "bools": (pa.array([True, False]), "not bool"),
    "bytes": (pa.array([b"a", b"b"]), "not binary"),
    "times": (pa.array([1, 2], pa.timestamp("ms")), "not timestamp"),
    "lists": (pa.array([["a"], ["b"]]), "not list<"),
    "structs": (pa.array([{"a": 1}, {"a": 2}]), "not struct<"),
    "NUL": (pa.array(["a", "b\0"]), "row 2: video_id holds a NUL"),
    "digits": (pa.array(["a", DIGITS]), "row 2: video_id has 5000 bytes"),
    "not UTF-8": (pa.array([b"\xff", b"b"]).view(pa.string()), "column 'video_id' from row 1 on"),
    "too long": (pa.array(["a", "b" * 600_000]), "rows 1 to 2: 'video_id' has a cell of 600000 bytes"),
}


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("what", COLUMNS)
def test_columns_of_other_types_are_refused(what: str, ending: str) -> None:
    column, says = COLUMNS[what]
    write(f"k{ending}", pa.table({"video_id": column, "x": [0, 1]}))
    assert says in refused(f"k{ending}", Path(f"k{ending}").read_bytes())


def write(name: str, table: pa.Table) -> None:
    if name.endswith(".parquet"):
        pq.write_table(table, name)
        return
    with pa.ipc.new_file(name, table.schema) as file:
        file.write_table(table)


def test_what_every_kind_of_column_of_text_says_is_read() -> None:
    for number, kind in enumerate((pa.string(), pa.large_string(), pa.string_view())):
        write(f"{number}.arrow", pa.table({"video_id": pa.array(["a", "é"], kind), "v": [[1.0], [2.0]]}))
        assert read_table(Path(f"{number}.arrow"), ["video_id"]).full("video_id") == ["a", "é"]
    write("d.parquet", pa.table({"video_id": pa.array(["a", "é"]).dictionary_encode(), "n": [7, 2**63 - 1]}))
    table = read_table(Path("d.parquet"), ["video_id", "n"])
    assert table.columns == {"video_id": ["a", "é"], "n": ["7", "9223372036854775807"]}
    Path("bom.csv").write_bytes('\ufeffvideo_id,b\r\n"a\nb",c\r\n\r\né,d'.encode())
    table = read_table(Path("bom.csv"), ["video_id"])
    assert table.columns == {"video_id": ["a\nb", "é"]} and list(table.lines) == [2, 5]
    assert table.names == ["video_id", "b"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_isnt_a_regular_file_is_refused_at_once(ending: str) -> None:
    kinds = {
        "a pipe": os.mkfifo,
        "a device": lambda path: Path(path).symlink_to("/dev/zero"),
        "a folder": os.mkdir,
        "No such file": lambda path: Path(path).symlink_to("nowhere"),
    }
    for number, (says, make) in enumerate(kinds.items()):
        path = f"{number}{ending}"
        make(path)
        with pytest.raises(OSError, match=says):
            read_table(Path(path), ["video_id"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_sparse_file_of_10_gb_is_refused_at_once(ending: str) -> None:
    with open(f"k{ending}", "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ForeignFileError):
        read_table(Path(f"k{ending}"), ["video_id"])

"""Tables as others write them: what can't be stored is refused where it is read, with line and column."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelstore.convert.keys import KeyTable
from reelstore.errors import ForeignFileError, ReelstoreError
from reelstore.tables import ENDINGS, arrow, read_table

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
    "lists": (pa.array([["a"], ["b"]]), "rows 1 to 2: column 'video_id' must be text or whole numbers, not list<"),
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


HEADERS = {
    "blank": "video_id, caption, split\nv0,a,test\n",
    "blanks everywhere": 'video_id, "caption", split\nv0, "a", test\n',
    "blank behind": "video_id ,caption ,split \nv0,a,test\n",
    "tab": "video_id,\tcaption,\tsplit\nv0,a,test\n",
    "no-break space": "video_id,\u00a0caption,\u00a0split\nv0,a,test\n",
    "mark": "\ufeffvideo_id,caption,split\nv0,a,test\n",
    "two marks": "\ufeff\ufeffvideo_id,caption,split\nv0,a,test\n",
    "mark and quotes": '\ufeff"video_id","caption","split"\nv0,a,test\n',
    "an index of pandas": ",video_id,caption,split\n0,v0,a,test\n",
    "a comma behind": "video_id,caption,split,\nv0,a,test,\n",
    "commas behind": "video_id,caption,split,,\nv0,a,test,,\n",
    "CR": "video_id,caption,split\rv0,a,test\r",
    "CRLF": "video_id,caption,split\r\nv0,a,test\r\n",
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_is_read_as_it_is_meant(what: str) -> None:
    Path("k.csv").write_bytes(HEADERS[what].encode())
    found = read_table(Path("k.csv"), ["video_id", "caption", "split"]).columns
    assert found == {"video_id": ["v0"], "caption": ["a"], "split": ["test"]}


def test_blanks_around_names_dont_count_in_any_kind_of_table() -> None:
    row = {" video_id": "v0", "split ": "test"}
    Path("k.jsonl").write_text(json.dumps(row))
    Path("k.json").write_text(json.dumps([row]))
    Path("k.tsv").write_text("\t".join(row) + "\nv0\ttest\n")
    for name in ("k.parquet", "k.arrow", "k.feather"):
        write(name, pa.table({key: [value] for key, value in row.items()}))
    for ending in (*ENDINGS, ".json"):
        if ending not in (".csv", ".ndjson"):
            found = read_table(Path(f"k{ending}"), ["video_id", "split"]).columns
            assert found == {"video_id": ["v0"], "split": ["test"]}, ending


@pytest.mark.parametrize("name", ["Split", "SPLIT", "'split'", "s-plit", "\u200bsplit", "split."])
def test_a_column_called_almost_as_one_that_is_read_isnt_passed_over(name: str) -> None:
    says = f"has a column {name!r}, which isn't read as 'split'. Rename it"
    assert says in refused("k.csv", f"video_id,{name}\nv0,test\n")
    write("k.parquet", pa.table({"video_id": ["v0"], name: ["test"]}))
    with pytest.raises(ForeignFileError, match="isn't read as 'split'"):
        read_table(Path("k.parquet"), ["video_id", "split"])
    Path("both.csv").write_text(f"video_id,split,{name}\nv0,test,x\n")
    assert read_table(Path("both.csv"), ["split"]).columns == {"split": ["test"]}


CELLS = {
    "one more": ("video_id,x\na,b, c\n", "line 2: 3 cells for 2 columns. A cell with a comma in it needs quotes"),
    "one more everywhere": ("video_id,x\na,b, c\nd,e, f\n", "line 2: 3 cells for 2 columns"),
    "commas behind": ("video_id,x\na,b\nc,d,\n", "line 3: 3 cells for 2 columns. It ends in a comma that"),
    "one less": ("video_id,x\na,b\nc\n", "line 3: 1 cells for 2 columns. Is it cut short?"),
    "blanks alone": ("video_id,x\na,b\n  \n", "line 3: 1 cells for 2 columns"),
    "one more, unnamed": ("video_id,x,\na,b, c\n", "line 2: column 3 has no name in the first line, and a value"),
    "one more, index": (",video_id,x\n0,a,b, c\n", "line 2: 4 cells for 3 columns"),
    "two names after blanks": ("video_id,split, split\na,x,y\n", "two columns of one name: 'split'"),
    "no names": ("\nvideo_id\na\n", "its first line has no names of columns"),
    "semicolons": ("video_id;split\na;b\n", "no column 'video_id'. It has: video_id;split"),
    "text behind a quote": ('video_id,x\na,"b"c\n', "line 2: it can't be read as csv: ',' expected after"),
    "quote in the header": ('video_id,"x\na,b\n', "line 1: it can't be read as csv"),
    "gzip": (b"\x1f\x8b\x08\0\0", "It is compressed by gzip: unpack it"),
    "spreadsheet": (b"PK\x03\x04\0\0", "save the sheet as CSV in UTF-8"),
    "split with a blank": ("video_id,split\na, test\nb,test\n", "line 2: split begins or ends with a blank: ' test'"),
    "split in capitals": ("video_id,split\na,test\nb,Test\n", "line 3: split 'Test' is 'test' elsewhere"),
}


@pytest.mark.parametrize("what", CELLS)
def test_a_line_that_doesnt_fit_its_header_is_refused_with_its_number(what: str) -> None:
    content, says = CELLS[what]
    assert says in refused("k.csv", content)


def test_tabs_are_called_tabs() -> None:
    assert "line 2: 3 cells for 2 columns. A cell with a tab" in refused("k.tsv", "video_id\tx\na\tb\tc\n")


def captions_of(path: str, *columns: str) -> list[tuple[str | None, ...]]:
    table = read_table(Path(path), ["video_id", "caption", *columns], captions="caption")
    return list(zip(*table.columns.values(), strict=True))


LISTS = [["a man", "a plan"], ["c", "d"]]
ROWS = [("v0", "a man"), ("v0", "a plan"), ("v1", "c"), ("v1", "d")]
KINDS = {
    "list": pa.list_(pa.string()),
    "large_list": pa.large_list(pa.large_string()),
    "fixed_size_list": pa.list_(pa.string(), 2),
    "list of views": pa.list_(pa.string_view()),
    "list_view": pa.list_view(pa.string()),
    "large_list_view": pa.large_list_view(pa.string()),
    "list of a dictionary": pa.list_(pa.dictionary(pa.int32(), pa.string())),
}


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_element_of_a_list_is_a_caption(kind: str, ending: str) -> None:
    write(f"k{ending}", pa.table({"video_id": ["v0", "v1"], "caption": pa.array(LISTS, KINDS[kind])}))
    assert captions_of(f"k{ending}") == ROWS


def test_lists_and_texts_may_be_mixed_and_rows_keep_their_line() -> None:
    rows = [{"video_id": "v0", "caption": LISTS[0]}, {"video_id": "v1", "caption": "c"}]
    Path("k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("k.json").write_text(json.dumps(rows))
    for name in ("k.jsonl", "k.json"):
        assert captions_of(name) == ROWS[:3]
    table = read_table(Path("k.jsonl"), ["video_id"], captions="caption")
    assert table.columns == {"video_id": ["v0", "v0", "v1"]} and list(table.lines) == [1, 1, 2]


NO_CAPTIONS = {
    "empty list": ([], "caption is an empty list"),
    "list of null": ([None], r"caption\[0\] must be text that isn't empty, not None"),
    "null in it": (["a", None], r"caption\[1\] must be text"),
    "blank in it": (["a", " "], r"caption\[1\] must be text that isn't empty, not ' '"),
    "nested": ([["a"]], r"caption\[0\] must be text that isn't empty, not \['a'\]"),
    "numbers": ([1, 2], r"caption\[0\] must be text"),
    "objects": ([{"raw": "a"}], r"caption\[0\] must be text"),
    "object": ({"raw": "a"}, "caption must be text or a list of texts, not {'raw': 'a'}"),
    "bool": (True, "caption must be text or a list of texts, not True"),
    "number": (5, "caption must be text or a list of texts, not 5"),
    "float": (1.5, "caption must be text or a list of texts, not 1.5"),
    "half of a pair": (["\ud83d"], r"caption\[0\] holds half of a surrogate pair"),
    "NUL": ("a\0b", "caption holds a NUL"),
    "NUL in a list": (["a", "b\0"], r"caption\[1\] holds a NUL"),
    "long": (["x" * 200_000], r"caption\[0\] has 200000 characters"),
}


@pytest.mark.parametrize("what", NO_CAPTIONS)
def test_what_is_no_caption_is_refused_with_its_row(what: str) -> None:
    value, says = NO_CAPTIONS[what]
    good = {"video_id": "v0", "caption": "a"}
    Path("k.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps({**good, 'caption': value})}\n")
    Path("k.json").write_text(json.dumps([good, {**good, "caption": value}]))
    with pytest.raises(ForeignFileError, match=f"k.jsonl, line 2: {says}"):
        captions_of("k.jsonl")
    with pytest.raises((ForeignFileError, ReelstoreError), match=f"k.json, row 2: {says}|half of a surrogate pair"):
        captions_of("k.json")


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([["a"], None]), "row 2: caption is empty; others are lists of captions"),
        (pa.array([["a"], []]), "row 2: caption is an empty list"),
        (pa.array([["a"], [None]]), r"row 2: caption\[0\] must be text"),
        (pa.array([[None], [None]]), r"row 1: caption\[0\] must be text"),
        (pa.array([[1], [2]]), "rows 1 to 2: column 'caption' must be text or lists of text, not list<"),
        (pa.array([[["a"]], [["b"]]]), "must be text or lists of text, not list<.*list<"),
        (pa.array([{"raw": "a"}] * 2), "must be text or lists of text, not struct<"),
        (pa.array([[{"raw": "a"}]] * 2), "must be text or lists of text, not list<.*struct<"),
        (pa.array([[("a", "b")]] * 2, pa.map_(pa.string(), pa.string())), "must be text or lists of text, not map<"),
        (pa.array([1, 2]), "must be text or lists of text, not int64"),
        (pa.array([True, False]), "must be text or lists of text, not bool"),
        (pa.array([b"a", b"b"]), "must be text or lists of text, not binary"),
        (pa.array([["a"], ["b" * 600_000]]), "rows 1 to 2: 'caption' has a cell of 600000 bytes"),
    ],
)
def test_columns_that_hold_no_captions_are_refused(column: pa.Array, says: str, ending: str) -> None:
    write(f"k{ending}", pa.table({"video_id": ["v0", "v1"], "caption": column}))
    with pytest.raises(ForeignFileError, match=says):
        captions_of(f"k{ending}")


CODE = ["['a', 'b']", '["a","b"]', "['a man'\n 'b']", "array(['a', 'b'], dtype=object)", "{'raw': 'a'}", "b'a man'"]
CODE += ["('a', 'b')", "('a',)", "[]", "[None]", "{}", " ['a'] "]
SENTENCES = ["[music] a man sings", '"a" b', "('tis) a man", "{laughs} a man", "a man [x] 'y'", "b", "array", "(a, b)"]
SENTENCES += ["['tis] the season", "null", "5", "nan"]


@pytest.mark.parametrize("text", CODE)
def test_a_list_that_was_written_as_text_is_refused(text: str) -> None:
    table = pa.table({"video_id": ["v0"], "caption": [text]})
    write("k.parquet", table)
    table.to_pandas().to_csv("k.csv", index=False)
    for name in ("k.csv", "k.parquet"):
        with pytest.raises(ForeignFileError, match=r"is a list or mapping that was written as text.* JSON lines"):
            captions_of(name)


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_may_begin_with_a_bracket(text: str) -> None:
    pa.table({"video_id": ["v0"], "caption": [text]}).to_pandas().to_csv("k.csv", index=False)
    assert captions_of("k.csv") == [("v0", text)]


def test_one_number_cant_be_that_of_several_captions() -> None:
    Path("k.jsonl").write_text(json.dumps({"video_id": "v0", "caption": ["a", "b"], "caption_index": 0}))
    with pytest.raises(
        ForeignFileError, match="line 1: caption is a list of captions, and caption_index is the number"
    ):
        captions_of("k.jsonl", "caption_index")
    Path("k.jsonl").write_text(json.dumps({"video_id": "v0", "caption": ["a"], "caption_index": 7}))
    assert captions_of("k.jsonl", "caption_index") == [("v0", "a", "7")] or captions_of("k.jsonl", "caption_index") == [
        ("v0", "7", "a")
    ]


def test_more_captions_than_a_file_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of a view may all be the same one."""
    views = pa.ListViewArray.from_arrays(
        pa.array([0] * 1000, pa.int32()), pa.array([9000] * 1000, pa.int32()), pa.array(["a"] * 9000)
    )
    write("k.arrow", pa.table({"video_id": ["v"] * 1000, "caption": views}))
    monkeypatch.setattr(arrow, "_FREE_ROWS", 1000)
    with pytest.raises(ForeignFileError, match="speaks of 9000000 rows"):
        captions_of("k.arrow")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("k.json", "{}", "a list of objects is expected"),
        ("k.json", '{"video_id":{"0":"a"}}', "a list of objects is expected"),
        ("k.json", '[["a"]]', "row 1: not an object of columns"),
        ("k.json", '[{"video_id":"a"}', "isn't valid JSON"),
        ("k.json", "[]", "has no rows"),
        ("k.json", '{"video_id":"a"}\n{"video_id":"b"}', "A file with an object in each line ends in .jsonl"),
        ("k.jsonl", '[{"video_id":"a"},\n{"video_id":"b"}]', "A file that is one list ends in .json"),
        ("k.JSONL", '{"video_id":1.5}', "line 1: video_id must be text"),
    ],
)
def test_json_is_a_list_of_objects(name: str, content: str, says: str) -> None:
    assert says in refused(name, content)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_a_row_of_a_key_table_with_a_list_of_captions_is_as_many_keys(ending: str) -> None:
    rows = [
        {"video_id": "v0", "caption": LISTS[0], "split": "test"},
        {"video_id": "v1", "caption": ["c"], "split": "x"},
    ]
    if ending == ".parquet":
        write("k.parquet", pa.Table.from_pylist(rows))
    else:
        lines = [json.dumps(row) + "\n" for row in rows]
        Path(f"k{ending}").write_text("".join(lines) if ending == ".jsonl" else json.dumps(rows))
    keys = KeyTable.read(Path(f"k{ending}")).rows("text")
    assert keys.keys == [("v0", 0), ("v0", 1), ("v1", 0)] and keys.splits == ["test", "test", "x"]
    assert KeyTable.read(Path(f"k{ending}")).rows("video").keys == ["v0", "v1"]


def test_captions_beside_keys_may_be_anything_but_lists_of_something_else() -> None:
    for value in ("['a', 'b']", 5, None, True, {"raw": "a"}):
        Path("k.jsonl").write_text(json.dumps({"video_id": "v0", "caption": value}))
        assert KeyTable.read(Path("k.jsonl")).rows("text").keys == [("v0", 0)]
    assert "line 1: caption is an empty list" in refused("k.jsonl", '{"video_id":"v0","caption":[]}')
    both = '{"video_id":"v0","caption":["a"]}\n{"video_id":"v1","caption":null}'
    assert "line 2: caption is empty; others are lists" in refused("k.jsonl", both)
    Path("k.csv").write_text("video_id,caption\nv0,\"['a', 'b']\"\n")
    assert len(KeyTable.read(Path("k.csv")).rows("text")) == 1

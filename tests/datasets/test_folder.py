"""A directory of videos and a table: every kind of table, and every mistake by name."""

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from reelstore.datasets.folder import FolderParams, build
from reelstore.errors import DatasetError, ReelstoreError

ROWS = [
    {"video_id": "007", "caption": "a cat, asleep", "split": "train"},
    {"video_id": "007", "caption": "null", "split": "train"},
    {"video_id": "b", "caption": "ein Hund läuft", "split": "test"},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "007.mp4").write_bytes(b"seven")
    (tmp_path / "b.webm").write_bytes(b"bee")
    return tmp_path


def write(source: Path, rows: list[dict], ending: str = ".csv") -> FolderParams:
    path = source / f"captions{ending}"
    table = pd.DataFrame(rows)
    if ending == ".csv":
        table.to_csv(path, index=False)
    elif ending == ".parquet":
        table.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return FolderParams(name="mine", kind="folder", source=str(source), captions=path.name)


def built(params: FolderParams):
    return build(params, Path("unused"), say=lambda _: None)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_every_kind_of_table_gives_the_same_dataset(source: Path, ending: str) -> None:
    dataset = built(write(source, ROWS, ending)).dataset
    assert [(v.video_id, v.path, v.split) for v in dataset.videos] == [
        ("007", "deep/007.mp4", "train"),
        ("b", "b.webm", "test"),
    ]
    assert dataset.videos[0].sha256 == hashlib.sha256(b"seven").hexdigest()
    assert [(c.video_id, c.caption_index, c.text) for c in dataset.captions] == [
        ("007", 0, "a cat, asleep"),
        ("007", 1, "null"),
        ("b", 0, "ein Hund läuft"),
    ]


def test_without_splits_groups_share_one_and_others_do_not_move_it(source: Path) -> None:
    for number in range(40):
        (source / f"v{number}.gif").write_bytes(bytes([number]))
    rows = [{"video_id": f"v{n}", "caption": "x", "group": f"g{n // 4}"} for n in range(40)]
    whole = {v.video_id: v.split for v in built(write(source, rows)).dataset.videos}
    assert len(set(whole.values())) > 1
    for number in range(0, 40, 4):
        assert len({whole[f"v{n}"] for n in range(number, number + 4)}) == 1
    part = {v.video_id: v.split for v in built(write(source, rows[8:])).dataset.videos}
    assert part == {video_id: whole[video_id] for video_id in part}


def test_a_path_column_finds_files_that_share_a_name(source: Path) -> None:
    (source / "b.mp4").write_bytes(b"other")
    with pytest.raises(DatasetError, match=r"Video 'b' could be b\.mp4 or b\.webm. Add a `path` column"):
        built(write(source, ROWS))
    rows = [{"video_id": "x", "caption": "c", "path": "b.mp4"}, {"video_id": "y", "caption": "c", "path": "b.webm"}]
    found = built(write(source, rows))
    assert [video.path for video in found.dataset.videos] == ["b.mp4", "b.webm"]
    assert found.left_out == ("1 files without captions",)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"video": "b", "caption": "x"}], "lacks the column 'video_id'. It has: video, caption"),
        ([{"video_id": "b", "caption": ""}], "row 1 has no caption"),
        ([{"video_id": "gone", "caption": "x"}, *ROWS], "1 of 3 videos of the table have no file in .*: gone"),
        (
            [*ROWS, {"video_id": "b", "caption": "x", "split": "train"}],
            "'b' has two values of split: 'test' and 'train'",
        ),
        ([{"video_id": "b", "caption": "x", "path": "../b.webm"}], "no file|leaves"),
        (
            [
                {"video_id": "b", "caption": "x", "split": "test", "group": "g"},
                {"video_id": "007", "caption": "x", "split": "train", "group": "g"},
            ],
            "Group 'g' straddles the splits 'test' and 'train'",
        ),
    ],
)
def test_mistakes_are_named(source: Path, rows: list[dict], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        built(write(source, rows))


def test_a_link_out_of_the_directory_is_refused(source: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.mp4"
    outside.write_bytes(b"secret")
    (source / "c.mp4").symlink_to(outside)
    with pytest.raises(DatasetError, match=r"Video 'c': c\.mp4 leaves"):
        built(write(source, [{"video_id": "c", "caption": "x"}]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("captions.txt", "x", "the ending must be one of"),
        ("captions.jsonl", "{not json", "can't be read as jsonl"),
        ("captions.parquet", "not parquet", "can't be read as parquet"),
        ("captions.csv", "video_id,caption\n", "has no rows"),
        ("captions.csv", "", "can't be read as csv"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(source: Path, name: str, content: str, words: str) -> None:
    (source / name).write_text(content)
    with pytest.raises(DatasetError, match=words):
        built(FolderParams(name="mine", kind="folder", source=str(source), captions=name))


def test_a_missing_directory_and_a_missing_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="isn't a directory"):
        built(FolderParams(name="mine", kind="folder", source=str(tmp_path / "none")))
    with pytest.raises(DatasetError, match=r"captions\.csv doesn't exist"):
        built(FolderParams(name="mine", kind="folder", source=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("captions.csv", "video_id,caption\nb,x,y\n", "line 2: 3 cells for 2 columns"),  # no index by itself
        ("captions.csv", "video_id,caption,path\nb,x, y,b.webm\n007,x, y,deep/007.mp4\n", "line 2: 4 cells for 3"),
        ("captions.csv", "video_id,caption\nb,x,\n", "line 2: 3 cells for 2 columns. It ends in a comma"),
        ("captions.csv", "video_id,caption,split\nb,x\n", "line 2: 2 cells for 3 columns. Is it cut short"),
        ("captions.csv", "video_id,caption,Split\nb,x,test\n", "has a column 'Split', which isn't read as 'split'"),
        ("captions.csv", "video_id,caption,split\nb,x, test\n", "line 2: split begins or ends with a blank"),
        ("captions.csv", "video_id,caption,group\nb,x, g\n", "line 2: group begins or ends with a blank"),
        (
            "captions.csv",
            "video_id,caption,split\nb,x,test\n007,y,\n",
            "line 3: video '007' has no split, and 1 of 2 videos have one. Give every video its split",
        ),
        ("captions.csv", "video_id,caption\n b,x\n", "1 of 1 videos of the table have no file in .*: ' b'"),
        (
            "captions.csv",
            "video_id,caption\nb,\"['x', 'y']\"\n",
            "line 2: caption is a list or mapping that was written",
        ),
        (
            "captions.csv",
            "video_id,caption,caption_index\nb,x,2147483648\n",
            "line 2: caption_index 2147483648, but at",
        ),
        ("captions.csv", "video_id,caption,caption_index\nb,x,1.0\n", "line 2: caption_index must be whole numbers"),
        ("captions.csv", "video_id,caption,caption_index\nb,x,1\nb,y,1\n", r"caption \('b', 1\) occurs twice"),
        ("captions.jsonl", '{"video_id":"b","caption":[]}', "line 1: caption is an empty list"),
        ("captions.jsonl", '{"video_id":"b","caption":7}', "line 1: caption must be text or a list of texts, not 7"),
        ("captions.csv", 'video_id,caption\nb,"x\n', r"line 2: it can't be read as csv"),
        ("captions.csv", b"video_id,caption\nb,caf\xe9\n", "line 2, character 6: the byte 0xe9 isn't UTF-8"),
        ("captions.csv", b"video_id,caption\nb,x\0\n", "line 2, character 4: it is a NUL"),
        ("captions.csv", f"video_id,caption\n{'9' * 5000},x\n", "line 2: video_id has 5000 bytes"),
        ("captions.csv", f"video_id,caption,split\nb,x,{'s' * 2000}\n", "line 2: split has 2000 bytes"),
        ("captions.csv", f"video_id,caption,path\nb,x,{'s' * 2000}\n", "line 2: path has 2000 bytes"),
        ("captions.csv", "video_id,caption,video_id\nb,x,b\n", "two columns of one name"),
        ("captions.jsonl", '{"video_id":"b","caption":"\\ud83d"}', "line 1: caption holds half of a surrogate pair"),
        ("captions.jsonl", '{"video_id":"b","caption":"x","group":"a\\u0000"}', "line 1: group holds a NUL"),
        ("captions.jsonl", '{"video_id":"b","caption":{}}', "line 1: caption must be text"),
        ("captions.jsonl", '{"video_id":"b","caption":NaN}', "line 1: it can't be read as jsonl"),
        ("captions.jsonl", "[" * 100_000, "line 1: it can't be read as jsonl"),
        (
            "captions.csv",
            "video_id,caption,split\n" + "".join(f"v{n},x,s{n}\n" for n in range(300)),
            "line 258: split 's256' is number 257; a store keeps 256 at most",
        ),
    ],
)
def test_what_no_store_keeps_is_refused_with_its_line(
    source: Path, name: str, content: str | bytes, words: str
) -> None:
    (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=words):
        built(FolderParams(name="mine", kind="folder", source=str(source), captions=name))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_pipe_is_no_table(source: Path, ending: str) -> None:
    os.mkfifo(source / f"captions{ending}")
    with pytest.raises(ReelstoreError, match="is a pipe"):
        built(FolderParams(name="mine", kind="folder", source=str(source), captions=f"captions{ending}"))


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_captions_in_lists_are_counted_on(source: Path, ending: str) -> None:
    rows = [
        {"video_id": "007", "caption": ["a cat", "asleep"]},
        {"video_id": "b", "caption": ["a dog"]},
        {"video_id": "007", "caption": ["still asleep"]},
    ]
    dataset = built(write(source, rows, ending)).dataset
    expected = [("007", 0, "a cat"), ("007", 1, "asleep"), ("007", 2, "still asleep"), ("b", 0, "a dog")]
    assert [(c.video_id, c.caption_index, c.text) for c in dataset.captions] == expected


def test_a_list_of_objects_is_a_table_too(source: Path) -> None:
    (source / "captions.json").write_text(json.dumps([{"video_id": "b", "caption": ["a dog", "runs"]}]))
    params = FolderParams(name="mine", kind="folder", source=str(source), captions="captions.json")
    assert [caption.text for caption in built(params).dataset.captions] == ["a dog", "runs"]


def test_a_blank_behind_a_comma_of_the_header_loses_no_column(source: Path) -> None:
    (source / "captions.csv").write_text("video_id, caption, split\n007, a cat, test\nb, a dog, test\n")
    dataset = built(FolderParams(name="mine", kind="folder", source=str(source))).dataset
    assert [video.split for video in dataset.videos] == ["test", "test"]
    assert [caption.text for caption in dataset.captions] == ["a cat", "a dog"]


def test_numbers_of_captions_are_kept_where_the_table_has_them(source: Path) -> None:
    rows = [{"video_id": "b", "caption": text, "caption_index": index} for index, text in ((5, "x"), (0, "y"))]
    found = built(write(source, rows)).dataset.captions
    assert [(c.caption_index, c.text) for c in found] == [(5, "x"), (0, "y")]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), r"c \(c.mp4 is a folder\)"),
        (os.mkfifo, r"c \(c.mp4 isn't a regular file\)"),
        (lambda path: path.symlink_to("nowhere"), r"c \(c.mp4 is a link to nothing\)"),
    ],
    ids=["folder", "pipe", "broken link"],
)
def test_what_is_no_file_is_no_clip(source: Path, make, says: str) -> None:
    make(source / "c.mp4")
    with pytest.raises(DatasetError, match=f"have no file in .*: {says}"):
        built(write(source, [{"video_id": "c", "caption": "x"}]))
    with pytest.raises(DatasetError, match=r"have no file in .*: c \(c.mp4\)"):
        built(write(source, [{"video_id": "c", "caption": "x", "path": "c.mp4"}]))

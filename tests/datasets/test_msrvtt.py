"""MSR-VTT: exact counts of every cut on files of the real size and shape; what is missing or wrong, by name."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reelstore.datasets.index import read_index, write_index
from reelstore.datasets.msrvtt import MsrvttParams, build
from reelstore.datasets.msrvtt_cuts import CUTS, PARTS, Cut, divide
from reelstore.datasets.msrvtt_files import Annotations, Lists, read_annotations
from reelstore.errors import DatasetError, ParamsError, ReelstoreError, UnknownNameError
from reelstore.records import Dataset, Protocol

sys.path.insert(0, str(Path(__file__).parents[1] / "assets"))
import msrvtt as drawn

SHARES = {"train": 0.95, "validation": 0.05}
PUBLISHED = {
    "msrvtt/official/train": (6513, 130_260),
    "msrvtt/official/val": (497, 9_940),
    "msrvtt/official/test": (2990, 59_800),
    "msrvtt/full/train": (6513, 130_260),
    "msrvtt/full/val": (497, 9_940),
    "msrvtt/full/test": (2990, 59_800),
    "msrvtt/1k-a/train": (9000, 180_000),
    "msrvtt/1k-a/test": (1000, 1000),
    "msrvtt/1k-a-7k/train": (7010, 140_200),
    "msrvtt/1k-a-7k/test": (1000, 1000),
    "msrvtt/1k-b/train": (6656, 133_120),
    "msrvtt/1k-b/test": (1000, 1000),
}


def made(source: Path, **options: Any) -> tuple[Dataset, tuple[str, ...]]:
    params = MsrvttParams(name="msrvtt", kind="msrvtt", source=str(source), **{"splits": SHARES, **options})
    built = build(params, source / "tables", say=lambda line: None)
    return built.dataset, built.left_out


def counts(dataset: Dataset) -> dict[str, tuple[int, int]]:
    split_of = {video.video_id: video.split for video in dataset.videos}
    videos, captions = Counter(split_of.values()), Counter(split_of[c.video_id] for c in dataset.captions)
    return {split: (videos[split], captions[split]) for split in videos}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many clips, captions and lines as the real data has."""
    return drawn.write(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def annotations(whole: Path) -> Annotations:
    return read_annotations(whole)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return drawn.write(tmp_path / "raw", n_train=12, n_validate=3, n_test=9, n_1k=4, n_miech=(10, 4))


@pytest.fixture
def only_the_test(small: Path) -> Path:
    """What 1k-A's test alone takes: its CSV and the clips."""
    for path in (small / "annotations").iterdir():
        if path.name != "MSRVTT_JSFUSION_test.csv":
            path.unlink()
    return small


def test_the_known_cuts_have_the_published_counts() -> None:
    found = {}
    for cut in CUTS.values():
        for part in cut.n_videos:
            protocol = cut.protocol(part)
            found[protocol.name] = (protocol.n_videos, protocol.n_captions)
    assert found == PUBLISHED


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_files_of_the_real_size_divide_into_the_published_counts(
    whole: Path, annotations: Annotations, cut: Cut
) -> None:
    part_of, protocols = divide(cut, annotations, Lists(whole), parts=PARTS, share=0.0, seed=0)
    for part, protocol in protocols.items():
        members = [video_id for video_id, of in part_of.items() if of == part]
        assert len(members) == protocol.n_videos
        if part in cut.n_videos:
            name = protocol.name
            n_captions = (
                len(members) if PUBLISHED[name][1] == 1000 else sum(len(annotations.captions[v]) for v in members)
            )
            assert (len(members), n_captions) == PUBLISHED[name]


def test_1k_a_is_whole_and_validates_on_training_videos_never_on_its_test(whole: Path) -> None:
    dataset, left_out = made(whole)
    assert counts(dataset) == {"train": (8550, 171_000), "validation": (450, 9_000), "test": (1000, 1000)}
    assert dataset.protocols["validation"] == Protocol("msrvtt/1k-a/val", 450, 9000)
    assert left_out == () and not dataset.missing


def test_another_seed_holds_out_other_training_videos_and_tests_on_the_same(small: Path) -> None:
    first, other = (made(small, splits={"train": 0.5, "validation": 0.5}, seed=seed)[0] for seed in (0, 1))
    for split, same in (("validation", False), ("test", True)):
        chosen = [{video.video_id for video in d.videos if video.split == split} for d in (first, other)]
        assert chosen[0] and (chosen[0] == chosen[1]) == same


def test_captions_come_in_the_order_of_their_ids_and_repeated_ones_stay(small: Path) -> None:
    dataset, _ = made(small, cut="official")
    own = [(caption.caption_index, caption.text) for caption in dataset.captions if caption.video_id == "video17"]
    assert own == [(index, drawn.caption(17, index)) for index in range(20)]
    assert own[0][1] == own[1][1]


def test_a_test_caption_of_1k_a_keeps_the_number_it_has_among_all(small: Path) -> None:
    dataset, _ = made(small)
    rows = (small / "annotations/MSRVTT_JSFUSION_test.csv").read_text().splitlines()[1:]
    listed = {row.split(",")[2]: row.split(",")[3] for row in rows}
    tests = [video.video_id for video in dataset.videos if video.split == "test"]
    assert set(tests) == set(listed)
    official = {(c.video_id, c.caption_index): c.text for c in made(small, cut="official")[0].captions}
    for caption in dataset.captions:
        if caption.video_id in listed:
            assert caption.text == listed[caption.video_id] == official[caption.video_id, caption.caption_index]


def test_one_file_with_everything_gives_the_same_tables(small: Path) -> None:
    expected, _ = made(small, cut="official")
    parts = [small / f"annotations/{name}_videodatainfo.json" for name in ("train_val", "test")]
    both = [json.loads(path.read_text()) for path in parts]
    merged = {key: both[0][key] + both[1][key] for key in ("videos", "sentences")}
    for path in parts:
        path.unlink()
    (small / "MSRVTT_data.json").write_text(json.dumps(merged))
    assert made(small, cut="official")[0] == expected


def test_the_test_alone_needs_its_csv_and_clips(only_the_test: Path) -> None:
    dataset, _ = made(only_the_test, parts=("test",))
    assert counts(dataset) == {"test": (4, 4)} and set(dataset.protocols) == {"test"}
    with pytest.raises(DatasetError, match=r"train_list_miech\.txt isn't in"):
        made(only_the_test, cut="1k-b")


def test_clips_that_are_missing_are_left_out_counted_and_named(small: Path, tmp_path: Path) -> None:
    dataset, _ = made(small)
    gone = next(video for video in dataset.videos if video.split == "test")
    (small / gone.path).unlink()
    less, left_out = made(small)
    assert less.missing == {"test": (gone.video_id,)}
    assert counts(less)["test"] == (3, 3)
    assert f"msrvtt/1k-a/test isn't whole: 3 of 1000 videos, 3 of 1000 captions; no clip of {gone.video_id}" in left_out
    write_index(tmp_path / "tables", less, kind="msrvtt")
    assert read_index(tmp_path / "tables") == less


def change_json(source: Path, change: Any) -> None:
    path = source / "annotations/train_val_videodatainfo.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_csv(source: Path, old: str, new: str) -> None:
    path = source / "annotations/MSRVTT_JSFUSION_test.csv"
    path.write_text(path.read_text().replace(old, new))


def first_row(source: Path) -> str:
    return (source / "annotations/MSRVTT_JSFUSION_test.csv").read_text().splitlines()[1]


def encode(source: Path, name: str, encoding: str) -> None:
    path = source / "annotations" / name
    path.write_bytes(path.read_text().encode(encoding))


WRONG = {
    "is a path": (
        lambda s: change_json(s, lambda c: c["videos"][2].update(video_id="../../etc/video2")),
        r"videos\[2\] has the video_id '../../etc/video2'; a name",
    ),
    "is a path in a list": (
        lambda s: change_csv(s, first_row(s), "ret0,msr1,/video1,a"),
        r"line 2 has the video_id '/v",
    ),
    "split": (
        lambda s: change_json(s, lambda c: c["videos"][0].update(split="dev")),
        r"videos\[0\] \(video0\) has the split 'dev'; train, validate, test are expected",
    ),
    "twice": (lambda s: change_json(s, lambda c: c["videos"].append(c["videos"][3])), r"videos\[15\] is video3 again"),
    "stranger": (
        lambda s: change_json(s, lambda c: c["sentences"][0].update(video_id="video999")),
        "sentences name video999, which `videos` doesn't have",
    ),
    "sentence": (
        lambda s: change_json(s, lambda c: c["sentences"][4].pop("sen_id")),
        r"sentences\[4\] of video\d+ needs",
    ),
    "text": (
        lambda s: change_json(s, lambda c: c["sentences"][4].update(caption={"a": 1})),
        r"sentences\[4\] of video\d+ needs a sen_id and a caption",
    ),
    "half of a pair": (
        lambda s: change_json(s, lambda c: c["sentences"][4].update(caption="\ud83d")),
        "holds half of a surrogate pair",
    ),
    "digits": (
        lambda s: change_json(s, lambda c: c["videos"][2].update(video_id="9" * 5000)),
        r"videos\[2\] has the video_id '9999",
    ),
    "list as split": (
        lambda s: change_json(s, lambda c: c["videos"][0].update(split=["train"])),
        r"videos\[0\] \(video0\) has the split \['train'\]; train, validate",
    ),
    "nested": (
        lambda s: (s / "annotations/train_val_videodatainfo.json").write_text("[" * 100_000),
        "train_val_videodatainfo.json isn't valid JSON",
    ),
    "Latin-1": (
        lambda s: (s / "annotations/MSRVTT_JSFUSION_test.csv").write_bytes(b"video_id\ncaf\xe9\n"),
        "line 2, character 4: the byte 0xe9 isn't UTF-8",
    ),
    "UTF-16": (
        lambda s: encode(s, "MSRVTT_JSFUSION_test.csv", "utf-16"),
        "test.csv, line 1, character 1: the byte 0xff isn't UTF-8. Save it as UTF-8, for instance: iconv -f UTF-16 ",
    ),
    "a JSON in Latin-1": (
        lambda s: (s / "annotations/test_videodatainfo.json").write_bytes(b'{"videos":\n"caf\xe9"}'),
        "test_videodatainfo.json, line 2: the byte 0xe9 isn't UTF-8. Save it .* iconv -f WINDOWS-1252",
    ),
    "a list in UTF-16": (lambda s: encode(s, "MSRVTT_train.9k.csv", "utf-16-le"), "iconv -f UTF-16LE -t UTF-8 MSRVTT_"),
    "comma": (
        lambda s: change_csv(s, first_row(s), f"{first_row(s)}, who cooks"),
        "test.csv, line 2: 5 cells for 4 columns. A cell with a comma in it needs quotes",
    ),
    "a list as text": (
        lambda s: change_csv(s, first_row(s), first_row(s).rpartition(",")[0] + ",\"['a', 'b']\""),
        "line 2: sentence is a list or mapping that was written as text",
    ),
    "a caption that is a list as text": (
        lambda s: change_json(s, lambda c: c["sentences"][4].update(caption="['a', 'b']")),
        r"sentences\[4\] of video\d+ needs a sen_id and a caption, or a list of captions",
    ),
    "commas in a list": (
        lambda s: (s / "annotations/MSRVTT_train.9k.csv").write_text("video_id\nvideo0,\n"),
        "train.9k.csv, line 2: 2 cells for 1 columns",
    ),
    "a blank in an id": (
        lambda s: (s / "annotations/MSRVTT_train.9k.csv").write_text("video_id\n video0\n"),
        "line 2 has the video_id ' video0'",
    ),
    "a column in capitals": (
        lambda s: change_csv(s, "video_id", "Video_ID"),
        "has a column 'Video_ID', which isn't read as 'video_id'",
    ),
    "quote": (lambda s: change_csv(s, first_row(s), f'"{first_row(s)}'), "Does a quote never end"),
    "shape": (lambda s: change_json(s, lambda c: c.pop("sentences")), "must have the lists `videos` and `sentences`"),
    "column": (
        lambda s: change_csv(s, "vid_key,video_id", "vid_key,video"),
        "lacks the column 'video_id'. It has: key",
    ),
    "two captions": (lambda s: change_csv(s, first_row(s), f"{first_row(s)}\n{first_row(s)}"), "again; 1k-A has one"),
    "both parts": (
        lambda s: (s / "annotations/MSRVTT_train.9k.csv").write_text(f"video_id\n{first_row(s).split(',')[2]}\n"),
        "is in train and in test of msrvtt/1k-a",
    ),
    "no captions": (
        lambda s: change_json(
            s, lambda c: c.update(sentences=[x for x in c["sentences"] if x["video_id"] != "video5"])
        ),
        "video5 is in msrvtt/1k-a/train, and the annotations have no caption of it",
    ),
    "two clips": (
        lambda s: (s / "video0.webm").write_bytes(b"again"),
        "'video0' could be TrainValVideo/video0.mp4 or video0.webm",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_contradicts_the_published_shape_is_refused_by_name(small: Path, wrong: str) -> None:
    spoil, message = WRONG[wrong]
    spoil(small)
    with pytest.raises(DatasetError, match=message):
        made(small)


def test_a_clip_that_lies_elsewhere_is_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.mp4").write_bytes(b"0")
    (small / "TrainValVideo/video0.mp4").unlink()
    (small / "TrainValVideo/video0.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(DatasetError, match=r"video0\.mp4 leaves"):
        made(small)


def test_names_and_folders_that_are_not_there_are_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Known: 1k-a, 1k-a-7k, 1k-b, full, official"):
        made(small, cut="1k-c")
    with pytest.raises(ParamsError, match=r"parts\[0\] is 'val'; it must be train, validation or test"):
        made(small, parts=("val",))
    with pytest.raises(DatasetError, match="isn't a directory"):
        made(tmp_path / "nowhere")
    for clip in small.rglob("*.mp4"):
        clip.unlink()
    with pytest.raises(DatasetError, match="has none of the 24 clips of msrvtt/1k-a, such as video0"):
        made(small)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("video0\n".encode("utf-16"), "train_list_miech.txt, line 1: the byte 0xff isn't UTF-8. .* iconv -f UTF-16 "),
        ("video0\n".encode("utf-16-be"), "train_list_miech.txt, line 1: it holds a NUL. .* iconv -f UTF-16BE"),
        (b"video0\ncaf\xe9\n", "train_list_miech.txt, line 2: the byte 0xe9 isn't UTF-8"),
        (b"video0\nvideo0\n", "lists video0 twice"),
        (b"video0,\n", "video0, is in msrvtt/1k-b/train, and the annotations have no caption of it"),
        (b"a/b\n", "line 1 has the video_id 'a/b'"),
    ],
)
def test_a_list_of_ids_is_text_with_one_a_line(small: Path, content: bytes, says: str) -> None:
    path = small / "annotations/train_list_miech.txt"
    expected = made(small, cut="1k-b")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r"))
    assert made(small, cut="1k-b") == expected
    path.write_bytes(content)
    with pytest.raises(ReelstoreError, match=says):
        made(small, cut="1k-b")


def test_blanks_in_headers_a_mark_and_other_ends_of_lines_change_nothing(small: Path) -> None:
    expected = made(small)
    for path in (small / "annotations").iterdir():
        text = path.read_text()
        if path.suffix == ".csv":
            head, _, rows = text.partition("\n")
            text = f"{head.replace(',', ', ')}\n{rows}"
        path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert made(small) == expected


def test_a_caption_may_be_a_list_of_captions(small: Path) -> None:
    expected, _ = made(small, cut="official")

    def join(content: dict[str, Any]) -> None:
        """One entry for each video, with all of its captions, as tables on the Hugging Face hub have it."""
        by_id: dict[str, list[str]] = {}
        for sentence in sorted(content["sentences"], key=lambda one: one["sen_id"]):
            by_id.setdefault(sentence["video_id"], []).append(sentence["caption"])
        pairs = enumerate(by_id.items())
        content["sentences"] = [{"sen_id": n, "video_id": v, "caption": texts} for n, (v, texts) in pairs]

    for name in ("train_val", "test"):
        path = small / f"annotations/{name}_videodatainfo.json"
        content = json.loads(path.read_text())
        join(content)
        path.write_text(json.dumps(content))
    assert made(small, cut="official")[0] == expected


VALUES: list[Any] = [None, True, 5, -1, 10**12, 1.5, "", "x", "  ", [], ["a"], [1], {}, {"a": 1}, ...]
"""`...`: it is missing."""
UNREAD = ("info", "category", "url", "start time", "end time", "id")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    keys = value if isinstance(value, dict) else range(min(2, len(value))) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def swapped(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    changed = json.loads(json.dumps(value))
    at = changed
    for key in path[:-1]:
        at = at[key]
    if not path:
        return None if other is ... else other
    if other is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = other
    return changed


@pytest.mark.parametrize("name", ["train_val", "test"])
def test_a_value_of_another_type_is_refused_wherever_it_is(tmp_path: Path, name: str) -> None:
    source = drawn.write(tmp_path / "raw", n_train=3, n_validate=1, n_test=2, n_1k=1, n_miech=(1, 1))
    path, n_refused = source / f"annotations/{name}_videodatainfo.json", 0
    whole = json.loads(path.read_text())
    for place in places(whole):
        for other in VALUES:
            path.write_text(json.dumps(swapped(whole, place, other)))
            try:
                read_annotations(source)
                is_read = False
            except DatasetError as error:
                assert path.name in str(error) or "doesn't have" in str(error), (place, other)
                n_refused, is_read = n_refused + 1, True
            unread = bool({*place} & {*UNREAD})
            fits = place and (place[-1], other) in [("caption", "x"), ("sen_id", 5), ("sen_id", -1), ("sen_id", 10**12)]
            gone = other is ... and place[:1] == ("sentences",) and len(place) == 2
            listed = place[-1:] == ("caption",) and other == ["a"]
            emptied = place == ("sentences",) and other == []
            assert is_read != bool(unread or fits or gone or listed or emptied), (place, other)
    assert n_refused > 150

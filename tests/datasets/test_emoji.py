"""Emoji: groups of near-duplicates, captions, splits, and packages held to their hash."""

import base64
import gzip
import hashlib
import io
import json
import os
import stat
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reelstore.datasets.emoji import SHORTCODES, EmojiParams, build, captions_of
from reelstore.datasets.emoji_groups import near_duplicate_groups
from reelstore.datasets.index import read_index, write_index
from reelstore.datasets.npm import Package, download, members
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DamagedFileError, DatasetError, DownloadError

LABELS = {
    "1f468-200d-1f373": "man cook",
    "1f469-200d-1f373": "woman cook",
    "1f9d1-200d-1f373": "cook",
    "1f3c3": "person running",
    "1f3c3-200d-2640-fe0f": "woman running",
    "1f3c3-200d-27a1-fe0f": "person running: facing right",
    "1f468-200d-1f469-200d-1f466": "family: man, woman, boy",
    "1f46a": "family",
    "1f448": "backhand index pointing left",
    "1f449": "backhand index pointing right",
    "1f44b": "waving hand",
    "1f44b-1f3fb": "waving hand: light skin tone",
    "1f934": "prince",
    "1f478": "princess",
    "1f550": "one o’clock",
    "1f55d": "two-thirty",
    "1f311": "new moon",
    "1f313": "first quarter moon",
    "231b": "hourglass done",
    "23f3": "hourglass not done",
    "2764": "red heart",
    "1f499": "blue heart",
    "1fa75": "light blue heart",
    "2603": "snowman",
    "26c4": "snowman without snow",
    "1f408": "cat",
    "1f408-200d-2b1b": "black cat",
    "1f535": "blue circle",
    "1f642": "slightly smiling face",
    "263a": "smiling face",
    "1f474": "old man",
    "1f9d3": "older person",
    "1f415": "dog",
    "1f600": "grinning face",
}
SAME = [
    {"1f468-200d-1f373", "1f469-200d-1f373", "1f9d1-200d-1f373"},
    {"1f3c3", "1f3c3-200d-2640-fe0f", "1f3c3-200d-27a1-fe0f"},
    {"1f468-200d-1f469-200d-1f466", "1f46a"},
    {"1f448", "1f449"},
    {"1f44b", "1f44b-1f3fb"},
    {"1f934", "1f478"},
    {"1f550", "1f55d"},
    {"1f311", "1f313"},
    {"231b", "23f3"},
    {"2764", "1f499", "1fa75"},
    {"2603", "26c4"},
    {"1f408", "1f408-200d-2b1b"},
    {"1f642", "263a"},
    {"1f474", "1f9d3"},
]


def test_what_does_not_tell_two_clips_apart_shares_a_group() -> None:
    groups = near_duplicate_groups(LABELS)
    for same in SAME:
        assert len({groups[hexcode] for hexcode in same}) == 1, same
    others = set(LABELS) - set().union(*SAME)
    assert len({groups[hexcode] for hexcode in LABELS}) == len(SAME) + len(others)


@given(st.integers(0, 10**6))
def test_near_duplicates_never_straddle_splits_whatever_the_seed(seed: int) -> None:
    groups = near_duplicate_groups(LABELS)
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    for same in SAME:
        assert len({split_of_group(groups[hexcode], shares, seed=seed) for hexcode in same}) == 1


def test_splits_meet_their_shares_and_a_seed_changes_them() -> None:
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    names = [f"group {number}" for number in range(4000)]
    first = [split_of_group(name, shares, seed=0) for name in names]
    counts = Counter(first)
    for split, share in shares.items():
        assert abs(counts[split] / len(names) - share) < 0.02
    assert first != [split_of_group(name, shares, seed=1) for name in names]


def test_captions_come_once_in_order_and_up_to_the_limit() -> None:
    entry = {"label": "Cat face", "tags": ["cat", "pet", "CAT FACE"]}
    assert captions_of(entry, ["cat_face", "kitty"], limit=20) == ["Cat face", "kitty", "cat", "pet"]
    assert captions_of(entry, ["cat_face", "kitty"], limit=2) == ["Cat face", "kitty"]


def clip(n_frames: int) -> bytes:
    content = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (40 * n % 255, 20, 90)) for n in range(n_frames)]
    frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:], duration=50)
    return content.getvalue()


def tarball(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm on PATH, a process of its own that packs what lies in a folder and writes down what it was asked."""
    served = tmp_path / "served"
    served.mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, shutil, sys\n"
        f"served = pathlib.Path({str(served)!r})\n"
        "name, _, version = sys.argv[-1].rpartition('@')\n"
        "with open(served / 'asked', 'a') as log: log.write(name + chr(10))\n"
        "file = f\"{name.lstrip('@').replace('/', '-')}-{version}.tgz\"\n"
        "if not (served / file).exists(): sys.exit('npm error code ENOTFOUND')\n"
        "shutil.copy(served / file, file)\n"
    )
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return served


def publish(registry: Path, name: str, files: dict[str, bytes]) -> dict[str, str]:
    content = tarball(files)
    (registry / f"{name.lstrip('@').replace('/', '-')}-1.0.0.tgz").write_bytes(content)
    return {"name": name, "version": "1.0.0", "integrity": integrity(content)}


def small_emoji(registry: Path, folder: Path) -> Path:
    data = [
        {"label": "cat", "hexcode": "1F408", "tags": ["pet"]},
        {"label": "keycap: #", "hexcode": "0023-FE0F-20E3", "tags": ["keycap"]},
        {"label": "copyright", "hexcode": "00A9", "tags": ["C"]},
    ]
    clips = {"1f408": clip(3), "0023-fe0f-20e3": clip(2), "a9-fe0f": clip(1), "1f408-1f3fb": clip(3), "1ffff": clip(2)}
    listed = {
        "clips": [publish(registry, "@e/clips", {f"package/assets/{k}.webp": v for k, v in clips.items()})],
        "captions": publish(
            registry,
            "captions",
            {"package/en/data.json": json.dumps(data).encode()}
            | {
                f"package/en/shortcodes/{name}.json": json.dumps({"1F408": ["cat2", "pussy_cat"]}).encode()
                for name in ("emojibase", "cldr", "github", "iamcal", "joypixels")
            },
        ),
    }
    path = folder / "packages.json"
    path.write_text(json.dumps(listed))
    return path


def test_moving_clips_without_skin_tones_are_matched_with_their_captions(registry: Path, tmp_path: Path) -> None:
    source = small_emoji(registry, tmp_path)
    built = build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    assert [video.video_id for video in built.dataset.videos] == ["0023-fe0f-20e3", "1f408"]
    texts = [caption.text for caption in built.dataset.captions if caption.video_id == "1f408"]
    assert texts == ["cat", "cat2", "pussy cat", "pet"]
    assert built.left_out == ("1 with a skin tone", "1 that don't move", "1 without captions")
    still = build(EmojiParams(source=str(source), still=True), Path("data/emoji"), say=lambda _: None)
    assert len(still.dataset.videos) == 3
    write_index(Path("data/emoji"), built.dataset, kind="emoji")
    assert read_index(Path("data/emoji")) == built.dataset
    for video in built.dataset.videos:
        assert hashlib.sha256((built.dataset.clips / video.path).read_bytes()).hexdigest() == video.sha256


def test_a_second_run_fetches_only_what_is_missing_or_wrong(registry: Path, tmp_path: Path) -> None:
    source = small_emoji(registry, tmp_path)
    for _ in range(2):
        build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    assert (registry / "asked").read_text().split() == ["@e/clips", "captions"]
    kept = next(Path("runs/downloads").glob("e-clips*"))
    kept.write_bytes(kept.read_bytes()[:-20])
    build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    assert (registry / "asked").read_text().split() == ["@e/clips", "captions", "@e/clips"]


@pytest.mark.parametrize("n_bytes", [0, 50, -1])
def test_a_download_that_broke_off_or_is_another_is_refused(registry: Path, tmp_path: Path, n_bytes: int) -> None:
    about = publish(registry, "one", {"package/a.json": b"{}"})
    served = registry / "one-1.0.0.tgz"
    served.write_bytes(served.read_bytes()[:n_bytes])
    with pytest.raises(DownloadError, match=r"one@1\.0\.0 isn't the pinned package: expected sha512-.*found sha512-"):
        download(Package(**about), tmp_path / "downloads", say=lambda _: None)
    assert not list((tmp_path / "downloads").iterdir()), "nothing wrong may be left"


def test_npm_s_own_error_is_shown(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="ENOTFOUND"):
        download(Package("none", "1.0.0", "sha512-"), tmp_path / "downloads", say=lambda _: None)


def test_a_tarball_s_paths_and_links_do_not_leave_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.tgz"
    path.write_bytes(tarball({"package/../../up.json": b"1", "/package/root.json": b"2", "package/ok.json": b"3"}))
    assert dict(members(path, under="package", suffix=".json")) == {"ok.json": b"3"}
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DownloadError, match="can't be unpacked"):
        list(members(path, under="package", suffix=".json"))


def test_missing_tables_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="dvc repro dataset"):
        read_index(tmp_path)


@pytest.mark.network
def test_the_pinned_packages_are_what_npm_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).parents[2] / "src/reelstore/datasets/emoji.json"
    monkeypatch.chdir(tmp_path)
    built = build(EmojiParams(source=str(source)), Path("data/emoji"), say=print)
    assert (len(built.dataset.videos), len(built.dataset.captions)) == (734, 6506)
    videos = built.dataset.videos
    assert [videos[position].video_id for position in (0, 9, -1)] == ["1f300", "1f31e", "2b50"]


SHA = "sha512-" + "A" * 86 + "=="


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"name": name}, "can't be the name of an npm package") for name in (
            "", ".hidden", "_x", "-g", "--registry=http://x", "Upper", "a b", "a/b", "@a", "@a/", "@a/b/c",
            "@A/b", "@-a/b",
            "a\n", "git+ssh://x/y", "../up", "/etc", "file:x", "é", "a" * 215, "node_modules", "a@b",
        )),
        *(({"version": version}, "exactly one is expected") for version in (
            "", "latest", "^1.0.0", "1.x", "1", "1.0", "v1.0.0", "=1.0.0", " 1.0.0", "1.0.0\n", "01.0.0",
            ">=1.0.0", "*",
            "git+https://x/y.git", "file:../x", "http://x/y.tgz", "npm:other@1.0.0", "1.0.0 || 2.0.0",
            "-1.0.0", "x/y", "١.0.0",
            "1.0.0-", "1.0.0-a..b", "github:x/y#1.0.0", "1.0.0-" + "a" * 100,
        )),
        *(({"integrity": integrity}, "the integrity is") for integrity in (
            "", "sha512-", SHA[:-1], SHA + "=", "sha1-" + SHA[7:], SHA + " " + SHA, SHA.replace("A", "!", 1),
        )),
        ({"extra": "x"}, "a package has name, version, integrity"),
        ({"name": 3}, "a package has name, version, integrity"),
        ({"version": None}, "a package has name, version, integrity"),
        ({"version": ["1.0.0"]}, "a package has name, version, integrity"),
    ],
)  # fmt: skip
def test_what_npm_would_take_for_more_than_a_package_never_reaches_it(
    registry: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    package = {"name": "one", "version": "1.0.0", "integrity": SHA} | changes
    (tmp_path / "list.json").write_text(json.dumps({"clips": [package], "captions": package}))
    with pytest.raises(DatasetError, match=words):
        build(EmojiParams(source="list.json"), Path("data/emoji"), say=lambda _: None)
    assert not (registry / "asked").exists(), "npm was started"


@pytest.mark.parametrize(
    "listed", ["", "[]", "3", '{"clips": []}', '{"clips": {}, "captions": {}}',
    '{"clips": [[]], "captions": 1}', "[" * 9999]
)  # fmt: skip
def test_a_list_of_another_shape_is_refused(registry: Path, tmp_path: Path, listed: str) -> None:
    (tmp_path / "list.json").write_text(listed)
    with pytest.raises(DatasetError, match="isn't a list of pinned packages"):
        build(EmojiParams(source="list.json"), Path("data/emoji"), say=lambda _: None)


def test_two_packages_do_not_share_a_file_name(registry: Path, tmp_path: Path) -> None:
    packages = [{"name": name, "version": "1.0.0", "integrity": SHA} for name in ("@a/b-c", "@a-b/c")]
    (tmp_path / "list.json").write_text(json.dumps({"clips": packages[:1], "captions": packages[1]}))
    with pytest.raises(DatasetError, match="the same file name"):
        build(EmojiParams(source="list.json"), Path("data/emoji"), say=lambda _: None)


def test_npm_is_told_not_to_look_for_a_project_above(registry: Path, tmp_path: Path) -> None:
    about = publish(registry, "one", {"package/a.json": b"{}"})
    npm = tmp_path / "bin" / "npm"
    npm.write_text(npm.read_text() + f"open({str(registry / 'said')!r}, 'w').write(' '.join(sys.argv))\n")
    download(Package(**about), tmp_path / "downloads", say=lambda _: None)
    said = (registry / "said").read_text().split()
    (prefix,) = [word.removeprefix("--prefix=") for word in said if word.startswith("--prefix=")]
    assert Path(prefix).parent == tmp_path / "downloads"
    assert {"pack", "--ignore-scripts"} < set(said)


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf()


GOOD = {"package/a.json": b"1" * 600, "package/b.json": b"2"}
BAD = {
    "a name twice": lambda raw: raw[:2560] + raw,
    "a name twice, by dots": lambda raw: header("package/./a.json", 1) + b"3".ljust(512) + raw,
    "a member of a gigabyte": lambda raw: header("package/c.json", 10**9) + bytes(10**7),
    "a member to pass over of terabytes": lambda raw: header("package/c.txt", 2**33 - 1) + bytes(10**7),
    "a header of a gigabyte": lambda raw: header("x", 2 * 10**9, tarfile.XHDTYPE) + bytes(10**7),
    "a long name of 100 MB": lambda raw: header("x", 10**8, tarfile.GNUTYPE_LONGNAME) + bytes(10**7),
    "names without end": lambda raw: (header("x", 512, tarfile.GNUTYPE_LONGNAME) + b"a" * 512) * 5000,
    "too many members": lambda raw: header("package/c.txt") * 20_001,
    "a damaged header": lambda raw: raw[:1536] + b"x" * 20 + raw[1556:],
    "an end that isn't": lambda raw: raw[:-512] + b"x" * 512,
    "a cut": lambda raw: raw[:700],
}


@pytest.mark.parametrize("how", BAD)
def test_an_archive_with_more_than_files_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "bad.tgz"
    path.write_bytes(gzip.compress(BAD[how](gzip.decompress(tarball(GOOD))), 1))
    with pytest.raises(DownloadError, match=r"bad\.tgz can't be unpacked: .*Remove it"):
        list(members(path, under="package", suffix=".json"))


@pytest.mark.parametrize("place", [20, 60, -1, -5, -7])
def test_a_flipped_or_cut_archive_is_refused(tmp_path: Path, place: int) -> None:
    path, content = tmp_path / "bad.tgz", bytearray(tarball(GOOD))
    path.write_bytes(content[:place])
    with pytest.raises(DownloadError):
        list(members(path, under="package", suffix=".json"))
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="CRC"):
        list(members(path, under="package", suffix=".json"))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_passed_over(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "odd.tgz"
    path.write_bytes(gzip.compress(header("package/c.json", 0, kind) + gzip.decompress(tarball(GOOD))))
    assert dict(members(path, under="package", suffix=".json")) == {"a.json": b"1" * 600, "b.json": b"2"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data.json", content) for content in (
            "{", "3", "[3]", '[{"label": "x"}]', '[{"hexcode": 3, "label": "x"}]', '[{"hexcode": "1F408"}]',
            '[{"hexcode": "1F408", "label": ["x"]}]', '[{"hexcode": "1F408", "label": "x", "tags": "y"}]',
            '[{"hexcode": "1F408", "label": "x", "tags": [3]}]', '[{"hexcode": "../up", "label": "x"}]',
            "[NaN]", "[" * 9999,
            '[{"hexcode": "1F408", "label": "\\ud800"}]', '[{"hexcode": "1F408", "label": " "}]',
        )
    ] + [("shortcodes/cldr.json", content) for content in ("[]", '{"1F408": 3}', '{"1F408": [3]}',
    '{"1F408": {"a": 1}}', '"x"')],
)  # fmt: skip
def test_tables_that_are_not_emojibase_s_are_refused(registry: Path, tmp_path: Path, file: str, content: str) -> None:
    source = small_emoji(registry, tmp_path)
    listed = json.loads(source.read_text())
    tables = {"data.json": "[]"} | {f"shortcodes/{name}.json": "{}" for name in SHORTCODES} | {file: content}
    listed["captions"] = publish(registry, "captions", {f"package/en/{k}": v.encode() for k, v in tables.items()})
    source.write_text(json.dumps(listed))
    with pytest.raises((DatasetError, DamagedFileError), match=f"package/en/{file} in .*captions"):
        build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)


def test_a_clip_s_name_is_a_sequence_of_code_points_and_there_once(registry: Path, tmp_path: Path) -> None:
    source = small_emoji(registry, tmp_path)
    listed = json.loads(source.read_text())
    names = ["1f408", "a b", "\x1b[31m", "1f408;rm", "-1f408", "é"]
    listed["clips"] = [publish(registry, "odd", {f"package/assets/{name}.webp": clip(2) for name in names})]
    source.write_text(json.dumps(listed))
    built = build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    assert [video.video_id for video in built.dataset.videos] == ["1f408"]
    listed["clips"].append(publish(registry, "again", {"package/assets/1f408.webp": clip(4)}))
    source.write_text(json.dumps(listed))
    with pytest.raises(DatasetError, match="another clip named 1f408"):
        build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    listed["clips"] = [publish(registry, "torn", {"package/assets/1f408.webp": clip(2)[:40]})]
    source.write_text(json.dumps(listed))
    with pytest.raises(DatasetError, match=r"1f408\.webp in .* isn't a WebP picture"):
        build(EmojiParams(source=str(source)), Path("data/emoji"), say=lambda _: None)

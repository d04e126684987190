"""Emoji: groups of near-duplicates, captions, splits, and packages held to their hash."""

import base64
import hashlib
import io
import json
import os
import stat
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reelstore.datasets.emoji import build, captions_of
from reelstore.datasets.emoji_groups import near_duplicate_groups
from reelstore.datasets.index import read_index, write_index
from reelstore.datasets.npm import Package, download, members
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DatasetError, DownloadError
from reelstore.params import DatasetParams

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
    "1f408": "cat",
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
]


def test_gender_role_direction_family_and_skin_tone_share_a_group() -> None:
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
    built = build(DatasetParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    assert [video.video_id for video in built.dataset.videos] == ["0023-fe0f-20e3", "1f408"]
    texts = [caption.text for caption in built.dataset.captions if caption.video_id == "1f408"]
    assert texts == ["cat", "cat2", "pussy cat", "pet"]
    assert built.left_out == ("1 with a skin tone", "1 that don't move", "1 without captions")
    still = build(DatasetParams(source=str(source), still=True), Path("data/emoji"), say=lambda _: None)
    assert len(still.dataset.videos) == 3
    write_index(Path("data/emoji"), built.dataset, kind="emoji")
    assert read_index(Path("data/emoji")) == built.dataset
    for video in built.dataset.videos:
        assert hashlib.sha256((built.dataset.clips / video.path).read_bytes()).hexdigest() == video.sha256


def test_a_second_run_fetches_only_what_is_missing_or_wrong(registry: Path, tmp_path: Path) -> None:
    source = small_emoji(registry, tmp_path)
    for _ in range(2):
        build(DatasetParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
    assert (registry / "asked").read_text().split() == ["@e/clips", "captions"]
    kept = next(Path("runs/downloads").glob("e-clips*"))
    kept.write_bytes(kept.read_bytes()[:-20])
    build(DatasetParams(source=str(source)), Path("data/emoji"), say=lambda _: None)
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
    built = build(DatasetParams(source=str(source)), Path("data/emoji"), say=print)
    assert (len(built.dataset.videos), len(built.dataset.captions)) == (734, 6506)
    videos = built.dataset.videos
    assert [videos[position].video_id for position in (0, 9, -1)] == ["1f300", "1f31e", "2b50"]

"""Animated Fluent emoji with captions from emojibase: some 730 moving clips that anyone may have.

Clips: npm packages @lobehub/fluent-emoji-anim-1 … -4, 1.0.0 (MIT). Captions: emojibase-data 17.0.0 (MIT).
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from reelstore.datasets.base import Built, Say
from reelstore.datasets.clips import write_clip
from reelstore.datasets.emoji_groups import SKIN_TONES, near_duplicate_groups
from reelstore.datasets.index import CLIPS
from reelstore.datasets.npm import Package, download, members
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DatasetError
from reelstore.io import make_output_folder
from reelstore.params import DatasetParams
from reelstore.records import Caption, Dataset, Video

DOWNLOADS = Path("runs/downloads")
"""Outside of what DVC keeps: DVC removes a stage's outputs before it runs, and a second run shall resume."""
SHORTCODES = ("emojibase", "cldr", "github", "iamcal", "joypixels")


def build(params: DatasetParams, folder: Path, *, say: Say) -> Built:
    """Fetch, choose, caption and split the clips."""
    packages = _packages(Path(params.source))
    tarballs = [download(package, DOWNLOADS, say=say) for package in packages]
    emoji = _emojibase(tarballs[-1])
    clips = folder / CLIPS
    make_output_folder(clips)
    digests: dict[str, str] = {}
    n_toned = n_still = 0
    nameless = []
    for tarball in tarballs[:-1]:
        say(f"unpacking {tarball.name}")
        for name, content in members(tarball, under="package/assets", suffix=".webp"):
            stem = Path(name).stem
            if SKIN_TONES & set(stem.split("-")):
                n_toned += 1
            elif _normal(stem) not in emoji:
                nameless.append(stem)
            elif not params.still and not _moves(content):
                n_still += 1
            else:
                write_clip(clips / f"{stem}.webp", content)
                digests[stem] = sha256(content).hexdigest()
    dataset = _dataset(params, clips, digests, emoji)
    left_out = [f"{n_toned} with a skin tone", f"{n_still} that don't move", f"{len(nameless)} without captions"]
    return Built(dataset, tuple(words for words in left_out if not words.startswith("0 ")))


def captions_of(entry: Mapping[str, Any], shortcodes: Iterable[str], *, limit: int) -> list[str]:
    """Label, shortcodes in words, and tags of one emoji, each once, at most `limit`.

    Example:
        >>> captions_of({"label": "grinning face", "tags": ["happy"]}, ["grinning_face", "gleeful"], limit=20)
        ['grinning face', 'gleeful', 'happy']
    """
    spoken = [code.replace("_", " ").strip() for code in shortcodes]
    seen: dict[str, str] = {}
    for text in [entry["label"], *spoken, *entry.get("tags", [])]:
        seen.setdefault(text.lower(), text)
    return list(seen.values())[:limit]


def _dataset(
    params: DatasetParams, clips: Path, digests: Mapping[str, str], emoji: Mapping[str, dict[str, Any]]
) -> Dataset:
    stems = sorted(digests)
    groups = near_duplicate_groups({stem: emoji[_normal(stem)]["label"] for stem in stems})
    videos = [
        Video(
            video_id=stem,
            path=f"{stem}.webp",
            sha256=digests[stem],
            split=split_of_group(groups[stem], params.splits, seed=params.seed),
            group=groups[stem],
        )
        for stem in stems
    ]
    captions = []
    for stem in stems:
        entry = emoji[_normal(stem)]
        texts = captions_of(entry, entry["shortcodes"], limit=params.max_captions)
        captions += [Caption(stem, index, text) for index, text in enumerate(texts)]
    return Dataset(params.name, clips, tuple(videos), tuple(captions))


def _packages(source: Path) -> list[Package]:
    try:
        listed = json.loads(source.read_text())
        return [Package(**package) for package in [*listed["clips"], listed["captions"]]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"dataset.source ({source}) isn't a list of pinned packages: {error!r}.") from error


def _emojibase(tarball: Path) -> dict[str, dict[str, Any]]:
    """Hexcode as `_normal` writes it -> emojibase's entry, with its shortcodes."""
    files = dict(members(tarball, under="package/en", suffix=".json"))
    emoji = {_normal(entry["hexcode"]): {**entry, "shortcodes": []} for entry in json.loads(files["data.json"])}
    for name in SHORTCODES:
        for hexcode, codes in json.loads(files[f"shortcodes/{name}.json"]).items():
            if _normal(hexcode) in emoji:
                emoji[_normal(hexcode)]["shortcodes"] += [codes] if isinstance(codes, str) else codes
    return emoji


def _normal(hexcode: str) -> str:
    """One spelling of a sequence of code points: the clips' names and emojibase differ in case, zeros, fe0f, and _."""
    codes = hexcode.lower().replace("_", "-").split("-")
    return "-".join(code.lstrip("0") for code in codes if code != "fe0f")


def _moves(content: bytes) -> bool:
    with Image.open(BytesIO(content)) as image:
        return getattr(image, "n_frames", 1) > 1

"""Animated Fluent emoji with captions from emojibase: some 730 moving clips that anyone may have.

Clips: npm packages @lobehub/fluent-emoji-anim-1 … -4, 1.0.0 (MIT). Captions: emojibase-data 17.0.0 (MIT).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from reelstore.datasets.base import BuildResult, DatasetParams, Say
from reelstore.datasets.clips import write_clip
from reelstore.datasets.emoji_groups import SKIN_TONES, near_duplicate_groups
from reelstore.datasets.index import CLIPS
from reelstore.datasets.npm import Package, download, members
from reelstore.datasets.splits import split_of_group
from reelstore.errors import DamagedFileError, DatasetError
from reelstore.io import make_output_folder, parsed_json, read_json
from reelstore.layout import DOWNLOADS
from reelstore.records import Caption, Dataset, Video

LIST_BYTES = 2**20
"""Of the list of packages."""
_CODES = re.compile(r"[0-9A-Fa-f]{1,6}([-_][0-9A-Fa-f]{1,6}){0,15}")
"""A sequence of code points, which names a clip: it becomes a video_id and the name of a file."""
SHORTCODES = ("emojibase", "cldr", "github", "iamcal", "joypixels")


class EmojiParams(DatasetParams):
    """Emoji's own settings."""

    still: bool = False
    """Also the clips that have one frame."""
    captions: Annotated[Literal["captions.csv"], Field(deprecated=True)] = "captions.csv"
    """Not used: projects of reelstore 0.1 have it."""


def build(params: EmojiParams, folder: Path, *, say: Say) -> BuildResult:
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
            elif not _CODES.fullmatch(stem) or _normal(stem) not in emoji:
                nameless.append(stem)
            elif not params.still and not _moves(content, f"{name} in {tarball}"):
                n_still += 1
            else:
                digest = sha256(content).hexdigest()
                if digests.setdefault(stem, digest) != digest:
                    raise DatasetError(f"{name} in {tarball}: there is another clip named {stem}.")
                write_clip(clips / f"{stem}.webp", content)
    dataset = _dataset(params, clips, digests, emoji)
    left_out = [f"{n_toned} with a skin tone", f"{n_still} that don't move", f"{len(nameless)} without captions"]
    return BuildResult(dataset, tuple(words for words in left_out if not words.startswith("0 ")))


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
    params: EmojiParams, clips: Path, digests: Mapping[str, str], emoji: Mapping[str, dict[str, Any]]
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
        listed = read_json(source, at_most=LIST_BYTES)
        if (
            not isinstance(listed, dict)
            or set(listed) != {"clips", "captions"}
            or not isinstance(listed["clips"], list)
        ):
            raise DatasetError("it has `clips`, a list of packages, and `captions`, one package")
        packages = [Package.parsed(raw) for raw in [*listed["clips"], listed["captions"]]]
        names = [package.file_name for package in packages]
        if len(set(names)) < len(names):
            raise DatasetError("two packages have the same file name.")
    except (OSError, DamagedFileError, DatasetError) as error:
        raise DatasetError(f"dataset.source ({source}) isn't a list of pinned packages: {error}") from error
    return packages


def _emojibase(tarball: Path) -> dict[str, dict[str, Any]]:
    """Hexcode as `_normal` writes it -> emojibase's entry, with its shortcodes.

    Raises:
        DatasetError: a file isn't there, or what is in it isn't emojibase's.
    """
    files = dict(members(tarball, under="package/en", suffix=".json"))

    def read(name: str, expected: str, is_right: Callable[[Any], bool]) -> Any:
        if name not in files:
            raise DatasetError(f"{tarball} has no package/en/{name}: it isn't emojibase-data.")
        value = parsed_json(files[name], f"package/en/{name} in {tarball}")
        if not is_right(value):
            raise DatasetError(f"package/en/{name} in {tarball} isn't emojibase's: {expected} is expected.")
        return value

    entries = read("data.json", "a list of objects with hexcode, label and tags", _are_entries)
    emoji = {_normal(entry["hexcode"]): {**entry, "shortcodes": []} for entry in entries}
    for name in SHORTCODES:
        codes_of = read(f"shortcodes/{name}.json", "an object from hexcode to text or a list of texts", _are_shortcodes)
        for hexcode, codes in codes_of.items():
            if _normal(hexcode) in emoji:
                emoji[_normal(hexcode)]["shortcodes"] += [codes] if isinstance(codes, str) else codes
    return emoji


def _are_entries(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("hexcode"), str)
        and _CODES.fullmatch(entry["hexcode"]) is not None
        and _are_texts([entry.get("label")])
        and _are_texts(entry.get("tags", []))
        for entry in value
    )


def _are_shortcodes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _are_texts([codes] if isinstance(codes, str) else codes) for codes in value.values()
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and text.strip(" _") for text in value)


def _normal(hexcode: str) -> str:
    """One spelling of a sequence of code points: the clips' names and emojibase differ in case, zeros, fe0f, and _."""
    codes = hexcode.lower().replace("_", "-").split("-")
    return "-".join(code.lstrip("0") for code in codes if code != "fe0f")


def _moves(content: bytes, where: str) -> bool:
    from PIL import Image

    try:
        with Image.open(BytesIO(content), formats=("WEBP",)) as image:
            return getattr(image, "n_frames", 1) > 1
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise DatasetError(f"{where} isn't a WebP picture that can be read: {error}.") from error

"""A synthetic benchmark: videos that show concepts, captions that name some of them (docs/dataset-llm-like.md).

What is drawn here is the latent truth itself: a video is a picture of 16 x 16 pixels, one a concept, as bright as the
concept is strong; a caption is a line of words, `c17` for concept 17, `f3` for a word that says nothing. What a
language model would make of them, the encoders `video/llm-like` and `text/llm-like` draw.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from reelstore.arrays import Array, Float64Array, UInt8Array
from reelstore.datasets.base import BuildResult, DatasetParams, Say
from reelstore.datasets.clips import write_clip
from reelstore.errors import DatasetError, ReelstoreError
from reelstore.io import make_output_folder, open_regular
from reelstore.plain import read_typed
from reelstore.records import Caption, Dataset, Video

SIDE = 16
"""Pixels of a picture's side; there are as many concepts as pixels."""
CLIPS = "clips"

RANGES = {
    "n_videos": (1, 1_000_000),
    "captions_per_video": (1, 1000),
    "zipf_exponent": (0, 10),
    "zipf_offset": (0, 1_000_000),
    "concepts_least": (1, SIDE**2),
    "concepts_more": (0, SIDE**2),
    "intensity_shape": (0.01, 1000),
    "words_least": (1, 1000),
    "words_more": (0, 1000),
    "content_share": (0, 1),
    "wrong_share": (0, 1),
    "n_function_words": (1, 1_000_000),
}
"""Least and most of each knob: what can be drawn, in a time that somebody waits for."""
TRIES = 1000
"""Captions drawn for one that nobody has said yet."""


@dataclass(frozen=True)
class Knobs:
    """What is drawn, as `dataset.source` says. docs/dataset-llm-like.md has each value's reason."""

    n_videos: int
    """Videos in all."""
    captions_per_video: int
    """Captions of each; `dataset.max_captions` may be fewer."""
    splits: Mapping[str, int]
    """Videos of each split, exactly."""
    n_concepts: int
    """Concepts there are."""
    zipf_exponent: float
    """Popularity of concept j (from 0) is as (j + 1 + zipf_offset) ** -zipf_exponent."""
    zipf_offset: float
    """See there."""
    concepts_least: int
    """A video shows this many concepts and a Poisson number more."""
    concepts_more: float
    """Mean of that number."""
    intensity_shape: float
    """Strengths are Gamma of this shape, the strongest of a video 255."""
    words_least: int
    """A caption has this many words and a Poisson number more."""
    words_more: float
    """Mean of that number."""
    content_share: float
    """How many of the words name a concept."""
    wrong_share: float
    """How many of these name any concept by popularity rather than one that is shown."""
    n_function_words: int
    """Words that say nothing."""

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise DatasetError(f"llm-like: {name} is {getattr(self, name)}; it must be from {least} to {most}.")
        if self.n_concepts != SIDE**2:
            raise DatasetError(f"llm-like: n_concepts is {self.n_concepts}; pictures have {SIDE**2} pixels.")
        if sum(self.splits.values()) != self.n_videos or min(self.splits.values()) < 0:
            raise DatasetError(f"llm-like: splits must add up to n_videos ({self.n_videos}), not {dict(self.splits)}.")

    @property
    def popularity(self) -> Float64Array:
        """(n_concepts,) adding up to 1."""
        weight = (np.arange(self.n_concepts) + 1 + self.zipf_offset) ** -self.zipf_exponent
        return np.asarray(weight / weight.sum())


def read_knobs(path: Path) -> Knobs:
    """Knobs from their file.

    Raises:
        DatasetError: it isn't there, lacks a knob or has one too many, or a value is out of range.
    """
    try:
        knobs: Knobs = read_typed(path, Knobs)
    except (ReelstoreError, OSError) as error:
        raise DatasetError(f"dataset.source ({path}) can't be read as knobs of llm-like: {error}") from error
    return knobs


def build(params: DatasetParams, folder: Path, *, say: Say) -> BuildResult:
    """Draw `dataset.seed`'s videos and captions; the splits are those of the knobs."""
    knobs = read_knobs(Path(params.source))
    clips = folder / CLIPS
    make_output_folder(clips)
    names = [name for name, count in knobs.splits.items() for _ in range(count)]
    rng = np.random.default_rng([params.seed, 0])
    n_captions = min(knobs.captions_per_video, params.max_captions)
    videos, captions = [], []
    texts: set[str] = set()
    say(f"drawing {knobs.n_videos} pictures")
    for number in range(knobs.n_videos):
        strengths = draw_video(knobs, rng)
        content = picture(strengths, rng)
        video_id = f"v{number:05d}"
        write_clip(clips / f"{video_id}.png", content)
        videos.append(Video(video_id, f"{video_id}.png", sha256(content).hexdigest(), names[number], video_id))
        for index in range(n_captions):
            text = _new_caption(knobs, strengths, rng, texts)
            texts.add(text)
            captions.append(Caption(video_id, index, text))
    return BuildResult(Dataset(params.name, clips, tuple(videos), tuple(captions)))


def _new_caption(knobs: Knobs, strengths: UInt8Array, rng: np.random.Generator, texts: set[str]) -> str:
    """One that isn't among the texts: said twice, it would be right for two videos."""
    for _ in range(TRIES):
        text = draw_caption(knobs, strengths, rng)
        if text not in texts:
            return text
    raise DatasetError(f"llm-like: after {len(texts)} captions no new one is found; raise words_least.")


def draw_video(knobs: Knobs, rng: np.random.Generator) -> UInt8Array:
    """(n_concepts,) strengths; 0 for what isn't shown."""
    n_shown = min(knobs.concepts_least + int(rng.poisson(knobs.concepts_more)), knobs.n_concepts)
    shown = rng.choice(knobs.n_concepts, size=n_shown, replace=False, p=knobs.popularity)
    drawn = rng.gamma(knobs.intensity_shape, size=n_shown)
    strengths = np.zeros(knobs.n_concepts, dtype=np.uint8)
    strengths[shown] = np.maximum(1, np.round(255 * drawn / drawn.max())).astype(np.uint8)
    return strengths


def draw_caption(knobs: Knobs, strengths: UInt8Array, rng: np.random.Generator) -> str:
    """A line of words about a video."""
    n_words = knobs.words_least + int(rng.poisson(knobs.words_more))
    shown = strengths / strengths.sum(dtype=np.int64)
    words = []
    for kind in rng.random(n_words):
        if kind >= knobs.content_share:
            words.append(f"f{rng.integers(knobs.n_function_words)}")
        else:
            wrong = rng.random() < knobs.wrong_share
            words.append(f"c{rng.choice(knobs.n_concepts, p=knobs.popularity if wrong else shown)}")
    return " ".join(words)


def picture(strengths: UInt8Array, rng: np.random.Generator) -> bytes:
    """A PNG, 16 x 16: red is the concept's strength; green and blue are noise, which sets equal videos apart."""
    from PIL import Image

    pixels = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
    pixels[..., 0] = strengths.reshape(SIDE, SIDE)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def strengths_of(path: Path) -> UInt8Array:
    """(n_concepts,) strengths as a picture shows them."""
    from PIL import Image

    try:
        with open_regular(path) as file, Image.open(file, formats=("PNG",)) as image:
            if image.size != (SIDE, SIDE):  # known before anything is decoded
                raise DatasetError(f"its size is {image.size[0]} x {image.size[1]}")
            pixels: Array = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} is no picture of llm-like: {error}.") from error
    if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
        raise DatasetError(f"{path} is no picture of llm-like: {pixels.shape} {pixels.dtype}.")
    return np.ascontiguousarray(pixels[..., 0]).reshape(-1)


def log_likelihood(knobs: Knobs, strengths: UInt8Array, texts: list[str]) -> Float64Array:
    """(n_captions, n_videos) log p(words | video), but for what all videos share: the exact Bayes score of a caption.

    Each concept word of a caption adds log((1 - wrong_share) s + wrong_share p) with s the concept's share of the
    video's strengths and p its popularity.

    Args:
        knobs: that drew them.
        strengths: (n_videos, n_concepts).
        texts: n_captions captions.
    """
    shares = strengths / strengths.sum(axis=1, dtype=np.int64)[:, None]
    logs = np.log((1 - knobs.wrong_share) * shares + knobs.wrong_share * knobs.popularity)  # (n_videos, n_concepts)
    counts = np.zeros((len(texts), knobs.n_concepts))
    for number, text in enumerate(texts):
        for word in text.split():
            if word.startswith("c"):
                counts[number, int(word[1:])] += 1
    return np.asarray(counts @ logs.T)


def log_prior(knobs: Knobs, texts: list[str]) -> Float64Array:
    """(n_captions,) log p(words) by popularity: taken off the likelihood it says which caption is a video's own."""
    logs = np.log(knobs.popularity)
    return np.array([sum(logs[int(word[1:])] for word in text.split() if word.startswith("c")) for text in texts])

"""What a language model would make of the benchmark `llm-like`: states drawn with the geometry of a decoder's.

Nothing is learned here and there are no weights; docs/dataset-llm-like.md says which published measurement each knob
stands for. No weights ask for a preprocessing. A caption's state is a function of the words up to it, as in any causal
model: the first token, which comes before all words, is the same for every caption.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from reelstore.arrays import Array, Float32Array, IntArray, UInt8Array
from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.limits import BatchSize, Seed, Width
from reelstore.errors import ParamsError
from reelstore.records import Frames, Side

VERSION = 1
CONCEPTS_A_SIDE = 16
N_CONCEPTS = CONCEPTS_A_SIDE**2
LONGEST_NUMBER = 4300
"""Digits that Python reads; a longer number is a word like any other."""
N_FUNCTION_WORDS = 64
N_SLOTS = 32
"""Tokens of a video, as a Q-Former with 32 queries gives."""
BOS = -1


@dataclass(frozen=True)
class Geometry:
    """Lengths of what a state is the sum of, in a unit of their own. Frozen: results refer to these values."""

    width: Width = 1024
    """Of a state."""
    rank: int = 512
    """Dimensions that all but noise and outliers live in, so that their angles are the same for any larger width."""
    mean: float = 3.65
    """Length of what all states of a side share."""
    outliers: int = 3
    """Dimensions that hold much of it."""
    outlier_share: float = 0.5
    """How much of the mean's squared length they hold."""
    outlier_spread: float = 0.2
    """Standard deviation of what they hold, against what they hold."""
    bos_share: float = 0.95
    """How much of the first state's squared length these dimensions hold; the state is as long as the others."""
    overlap: float = 0.71
    """How much of a concept's direction both sides have in common; the cosine of the two directions is its square."""
    video_concepts: float = 0.65
    """Length of a video's concepts in every token."""
    slot: float = 0.5
    """Length of what a video token holds by its place, the same for all videos."""
    video_private: float = 0.6
    """Of what only the video's side knows."""
    video_noise: float = 1.0
    """Of what only one of its tokens knows."""
    word: float = 0.8
    """Length of a word in its own state."""
    context: float = 0.8
    """Length of the words before it."""
    text_private: float = 0.5
    """Of what only the text's side knows."""
    text_noise: float = 0.6
    """Of what only one state knows."""
    private_rank: int = 256
    """Directions of what a side alone knows."""
    private_decay: float = 1.0
    """Their variances fall as rank ** -private_decay."""
    memory: float = 0.9
    """Correlation of it between neighbouring states of a caption."""

    def __post_init__(self) -> None:
        if self.width < 16:
            raise ParamsError(f"llm-like: width is {self.width}; it must be at least 16.")
        if not 0 <= self.overlap <= 1 or not 0 <= self.outlier_share < 1 or not 0 <= self.memory < 1:
            raise ParamsError("llm-like: overlap, outlier_share and memory must be between 0 and 1.")
        if not 0 <= self.bos_share <= 1:
            raise ParamsError("llm-like: bos_share must be between 0 and 1.")
        if min(self.rank, self.private_rank) < 1 or not 0 <= self.outliers < self.width:
            raise ParamsError("llm-like: rank and private_rank must be at least 1, outliers less than width.")


class _Side:
    """The directions of one side of one seed; those of both sides share what `overlap` says."""

    def __init__(self, geometry: Geometry, side: Side, seed: int) -> None:
        self.geometry = geometry
        width, rank = geometry.width, min(geometry.rank, geometry.width)
        shared = np.random.default_rng([seed, 0])
        own = np.random.default_rng([seed, 1 if side == "video" else 2])
        # (rank, width), orthonormal rows: where in the states these dimensions are
        self._spread = np.linalg.qr(shared.standard_normal((width, rank)))[0].T.astype(np.float32)
        common = _directions(shared, N_CONCEPTS, rank)
        apart = np.float32((1 - geometry.overlap**2) ** 0.5)
        concepts = np.float32(geometry.overlap) * common + apart * _directions(own, N_CONCEPTS, rank)
        function_words = _directions(own, N_FUNCTION_WORDS, rank)
        self.concepts = concepts @ self._spread
        self.words = np.concatenate([concepts, function_words]) @ self._spread
        spectrum = np.arange(1, geometry.private_rank + 1) ** -geometry.private_decay
        spectrum = np.sqrt(spectrum / spectrum.sum()).astype(np.float32)
        self.private = spectrum[:, None] * _directions(own, geometry.private_rank, rank) @ self._spread
        self.slots = np.float32(geometry.slot) * _directions(own, N_SLOTS, rank) @ self._spread
        # (n_slots, n_concepts): each place weighs some concepts more than others; 1 on average
        self.attention = own.exponential(size=(N_SLOTS, N_CONCEPTS)).astype(np.float32)
        self.outliers = own.choice(width, size=geometry.outliers, replace=False)
        held = np.sqrt(2.0 ** -np.arange(geometry.outliers))
        held *= own.choice([-1.0, 1.0], size=geometry.outliers) / np.linalg.norm(held)
        self.held = held.astype(np.float32)
        self.mean = self._massive(own, geometry.outlier_share)
        self.bos = self._massive(own, geometry.bos_share)

    def _massive(self, rng: np.random.Generator, share: float) -> Float32Array:
        """(width,) as long as the mean, `share` of its squared length in the outlier dimensions."""
        rest = (_directions(rng, 1, len(self._spread)) @ self._spread)[0]
        rest[self.outliers] = 0
        rest *= np.float32((1 - share) ** 0.5) / np.linalg.norm(rest)
        rest[self.outliers] = np.float32(share**0.5) * self.held
        return np.asarray(np.float32(self.geometry.mean) * rest)

    def swayed(self, states: Float32Array, sway: Float32Array) -> Float32Array:
        """States (n, width) whose outlier dimensions are off by `sway` (n, outliers) of what they hold."""
        held = self.mean[self.outliers] * np.float32(self.geometry.outlier_spread)
        states[:, self.outliers] += sway * held
        return states


class LlmLikeVideo:
    """The first frame, squeezed to 16 x 16 -> (32, width): its red channel says how strong each concept is.

    Args:
        seed: of the directions; the same as the other side's.
        width: of a state; the same as the other side's, too.
        geometry: other values of `Geometry`'s knobs.
        batch_size: videos in a batch; they are drawn one by one all the same.
        device: not used, this is NumPy.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        seed: Seed = 0,
        width: Width = 1024,
        geometry: Mapping[str, float] | None = None,
        batch_size: BatchSize = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self.frames: dict[str, Any] = {"policy": "uniform", "n_frames": 1, "step": None}
        self._threads = threads
        self._side = _Side(_geometry(width, geometry), "video", seed)
        self._seed = seed
        self.spec = _spec("video", self._side.geometry, seed, N_SLOTS, batch_size, threads)

    def prepare(self, item: Frames) -> UInt8Array:
        """(16, 16, 3) uint8; a picture of this size stays as it is."""
        size = (CONCEPTS_A_SIDE, CONCEPTS_A_SIDE)
        return np.asarray(Image.fromarray(item.pixels[0]).resize(size, Image.Resampling.BOX))

    def bucket(self, prepared: Array) -> int:
        """All share one."""
        return 0

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """(32, width) of each."""
        with threadpool_limits(self._threads):
            return [{TOKENS: self._states(pixels)} for pixels in batch]

    def _states(self, pixels: Array) -> Float32Array:
        side, geometry = self._side, self._side.geometry
        rng = _stream(self._seed, pixels.tobytes())
        strengths = pixels[..., 0].reshape(-1).astype(np.float32)  # (n_concepts,)
        amplitudes = np.sqrt(strengths / max(1.0, float(strengths.sum())))  # length 1
        seen = (side.attention * amplitudes) @ side.concepts  # (n_slots, width)
        private = rng.standard_normal(geometry.private_rank, dtype=np.float32) @ side.private
        states = side.mean + side.slots + np.float32(geometry.video_concepts) * seen
        states += np.float32(geometry.video_private) * private
        states += _noise(rng, states.shape, geometry.video_noise)
        return side.swayed(states, rng.standard_normal((1, geometry.outliers), dtype=np.float32))


class LlmLikeText:
    """A caption -> (1 + n_words, width), the constant state of the beginning first.

    Words `c17` name a concept; any other is a function word, one of 64 by its hash (`f3` by its number).

    Args:
        seed: of the directions; the same as the other side's.
        width: of a state; the same as the other side's, too.
        geometry: other values of `Geometry`'s knobs.
        batch_size: captions in a batch; they are drawn one by one all the same.
        device: not used, this is NumPy.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        seed: Seed = 0,
        width: Width = 1024,
        geometry: Mapping[str, float] | None = None,
        batch_size: BatchSize = 32,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self._threads = threads
        self._side = _Side(_geometry(width, geometry), "text", seed)
        self._seed = seed
        self.spec = _spec("text", self._side.geometry, seed, None, batch_size, threads)

    def prepare(self, item: str) -> IntArray:
        """(1 + n_words,) int64: -1, then below 256 a concept, from there a function word."""
        return np.array([BOS, *map(_word, item.split())], dtype=np.int64)

    def bucket(self, prepared: Array) -> int:
        """All share one."""
        return 0

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """(1 + n_words, width) of each."""
        with threadpool_limits(self._threads):
            return [{TOKENS: self._states(words)} for words in batch]

    def _states(self, words: Array) -> Float32Array:
        side, geometry = self._side, self._side.geometry
        states = np.empty((len(words), geometry.width), dtype=np.float32)
        states[0] = side.bos
        if len(words) == 1:
            return states
        said = side.words[words[1:]]  # (n_words, width)
        so_far = np.cumsum(said, axis=0) / np.sqrt(np.arange(1, len(words), dtype=np.float32))[:, None]
        private, sway, noise = self._known_to_text_alone(words)
        states[1:] = side.mean + np.float32(geometry.word) * said + np.float32(geometry.context) * so_far
        states[1:] += np.float32(geometry.text_private) * (private @ side.private) + noise
        side.swayed(states[1:], sway)
        return states

    def _known_to_text_alone(self, words: Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """(n_words, private_rank), (n_words, outliers), (n_words, width): row i is drawn from the words up to i."""
        geometry = self._side.geometry
        n_kept = geometry.private_rank + geometry.outliers
        kept = np.empty((len(words) - 1, n_kept), dtype=np.float32)
        noise = np.empty((len(words) - 1, geometry.width), dtype=np.float32)
        stay, fresh = np.float32(geometry.memory), np.float32((1 - geometry.memory**2) ** 0.5)
        for row in range(len(kept)):
            rng = _stream(self._seed, words[: row + 2].tobytes())
            drawn = rng.standard_normal(n_kept, dtype=np.float32)
            kept[row] = stay * kept[row - 1] + fresh * drawn if row else drawn
            noise[row] = _noise(rng, (geometry.width,), geometry.text_noise)
        return kept[:, : geometry.private_rank], kept[:, geometry.private_rank :], noise


def _geometry(width: int, others: Mapping[str, float] | None) -> Geometry:
    known = {field.name: field.default for field in fields(Geometry) if field.name != "width"}
    given: dict[str, Any] = dict(others or {})
    for name, value in given.items():
        if name not in known or isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ParamsError(f"llm-like: geometry has {name!r}: {value!r}. It takes numbers for: {', '.join(known)}.")
        if isinstance(known[name], int) and not isinstance(value, int):
            raise ParamsError(f"llm-like: geometry has {name}: {value!r}; it takes a whole number.")
    return Geometry(width=width, **given)


def _word(word: str) -> int:
    kind, number = word[:1], word[1:]
    is_number = number.isdecimal() and len(number) <= LONGEST_NUMBER
    if kind == "c" and is_number and int(number) < N_CONCEPTS:
        return int(number)
    if kind == "f" and is_number:
        return N_CONCEPTS + int(number) % N_FUNCTION_WORDS
    return N_CONCEPTS + int.from_bytes(sha256(word.encode()).digest()[:4], "big") % N_FUNCTION_WORDS


def _stream(seed: int, content: bytes) -> np.random.Generator:
    """What is drawn for this content and no other."""
    return np.random.default_rng([seed, int.from_bytes(sha256(content).digest()[:16], "big")])


def _directions(rng: np.random.Generator, n: int, width: int) -> Float32Array:
    """(n, width), each of length about 1."""
    return rng.standard_normal((n, width), dtype=np.float32) / np.float32(width**0.5)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> Float32Array:
    """Of this length, about, along the last axis."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(length / shape[-1] ** 0.5)


def _spec(
    side: Side, geometry: Geometry, seed: int, n_tokens: int | None, batch_size: int, threads: int
) -> EncoderSpec:
    knobs = json.dumps({**asdict(geometry), "seed": seed}, sort_keys=True)
    return EncoderSpec(
        name="llm-like",
        version=VERSION,
        side=side,
        outputs={TOKENS: Output(geometry.width, n_tokens)},
        weights_sha256=sha256(knobs.encode()).hexdigest(),
        preprocessing=f"drawn, not computed: {knobs}",
        sampling="uniform(1)" if side == "video" else "",
        batch=f"({batch_size}, one by one)",
        threads=threads,
    )

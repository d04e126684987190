"""X-CLIP's video-conditioned scores, from stored embeddings and prompt tokens.

The dual-tower score of a caption and a video is the cosine of their embeddings. X-CLIP's own score moves the caption
first, by what a small network, the prompt generator, makes of the caption and the video's prompt tokens. Both sides of
it are in the store; the generator's weights are the video encoder's, or a file that it writes (`save_reranker`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, normalize, scaled_dot_product_attention

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.errors import EvaluationError
from reelstore.evaluation.prompt_generator import PromptGenerator
from reelstore.evaluation.rerank import Stored
from reelstore.ranking import refuse_nonfinite
from reelstore.records import Side
from reelstore.store.read import Rows

TILE_CAPTIONS = 64
TILE_VIDEOS = 8
"""Captions and videos scored at once: some 40 MB of buffers at 512 dimensions."""


class Blocks(Protocol):
    """An array, or what is read like one by row numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


def conditioned_scores(
    generator: PromptGenerator,
    *,
    text: Array,
    video: Array,
    prompts: Blocks,
    device: str = "cpu",
    tile_captions: int = TILE_CAPTIONS,
    tile_videos: int = TILE_VIDEOS,
) -> Float32Array:
    """X-CLIP's own score of every caption with every video.

    Captions and videos that are equal to the bit are scored once, so that they tie. A tile's shape may move the last
    bits of a score.

    Args:
        generator: of the same checkpoint.
        text: (n_captions, dim), not normalised.
        video: (n_videos, dim).
        prompts: (n_videos, n_patches, dim); read tile by tile, so it may be mapped from a file.
        device: where it is computed, in float32.
        tile_captions: captions scored at once; with `tile_videos` it bounds memory.
        tile_videos: videos scored at once.

    Returns:
        (n_captions, n_videos) float32 cosines; times `generator.logit_scale` they are the model's `logits_per_text`.

    Raises:
        EvaluationError: shapes don't fit together.
        NonFiniteError: a row holds NaN or infinity.
    """
    scorer = Conditioned(
        generator,
        text=text,
        video=video,
        prompts=prompts,
        device=device,
        tile_captions=tile_captions,
        tile_videos=tile_videos,
    )
    return scorer.block(slice(0, len(text)), slice(0, len(video)))


class Conditioned:
    """X-CLIP's own score as a scorer, for `evaluate(scores=Conditioned(...), video_of_caption=...)`.

    Scores come by tiles whose place depends on the rows alone, so that a pair has the same bits in any block it is
    asked for. Embeddings of both sides are held; prompt tokens and scores are not.

    Args:
        generator, text, video, prompts, device, tile_captions, tile_videos: as of `conditioned_scores`.

    Attributes:
        shape: (n_captions, n_videos).

    Raises:
        EvaluationError: shapes don't fit together.
        NonFiniteError: a row holds NaN or infinity.
    """

    name = "X-CLIP's own score, the caption conditioned on the video"

    def __init__(
        self,
        generator: PromptGenerator,
        *,
        text: Array,
        video: Array,
        prompts: Blocks,
        device: str = "cpu",
        tile_captions: int = TILE_CAPTIONS,
        tile_videos: int = TILE_VIDEOS,
    ) -> None:
        _check_shapes(text, video, prompts, generator)
        refuse_nonfinite(text, "text")
        refuse_nonfinite(video, "video")
        self.shape = (len(text), len(video))
        self._video, self._prompts, self._device = video, prompts, device
        self._tile = tile_captions, tile_videos
        distinct, first, place = np.unique(np.asarray(text, np.float32), axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)  # as they come, so that captions of a block share tiles
        self._captions, self._caption_row = distinct[order], np.argsort(order)[place.reshape(-1)]
        self._videos, video_row = np.unique(_first_equal(video, prompts), return_inverse=True)
        self._video_row = video_row.reshape(-1)
        self._network = _Network(generator, device)

    def __repr__(self) -> str:
        return f"Conditioned({self.shape[0]} captions, {self.shape[1]} videos)"

    def block(self, captions: slice, videos: slice) -> Float32Array:
        """(n_captions, n_videos) scores of these captions with these videos, float32."""
        rows, columns = self._caption_row[captions], self._video_row[videos]
        scores = np.empty((len(rows), len(columns)), dtype=np.float32)
        with torch.inference_mode():
            for number in np.unique(columns // self._tile[1]).tolist():
                own = np.flatnonzero(columns // self._tile[1] == number)
                keys, target = self._of_videos(number * self._tile[1])
                for part in np.unique(rows // self._tile[0]).tolist():
                    some = np.flatnonzero(rows // self._tile[0] == part)
                    tile = self._scores(part * self._tile[0], keys, target)
                    inside = rows[some] - part * self._tile[0], columns[own] - number * self._tile[1]
                    scores[np.ix_(some, own)] = tile[np.ix_(*inside)]
        return scores

    def _of_videos(self, first: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """What a tile's videos bring: keys and values of each layer, and their embeddings, (videos, dim), length 1."""
        rows = self._videos[first : first + self._tile[1]]
        prompts = np.asarray(self._prompts[rows], np.float32)
        refuse_nonfinite(prompts.reshape(len(prompts), -1), f"prompts from row {rows[0]}")
        keys = self._network.keys(torch.from_numpy(prompts).to(self._device))
        target = torch.from_numpy(np.asarray(self._video[rows], np.float32)).to(self._device)
        return keys, normalize(target, dim=-1)

    def _scores(self, start: int, keys: list[tuple[Tensor, Tensor]], target: Tensor) -> Float32Array:
        """(captions, videos) of one tile."""
        some = torch.from_numpy(self._captions[start : start + self._tile[0]]).to(self._device)  # (captions, dim)
        moved = normalize(some + self._network.added(some, keys), dim=-1)  # (videos, captions, dim)
        scores: Float32Array = torch.einsum("vcd,vd->cv", moved, target).cpu().numpy()
        return scores


@dataclass(frozen=True)
class XClipReranker:
    """X-CLIP's own scores, every caption conditioned on every video.

    Args:
        video: embeddings of the videos.
        text: embeddings of the captions.
        prompts: prompt tokens of the videos.
        generator: file of the prompt generator, as `save_reranker` writes it; '' takes it from the video encoder's
            checkpoint.
    """

    video: str = "embedding"
    text: str = "embedding"
    prompts: str = "prompts"
    generator: str = ""
    description = "X-CLIP's own score, the caption conditioned on the video"

    def variants(self) -> dict[Side, list[str]]:
        """Embeddings of both sides, and prompt tokens."""
        return {"video": [self.video, self.prompts], "text": [self.text]}

    def scored(self, stored: Stored) -> dict[str, Any]:
        """The scorer on what is stored.

        Raises:
            EvaluationError: a side was embedded with other weights than the generator's.
        """
        video, prompts = stored.videos[self.video], stored.videos[self.prompts]
        text = stored.texts[self.text]
        generator, source = self._generator(stored)
        for rows in (video, prompts, text):
            encoder = rows.recipe.get("encoder")
            weights = encoder.get("weights_sha256") if isinstance(encoder, Mapping) else None
            if not isinstance(weights, str):
                raise EvaluationError(
                    f"{rows.folder} doesn't say which weights embedded it, so {source} can't be used."
                )
            generator.check_weights(weights, source=source)
        scorer = Conditioned(
            generator,
            text=text.array(),
            video=video.array(),
            prompts=_ReadByTile(prompts),
            device=_device(stored.device),
        )
        return {"scores": scorer}

    def _generator(self, stored: Stored) -> tuple[PromptGenerator, str]:
        if self.generator:
            return PromptGenerator.load(Path(self.generator)), self.generator
        encoder = stored.video_encoder()
        if not hasattr(encoder, "save_reranker"):
            raise EvaluationError(f"{encoder.spec.side}/{encoder.spec.name} isn't X-CLIP: it has no prompt generator.")
        with TemporaryDirectory() as folder:
            path = Path(folder, "generator.safetensors")
            encoder.save_reranker(path)
            return PromptGenerator.load(path), f"the checkpoint of {encoder.spec.side}/{encoder.spec.name}"


class _ReadByTile:
    """A store's rows where an array is expected, (n, n_tokens, dim)."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.shape = (len(rows), rows.n_tokens or 0, rows.dim)

    def __getitem__(self, positions: Any) -> Array:
        one = np.ndim(positions) == 0
        taken: Array = np.asarray(self._rows.take([positions] if one else positions))
        return taken[0] if one else taken


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


class _Network:
    """The generator on a device."""

    def __init__(self, generator: PromptGenerator, device: str) -> None:
        self.generator = generator
        self._tensors = {
            name.removeprefix("prompts_generator."): torch.from_numpy(values.copy()).to(device)
            for name, values in generator.tensors.items()
        }

    def keys(self, prompts: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer, (videos, n_heads, n_patches, dim / n_heads); no caption plays a part."""
        normed = self._norm(prompts, "layernorm", self.generator.video_epsilon)
        return [
            (
                self._heads(self._linear(normed, f"{layer}.cross_attn.k_proj")),
                self._heads(self._linear(normed, f"{layer}.cross_attn.v_proj")),
            )
            for layer in self._layers()
        ]

    def added(self, captions: Tensor, keys: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(captions, dim) and the keys of some videos -> (videos, captions, dim)."""
        n_videos = len(keys[0][0])
        states = captions[None]  # (1, captions, dim) until the first attention over a video
        for layer, (key, value) in zip(self._layers(), keys, strict=True):
            normed = self._norm(states, f"{layer}.norm1", self.generator.text_epsilon)
            query = self._heads(self._linear(normed, f"{layer}.cross_attn.q_proj")).expand(n_videos, -1, -1, -1)
            seen = scaled_dot_product_attention(query, key, value)  # (videos, n_heads, captions, dim / n_heads)
            states = states + self._linear(seen.transpose(1, 2).flatten(2), f"{layer}.cross_attn.proj")
            normed = self._norm(states, f"{layer}.norm3", self.generator.text_epsilon)
            wide = self._activation(self._linear(normed, f"{layer}.mlp.0"))  # (videos, captions, 4 * dim)
            states = states + self._linear(wide, f"{layer}.mlp.3")
        return self._tensors["alpha"] * states

    def _layers(self) -> list[str]:
        return [f"decoder.{layer}" for layer in range(self.generator.n_layers)]

    def _heads(self, values: Tensor) -> Tensor:
        return values.view(*values.shape[:-1], self.generator.n_heads, -1).transpose(1, 2)

    def _linear(self, values: Tensor, name: str) -> Tensor:
        return linear(values, self._tensors[f"{name}.weight"], self._tensors.get(f"{name}.bias"))

    def _norm(self, values: Tensor, name: str, epsilon: float) -> Tensor:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return layer_norm(values, weight.shape, weight, bias, epsilon)

    def _activation(self, values: Tensor) -> Tensor:
        if self.generator.activation == "gelu":
            return gelu(values)
        return values * torch.sigmoid(1.702 * values)


def _first_equal(video: Array, prompts: Blocks) -> IntArray:
    """For each video the first row that is the same to the bit."""
    first: dict[bytes, int] = {}
    rows = [
        first.setdefault(sha256(np.asarray(video[row]).tobytes() + np.asarray(prompts[row]).tobytes()).digest(), row)
        for row in range(len(video))
    ]
    return np.array(rows, dtype=np.int64)


def _check_shapes(text: Array, video: Array, prompts: Blocks, generator: PromptGenerator) -> None:
    dim = generator.dim
    for name, shape in [("text", text.shape), ("video", video.shape)]:
        if len(shape) != 2 or shape[1] != dim:
            raise EvaluationError(f"{name} must be (n, {dim}), as the generator is; it is {tuple(shape)}.")
    if len(prompts.shape) != 3 or prompts.shape[0] != len(video) or prompts.shape[2] != dim:
        raise EvaluationError(f"prompts must be ({len(video)}, n_patches, {dim}); they are {tuple(prompts.shape)}.")

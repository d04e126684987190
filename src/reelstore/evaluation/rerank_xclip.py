"""X-CLIP's video-conditioned scores, from stored embeddings and prompt tokens.

The dual-tower score of a caption and a video is the cosine of their embeddings. X-CLIP's own score moves the caption
first, by what a small network, the prompt generator, makes of the caption and the video's prompt tokens. Both sides of
it are in the store; the generator's weights are the video encoder's, or a file that it writes (`save_reranker`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, normalize, scaled_dot_product_attention

from reelstore.errors import DamagedFileError, EvaluationError
from reelstore.evaluation.rerank import Stored
from reelstore.io import parsed_json, refuse_irregular
from reelstore.ranking import refuse_nonfinite
from reelstore.records import Side
from reelstore.store.reader import Rows

FORMAT = "reelstore-xclip-reranker/1"
TILE_CAPTIONS = 64
TILE_VIDEOS = 8
"""Captions and videos scored at once: some 40 MB of buffers at 512 dimensions."""
_ACTIVATIONS = ("quick_gelu", "gelu")

Scores = npt.NDArray[np.float32]


class Blocks(Protocol):
    """An array, or what is read like one by row numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True)
class PromptGenerator:
    """A caption's embedding and a video's prompt tokens -> what is added to the caption.

    Attributes:
        tensors: weights by their names in the checkpoint, `prompts_generator.…` and `logit_scale`, float32.
        n_heads: of its attention.
        n_layers: cross-attention and feed-forward, in turn.
        activation: `quick_gelu` or `gelu`.
        video_epsilon: of the norm over prompt tokens.
        text_epsilon: of the norms inside the layers.
        weights_sha256: digest of the checkpoint, as in the recipe of every variant made with it.
    """

    tensors: Mapping[str, npt.NDArray[np.float32]]
    n_heads: int
    n_layers: int
    activation: str
    video_epsilon: float
    text_epsilon: float
    weights_sha256: str

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS:
            raise EvaluationError(
                f"The activation {self.activation!r} isn't known here; {', '.join(_ACTIVATIONS)} are."
            )
        for name in ("video_epsilon", "text_epsilon"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise EvaluationError(f"{name} is {value!r}; a number from 0 to below 1 is expected.")
        if not isinstance(self.weights_sha256, str) or not re.fullmatch("[0-9a-f]{64}", self.weights_sha256):
            raise EvaluationError(f"weights_sha256 is {self.weights_sha256!r}; 64 hex digits are expected.")
        if type(self.n_layers) is not int or not 1 <= self.n_layers <= len(self.tensors):
            raise EvaluationError(f"n_layers is {self.n_layers!r}; there are {len(self.tensors)} tensors.")
        for name, shape in self._shapes(max(self._width(), 1)).items():
            found = self.tensors[name].shape if name in self.tensors else None
            if found != shape:
                raise EvaluationError(f"{name} must be {shape}; it is {'missing' if found is None else found}.")
            if self.tensors[name].dtype != np.float32:
                raise EvaluationError(f"{name} must be float32; it is {self.tensors[name].dtype}.")
            if not np.isfinite(self.tensors[name]).all():
                raise EvaluationError(f"{name} holds NaN or infinity. Write the file again with save_reranker.")
        if type(self.n_heads) is not int or self.n_heads < 1 or self.dim % self.n_heads:
            raise EvaluationError(f"n_heads is {self.n_heads!r}; it must divide the width, {self.dim}.")

    @property
    def dim(self) -> int:
        """Width of embeddings and prompt tokens."""
        return len(self.tensors["prompts_generator.alpha"])

    @property
    def logit_scale(self) -> float:
        """What the model multiplies its scores with. It changes no rank."""
        return float(np.exp(self.tensors["logit_scale"]))

    def __repr__(self) -> str:
        return f"PromptGenerator({self.n_layers} layers, {self.dim} wide, weights {self.weights_sha256[:12]})"

    @classmethod
    def load(cls, path: Path, *, weights_sha256: str | None = None) -> "PromptGenerator":
        """The generator that a video encoder's `save_reranker` wrote.

        Args:
            path: a safetensors file.
            weights_sha256: digest of the weights behind the stored embeddings; another one is refused.

        Raises:
            EvaluationError: the file isn't one, lacks a tensor, or belongs to other weights.
        """
        try:
            refuse_irregular(path)
            with safe_open(path, framework="numpy") as file:
                header = parsed_json((file.metadata() or {}).get("reranker", "{}").encode(), path)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except (OSError, SafetensorError, DamagedFileError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise EvaluationError(
                f"{path} can't be read: {error}. The video encoder's save_reranker writes it."
            ) from error
        if not isinstance(header, dict) or header.pop("format", None) != FORMAT:
            raise EvaluationError(f"{path} isn't a reranker of the format {FORMAT}.")
        names = {field.name for field in fields(cls)} - {"tensors"}
        if header.keys() != names:
            raise EvaluationError(f"{path}: its header has {sorted(header)}; {sorted(names)} are expected.")
        try:
            generator = cls(tensors=tensors, **header)
        except EvaluationError as error:
            raise EvaluationError(f"{path}: {error}") from error
        generator.check_weights(weights_sha256, source=str(path))
        return generator

    def check_weights(self, weights_sha256: str | None, *, source: str) -> None:
        """Refuse embeddings that other weights made; None is anyone's."""
        if weights_sha256 not in (None, self.weights_sha256):
            raise EvaluationError(
                f"{source} belongs to the weights {self.weights_sha256[:12]}, the embeddings to "
                f"{weights_sha256[:12]}. Take that of the encoder that embedded them, or embed again."
            )

    def _width(self) -> int:
        alpha = self.tensors.get("prompts_generator.alpha")
        return alpha.size if alpha is not None and alpha.ndim == 1 else 0

    def _shapes(self, dim: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"logit_scale": ()}
        own: dict[str, tuple[int, ...]] = {"alpha": (dim,), "layernorm.weight": (dim,), "layernorm.bias": (dim,)}
        for layer in range(self.n_layers):
            inside: dict[str, tuple[int, ...]] = {
                **{f"cross_attn.{matrix}.weight": (dim, dim) for matrix in ("q_proj", "k_proj", "v_proj", "proj")},
                **{f"{norm}.{part}": (dim,) for norm in ("norm1", "norm3") for part in ("weight", "bias")},
                "cross_attn.proj.bias": (dim,),
                "mlp.0.weight": (4 * dim, dim),
                "mlp.0.bias": (4 * dim,),
                "mlp.3.weight": (dim, 4 * dim),
                "mlp.3.bias": (dim,),
            }
            own |= {f"decoder.{layer}.{name}": shape for name, shape in inside.items()}
        return shapes | {f"prompts_generator.{name}": shape for name, shape in own.items()}


def conditioned_scores(
    text: npt.NDArray[Any],
    video: npt.NDArray[Any],
    prompts: Blocks,
    generator: PromptGenerator,
    *,
    device: str = "cpu",
    tile_captions: int = TILE_CAPTIONS,
    tile_videos: int = TILE_VIDEOS,
) -> Scores:
    """X-CLIP's own score of every caption with every video.

    Captions and videos that are equal to the bit are scored once, so that they tie. A tile's shape may move the last
    bits of a score.

    Args:
        text: (n_captions, dim), not normalised.
        video: (n_videos, dim).
        prompts: (n_videos, n_patches, dim); read tile by tile, so it may be mapped from a file.
        generator: of the same checkpoint.
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
        text, video, prompts, generator, device=device, tile_captions=tile_captions, tile_videos=tile_videos
    )
    return scorer.block(slice(0, len(text)), slice(0, len(video)))


class Conditioned:
    """X-CLIP's own score as a scorer, for `evaluate(scores=Conditioned(...), video_of_caption=...)`.

    Scores come by tiles whose place depends on the rows alone, so that a pair has the same bits in whatever block it is
    asked for. Embeddings of both sides are held; prompt tokens and scores are not.

    Args:
        text, video, prompts, generator, device, tile_captions, tile_videos: as of `conditioned_scores`.

    Attributes:
        shape: (n_captions, n_videos).

    Raises:
        EvaluationError: shapes don't fit together.
        NonFiniteError: a row holds NaN or infinity.
    """

    name = "X-CLIP's own score, the caption conditioned on the video"

    def __init__(
        self,
        text: npt.NDArray[Any],
        video: npt.NDArray[Any],
        prompts: Blocks,
        generator: PromptGenerator,
        *,
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

    def block(self, captions: slice, videos: slice) -> Scores:
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

    def _scores(self, start: int, keys: list[tuple[Tensor, Tensor]], target: Tensor) -> Scores:
        """(captions, videos) of one tile."""
        some = torch.from_numpy(self._captions[start : start + self._tile[0]]).to(self._device)  # (captions, dim)
        moved = normalize(some + self._network.added(some, keys), dim=-1)  # (videos, captions, dim)
        scores: Scores = torch.einsum("vcd,vd->cv", moved, target).cpu().numpy()
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
    words = "X-CLIP's own score, the caption conditioned on the video"

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
            generator.check_weights(rows.recipe["encoder"]["weights_sha256"], source=source)
        scorer = Conditioned(
            text.array(), video.array(), _ReadByTile(prompts), generator, device=_device(stored.device)
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

    def __getitem__(self, positions: Any) -> npt.NDArray[Any]:
        one = np.ndim(positions) == 0
        taken: npt.NDArray[Any] = self._rows.take([positions] if one else positions)
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
        states = captions[None]  # (1, captions, dim) until a video has been looked at
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


def _first_equal(video: npt.NDArray[Any], prompts: Blocks) -> npt.NDArray[np.int64]:
    """For each video the first row that is the same to the bit."""
    first: dict[bytes, int] = {}
    rows = [
        first.setdefault(sha256(np.asarray(video[row]).tobytes() + np.asarray(prompts[row]).tobytes()).digest(), row)
        for row in range(len(video))
    ]
    return np.array(rows, dtype=np.int64)


def _check_shapes(text: npt.NDArray[Any], video: npt.NDArray[Any], prompts: Blocks, generator: PromptGenerator) -> None:
    dim = generator.dim
    for name, shape in [("text", text.shape), ("video", video.shape)]:
        if len(shape) != 2 or shape[1] != dim:
            raise EvaluationError(f"{name} must be (n, {dim}), as the generator is; it is {tuple(shape)}.")
    if len(prompts.shape) != 3 or prompts.shape[0] != len(video) or prompts.shape[2] != dim:
        raise EvaluationError(f"prompts must be ({len(video)}, n_patches, {dim}); they are {tuple(prompts.shape)}.")

"""X-CLIP's prompt generator: its weights, from the file that a video encoder's `save_reranker` writes, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from reelstore.arrays import Float32Array
from reelstore.errors import DamagedFileError, EvaluationError
from reelstore.io import parsed_json, refuse_irregular

FORMAT = "reelstore-xclip-reranker/1"
_ACTIVATIONS = ("quick_gelu", "gelu")


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

    tensors: Mapping[str, Float32Array]
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

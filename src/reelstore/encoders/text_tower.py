"""Captions through the text side of a dual encoder of the Hugging Face layout: one embedding each."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.encoders.base import EMBEDDING, EncoderSpec, Output
from reelstore.encoders.caption_tokens import CaptionTokenizer
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub_model import HubModel, TextOptions, check_width
from reelstore.encoders.tokenizer import table_rows
from reelstore.encoders.weights import resolve_device

if TYPE_CHECKING:
    import torch

_PUNCTUATION_TO_SPACES = str.maketrans(string.punctuation, " " * len(string.punctuation))
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class TextRule:
    """How a family wants its captions.

    Attributes:
        max_tokens: longer captions are cut there; the tokenizer keeps the closing token.
        pad_id: what fills a row. Always on the right, even if the tokenizer pads on the left.
        masked: whether the network is told which tokens are padding.
        whole: always padded to `max_tokens`, as SigLIP was trained; else to the next of a few lengths.
        lower: lower case first, where the tokenizer should and doesn't.
        canonical: as VideoPrism was trained: lower case, a space for every sign of ASCII punctuation, one space between
            words, and a full stop at the end (`canonicalize_text` in videoprism/utils.py of
            https://github.com/google-deepmind/videoprism).
        unit: scaled to length one.
    """

    max_tokens: int
    pad_id: int
    masked: bool = True
    whole: bool = False
    lower: bool = False
    canonical: bool = False
    unit: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """A caption is padded to the first that holds it, by its own length alone."""
        return (self.max_tokens,) if self.whole else lengths_up_to(self.max_tokens)

    def cleaned(self, caption: str) -> str:
        """The text that goes to the tokenizer."""
        if self.canonical:
            return " ".join(caption.translate(_PUNCTUATION_TO_SPACES).lower().split()) + "."
        return caption.lower() if self.lower else caption

    def __str__(self) -> str:
        parts = [f"at most {self.max_tokens} tokens", f"padding {self.pad_id} on the right"]
        parts += [] if self.masked else ["not masked"]
        parts += ["lower case"] if self.lower else []
        parts += ["lower case without punctuation, a full stop at the end"] if self.canonical else []
        parts += ["unit length"] if self.unit else []
        return ", ".join(parts)


class TextTower:
    """A caption -> (dim,) float32, from `get_text_features`.

    Args:
        options: the encoder's.
        version: of the encoder.
        model: whose text side it is.
        tokenizer: the model's.
        rule: how it wants its captions.
    """

    Options = TextOptions

    def __init__(self, options: TextOptions, *, version: int, model: HubModel, tokenizer: Any, rule: TextRule) -> None:
        self.batch_size = options.batch_size
        self._options, self._model, self._rule = options, model, rule
        self._tokenizer = CaptionTokenizer(
            tokenizer, source=model.source, n_rows=table_rows(model.config), max_tokens=rule.max_tokens
        )
        self.prepare("a " * rule.max_tokens if rule.max_tokens < 2**12 else "a")
        self._dim = model.width("text")
        self.spec = EncoderSpec(
            name=options.name,
            version=version,
            side="text",
            outputs={EMBEDDING: Output(self._dim, 0)},
            weights_sha256=model.checkpoint.sha256,
            preprocessing=f"tokenizer {model.checkpoint.text_sha256[:12]}, {rule}, {model.arithmetic}",
            sampling="",
            batch=f"({options.batch_size}, {' | '.join(map(str, rule.lengths))})",
            threads=options.threads,
        )

    def load(self) -> None:
        """Read the weights, and see what an empty caption gives."""
        import torch

        from reelstore.encoders.checkpoint import refuse_nonfinite
        from reelstore.encoders.hub_network import check_arithmetic

        torch.set_num_threads(self._options.threads)
        source = self._model.source
        network = self._build()
        check_arithmetic(network, self._model.arithmetic, source=source)
        self._device = resolve_device(self._options.device)
        self._network = network.to(self._device)
        with refusing(f"{source} can't embed a caption"):
            probe = self._features(torch.zeros((1, self._rule.lengths[0]), dtype=torch.int64), [1])
        refuse_nonfinite(probe, source=source)
        check_width(probe.shape[1], self._dim, output=EMBEDDING, source=source)

    def _build(self) -> Any:
        """The network, without what a caption doesn't pass."""
        from reelstore.encoders.hub_network import load_network

        return load_network(self._model.checkpoint, dtype=self._model.dtype)

    def prepare(self, item: str) -> IntArray:
        """A caption -> its token ids, (n_tokens,) int64."""
        return np.array(self._tokenizer.ids(self._rule.cleaned(item)), dtype=np.int64)

    def bucket(self, prepared: Array) -> int:
        """The padded length."""
        return next(length for length in self._rule.lengths if length >= len(prepared))

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """`embedding` of each caption, (dim,)."""
        import torch

        ids = np.full((self.batch_size, self.bucket(batch[0])), self._rule.pad_id, dtype=np.int64)
        n_tokens = [1] * self.batch_size  # a row without any token would give NaN
        for position, prepared in enumerate(batch):
            ids[position, : len(prepared)] = prepared
            n_tokens[position] = max(len(prepared), 1)
        values = self._features(torch.from_numpy(ids), n_tokens).float()  # (batch, dim)
        if self._rule.unit:
            with torch.inference_mode():
                values = torch.nn.functional.normalize(values, dim=-1)
        return [{EMBEDDING: embedding} for embedding in values[: len(batch)].cpu().numpy()]

    def _features(self, ids: "torch.Tensor", n_tokens: list[int]) -> Any:
        import torch

        from reelstore.encoders.hub_network import pooled

        inputs = {"input_ids": ids.to(self._device)}
        if self._rule.masked:
            mask = torch.arange(ids.shape[1]) < torch.tensor(n_tokens)[:, None]  # (batch, length)
            inputs["attention_mask"] = mask.long().to(self._device)
        with torch.inference_mode():
            return pooled(self._network.get_text_features(**inputs))


def lengths_up_to(max_tokens: int) -> tuple[int, ...]:
    """Padded lengths: powers of two below `max_tokens`, and itself."""
    return (*(length for length in _LENGTHS if length < max_tokens), max_tokens)

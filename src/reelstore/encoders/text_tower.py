"""Captions through the text side of a dual encoder of the Hugging Face layout: one embedding each."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.encoders.base import EMBEDDING, EncoderSpec, Output
from reelstore.encoders.caption_tokens import CaptionTokenizer
from reelstore.encoders.checkpoint import refuse_nonfinite
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub import Checkpoint, arithmetic, pooled
from reelstore.encoders.tokenizer import table_rows
from reelstore.encoders.weights import resolve_device

_PUNCTUATION_TO_SPACES = str.maketrans(string.punctuation, " " * len(string.punctuation))
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class TextRule:
    """How a family wants its captions.

    Attributes:
        max_tokens: longer captions are cut there; the tokenizer keeps the closing token.
        pad_id: what fills a row. Always on the right, whatever side the tokenizer would take.
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
    """A caption -> (dim,) float32, from `get_text_features`."""

    def __init__(
        self,
        *,
        name: str,
        version: int,
        checkpoint: Checkpoint,
        network: Any,
        tokenizer: Any,
        rule: TextRule,
        batch_size: int,
        device: str,
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self.batch_size = batch_size
        self._device = resolve_device(device)
        self._tokenizer = CaptionTokenizer(
            tokenizer, source=checkpoint.source, n_rows=table_rows(network), max_tokens=rule.max_tokens
        )
        self._network = network.to(self._device)
        self._rule = rule
        with refusing(f"{checkpoint.source} can't embed a caption"):
            probe = self._features(torch.zeros((1, rule.lengths[0]), dtype=torch.int64), [1])
        refuse_nonfinite(probe, source=checkpoint.source)
        self.prepare("a " * rule.max_tokens if rule.max_tokens < 2**12 else "a")
        self.spec = EncoderSpec(
            name=name,
            version=version,
            side="text",
            outputs={EMBEDDING: Output(probe.shape[1], 0)},
            weights_sha256=checkpoint.sha256,
            preprocessing=f"tokenizer {checkpoint.text_sha256[:12]}, {rule}, {arithmetic(network)}",
            sampling="",
            batch=f"({batch_size}, {' | '.join(map(str, rule.lengths))})",
            threads=threads,
        )

    def prepare(self, item: str) -> IntArray:
        """A caption -> its token ids, (n_tokens,) int64."""
        return np.array(self._tokenizer.ids(self._rule.cleaned(item)), dtype=np.int64)

    def bucket(self, prepared: Array) -> int:
        """The padded length."""
        return next(length for length in self._rule.lengths if length >= len(prepared))

    @torch.inference_mode()
    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """`embedding` of each caption, (dim,)."""
        ids = np.full((self.batch_size, self.bucket(batch[0])), self._rule.pad_id, dtype=np.int64)
        n_tokens = [1] * self.batch_size  # a row without any token would give NaN
        for position, prepared in enumerate(batch):
            ids[position, : len(prepared)] = prepared
            n_tokens[position] = max(len(prepared), 1)
        values = self._features(torch.from_numpy(ids), n_tokens).float()  # (batch, dim)
        if self._rule.unit:
            values = torch.nn.functional.normalize(values, dim=-1)
        return [{EMBEDDING: embedding} for embedding in values[: len(batch)].cpu().numpy()]

    @torch.inference_mode()
    def _features(self, ids: torch.Tensor, n_tokens: list[int]) -> Any:
        inputs = {"input_ids": ids.to(self._device)}
        if self._rule.masked:
            mask = torch.arange(ids.shape[1]) < torch.tensor(n_tokens)[:, None]  # (batch, length)
            inputs["attention_mask"] = mask.long().to(self._device)
        return pooled(self._network.get_text_features(**inputs))


def lengths_up_to(max_tokens: int) -> tuple[int, ...]:
    """Padded lengths: powers of two below `max_tokens`, and itself."""
    return (*(length for length in _LENGTHS if length < max_tokens), max_tokens)

"""Captions through the text side of a dual encoder of the Hugging Face layout: one embedding each."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reelstore.encoders.base import EMBEDDING, EncoderSpec, Output
from reelstore.encoders.checkpoint import refuse_nonfinite
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub import Checkpoint, arithmetic, pooled, refuse_beyond, table_rows
from reelstore.encoders.weights import resolve_device
from reelstore.errors import WeightsError

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
        unit: scaled to length one.
    """

    max_tokens: int
    pad_id: int
    masked: bool = True
    whole: bool = False
    lower: bool = False
    unit: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """A caption is padded to the first that holds it, by its own length alone."""
        return (self.max_tokens,) if self.whole else lengths_up_to(self.max_tokens)

    def __str__(self) -> str:
        parts = [f"at most {self.max_tokens} tokens", f"padding {self.pad_id} on the right"]
        parts += [] if self.masked else ["not masked"]
        parts += ["lower case"] if self.lower else []
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
        self._tokenizer_lock = Lock()  # setting truncation isn't safe from several threads
        self._tokenizer = tokenizer
        self._network = network.to(self._device)
        self._rule = rule
        self._source, self._n_rows = checkpoint.source, table_rows(network)
        refuse_beyond([rule.pad_id], self._n_rows, source=self._source, text="padding")
        with refusing(f"{self._source} can't embed a caption"):
            probe = self._features(torch.zeros((1, rule.lengths[0]), dtype=torch.int64), [1])
        refuse_nonfinite(probe, source=self._source)
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

    def prepare(self, item: str) -> npt.NDArray[np.int64]:
        """A caption -> its token ids, (n_tokens,) int64."""
        text = item.lower() if self._rule.lower else item
        with self._tokenizer_lock, refusing(f"{self._source}: its tokenizer fails on {text[:80]!r}"):
            ids = self._tokenizer(text, truncation=True, max_length=self._rule.max_tokens)["input_ids"]
        if len(ids) > self._rule.max_tokens:
            raise WeightsError(
                f"{self._source}: its tokenizer makes {len(ids)} tokens where {self._rule.max_tokens} have a place."
            )
        refuse_beyond(ids, self._n_rows, source=self._source, text=text)
        return np.array(ids, dtype=np.int64)

    def bucket(self, prepared: npt.NDArray[Any]) -> int:
        """The padded length."""
        return next(length for length in self._rule.lengths if length >= len(prepared))

    @torch.inference_mode()
    def encode(self, batch: Sequence[npt.NDArray[Any]]) -> list[dict[str, npt.NDArray[np.float32]]]:
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


def padding_token(checkpoint: Checkpoint, tokenizer: Any) -> int:
    """Id of the tokenizer's padding token; WeightsError where it has none."""
    found: int | None = tokenizer.pad_token_id
    if found is None:
        raise WeightsError(f"{checkpoint.source}: the tokenizer has no padding token.")
    return found


def closing_token(checkpoint: Checkpoint, tokenizer: Any, *, eos: int | None) -> int:
    """Id of the end token whose state is the embedding in a CLIP text tower, once it's sure to be found.

    Args:
        checkpoint: for messages.
        tokenizer: its tokenizer.
        eos: the id the network looks for; None where it takes the highest id of the row instead, as X-CLIP does and
            every CLIP checkpoint whose config.json still says 2.

    Raises:
        WeightsError: the network would take the state of another token, without a word.
    """
    found: int | None = tokenizer.eos_token_id
    ids = tokenizer("a")["input_ids"]
    highest = max(tokenizer.get_vocab().values())
    if found is None or not ids or ids[-1] != found:
        raise WeightsError(f"{checkpoint.source}: the tokenizer doesn't end a caption with its end token: {ids}.")
    if eos is not None and eos != found:
        raise WeightsError(
            f"{checkpoint.source}: config.json says the end token is {eos}, the tokenizer's is {found}. "
            "The embedding would be the state of the first token."
        )
    if eos is None and highest != found:
        raise WeightsError(
            f"{checkpoint.source}: the network takes the highest id of a caption for its end, {found}; the tokenizer "
            f"has ids up to {highest}, added later. Remove the added tokens."
        )
    return found

"""Captions through any language model of the Hugging Face layout, multimodal or not: hidden states of chosen layers.

Preprocessing: the checkpoint's tokenizer files, around the caption the template that the user gives.
"""

from collections.abc import Sequence

import numpy as np
import torch

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.caption_tokens import CAPTION, CaptionTokenizer
from reelstore.encoders.checkpoint import refuse_nonfinite
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub import (
    arithmetic,
    find_checkpoint,
    half_precision,
    load_network,
)
from reelstore.encoders.text_tower import lengths_up_to
from reelstore.encoders.tokenizer import load_tokenizer, table_rows, usable_positions
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError, WeightsError

VERSION = 1


class HfLm:
    """A caption -> `layer-<k>` (n_tokens, dim) float32 for every layer asked for, from one forward pass.

    Layer 0 is the embeddings, layer k the states after k blocks; the last is after the final norm, as the model gives
    it. Every token of the prompt is there, the last among them: its state is the pooling `last`.

    Args:
        name: registry name.
        model: a folder, or `owner/name` on the hub.
        revision: commit on the hub, 40 hex digits.
        layers: which layers, one number or several; the last by default.
        template: the prompt, with `{caption}` where the caption goes.
        max_tokens: the caption of a longer prompt is cut, so that what the template says after it stays.
        batch_size: captions in a batch; its shape is fixed, missing ones are padding.
        device: where it runs, in half precision on a GPU.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str = "hf-lm",
        model: str | None = None,
        revision: str | None = None,
        layers: int | Sequence[int] | None = None,
        template: str = CAPTION,
        max_tokens: int = 256,
        batch_size: int = 8,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        if not isinstance(template, str) or template.count(CAPTION) != 1:
            raise ParamsError(f"encoders.text/{name}: template must hold {CAPTION} once; it is {template!r}.")
        checkpoint = find_checkpoint(model, revision, encoder=f"text/{name}")
        self.batch_size = batch_size
        self._device = resolve_device(device)
        network = load_network(checkpoint, dtype=half_precision(checkpoint, self._device))
        if network.config.is_encoder_decoder:
            raise WeightsError(f"{checkpoint.source} is an encoder with a decoder; hf-lm takes decoders, or encoders.")
        config = network.config.get_text_config(decoder=True)
        self._layers = _layers(layers, config.num_hidden_layers, name)
        declared = getattr(config, "max_position_embeddings", None)
        longest = usable_positions(network, declared) if declared else max_tokens
        if not isinstance(max_tokens, int) or not 1 <= max_tokens <= longest:
            raise ParamsError(f"encoders.text/{name}: max_tokens must be 1 to {longest}; it is {max_tokens!r}.")
        self._network = network.to(self._device)
        self._lengths = lengths_up_to(max_tokens)
        self._tokenizer = CaptionTokenizer(
            load_tokenizer(checkpoint, network),
            source=checkpoint.source,
            n_rows=table_rows(network),
            template=template,
        )
        self._source = checkpoint.source
        if len(self._tokenizer.ids("")) > max_tokens:
            raise ParamsError(f"encoders.text/{name}: the template alone has more than max_tokens, {max_tokens}.")
        with refusing(f"{self._source} can't embed a caption"):
            row = np.zeros((1, self._lengths[0]), dtype=np.int64)
            for states in self._states(row, np.ones_like(row)):
                refuse_nonfinite(states, source=self._source)
        self.spec = EncoderSpec(
            name=name,
            version=VERSION,
            side="text",
            outputs={f"layer-{layer}": Output(config.hidden_size, None) for layer in self._layers},
            weights_sha256=checkpoint.sha256,
            preprocessing=(
                f"tokenizer {checkpoint.text_sha256[:12]}, template {template!r}, at most {max_tokens} tokens, "
                f"padding on the right, {arithmetic(network)}"
            ),
            sampling="",
            batch=f"({batch_size}, {' | '.join(map(str, self._lengths))})",
            threads=threads,
        )

    def prepare(self, item: str) -> IntArray:
        """A caption -> the token ids of its prompt, (n_tokens,) int64."""
        longest = self._lengths[-1]
        ids = self._tokenizer.ids(item)
        if len(ids) > longest:
            fits, too_long = 0, len(item)  # characters of the caption
            while too_long - fits > 1:
                middle = (fits + too_long) // 2
                if len(self._tokenizer.ids(item[:middle])) <= longest:
                    fits = middle
                else:
                    too_long = middle
            ids = self._tokenizer.ids(item[:fits])
        return np.array(ids, dtype=np.int64)

    def bucket(self, prepared: Array) -> int:
        """The padded length."""
        return next(length for length in self._lengths if length >= len(prepared))

    @torch.inference_mode()
    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """States of each prompt's tokens at every layer, (n_tokens, dim), without padding."""
        # Padding goes to the right, whatever the tokenizer prefers: a causal model's real tokens then neither see it
        # nor are moved by it. Which id fills it plays no part.
        ids = np.zeros((self.batch_size, self.bucket(batch[0])), dtype=np.int64)
        mask = np.zeros_like(ids)
        mask[:, 0] = 1  # a row without any token would give NaN
        for position, prepared in enumerate(batch):
            ids[position, : len(prepared)] = prepared
            mask[position, : len(prepared)] = 1
        states = self._states(ids, mask)
        values = {f"layer-{layer}": states[layer].float().cpu().numpy() for layer in self._layers}
        return [
            {name: layer[position, : len(prepared)] for name, layer in values.items()}
            for position, prepared in enumerate(batch)
        ]

    @torch.inference_mode()
    def _states(self, ids: IntArray, mask: IntArray) -> tuple[torch.Tensor, ...]:
        """(batch, length, dim) of the embeddings and after each block."""
        states: tuple[torch.Tensor, ...] = self._network(
            input_ids=torch.from_numpy(ids).to(self._device),
            attention_mask=torch.from_numpy(mask).to(self._device),
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        return states


def _layers(layers: int | Sequence[int] | None, n_layers: int, name: str) -> tuple[int, ...]:
    asked = (n_layers,) if layers is None else (layers,) if isinstance(layers, int) else tuple(layers)
    good = [layer for layer in asked if type(layer) is int and 0 <= layer <= n_layers]
    if not asked or len(good) != len(asked) or len(set(good)) != len(good):
        raise ParamsError(
            f"encoders.text/{name}: layers must be different numbers from 0 (embeddings) to {n_layers}; "
            f"they are {layers!r}."
        )
    return tuple(sorted(good))

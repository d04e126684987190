"""Captions through any language model of the Hugging Face layout, multimodal or not: hidden states of chosen layers.

Preprocessing: the checkpoint's tokenizer files, around the caption the template that the user gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.caption_tokens import CAPTION, CaptionTokenizer
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub_model import HubOptions, check_width, open_model, usable_positions
from reelstore.encoders.limits import BatchSize, TokenCount
from reelstore.encoders.text_tower import lengths_up_to
from reelstore.encoders.tokenizer import load_tokenizer, table_rows
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError, WeightsError

if TYPE_CHECKING:
    import torch

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LanguageOptions(HubOptions):
    """Options of a language model.

    Attributes:
        layers: which layers, one number or several; the last by default.
        template: the prompt, with `{caption}` where the caption goes.
        max_tokens: the caption of a longer prompt is cut, so that what the template says after it stays.
    """

    layers: int | Sequence[int] | None = None
    template: str = CAPTION
    max_tokens: TokenCount = 256
    batch_size: BatchSize = 8


class HfLm:
    """A caption -> `layer-<k>` (n_tokens, dim) float32 for every layer asked for, from one forward pass.

    Layer 0 is the embeddings, layer k the states after k blocks; the last is after the final norm, as the model gives
    it. Every token of the prompt is there, the last among them: its state is the pooling `last`.
    """

    Options = LanguageOptions

    def __init__(self, options: LanguageOptions) -> None:
        name, template, max_tokens = options.name, options.template, options.max_tokens
        if not isinstance(template, str) or template.count(CAPTION) != 1:
            raise ParamsError(f"encoders.text/{name}: template must hold {CAPTION} once; it is {template!r}.")
        self._options = options
        self._model = model = open_model(options, "text")
        if model.config.is_encoder_decoder:
            raise WeightsError(f"{model.source} is an encoder with a decoder; hf-lm takes decoders, or encoders.")
        self._config = model.config.get_text_config(decoder=True)
        self._layers = _layers(options.layers, self._config.num_hidden_layers, name)
        self._check_longest(usable_positions(self._config))
        self.batch_size = options.batch_size
        self._lengths = lengths_up_to(max_tokens)
        self._tokenizer = CaptionTokenizer(
            load_tokenizer(model.checkpoint, model.config),
            source=model.source,
            n_rows=table_rows(model.config),
            template=template,
        )
        if len(self._tokenizer.ids("")) > max_tokens:
            raise ParamsError(f"encoders.text/{name}: the template alone has more than max_tokens, {max_tokens}.")
        self.spec = EncoderSpec(
            name=name,
            version=VERSION,
            side="text",
            outputs={f"layer-{layer}": Output(self._config.hidden_size, None) for layer in self._layers},
            weights_sha256=model.checkpoint.sha256,
            preprocessing=(
                f"tokenizer {model.checkpoint.text_sha256[:12]}, template {template!r}, at most {max_tokens} tokens, "
                f"padding on the right, {model.arithmetic}"
            ),
            sampling="",
            batch=f"({options.batch_size}, {' | '.join(map(str, self._lengths))})",
            threads=options.threads,
        )

    def load(self) -> None:
        """Read the weights, and see what one token gives."""
        import torch

        from reelstore.encoders.checkpoint import refuse_nonfinite
        from reelstore.encoders.hub_network import check_arithmetic, load_network, positions_of

        torch.set_num_threads(self._options.threads)
        source = self._model.source
        network = load_network(self._model.checkpoint, dtype=self._model.dtype)
        check_arithmetic(network, self._model.arithmetic, source=source)
        declared = getattr(self._config, "max_position_embeddings", None)
        self._check_longest(positions_of(network, declared) if declared else None)
        self._device = resolve_device(self._options.device)
        self._network = network.to(self._device)
        with refusing(f"{source} can't embed a caption"):
            row = np.zeros((1, self._lengths[0]), dtype=np.int64)
            probe = self._states(row, np.ones_like(row))
        for states in probe:
            refuse_nonfinite(states, source=source)
        for layer in self._layers:
            check_width(probe[layer].shape[-1], self._config.hidden_size, output=f"layer-{layer}", source=source)

    def _check_longest(self, n_positions: int | None) -> None:
        name, max_tokens = self._options.name, self._options.max_tokens
        longest = max_tokens if n_positions is None else n_positions
        if not isinstance(max_tokens, int) or not 1 <= max_tokens <= longest:
            raise ParamsError(f"encoders.text/{name}: max_tokens must be 1 to {longest}; it is {max_tokens!r}.")

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

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """States of each prompt's tokens at every layer, (n_tokens, dim), without padding."""
        # Padding goes to the right, even if the tokenizer pads on the left: a causal model's real tokens neither see it
        # there nor are moved by it. Which id fills it plays no part.
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

    def _states(self, ids: IntArray, mask: IntArray) -> "tuple[torch.Tensor, ...]":
        """(batch, length, dim) of the embeddings and after each block."""
        import torch

        with torch.inference_mode():
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

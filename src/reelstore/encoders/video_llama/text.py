"""Video-LLaMA, captions: the states of their tokens inside its LLaMA, with and without a prompt."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reelstore.arrays import Array, Float32Array, IntArray
from reelstore.encoders.base import EncoderSpec, Output
from reelstore.encoders.limits import BatchSize, TokenCount
from reelstore.encoders.video_llama.files import (
    MODELS,
    check_pairing,
    digest,
    digests,
    find_weights,
    naming_sources,
)
from reelstore.encoders.video_llama.language import Llama, Tokenizer, check_layers, read_config
from reelstore.encoders.video_llama.options import (
    PAD_TO,
    VERSION,
    arrays,
    check_list,
    check_names,
    checked_prompt,
    dtypes,
    padded,
    record,
)
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError

if TYPE_CHECKING:
    from torch import Tensor

CAPTION_PROMPT = 'This sentence: "{caption}" means in one word:'
TEXT_SPANS = ("caption", "prompted", "prompted-last")


class VideoLlamaText:
    """A caption -> the states of its tokens after chosen layers of the model's LLaMA, with and without a prompt.

    Outputs for each layer: `layer-24` (span `caption`: BOS and the caption's tokens, ragged), `layer-24.prompted` (all
    tokens of the caption in its prompt, ragged) and `layer-24.prompted-last` (the last of these, one embedding). What
    comes first sees nothing but itself: the state of BOS is the same for every caption.

    Args:
        name: registry name.
        weights: path of the folder `llama`, or a hub repository with its commit; the video side's files may stand
            beside it.
        layers: after which blocks of the LLaMA; None takes the last, after the final norm.
        spans: of `caption`, `prompted`, `prompted-last`.
        prompt: text around the caption, with `{caption}` in it; for the prompted spans.
        max_tokens: what is longer loses the end of its caption.
        dtype: `auto` is float32 on a CPU and bfloat16 on a GPU.
        batch_size: captions in a batch; its shape is fixed, missing ones are padding.
        device: where it runs.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: Mapping[str, str] | None = None,
        layers: Sequence[int] | None = None,
        spans: Sequence[str] = ("caption",),
        prompt: str = CAPTION_PROMPT,
        max_tokens: TokenCount = 256,
        dtype: str = "auto",
        batch_size: BatchSize = 8,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        self._key = f"text/{name}"
        check_names(self._key, "spans", spans, TEXT_SPANS)
        self._spans = tuple(spans)
        self._pretrained = model = MODELS[name]
        self._device = resolve_device(device)
        _, self._dtype = dtypes(self._key, dtype, self._device)
        self._paths = paths = find_weights(self._key, model, weights, ("llama",))
        with naming_sources(self._key, model, paths):
            config = read_config(paths["llama"])
            self._tokenizer = Tokenizer(paths["llama"], config)
            sha256, parts = digest(paths), digests(paths)
        layers = [config.num_hidden_layers] if layers is None else layers
        check_list(self._key, "layers", layers)
        if not layers:
            raise ParamsError(f"encoders.{self._key}: layers is empty; name at least one.")
        check_layers(layers, config, key=self._key)
        self._layers = sorted(set(layers))
        check_pairing(self._key, model, paths, dim=config.hidden_size)
        self._prompt = checked_prompt(self._key, prompt, "{caption}")
        self._max_tokens = self._checked_max_tokens(max_tokens, config.max_position_embeddings)
        self.batch_size = batch_size
        prompted = f"; prompt {self._prompt!r}" if self._is_prompted else ""
        self.spec = EncoderSpec(
            name=name,
            version=VERSION,
            side="text",
            outputs={
                _text_output(layer, span): Output(config.hidden_size, 0 if span == "prompted-last" else None)
                for layer in self._layers
                for span in self._spans
            },
            weights_sha256=sha256,
            preprocessing=(
                f"{self._tokenizer.path.name}, BOS, at most {max_tokens} tokens, padded to multiples of {PAD_TO}; "
                f"LLaMA in {self._dtype}{prompted}; {parts}"
            ),
            sampling="",
            batch=f"({batch_size}, n_tokens)",
            threads=threads,
        )

    def load(self) -> None:
        """Read the weights of the LLaMA, as deep as the layers need it."""
        import torch

        torch.set_num_threads(self.spec.threads)
        dtype = getattr(torch, self._dtype)
        with naming_sources(self._key, self._pretrained, self._paths):
            self._llama = Llama(self._paths["llama"], layers=self._layers, device=self._device, dtype=dtype)

    @property
    def _is_prompted(self) -> bool:
        return any(span.startswith("prompted") for span in self._spans)

    def _checked_max_tokens(self, max_tokens: int, context: int) -> int:
        around = len(self._tokenizer.ids(self._prompt.replace("{caption}", ""))) if self._is_prompted else 0
        least = around + 2
        if type(max_tokens) is not int or not least <= max_tokens <= context:
            raise ParamsError(
                f"encoders.{self._key}: max_tokens is {max_tokens!r}; a whole number from {least} (BOS, the prompt and "
                f"one token of the caption) to {context} (the LLaMA's places) is expected."
            )
        return max_tokens

    def prepare(self, item: str) -> Array:
        """A caption -> one record of token ids: `caption` and `prompted`, empty where the span isn't wanted."""
        alone = self._ids("{caption}", item) if "caption" in self._spans else []
        prompted = self._ids(self._prompt, item) if self._is_prompted else []
        return record(caption=np.array(alone, np.int64), prompted=np.array(prompted, np.int64))

    def _ids(self, template: str, caption: str) -> list[int]:
        """BOS and the tokens of the whole text. If they are too many, the caption's end goes and the prompt stays."""
        while True:
            ids = [self._tokenizer.bos, *self._tokenizer.ids(template.replace("{caption}", caption))]
            if len(ids) <= self._max_tokens:
                return ids
            caption = caption[: min(len(caption) - 1, len(caption) * self._max_tokens // len(ids))]

    def bucket(self, prepared: Array) -> tuple[int, int]:
        """The padded lengths."""
        return padded(len(prepared["caption"])), padded(len(prepared["prompted"]))

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Every output of each caption, without padding."""
        results: list[dict[str, Float32Array]] = [{} for _ in batch]
        for field in ("caption", "prompted"):
            spans = [span for span in self._spans if span.startswith(field)]
            if not spans:
                continue
            for layer, states in self._states([prepared[field] for prepared in batch]).items():
                for prepared, result, sequence in zip(batch, results, arrays(states[: len(batch)]), strict=True):
                    own = sequence[: len(prepared[field])]
                    for span in spans:
                        result[_text_output(layer, span)] = (own[-1] if span == "prompted-last" else own).copy()
        return results

    def _states(self, sequences: Sequence[IntArray]) -> "dict[int, Tensor]":
        """States of each layer, (batch, padded length, dim)."""
        import torch

        ids = np.zeros((self.batch_size, padded(len(sequences[0]))), dtype=np.int64)
        for position, sequence in enumerate(sequences):
            ids[position, : len(sequence)] = sequence
        with torch.inference_mode():
            return self._llama.states(self._llama.embed(torch.from_numpy(ids)))


def _text_output(layer: int, span: str) -> str:
    return f"layer-{layer}" if span == "caption" else f"layer-{layer}.{span}"

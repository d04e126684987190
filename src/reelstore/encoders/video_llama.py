"""Video-LLaMA: a video's tokens before its LLaMA, a video's and a caption's states inside it.

Weights: DAMO-NLP-SG's Video-LLaMA (with Vicuna v0) and Video-LLaMA-2 (with Llama-2-chat), both in 7B and 13B.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.video_llama_files import (
    MODELS,
    SLOT,
    check_pairing,
    digest,
    digests,
    find_weights,
    naming_sources,
)
from reelstore.encoders.video_llama_language import Llama, Tokenizer, check_layers, read_config
from reelstore.encoders.video_llama_vision import load_vision, normalised
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError
from reelstore.records import Frames

VERSION = 1
PAD_TO = 16
"""Sequences are padded to the next multiple, by their own length alone, so that their neighbours change nothing."""
CAPTION_PROMPT = 'This sentence: "{caption}" means in one word:'
VIDEO_SPANS = ("sequence", "video", "last")
TEXT_SPANS = ("caption", "prompted", "prompted-last")


class VideoLlamaVideo:
    """Frames -> `tokens`, the video as it goes into the LLaMA, and its states after chosen layers.

    Outputs: `tokens` (32, dim); for each layer and span `layer-24.sequence` (the whole prompt, ragged),
    `layer-24.video` (the 32 places of the video) and `layer-24.last` (the last token, one embedding). Layers: 0 is what
    goes in, the last one comes after the final norm. All come out of one pass; without layers the LLaMA isn't opened,
    and what the prompt says after the video isn't run for the span `video` alone.

    Args:
        name: registry name.
        weights: paths of `eva_vit`, `qformer` and `finetune`, and of the folder `llama` if there are layers; the latter
            may be a hub repository with its commit, `owner/name@<40 digits>`.
        layers: after which blocks of the LLaMA.
        spans: of `sequence`, `video`, `last`.
        prompt: text around the video; `<ImageHere>` once, `{n_frames}` and `{seconds}` as wanted. None takes the
            model's.
        sampling: policy by name, of those with a number of frames; the original's is `uniform_distinct`.
        n_frames: frames of a video, at most as many as the weights have positions for (32).
        sizes: what unpublished weights don't say of themselves, see `video_llama_vision.Sizes`.
        dtype: `auto` is float32 on a CPU; on a GPU float16 for the ViT and bfloat16 for the LLaMA, as published.
        batch_size: videos in a batch; its shape is fixed, missing ones are zeros.
        device: where it runs.
        threads: CPU threads.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: Mapping[str, str] | None = None,
        layers: Sequence[int] = (),
        spans: Sequence[str] = ("video",),
        prompt: str | None = None,
        sampling: str = "uniform_distinct",
        n_frames: int = 8,
        sizes: Mapping[str, int] | None = None,
        dtype: str = "auto",
        batch_size: int = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        self._key = f"video/{name}"
        _check_list(self._key, "layers", layers)
        _check_names(self._key, "spans", spans, VIDEO_SPANS)
        self._spans = tuple(spans)
        model = MODELS[name]
        self._prompt = _checked_prompt(self._key, model.prompt if prompt is None else prompt, SLOT)
        if self._spans == ("video",):
            self._prompt = self._prompt.partition(SLOT)[0] + SLOT  # its places don't see what comes after them
        self._device = resolve_device(device)
        vision_dtype, llama_dtype = _dtypes(self._key, dtype, self._device)
        roles = ("eva_vit", "qformer", "finetune", *(("llama",) if layers else ()))
        paths = find_weights(self._key, model, weights, roles)
        files = {role: paths[role] for role in roles if role != "llama"}
        with naming_sources(self._key, model, paths):
            if layers:
                # The folder is looked at before gigabytes of the vision branch are.
                config = read_config(paths["llama"])
                check_layers(layers, config, key=self._key)
                self._tokenizer = Tokenizer(paths["llama"], config)
            self._vision = load_vision(files, sizes or {}, device=self._device, dtype=vision_dtype)
        check_pairing(self._key, model, paths, dim=self._vision.dim)
        if type(n_frames) is not int or not 1 <= n_frames <= self._vision.max_frames:
            raise ParamsError(
                f"encoders.{self._key}: n_frames is {n_frames!r}; it must be 1 to {self._vision.max_frames}, since "
                "these weights have no more positions."
            )
        self._llama: Llama | None = None
        if layers:
            with naming_sources(self._key, model, paths):
                self._llama = Llama(paths["llama"], layers=layers, device=self._device, dtype=llama_dtype)
        self.frames: dict[str, Any] = {"policy": sampling, "n_frames": n_frames, "step": None}
        self.frame_size = (self._vision.size, self._vision.size)
        self.batch_size = batch_size
        self.spec = EncoderSpec(
            name=name,
            version=VERSION,
            side="video",
            outputs=self._outputs(),
            weights_sha256=digest(paths),
            preprocessing=self._preprocessing(paths, vision_dtype, llama_dtype),
            sampling=f"{sampling}({n_frames})",
            batch=f"({batch_size}, n_frames, 3, {self._vision.size}, {self._vision.size})",
            threads=threads,
        )

    def _outputs(self) -> dict[str, Output]:
        dim, n_tokens = self._vision.dim, self._vision.n_tokens
        kinds = {"sequence": Output(dim, None), "video": Output(dim, n_tokens), "last": Output(dim, 0)}
        layers = self._llama.layers if self._llama else []
        of_layers = {f"layer-{layer}.{span}": kinds[span] for layer in layers for span in self._spans}
        return {TOKENS: Output(dim, n_tokens), **of_layers}

    def _preprocessing(self, paths: Mapping[str, Path], vision: torch.dtype, llama: torch.dtype) -> str:
        size = self._vision.size
        parts = [
            f"whole frame {size}x{size}, bilinear by swscale from the file's pixel format, by pillow from RGB",
            f"/255, CLIP mean and std, float32; ViT in {_short(vision)}, Q-Formers in float32",
        ]
        if self._llama:
            parts.append(f"LLaMA in {_short(llama)}, padded to multiples of {PAD_TO}; prompt {self._prompt!r}")
        return "; ".join([*parts, digests(paths)])

    def prepare(self, item: Frames) -> npt.NDArray[Any]:
        """Frames -> one record: `pixels` (n_frames, size, size, 3) uint8; the prompt's ids, `before` and `after`."""
        pixels = np.stack([_squeezed(picture, self.frame_size) for picture in item.pixels])
        if len(pixels) > self._vision.max_frames:
            raise ParamsError(f"{self._key}: {len(pixels)} frames; at most {self._vision.max_frames} have a place.")
        before, after = self._prompt_ids(item) if self._llama else ([], [])
        return _record(pixels=pixels, before=np.array(before, np.int64), after=np.array(after, np.int64))

    def _prompt_ids(self, item: Frames) -> tuple[list[int], list[int]]:
        """Both sides are tokens of their own, the first after BOS: the original splits before it looks for tokens."""
        assert self._llama
        text = self._prompt.replace("{n_frames}", str(len(item)))
        if "{seconds}" in text:
            text = text.replace("{seconds}", ", ".join(str(round(float(s), 1)) for s in self._seconds(item)))
        before, after = (self._tokenizer.ids(part) for part in text.split(SLOT))
        n_tokens = 1 + len(before) + self._vision.n_tokens + len(after)
        if n_tokens > self._llama.config.max_position_embeddings:
            raise ParamsError(
                f"{self._key}: prompt and video are {n_tokens} tokens; the LLaMA has places for "
                f"{self._llama.config.max_position_embeddings}."
            )
        return [self._tokenizer.bos, *before], after

    def _seconds(self, item: Frames) -> npt.NDArray[np.float64]:
        """Index by average rate, as the original counts; by their own times for frames that have neither."""
        if item.indices is not None and item.average_fps:
            return item.indices / item.average_fps
        if not np.isfinite(item.pts_seconds).all():
            raise ParamsError(
                f"{self._key}: the prompt tells the LLaMA when each frame is shown, and these frames have no times. "
                "Give encode_frames(…, seconds=…), or a prompt without {seconds}."
            )
        return item.pts_seconds

    def bucket(self, prepared: npt.NDArray[Any]) -> tuple[int, int]:
        """Videos of equally many frames and equally long padded prompts share a batch."""
        return len(prepared["pixels"]), _padded(len(prepared["before"]) + len(prepared["after"]))

    @torch.inference_mode()
    def encode(self, batch: Sequence[npt.NDArray[Any]]) -> list[dict[str, npt.NDArray[np.float32]]]:
        """Every output of each video."""
        pixels = np.zeros((self.batch_size, *batch[0]["pixels"].shape), dtype=np.uint8)
        for position, prepared in enumerate(batch):
            pixels[position] = prepared["pixels"]
        tokens = self._vision(normalised(torch.from_numpy(pixels).to(self._device)))  # (batch, n_tokens, dim)
        results = [{TOKENS: video} for video in _arrays(tokens[: len(batch)])]
        for layer, states in self._states(tokens, batch).items():
            for prepared, result, sequence in zip(batch, results, _arrays(states[: len(batch)]), strict=True):
                start = len(prepared["before"])
                stop = start + self._vision.n_tokens
                end = stop + len(prepared["after"])
                spans = {"sequence": sequence[:end], "video": sequence[start:stop], "last": sequence[end - 1]}
                result |= {f"layer-{layer}.{span}": spans[span].copy() for span in self._spans}
        return results

    def _states(self, tokens: Tensor, batch: Sequence[npt.NDArray[Any]]) -> dict[int, Tensor]:
        """States of the prompts with the videos in them, (batch, padded length, dim) for each layer."""
        if self._llama is None:
            return {}
        n_tokens = self._vision.n_tokens
        ids = np.zeros((self.batch_size, self.bucket(batch[0])[1] + n_tokens), dtype=np.int64)
        for position, prepared in enumerate(batch):
            start, n_after = len(prepared["before"]), len(prepared["after"])
            ids[position, :start] = prepared["before"]
            ids[position, start + n_tokens : start + n_tokens + n_after] = prepared["after"]
        embedded = self._llama.embed(torch.from_numpy(ids))  # (batch, padded length, dim)
        for position, prepared in enumerate(batch):
            start = len(prepared["before"])
            embedded[position, start : start + n_tokens] = tokens[position].to(embedded.dtype)
        return self._llama.states(embedded)


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
        max_tokens: int = 256,
        dtype: str = "auto",
        batch_size: int = 8,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        self._key = f"text/{name}"
        _check_names(self._key, "spans", spans, TEXT_SPANS)
        self._spans = tuple(spans)
        model = MODELS[name]
        self._device = resolve_device(device)
        _, llama_dtype = _dtypes(self._key, dtype, self._device)
        paths = find_weights(self._key, model, weights, ("llama",))
        with naming_sources(self._key, model, paths):
            config = read_config(paths["llama"])
            self._tokenizer = Tokenizer(paths["llama"], config)
        layers = [config.num_hidden_layers] if layers is None else layers
        _check_list(self._key, "layers", layers)
        if not layers:
            raise ParamsError(f"encoders.{self._key}: layers is empty; name at least one.")
        check_layers(layers, config, key=self._key)
        check_pairing(self._key, model, paths, dim=config.hidden_size)
        self._prompt = _checked_prompt(self._key, prompt, "{caption}")
        self._max_tokens = self._checked_max_tokens(max_tokens, config.max_position_embeddings)
        with naming_sources(self._key, model, paths):
            self._llama = Llama(paths["llama"], layers=layers, device=self._device, dtype=llama_dtype)
        self.batch_size = batch_size
        prompted = f"; prompt {self._prompt!r}" if self._is_prompted else ""
        self.spec = EncoderSpec(
            name=name,
            version=VERSION,
            side="text",
            outputs=self._outputs(),
            weights_sha256=digest(paths),
            preprocessing=(
                f"{self._tokenizer.path.name}, BOS, at most {max_tokens} tokens, padded to multiples of {PAD_TO}; "
                f"LLaMA in {_short(llama_dtype)}{prompted}; {digests(paths)}"
            ),
            sampling="",
            batch=f"({batch_size}, n_tokens)",
            threads=threads,
        )

    @property
    def _is_prompted(self) -> bool:
        return any(span.startswith("prompted") for span in self._spans)

    def _outputs(self) -> dict[str, Output]:
        return {
            _text_output(layer, span): Output(self._llama.dim, 0 if span == "prompted-last" else None)
            for layer in self._llama.layers
            for span in self._spans
        }

    def _checked_max_tokens(self, max_tokens: int, context: int) -> int:
        around = len(self._tokenizer.ids(self._prompt.replace("{caption}", ""))) if self._is_prompted else 0
        least = around + 2
        if type(max_tokens) is not int or not least <= max_tokens <= context:
            raise ParamsError(
                f"encoders.{self._key}: max_tokens is {max_tokens!r}; a whole number from {least} (BOS, the prompt and "
                f"one token of the caption) to {context} (the LLaMA's places) is expected."
            )
        return max_tokens

    def prepare(self, item: str) -> npt.NDArray[Any]:
        """A caption -> one record of token ids: `caption` and `prompted`, empty where the span isn't wanted."""
        alone = self._ids("{caption}", item) if "caption" in self._spans else []
        prompted = self._ids(self._prompt, item) if self._is_prompted else []
        return _record(caption=np.array(alone, np.int64), prompted=np.array(prompted, np.int64))

    def _ids(self, template: str, caption: str) -> list[int]:
        """BOS and the tokens of the whole text. If they are too many, the caption's end goes and the prompt stays."""
        while True:
            ids = [self._tokenizer.bos, *self._tokenizer.ids(template.replace("{caption}", caption))]
            if len(ids) <= self._max_tokens:
                return ids
            caption = caption[: min(len(caption) - 1, len(caption) * self._max_tokens // len(ids))]

    def bucket(self, prepared: npt.NDArray[Any]) -> tuple[int, int]:
        """The padded lengths."""
        return _padded(len(prepared["caption"])), _padded(len(prepared["prompted"]))

    @torch.inference_mode()
    def encode(self, batch: Sequence[npt.NDArray[Any]]) -> list[dict[str, npt.NDArray[np.float32]]]:
        """Every output of each caption, without padding."""
        results: list[dict[str, npt.NDArray[np.float32]]] = [{} for _ in batch]
        for field in ("caption", "prompted"):
            spans = [span for span in self._spans if span.startswith(field)]
            if not spans:
                continue
            for layer, states in self._states([prepared[field] for prepared in batch]).items():
                for prepared, result, sequence in zip(batch, results, _arrays(states[: len(batch)]), strict=True):
                    own = sequence[: len(prepared[field])]
                    for span in spans:
                        result[_text_output(layer, span)] = (own[-1] if span == "prompted-last" else own).copy()
        return results

    def _states(self, sequences: Sequence[npt.NDArray[np.int64]]) -> dict[int, Tensor]:
        """States of each layer, (batch, padded length, dim)."""
        ids = np.zeros((self.batch_size, _padded(len(sequences[0]))), dtype=np.int64)
        for position, sequence in enumerate(sequences):
            ids[position, : len(sequence)] = sequence
        return self._llama.states(self._llama.embed(torch.from_numpy(ids)))


def _text_output(layer: int, span: str) -> str:
    return f"layer-{layer}" if span == "caption" else f"layer-{layer}.{span}"


def _padded(length: int) -> int:
    return -(-length // PAD_TO) * PAD_TO


def _record(**fields: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Arrays of several kinds as one, so that an item stays one array."""
    record = np.zeros((), dtype=[(name, values.dtype, values.shape) for name, values in fields.items()])
    for name, values in fields.items():
        record[name] = values
    return record


def _squeezed(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The whole picture at another size; as the decoder gives them they have it already."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))


def _arrays(values: Tensor) -> npt.NDArray[np.float32]:
    """NumPy has no bfloat16."""
    return values.float().cpu().numpy()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtypes(key: str, dtype: str, device: str) -> tuple[torch.dtype, torch.dtype]:
    """Of the ViT and of the LLaMA."""
    if dtype == "auto":
        return (torch.float32, torch.float32) if torch.device(device).type == "cpu" else (torch.float16, torch.bfloat16)
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ParamsError(f"encoders.{key}: dtype is {dtype!r}; it must be auto, float32, float16 or bfloat16.")
    named: torch.dtype = getattr(torch, dtype)
    return named, named


def _check_list(key: str, option: str, values: object) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ParamsError(f"encoders.{key}: {option} is {values!r}; a list is expected.")


def _check_names(key: str, option: str, values: Sequence[str], known: Sequence[str]) -> None:
    _check_list(key, option, values)
    for value in values:
        if value not in known:
            raise ParamsError(f"encoders.{key}: {option} has {value!r}. Known: {', '.join(known)}.")
    if not values or len(set(values)) < len(values):
        raise ParamsError(f"encoders.{key}: {option} is {list(values)}; each at most once, and at least one.")


def _checked_prompt(key: str, prompt: str, slot: str) -> str:
    if not isinstance(prompt, str) or prompt.count(slot) != 1:
        raise ParamsError(f"encoders.{key}: prompt is {prompt!r}; a text with {slot} in it, once, is expected.")
    return prompt

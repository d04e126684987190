"""Video-LLaMA, videos: their tokens before its LLaMA, and their states inside it.

Weights: DAMO-NLP-SG's Video-LLaMA (with Vicuna v0) and Video-LLaMA-2 (with Llama-2-chat), both in 7B and 13B.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reelstore.arrays import Array, Float32Array, Float64Array, UInt8Array
from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.video_llama_files import (
    MODELS,
    SLOT,
    TEMPLATE,
    check_pairing,
    digest,
    digests,
    find_weights,
    naming_sources,
)
from reelstore.encoders.video_llama_language import Llama, Tokenizer, check_layers, read_config
from reelstore.encoders.video_llama_options import (
    PAD_TO,
    VERSION,
    arrays,
    check_list,
    check_names,
    checked_prompt,
    dtypes,
    padded,
    record,
    short,
)
from reelstore.encoders.video_llama_vision import load_vision, normalised
from reelstore.encoders.weights import resolve_device
from reelstore.errors import ParamsError
from reelstore.records import Frames

VIDEO_SPANS = ("sequence", "video", "last")


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
        prompt: name of one of the model's prompts, `template` (also for None), `demo` or `demo-audiovideo`; or a text
            around the video: `<ImageHere>` once, `{n_frames}` and `{seconds}` as wanted.
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
        check_list(self._key, "layers", layers)
        check_names(self._key, "spans", spans, VIDEO_SPANS)
        self._spans = tuple(spans)
        model = MODELS[name]
        self._prompt = checked_prompt(self._key, TEMPLATE if prompt is None else prompt, SLOT, model.prompts)
        if self._spans == ("video",):
            self._prompt = self._prompt.partition(SLOT)[0] + SLOT  # its places don't see what comes after them
        self._device = resolve_device(device)
        vision_dtype, llama_dtype = dtypes(self._key, dtype, self._device)
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
            f"/255, CLIP mean and std, float32; ViT in {short(vision)}, Q-Formers in float32",
        ]
        if self._llama:
            parts.append(f"LLaMA in {short(llama)}, padded to multiples of {PAD_TO}; prompt {self._prompt!r}")
        return "; ".join([*parts, digests(paths)])

    def prepare(self, item: Frames) -> Array:
        """Frames -> one record: `pixels` (n_frames, size, size, 3) uint8; the prompt's ids, `before` and `after`."""
        pixels = np.stack([_squeezed(picture, self.frame_size) for picture in item.pixels])
        if len(pixels) > self._vision.max_frames:
            raise ParamsError(f"{self._key}: {len(pixels)} frames; at most {self._vision.max_frames} have a place.")
        before, after = self._prompt_ids(item) if self._llama else ([], [])
        return record(pixels=pixels, before=np.array(before, np.int64), after=np.array(after, np.int64))

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

    def _seconds(self, item: Frames) -> Float64Array:
        """Index by average rate, as the original counts; by their own times for frames that have neither."""
        if item.indices is not None and item.average_fps:
            return item.indices / item.average_fps
        if not np.isfinite(item.pts_seconds).all():
            raise ParamsError(
                f"{self._key}: the prompt tells the LLaMA when each frame is shown, and these frames have no times. "
                "Give encode_frames(…, seconds=…), or a prompt without {seconds}."
            )
        return item.pts_seconds

    def bucket(self, prepared: Array) -> tuple[int, int]:
        """Videos of equally many frames and equally long padded prompts share a batch."""
        return len(prepared["pixels"]), padded(len(prepared["before"]) + len(prepared["after"]))

    @torch.inference_mode()
    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Every output of each video."""
        pixels = np.zeros((self.batch_size, *batch[0]["pixels"].shape), dtype=np.uint8)
        for position, prepared in enumerate(batch):
            pixels[position] = prepared["pixels"]
        tokens = self._vision(normalised(torch.from_numpy(pixels).to(self._device)))  # (batch, n_tokens, dim)
        results = [{TOKENS: video} for video in arrays(tokens[: len(batch)])]
        for layer, states in self._states(tokens, batch).items():
            for prepared, result, sequence in zip(batch, results, arrays(states[: len(batch)]), strict=True):
                start = len(prepared["before"])
                stop = start + self._vision.n_tokens
                end = stop + len(prepared["after"])
                spans = {"sequence": sequence[:end], "video": sequence[start:stop], "last": sequence[end - 1]}
                result |= {f"layer-{layer}.{span}": spans[span].copy() for span in self._spans}
        return results

    def _states(self, tokens: Tensor, batch: Sequence[Array]) -> dict[int, Tensor]:
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


def _squeezed(picture: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """The whole picture at another size; as the decoder gives them they have it already."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))

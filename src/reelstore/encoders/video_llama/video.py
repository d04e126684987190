"""Video-LLaMA, videos: their tokens before its LLaMA, and their states inside it.

Weights: DAMO-NLP-SG's Video-LLaMA (with Vicuna v0) and Video-LLaMA-2 (with Llama-2-chat), both in 7B and 13B.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from reelstore.arrays import Array, Float32Array, Float64Array, UInt8Array
from reelstore.encoders.base import TOKENS, EncoderSpec, Output
from reelstore.encoders.limits import BatchSize, FrameCount
from reelstore.encoders.video_llama.files import (
    MODELS,
    SLOT,
    TEMPLATE,
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
from reelstore.records import Frames

if TYPE_CHECKING:
    from torch import Tensor

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
        sizes: what unpublished weights don't say of themselves, see `video_llama.vision.Sizes`.
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
        n_frames: FrameCount = 8,
        sizes: Mapping[str, int] | None = None,
        dtype: str = "auto",
        batch_size: BatchSize = 1,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        from reelstore.encoders.video_llama.vision import open_vision

        self._key = f"video/{name}"
        check_list(self._key, "layers", layers)
        check_names(self._key, "spans", spans, VIDEO_SPANS)
        self._spans = tuple(spans)
        self._pretrained = model = MODELS[name]
        self._prompt = checked_prompt(self._key, TEMPLATE if prompt is None else prompt, SLOT, model.prompts)
        if self._spans == ("video",):
            self._prompt = self._prompt.partition(SLOT)[0] + SLOT  # its places don't see what comes after them
        self._device = resolve_device(device)
        self._vision_dtype, self._llama_dtype = dtypes(self._key, dtype, self._device)
        roles = ("eva_vit", "qformer", "finetune", *(("llama",) if layers else ()))
        self._paths = paths = find_weights(self._key, model, weights, roles)
        self._layers = sorted(set(layers))
        with naming_sources(self._key, model, paths):
            if layers:
                self._config = read_config(paths["llama"])
                check_layers(layers, self._config, key=self._key)
                self._tokenizer = Tokenizer(paths["llama"], self._config)
            self._files = files = open_vision({role: paths[role] for role in roles if role != "llama"}, sizes or {})
            dim, size = files.dim, files.size
            self._n_tokens, self._max_frames = files.n_tokens, files.max_frames
            sha256, parts = digest(paths), digests(paths)
        check_pairing(self._key, model, paths, dim=dim)
        if type(n_frames) is not int or not 1 <= n_frames <= self._max_frames:
            raise ParamsError(
                f"encoders.{self._key}: n_frames is {n_frames!r}; it must be 1 to {self._max_frames}, since "
                "these weights have no more positions."
            )
        self.frames: dict[str, Any] = {"policy": sampling, "n_frames": n_frames, "step": None}
        self.frame_size = (size, size)
        self.batch_size = batch_size
        self.spec = EncoderSpec(
            name=name,
            version=VERSION,
            side="video",
            outputs=self._outputs(dim),
            weights_sha256=sha256,
            preprocessing=self._preprocessing(size, parts),
            sampling=f"{sampling}({n_frames})",
            batch=f"({batch_size}, n_frames, 3, {size}, {size})",
            threads=threads,
        )

    def load(self) -> None:
        """Read the weights: of the vision branch, and of the LLaMA where there are layers."""
        import torch

        from reelstore.encoders.video_llama.vision import build_vision

        torch.set_num_threads(self.spec.threads)
        with naming_sources(self._key, self._pretrained, self._paths):
            self._vision = build_vision(self._files, device=self._device, dtype=getattr(torch, self._vision_dtype))
            if self._layers:
                dtype = getattr(torch, self._llama_dtype)
                self._llama = Llama(self._paths["llama"], layers=self._layers, device=self._device, dtype=dtype)

    def _outputs(self, dim: int) -> dict[str, Output]:
        kinds = {"sequence": Output(dim, None), "video": Output(dim, self._n_tokens), "last": Output(dim, 0)}
        of_layers = {f"layer-{layer}.{span}": kinds[span] for layer in self._layers for span in self._spans}
        return {TOKENS: Output(dim, self._n_tokens), **of_layers}

    def _preprocessing(self, size: int, digests: str) -> str:
        parts = [
            f"whole frame {size}x{size}, bilinear by swscale from the file's pixel format, by pillow from RGB",
            f"/255, CLIP mean and std, float32; ViT in {self._vision_dtype}, Q-Formers in float32",
        ]
        if self._layers:
            parts.append(f"LLaMA in {self._llama_dtype}, padded to multiples of {PAD_TO}; prompt {self._prompt!r}")
        return "; ".join([*parts, digests])

    def prepare(self, item: Frames) -> Array:
        """Frames -> one record: `pixels` (n_frames, size, size, 3) uint8; the prompt's ids, `before` and `after`."""
        pixels = np.stack([_squeezed(picture, self.frame_size) for picture in item.pixels])
        if len(pixels) > self._max_frames:
            raise ParamsError(f"{self._key}: {len(pixels)} frames; at most {self._max_frames} have a place.")
        before, after = self._prompt_ids(item) if self._layers else ([], [])
        return record(pixels=pixels, before=np.array(before, np.int64), after=np.array(after, np.int64))

    def _prompt_ids(self, item: Frames) -> tuple[list[int], list[int]]:
        """Both sides are tokens of their own, the first after BOS: the original splits before it looks for tokens."""
        text = self._prompt.replace("{n_frames}", str(len(item)))
        if "{seconds}" in text:
            text = text.replace("{seconds}", ", ".join(str(round(float(s), 1)) for s in self._seconds(item)))
        before, after = (self._tokenizer.ids(part) for part in text.split(SLOT))
        n_tokens = 1 + len(before) + self._n_tokens + len(after)
        if n_tokens > self._config.max_position_embeddings:
            raise ParamsError(
                f"{self._key}: prompt and video are {n_tokens} tokens; the LLaMA has places for "
                f"{self._config.max_position_embeddings}."
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

    def encode(self, batch: Sequence[Array]) -> list[dict[str, Float32Array]]:
        """Every output of each video."""
        import torch

        from reelstore.encoders.video_llama.vision import normalised

        pixels = np.zeros((self.batch_size, *batch[0]["pixels"].shape), dtype=np.uint8)
        for position, prepared in enumerate(batch):
            pixels[position] = prepared["pixels"]
        with torch.inference_mode():
            tokens = self._vision(normalised(torch.from_numpy(pixels).to(self._device)))  # (batch, n_tokens, dim)
            states_of = self._states(tokens, batch)
        results = [{TOKENS: video} for video in arrays(tokens[: len(batch)])]
        for layer, states in states_of.items():
            for prepared, result, sequence in zip(batch, results, arrays(states[: len(batch)]), strict=True):
                start = len(prepared["before"])
                stop = start + self._n_tokens
                end = stop + len(prepared["after"])
                spans = {"sequence": sequence[:end], "video": sequence[start:stop], "last": sequence[end - 1]}
                result |= {f"layer-{layer}.{span}": spans[span].copy() for span in self._spans}
        return results

    def _states(self, tokens: "Tensor", batch: Sequence[Array]) -> "dict[int, Tensor]":
        """States of the prompts with the videos in them, (batch, padded length, dim) for each layer."""
        import torch

        if not self._layers:
            return {}
        n_tokens = self._n_tokens
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

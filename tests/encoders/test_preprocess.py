"""Pixels are those of transformers' Pillow processors, to the bit; what a file leaves open is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import HALF, IMAGENET

from reelstore.encoders.preprocess import read_preprocessing
from reelstore.errors import WeightsError

SIZES = [(90, 120), (120, 90), (33, 301), (32, 32), (17, 23), (480, 270)]


def write(folder: Path, settings: dict[str, Any], *, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(settings))
    return folder


def frames(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def processors() -> list[Any]:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    cropped = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    return [
        CLIPImageProcessorPil(**cropped),
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, resample=1),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2, do_normalize=False),
        VideoMAEImageProcessorPil(**cropped, **IMAGENET),
    ]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_those_of_the_library_s_processor(number: int, size: tuple[int, int], tmp_path: Path) -> None:
    processor = processors()[number]
    processor.save_pretrained(tmp_path)
    ours = read_preprocessing(tmp_path, image_size=32)(frames(*size))
    theirs = np.asarray(processor(list(frames(*size)), return_tensors="np")["pixel_values"]).reshape(ours.shape)
    assert ours.dtype == np.float32
    assert np.array_equal(ours, theirs)


def test_a_file_from_before_names_of_sizes_is_read(tmp_path: Path) -> None:
    """As the first CLIP checkpoints have it: plain numbers, no do_rescale."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "do_resize": True, **IMAGENET}
    ours = read_preprocessing(write(tmp_path, {**old, "do_center_crop": True, "resample": 3}), image_size=32)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, **IMAGENET)
    theirs = processor(list(frames(50, 70)), return_tensors="np")["pixel_values"]
    assert np.array_equal(ours(frames(50, 70)), theirs)


@pytest.mark.parametrize("number", [0, 2, 4])
def test_what_a_file_leaves_out_is_the_library_s_default(number: int, tmp_path: Path) -> None:
    processor = processors()[number]
    said = processor.to_dict()
    kept = ("image_processor_type", "size", "crop_size", "image_mean", "image_std")
    ours = read_preprocessing(write(tmp_path, {name: said[name] for name in kept if said.get(name)}), image_size=32)
    theirs = np.asarray(processor(list(frames(50, 70)), return_tensors="np")["pixel_values"])
    assert np.array_equal(ours(frames(50, 70)), theirs.reshape(3, 3, 32, 32))


SETTINGS: dict[str, Any] = {
    "image_processor_type": "VideoMAEImageProcessor",
    "do_center_crop": True,
    "resample": 2,
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    **IMAGENET,
}


def test_settings_inside_a_processor_file_are_found(tmp_path: Path) -> None:
    expected = read_preprocessing(write(tmp_path, SETTINGS), image_size=32)
    (tmp_path / "preprocessor_config.json").unlink()
    write(tmp_path, {"image_processor": SETTINGS, "processor_class": "XCLIPProcessor"}, name="processor_config.json")
    assert read_preprocessing(tmp_path, image_size=32) == expected


def test_mean_and_spread_are_never_guessed(tmp_path: Path) -> None:
    bare = {name: value for name, value in SETTINGS.items() if not name.startswith("image_m")}
    with pytest.raises(WeightsError, match="doesn't say image_mean"):
        read_preprocessing(write(tmp_path, bare), image_size=32)


def test_a_processor_that_is_not_known_must_say_everything(tmp_path: Path) -> None:
    unknown = {**SETTINGS, "image_processor_type": "OtherImageProcessor"}
    read_preprocessing(write(tmp_path, unknown), image_size=32)
    del unknown["resample"]
    with pytest.raises(WeightsError, match=r"doesn't say resample \(OtherImageProcessor\)"):
        read_preprocessing(write(tmp_path, unknown), image_size=32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_pad": True}, "do_pad is True"),
        ({"offset": True}, "offset is True"),
        ({"rescale_offset": True}, "rescale_offset is True"),
        ({"crop_pct": 0.875}, r"crop_pct is 0\.875"),
        ({"size_divisor": 32}, "size_divisor is 32"),
        ({"image_processor_type": "VivitImageProcessor"}, "is of a VivitImageProcessor, whose arithmetic"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "is of a ConvNextImageProcessor"),
        ({"image_processor_type": "LevitImageProcessor"}, "is of a LevitImageProcessor"),
        ({"image_processor_type": "EfficientNetImageProcessor"}, "is of a EfficientNetImageProcessor"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "is of a Siglip2ImageProcessor"),
        ({"do_resize": False}, "do_resize is False"),
        ({"do_rescale": False}, "do_rescale is False"),
        ({"do_center_crop": False}, "crops nothing"),
        ({"size": {"shortest_edge": 20}}, "don't fill it"),
        ({"size": {"shortest_edge": 20, "longest_edge": 40}}, "isn't known here"),
        ({"crop_size": {"height": 30, "width": 30}}, r"pictures of \(30, 30\).*takes \(32, 32\)"),
    ],
)
def test_what_would_give_other_pixels_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        read_preprocessing(write(tmp_path, {**SETTINGS, **change}), image_size=32)


def test_a_checkpoint_without_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no preprocessor settings"):
        read_preprocessing(tmp_path, image_size=32)


def test_its_words_tell_settings_apart(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"resample": 3},
        HALF,
        {"size": {"shortest_edge": 36}},
        {"rescale_factor": 0.01},
    ]
    words = {str(read_preprocessing(write(tmp_path, {**SETTINGS, **change}), image_size=32)) for change in changes}
    assert len(words) == len(changes)

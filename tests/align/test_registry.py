"""Settings that can't be right are refused before anything is fitted, and files that aren't an aligner when loaded."""

import json

import numpy as np
import pytest

from reelstore.align.registry import all_settings, load_aligner, make_aligner
from reelstore.errors import AlignerError, ParamsError, UnknownNameError


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"Unknown aligner 'deep'\. Known: .*mlp, procrustes, ridge"):
        make_aligner({"kind": "deep"})


def test_an_unknown_setting_names_the_known_ones():
    with pytest.raises(ParamsError, match=r"learning_rate is unknown\. Known: kind, video, text, .*lr"):
        make_aligner({"kind": "mlp", "learning_rate": 1})


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": "fast"},
        {"lr": 0},
        {"dim": 8.5},
        {"hidden": 0},
        {"seed": True},
        {"seed": -1},
        {"dropout": 1.0},
        {"max_epochs": 0},
        {"batch_size": 1},
        {"temperature": 0},
        {"patience": -1},
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused_by_name(settings):
    with pytest.raises(ParamsError, match=next(iter(settings))):
        make_aligner({"kind": "mlp", **settings})


@pytest.mark.parametrize("alphas", [[], [0], [-1, 1], ["a"], 3], ids=str)
def test_alphas_are_positive_numbers(alphas):
    with pytest.raises(ParamsError, match="alphas"):
        make_aligner({"kind": "ridge", "alphas": alphas})


def test_settings_name_the_variant_of_each_side():
    assert make_aligner({"kind": "ridge", "video": "max"})[1] == {"video": "max", "text": "mean"}


def test_all_settings_adds_the_defaults():
    settings = all_settings({"kind": "mlp", "lr": 0.1})
    assert settings["lr"] == 0.1 and settings["widths"] == [512, 256] and settings["video"] == "mean"


def save(folder, *, settings, tensors):
    from safetensors.numpy import save_file

    about = {"version": 2, "kind": settings["kind"], "settings": settings, "pooling": {}, "data": {}}
    (folder / "aligner.json").write_text(json.dumps(about))
    save_file(tensors, folder / "aligner.safetensors")


@pytest.mark.parametrize("kind", ["mlp", "ridge", "unaligned"])
def test_tensors_of_something_else_are_refused(tmp_path, kind):
    save(tmp_path, settings={"kind": kind}, tensors={"weight": np.ones((2, 3), dtype=np.float32)})
    with pytest.raises(AlignerError, match=f"aren't those of a {kind} aligner"):
        load_aligner(tmp_path)


def test_towers_of_another_shape_are_refused(towers, context, validate, tmp_path):
    aligner, _ = make_aligner({"kind": "mlp", "widths": [8, 4], "max_epochs": 1})
    aligner.fit(towers.part(0, 90), towers.part(90, 120), validate=validate, context=context)
    save(tmp_path, settings={"kind": "mlp", "widths": [9, 4]}, tensors=aligner.tensors())
    with pytest.raises(AlignerError, match="aren't those of a mlp aligner"):
        load_aligner(tmp_path)


@pytest.mark.parametrize("name", ["aligner.json", "aligner.safetensors"])
def test_a_damaged_file_is_a_clear_error(tmp_path, name):
    save(tmp_path, settings={"kind": "unaligned"}, tensors={"widths": np.ones(2, dtype=np.float32)})
    (tmp_path / name).write_bytes(b"\x00" * 20)
    with pytest.raises(AlignerError, match="can't be read"):
        load_aligner(tmp_path)

"""`reelstore.fit`: arrays, tensors and rows of a store give one aligner; what doesn't fit is one line."""

import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reelstore
from reelstore.errors import AlignerError, EmbeddingsError, ParamsError, ReelstoreError, UnknownNameError
from reelstore.store.open import Store
from reelstore.store.pairs import PairedVariants

CLOSED = ("unaligned", "procrustes", "ridge", "cca", "kernel-ridge", "asif", "ensemble")
QUIET = {"max_epochs": 2, "trainer": {"enable_progress_bar": False}}
TRAINED: dict[str, dict[str, Any]] = {
    "mlp": {**QUIET, "widths": [8]},
    "cca-infonce": {**QUIET, "dims": [4]},
    "transformer": {**QUIET, "width": 8, "dim": 4, "n_layers": 1, "n_heads": 2, "feedforward": 8},
    "attention-pool": {**QUIET, "widths": [8]},
}
RNG = np.random.default_rng(0)
MEANING = RNG.normal(size=(160, 6))
OF = np.repeat(np.arange(160), 2)
VIDEO = (MEANING @ RNG.normal(size=(6, 20)) + 0.1 * RNG.normal(size=(160, 20))).astype("float32")
TEXT = (MEANING[OF] @ RNG.normal(size=(6, 14)) + 0.1 * RNG.normal(size=(320, 14))).astype("float32")
TOKENS = [RNG.normal(size=(1 + number % 3, 14)).astype("float32") + row for number, row in enumerate(TEXT)]
TRAIN = {"text": TEXT[:240], "video": VIDEO[:120], "video_of_caption": OF[:240]}
OTHERS = {"text": TEXT[240:], "video": VIDEO[120:], "video_of_caption": OF[240:] - 120}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = reelstore.open(tmp_path_factory.mktemp("stores") / "mine", create=True)
    ids = [f"v{number}" for number in range(160)]
    splits = ["train" if number < 120 else "test" for number in range(160)]
    store.write("video/clip/mean", ids, VIDEO, splits=splits)
    keys = [(ids[of], number % 2) for number, of in enumerate(OF)]
    store.write("text/clip/mean", keys, TEXT)
    store.write("text/clip/tokens", keys, TOKENS)
    store.write("video/clip/tokens", ids, np.stack([VIDEO, -VIDEO], axis=1), splits=splits)
    return store


def recall(aligner: Any, of: dict[str, Any] = OTHERS) -> float:
    found = reelstore.evaluate(
        text=aligner.transform(text=of["text"]),
        video=aligner.transform(video=of["video"]),
        video_of_caption=of["video_of_caption"],
    )
    return float(found.metrics["t2v"]["R@01"])


@pytest.mark.parametrize("kind", [*CLOSED, "mlp", "cca-infonce"])
def test_arrays_tensors_and_rows_give_one_aligner(store: Store, kind: str) -> None:
    train, test = (store.pairs("video/clip/mean", "text/clip/mean", split=name) for name in ("train", "test"))
    settings = TRAINED.get(kind, {})
    fitted = [
        reelstore.fit(kind, **TRAIN, validation=OTHERS, **settings),
        reelstore.fit(
            kind,
            text=torch.from_numpy(TEXT[:240]),
            video=torch.from_numpy(VIDEO[:120]),
            video_of_caption=torch.from_numpy(OF[:240]),
            validation={**OTHERS, "video": OTHERS["video"].astype("float64")},
            **settings,
        ),
        reelstore.fit(kind, **sides(train), validation=test, **settings),
    ]
    expected = fitted[0].transform(video=VIDEO)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)
    for other in fitted[1:]:
        np.testing.assert_array_equal(other.transform(video=VIDEO), expected)
        np.testing.assert_array_equal(other.transform(text=torch.from_numpy(TEXT)), fitted[0].transform(text=TEXT))
    np.testing.assert_array_equal(fitted[2].transform(video=store["video/clip/mean"]), expected)
    assert recall(fitted[0]) > (0.9 if kind in CLOSED and kind not in ("unaligned", "asif") else -1)
    assert "validation_MRR" in fitted[0].history[-1]


@pytest.mark.parametrize("kind", ["transformer", "attention-pool"])
def test_tokens_in_memory_and_in_a_store_give_one_aligner(store: Store, kind: str) -> None:
    train, test = (store.pairs("video/clip/tokens", "text/clip/tokens", split=name) for name in ("train", "test"))
    video = torch.from_numpy(np.stack([VIDEO, -VIDEO], axis=1))
    flat = np.concatenate(TOKENS[:240]), np.cumsum([0, *map(len, TOKENS[:240])])
    validation = {**OTHERS, "text": TOKENS[240:], "video": video[120:]}
    fitted = [reelstore.fit(kind, **sides(train), validation=test, **TRAINED[kind])]
    for text in (TOKENS[:240], flat):
        given = {**TRAIN, "text": text, "video": video[:120]}
        fitted.append(reelstore.fit(kind, **given, validation=validation, **TRAINED[kind]))
    expected = fitted[0].transform(text=store["text/clip/tokens"])
    for aligner in fitted:
        np.testing.assert_array_equal(aligner.transform(text=TOKENS), expected)
        assert aligner.transform(video=video).shape == (160, expected.shape[1])


def sides(pairs: PairedVariants) -> dict[str, Any]:
    return {"text": pairs.text, "video": pairs.video, "video_of_caption": pairs.video_of_caption}


def test_ridge_is_scikit_learns_ridge_of_the_mean_caption() -> None:
    from sklearn.linear_model import Ridge

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    aligner = reelstore.fit("ridge", **TRAIN, validation=OTHERS, alphas=[2.0], preprocess=["unit"])
    x, captions = unit(VIDEO[:120].astype("float64")), unit(TEXT[:240].astype("float64"))
    y = unit(captions.reshape(120, 2, -1).mean(axis=1))
    alpha = 2.0 * np.trace(x.T @ x) / 20
    model = Ridge(alpha=alpha, fit_intercept=False).fit(x, y)
    expected = unit(model.predict(unit(VIDEO.astype("float64"))))
    np.testing.assert_allclose(aligner.transform(video=VIDEO), expected, atol=1e-4)


@pytest.mark.parametrize("kind", [*CLOSED, "mlp", "cca-infonce"])
def test_a_saved_aligner_is_loaded_as_it_was(tmp_path: Path, kind: str) -> None:
    aligner = reelstore.fit(kind, **TRAIN, **TRAINED.get(kind, {}))
    aligner.save(tmp_path / "model")
    again = reelstore.load_aligner(tmp_path / "model")
    for side, values in (("video", VIDEO), ("text", TEXT)):
        np.testing.assert_array_equal(again.transform(**{side: values}), aligner.transform(**{side: values}))
    assert (again.kind, again.digest) == (kind, aligner.digest)


def test_without_validation_some_videos_are_held_out_by_the_seed() -> None:
    lines: list[str] = []
    one, again, other = (reelstore.fit("ridge", **TRAIN, seed=seed, echo=lines.append) for seed in (0, 0, 1))
    assert lines == 3 * ["12 of 120 videos are held out for validation."]
    assert one.digest == again.digest != other.digest
    with pytest.raises(AlignerError, match="too few to hold some out"):
        reelstore.fit("ridge", text=TEXT[:3], video=VIDEO[:3])


def test_captions_may_be_left_without_owners_where_each_video_has_one() -> None:
    of_one = reelstore.fit("ridge", text=TEXT[:240:2], video=VIDEO[:120])
    assert (
        of_one.digest
        == reelstore.fit("ridge", text=TEXT[:240:2], video=VIDEO[:120], video_of_caption=range(120)).digest
    )


def test_a_trained_kind_learns_and_reports_each_epoch() -> None:
    seen: list[Any] = []
    lines: list[str] = []
    aligner = reelstore.fit(
        "mlp", **TRAIN, validation=OTHERS, max_epochs=8, lr=0.01, log=seen.append, echo=lines.append,
        trainer={"enable_progress_bar": False},
    )  # fmt: skip
    assert len(seen) == len(aligner.history) == 8 and lines
    assert recall(aligner) > 0.5 > seen[0]["validation_MRR"] / 2


def test_tokens_are_taken_by_kinds_that_take_them() -> None:
    tokens = [RNG.normal(size=(2 + number % 3, 6)).astype("float32") + MEANING[number] for number in range(160)]
    dense = np.stack([one[:2] for one in tokens])
    for given in (tokens, dense, (np.concatenate(tokens), np.cumsum([0, *map(len, tokens)]))):
        aligner = reelstore.fit("ridge", text=MEANING, video=given)  # its first step is the mean of the tokens
        assert aligner.transform(video=given).shape == (160, 6)
    with pytest.raises(AlignerError, match="tokens"):
        reelstore.fit("ridge", text=MEANING, video=tokens, preprocess=["unit"])


def test_a_training_leaves_nothing_but_its_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "here"))
    tempfile.tempdir = None
    try:
        without = reelstore.fit("mlp", **TRAIN, **TRAINED["mlp"])
        assert not list((tmp_path / "here").iterdir())
    finally:
        tempfile.tempdir = None
    kept = reelstore.fit("mlp", **TRAIN, **TRAINED["mlp"], checkpoints=tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["best.ckpt"]
    assert kept.digest == without.digest


def test_a_training_leaves_the_process_as_it_was() -> None:
    def state() -> tuple[Any, ...]:
        return (
            torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist(),
            random.getstate(), np.random.get_state()[1].tolist(),  # type: ignore[index]
        )  # fmt: skip

    before = state()
    reelstore.fit("mlp", **TRAIN, **TRAINED["mlp"])
    assert state() == before


class Pairs:
    """Anybody's pairs, whose captions are in the order of their videos."""

    text, video = TEXT[240::2], VIDEO[120:]


def test_validation_is_any_object_with_both_sides() -> None:
    with_object = reelstore.fit("ridge", **TRAIN, validation=Pairs)
    with_mapping = reelstore.fit("ridge", **TRAIN, validation={"text": Pairs.text, "video": Pairs.video})
    assert with_object.history == with_mapping.history


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("ridge", {"alphas": np.array([0.1, 1.0])}, {"alphas": [0.1, 1.0]}),
        ("ridge", {"alphas": torch.tensor([0.5, 1.0])}, {"alphas": [0.5, 1.0]}),
        ("kernel-ridge", {"landmarks": np.int64(20), "gammas": (np.float64(0.5),)}, {"landmarks": 20, "gammas": [0.5]}),
        ("asif", {"kept": range(5, 20, 5)}, {"kept": [5, 10, 15]}),
        ("mlp", {**TRAINED["mlp"], "widths": np.array([8, 4])}, {"widths": [8, 4]}),
    ],
)
def test_settings_may_be_arrays_and_numbers_of_numpy(
    tmp_path: Path, kind: str, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    aligner = reelstore.fit(kind, **TRAIN, **given)
    aligner.save(tmp_path)
    again = reelstore.load_aligner(tmp_path)
    assert {name: again.settings[name] for name in expected} == expected
    assert again.digest == aligner.digest


REFUSED: dict[str, tuple[dict[str, Any], type[ReelstoreError], str]] = {
    "an unknown kind": ({"kind": "rigde"}, UnknownNameError, "Did you mean ridge"),
    "an unknown setting": ({"alpha": [1.0]}, ParamsError, "Did you mean alphas"),
    "a setting out of range": ({"alphas": [-1.0]}, ParamsError, "alphas"),
    "owners beyond the videos": ({"video_of_caption": OF[:240] + 1}, AlignerError, "1 to 120; there are 120 videos"),
    "owners of another length": ({"video_of_caption": OF[:100]}, AlignerError, r"\(240,\)"),
    "owners that aren't whole": ({"video_of_caption": OF[:240] / 2}, AlignerError, "whole numbers"),
    "no owners": ({"video_of_caption": None}, AlignerError, "240 captions of 120 videos"),
    "a seed below 0": ({"seed": -1}, ParamsError, "seed is -1; a whole number from 0"),
    "a seed that is a name": ({"seed": "one"}, ParamsError, "seed is 'one'"),
    "a set of a project": ({"pairs": "labelled"}, ParamsError, "pairs is a project's setting"),
    "a loss of labels": ({"kind": "mlp", "loss": "mse"}, AlignerError, "positive and negative pairs"),
    "values beyond float32": ({"text": TEXT[:240].astype(float) * 1e300}, EmbeddingsError, "row 0 .* beyond float32"),
    "NaN": ({"text": np.where(np.arange(240)[:, None] == 7, np.nan, TEXT[:240])}, EmbeddingsError, "text: row 7"),
    "integers": ({"video": np.ones((120, 3), int)}, EmbeddingsError, "int64"),
    "a vector": ({"video": VIDEO[0]}, EmbeddingsError, r"\(20,\)"),
    "names": ({"text": ["a cat"] * 240}, EmbeddingsError, "text is list"),
    "validation of another width": ({"validation": {**OTHERS, "text": TEXT[240:, :3]}}, AlignerError, "14 wide"),
    "validation without text": ({"validation": {"video": VIDEO}}, AlignerError, "Store.pairs.*it has video"),
    "validation that is a share": ({"validation": 0.1}, AlignerError, "Store.pairs.*it has none of these"),
    "validation of other videos": (
        {"validation": {**OTHERS, "video_of_caption": OF[240:]}},
        AlignerError,
        "validation: .* 120 to 159; there are 40",
    ),
    "tokens for a kind that takes none": ({"kind": "unaligned", "text": TOKENS[:240]}, AlignerError, "holds tokens"),
    "embeddings for a kind that takes tokens": ({"kind": "transformer"}, AlignerError, "holds embeddings"),
    "tokens in validation alone": (
        {"kind": "unaligned", "validation": {**OTHERS, "text": TOKENS[240:]}},
        AlignerError,
        "holds tokens",
    ),
    "a shared tower for two widths": ({"kind": "mlp", "shared": True}, ParamsError, "20 and 14 wide"),
    "no captions": ({"text": np.ones((0, 14), "float32"), "video_of_caption": []}, EmbeddingsError, r"\(0, 14\)"),
    "widths that differ": ({"text": [np.ones((2, 3)), np.ones((2, 4))] * 120}, EmbeddingsError, r"widths \[3, 4\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fitted_is_refused_in_a_line(case: str) -> None:
    change, error, says = REFUSED[case]
    arguments = {"kind": "ridge", **TRAIN, **change}
    with pytest.raises(error, match=says) as raised:
        reelstore.fit(arguments.pop("kind"), **arguments)
    assert "\n" not in str(raised.value)


def test_transform_takes_one_side_of_the_right_width(store: Store) -> None:
    aligner = reelstore.fit("ridge", **TRAIN)
    for arguments in ({}, {"text": TEXT, "video": VIDEO}):
        with pytest.raises(AlignerError, match="either text= or video="):
            aligner.transform(**arguments)
    with pytest.raises(AlignerError, match="20 wide"):
        aligner.transform(video=TEXT)
    with pytest.raises(EmbeddingsError, match="holds text rows, given as video"):
        aligner.transform(video=store["text/clip/mean"])


def test_closed_forms_import_no_torch() -> None:
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning", "transformers"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
import numpy as np, reelstore
rng = np.random.default_rng(0)
video = rng.normal(size=(50, 5))
for kind in {CLOSED}:
    reelstore.fit(kind, text=video @ rng.normal(size=(5, 4)), video=video).transform(video=video)
print("fitted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fitted\n", done.stderr

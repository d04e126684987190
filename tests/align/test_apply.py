"""An aligner applied to a whole store: `aligned` variants that are read, checked and measured like any other."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from reelstore.align.mapping import mapped
from reelstore.align.registry import load_aligner
from reelstore.errors import AlignerError, ParamsError
from reelstore.fitting import fit
from reelstore.io import write_atomically
from reelstore.pairs.build import Pair
from reelstore.pairs.files import pairs_parquet
from reelstore.project.align.apply import run_apply
from reelstore.project.align.stage import run_align
from reelstore.project.evaluate.stage import run_evaluate
from reelstore.project.evaluate.store import evaluate_store
from reelstore.project.settings import parse_params
from reelstore.project.stores.inventory import inventory
from reelstore.project.stores.repair import repair
from reelstore.project.stores.verify import verify
from reelstore.store.format import VariantSpec
from reelstore.store.open import open_store, open_variant
from reelstore.store.read import Rows
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

MODEL = "fake-video+fake-text"
TEXT = "store/drawn/text/fake-text/mean"
N_VIDEOS, N_CAPTIONS = 60, 2
FAILED = {"v7": "it broke off", "v50": "no frame in it"}


def params_of(**aligners) -> object:
    return parse_params(
        {
            "dataset": {"name": "drawn", "kind": "folder"},
            "encoders": {"video/fake-video": {}, "text/fake-text": {}},
            "model": {"video": ["fake-video"], "text": ["fake-text"]},
            "aligners": {"ridge": {"kind": "ridge"}, **aligners},
            "apply": {"ridge": {"dtype": "float32"}},
            "tracking": {"wandb": "disabled"},
        }
    )


PARAMS = params_of(half={"kind": "ridge"}, tokens={"kind": "ridge", "text": "tokens"})


def split_of(number: int) -> str:
    return "train" if number < 40 else "validation" if number < 50 else "test"


def store_side(
    side: str, variant: str, values: list, keys: list, *, failed: dict | None = None, version: int = 1
) -> None:
    """Write rows in order; what `version` says determines the fingerprint of them all."""
    n_tokens = None if variant == "tokens" else 0
    spec = VariantSpec(side, f"fake-{side}", variant, values[0].shape[-1], n_tokens, "float16", {"version": version})
    contents = [hashlib.sha256(repr(key).encode()).hexdigest() for key in keys]
    splits = [split_of(int((key if isinstance(key, str) else key[0])[1:])) for key in keys]
    table = RowTable(keys, splits, row_fingerprints(spec.fingerprint, contents))
    update = VariantUpdate(Path("store/drawn", side, f"fake-{side}", variant), spec, table)
    for row in update.todo.tolist():
        if failed and keys[row] in failed:
            update.fail(row, failed[keys[row]])
        else:
            update.put(row, values[row].astype(np.float32))
    update.finish()


def make_store(n_videos: int = N_VIDEOS, *, version: int = 1, failed: dict = FAILED) -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(100, 5))
    video = latents @ rng.normal(size=(5, 12)) + 1
    text = np.repeat(latents, N_CAPTIONS, axis=0) @ rng.normal(size=(5, 8)) - 1
    text[45] = text[44]  # a caption that two videos share
    ids = [f"v{number}" for number in range(n_videos)]
    keys = [(video_id, index) for video_id in ids for index in range(N_CAPTIONS)]
    store_side("video", "mean", list(video), ids, failed=failed, version=version)
    store_side("text", "mean", list(text), keys, version=version)
    tokens = [np.tile(row, (1 + number % 3, 1)) for number, row in enumerate(text)]
    store_side("text", "tokens", tokens, keys, version=version)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its store, its pairs, and three fitted aligners."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("WANDB_MODE", raising=False)
        make_store()
        for split, numbers in (("train", range(40)), ("validation", range(40, 50))):
            pairs = [Pair(f"v{n}", f"v{n}", index) for n in numbers for index in range(N_CAPTIONS)]
            write_atomically(Path("pairs/drawn/captions") / f"{split}.parquet", pairs_parquet(pairs))
        for name in ("ridge", "half", "tokens"):
            align(name)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("WANDB_MODE", raising=False)


def align(name: str, params=PARAMS) -> None:
    run_align(params, video="fake-video", text="fake-text", aligner=name, progress=lambda line: None)


def apply(name: str = "ridge", params=PARAMS):
    return run_apply(params, video="fake-video", text="fake-text", aligner=name, progress=lambda done, total: None)


def test_an_aligner_fitted_in_python_is_applied_as_the_stages(project) -> None:
    pairs = open_store("store/drawn").pairs("video/fake-video/mean", "text/fake-text/mean", split="train")
    fitted = fit("ridge", text=pairs.text, video=pairs.video, video_of_caption=pairs.video_of_caption)
    fitted.save(Path("models/drawn", MODEL, "ridge"))
    apply()
    np.testing.assert_array_equal(aligned("text").array(), fitted.transform(text=open_variant(Path(TEXT))))


def aligned(side: str, name: str = "ridge") -> Rows:
    return open_variant(Path("store/drawn", side, MODEL, f"aligned.{name}"))


def found(path: str = "store") -> list[str]:
    return [str(finding) for finding in verify(Path(path), progress=lambda done, total: None).findings]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", ["ridge", "half", "tokens"])
def test_all_rows_of_both_sides_are_mapped_under_their_keys_and_splits(project, name) -> None:
    report = apply(name)
    fitted = load_aligner(Path("models/drawn", MODEL, name))
    for side, transform in (("video", fitted.transform_video), ("text", fitted.transform_text)):
        source = open_variant(Path("store/drawn", side, f"fake-{side}", fitted.pooling[side]))
        rows = aligned(side, name)
        assert rows.ids == source.ids and rows.table.splits == source.table.splits
        assert np.array_equal(rows.status, source.status) and rows.failures == source.failures
        assert rows.dtype == ("float32" if name == "ridge" else "float16")
        expected = mapped(transform, source.ok()).astype(rows.dtype)
        np.testing.assert_array_equal(rows.ok().array(), expected)
        assert rows.recipe["source"] == {
            "variant": f"{side}/fake-{side}/{fitted.pooling[side]}",
            "fingerprint": source.fingerprint,
        }
        assert rows.recipe["aligner"] == {"name": name, "kind": "ridge", "digest": fitted.digest}
    assert "60 rows, 58 mapped, 2 failed, 0 reused" in report.summary()
    assert found() == []


def test_failed_rows_keep_their_reasons(project) -> None:
    apply()
    assert aligned("video").failures == FAILED


def test_equal_rows_stay_equal(project) -> None:
    apply("half")
    rows = aligned("text", "half")
    assert np.array_equal(rows["v22", 0], rows["v22", 1])


def test_applied_again_nothing_is_written(project) -> None:
    apply()
    before = files(Path("store"))
    report = apply()
    assert [update.n_bytes_written for update in report.updates] == [0, 0]
    assert report.n_mapped == (0, 0)
    assert files(Path("store")) == before


def test_a_grown_store_has_its_new_rows_mapped_and_the_bytes_of_one_made_at_once(project) -> None:
    apply()
    make_store(80)
    report = apply()
    assert report.n_mapped == (20, 20 * N_CAPTIONS)
    grown = files(Path("store/drawn/video", MODEL)) | files(Path("store/drawn/text", MODEL))
    for side in ("video", "text"):
        shutil.rmtree(Path("store/drawn", side, MODEL))
    apply()
    assert files(Path("store/drawn/video", MODEL)) | files(Path("store/drawn/text", MODEL)) == grown


def test_a_row_that_failed_before_and_is_there_now_is_mapped(project) -> None:
    apply()
    shutil.rmtree("store/drawn/video/fake-video/mean")
    make_store(failed={"v50": "no frame in it"})
    assert apply().n_mapped == (1, 0)
    assert aligned("video").failures == {"v50": "no frame in it"}


def test_another_fit_maps_every_row_anew_and_the_same_fit_none(project) -> None:
    apply()
    align("ridge")
    assert apply().n_mapped == (0, 0)
    other = params_of(ridge={"kind": "ridge", "alphas": [100.0]})
    align("ridge", other)
    assert apply(params=other).n_mapped == (58, 120)


def test_embeddings_of_another_encoder_are_refused(project) -> None:
    shutil.rmtree("store")
    make_store(version=2)
    with pytest.raises(AlignerError, match="another encoder"):
        apply()


def test_an_aligner_that_is_not_fitted_is_named(project) -> None:
    shutil.rmtree("models")
    with pytest.raises(AlignerError, match=r"No aligner at models/drawn/fake-video\+fake-text/ridge"):
        apply()
    with pytest.raises(ParamsError, match="aligners has no 'deep'"):
        apply("deep")


def test_the_stored_pair_is_measured_as_the_aligner_is(project) -> None:
    apply()
    report = run_evaluate(PARAMS, video="fake-video", text="fake-text", aligner="ridge")
    name = f"{MODEL}/aligned.ridge"
    stored = evaluate_store(Path("store/drawn"), text=name, video=name, split="test")
    for direction in ("t2v", "v2t"):
        assert stored.evaluation.metrics[direction] == report.evaluation.metrics[direction]


def test_ls_lists_them(project) -> None:
    apply()
    assert f"store/drawn/video/{MODEL}/aligned.ridge" in inventory(Path("store")).summary()


def test_rows_mapped_from_what_has_changed_are_found(project) -> None:
    apply()
    make_store(61)
    lines = found()
    assert len(lines) == 2 and all(MODEL in line and "of its rows are lacking" in line for line in lines)
    assert any("0 rows weren't mapped" in line and "1 of its rows are lacking, 'v60'" in line for line in lines)
    apply()
    assert found() == []


def test_a_damaged_one_is_made_again(project) -> None:
    apply()
    before = files(Path("store"))
    shard = next(Path("store/drawn/video", MODEL, "aligned.ridge/values").rglob("0"))
    shard = shard if shard.is_file() else next(p for p in shard.rglob("*") if p.is_file())
    shard.write_bytes(b"\x00" * shard.stat().st_size)
    assert found()
    report = repair(PARAMS, Path("store"), progress=lambda done, total: None)
    assert report.after.findings == () and files(Path("store")) == before


def test_params_name_aligners_that_are_there() -> None:
    with pytest.raises(ParamsError, match="apply names 'deep'"):
        parse_params({"apply": {"deep": {}}})
    with pytest.raises(ParamsError, match="dtype is 'int8'"):
        parse_params({"aligners": {"ridge": {"kind": "ridge"}}, "apply": {"ridge": {"dtype": "int8"}}})

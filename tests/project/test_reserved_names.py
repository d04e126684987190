"""Names of a variant's own files are refused by each command that writes a store, before it does any work."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("text.npy", rng.normal(size=(4, 3)).astype(np.float32))
    np.save("video.npy", rng.normal(size=(4, 3)).astype(np.float32))
    Path("keys.csv").write_text("video_id,caption_index\n" + "".join(f"v{number},0\n" for number in range(4)))


def refused(*command: str) -> str:
    result = CliRunner().invoke(main, list(command))
    assert result.exit_code == 1, result.output
    assert sorted(path.name for path in Path.cwd().iterdir()) in (
        ["keys.csv", "text.npy", "video.npy"],
        ["keys.csv", "params.yaml", "text.npy", "video.npy"],
    )
    return result.output


@pytest.mark.parametrize("target", ["values/text/clip/mean", "a/text/status/mean", "a/text/clip/zarr.json", "a/text/C"])
def test_import_names_the_rule(target: str) -> None:
    output = refused("import", "array", "text.npy", f"store/{target}", "--keys", "keys.csv")
    assert "is reserved: every variant of a store has an array or a file of this name" in output


@pytest.mark.parametrize("arguments", [["store/offsets"], ["store/mine", "--encoder", "split"]])
def test_evaluate_names_the_rule(arguments: list[str]) -> None:
    files = ["--text", "text.npy", "--video", "video.npy", "--keys", "keys.csv"]
    assert "is reserved" in refused("evaluate", *files, "--store", *arguments)


@pytest.mark.parametrize("command", [["embed", "text/c"], ["pool", "text/c"], ["apply", "a", "b", "c"], ["dataset"]])
def test_params_name_the_rule(command: list[str]) -> None:
    Path("params.yaml").write_text("encoders: {text/c: {}}\n")
    assert "encoders: 'text/c' is reserved" in refused(*command)

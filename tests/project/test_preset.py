"""`reelstore preset`: a preset's values in params.yaml, all else as it was, at once or not at all."""

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.errors import PresetError
from reelstore.project.preset import apply_preset
from reelstore.project.presets.catalogue import Preset, load_preset, preset_names
from reelstore.project.settings import load_params

OWN = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_bytes(OWN.read_bytes())
    return path


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_fits_the_params_of_the_project(name: str, params: Path) -> None:
    done = CliRunner().invoke(main, ["preset", "apply", name])
    assert done.exit_code == 0, done.output
    load_params(params)
    raw = yaml.safe_load(params.read_text())
    for key, snippet in load_preset(name).values.items():
        found = raw
        for part in key.split("."):
            found = found[part]
        assert found == snippet.value
    comments = [line for line in OWN.read_text().splitlines() if line.startswith("#")]
    assert [line for line in params.read_text().splitlines() if line.startswith("#")] == comments


@pytest.mark.parametrize("name", preset_names())
def test_applied_twice_changes_nothing(name: str, params: Path) -> None:
    apply_preset(name)
    once = params.read_bytes(), params.stat().st_mtime_ns
    again = apply_preset(name)
    assert not again.changes and "nothing changes" in again.summary()
    assert (params.read_bytes(), params.stat().st_mtime_ns) == once


def test_a_dry_run_says_the_same_and_writes_nothing(params: Path) -> None:
    dry = CliRunner().invoke(main, ["preset", "apply", "msrvtt-xclip", "--dry-run"])
    assert params.read_bytes() == OWN.read_bytes()
    done = CliRunner().invoke(main, ["preset", "apply", "msrvtt-xclip"])
    assert dry.output.splitlines()[1:] == done.output.splitlines()[1:]
    assert "    dataset.name: emoji -> msrvtt" in done.output
    assert "  - encoders.text/minilm-l6: {batch_size: 32}" in done.output


def test_list_and_show_print_what_there_is() -> None:
    listed = CliRunner().invoke(main, ["preset", "list"]).output.splitlines()
    assert [line.partition(":")[0] for line in listed] == preset_names()
    shown = CliRunner().invoke(main, ["preset", "show", "msrvtt-xclip"]).output
    assert Preset.parse("shown", shown).values == load_preset("msrvtt-xclip").values


def test_unknown_names_are_refused_with_those_there_are(params: Path) -> None:
    done = CliRunner().invoke(main, ["preset", "apply", "../msrvtt-xclip"])
    assert done.exit_code == 1 and "Known: " in done.output and "msrvtt-xclip" in done.output
    assert params.read_bytes() == OWN.read_bytes()


def test_an_alias_whose_anchor_would_go_is_refused_and_nothing_is_lost(params: Path) -> None:
    text = OWN.read_text().replace("{kind: ridge}", "{kind: &kind ridge}")
    params.write_text(text.replace("project: reelstore", "project: *kind"))
    before = params.read_bytes()
    with pytest.raises(PresetError, match="kind"):
        apply_preset("msrvtt-xclip")
    assert params.read_bytes() == before and os.listdir(params.parent) == ["params.yaml"]


def test_params_that_would_be_wrong_are_refused_and_nothing_is_lost(
    params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Preset.parse("wrong", "description: d\nvalues: {model.video: [nothing]}")
    monkeypatch.setattr("reelstore.project.preset.load_preset", lambda name: wrong)
    with pytest.raises(PresetError, match=r"With wrong, params\.yaml would be wrong: model\.video names 'nothing'"):
        apply_preset("wrong")
    assert params.read_bytes() == OWN.read_bytes()


def test_a_link_stays_a_link_and_the_mode_stays(params: Path) -> None:
    real = params.rename(params.parent / "real.yaml")
    real.chmod(0o640)
    params.symlink_to(real)
    apply_preset("msrvtt-xclip")
    assert params.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    assert load_params(params).dataset.name == "msrvtt"


def test_a_link_to_elsewhere_is_not_written_through(params: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    real = params.rename(tmp_path_factory.mktemp("cache") / "0123")
    params.symlink_to(real)
    before = real.read_bytes()
    with pytest.raises(PresetError, match=r"is a link to .*0123, outside of this folder"):
        apply_preset("msrvtt-xclip")
    assert real.read_bytes() == before


@pytest.mark.parametrize("text", ["a: [", "description: x", "description: x\nvalues: {}", "values: {a: 1}", "- 1"])
def test_files_that_are_no_presets_are_refused(text: str) -> None:
    with pytest.raises(PresetError, match="preset x"):
        Preset.parse("x", text)

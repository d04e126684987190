"""Names that are built in, and those that installed packages bring by entry points."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from reelstore.errors import MissingExtraError, PluginError, ReelstoreWarning, UnknownNameError
from reelstore.registry import Registry

MODULES = {
    "fine": "class Thing: ...",
    "other": "class Thing: ...",
    "wrong_name": "",
    "crash": "raise RuntimeError('two\\nlines.')",
    "bad_syntax": "def",
    "wants_torch": "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')",
    "wants_stranger": "import no_such_module",
}


def install(folder: Path, package: str, entries: dict[str, str]) -> None:
    """What pip leaves of a package with entry points for aligners."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[reelstore.tested]\n{lines}")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in MODULES.items():
        (tmp_path / f"plug_{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def registry(**builtin: str) -> Registry:
    return Registry("thing", "tested", builtin, extra="train")


def test_a_name_of_a_plug_in_is_loaded_and_listed_after_the_built_in_ones(plugins: Path) -> None:
    install(plugins, "one", {"fine": "plug_fine:Thing"})
    found = registry(path="pathlib:Path")
    assert list(found) == ["path", "fine"] and len(found) == 2 and "fine" in found and "other" not in found
    assert found.load("path") is Path
    assert found.load("fine").__name__ == "Thing"


def test_plug_ins_are_not_looked_for_while_names_are_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("reelstore.registry.entry_points", never)
    found = registry(path="pathlib:Path")
    assert "path" in found and found["path"] == "pathlib:Path" and found.load("path") is Path


def test_an_unknown_name_is_told_the_names_of_plug_ins_too(plugins: Path) -> None:
    install(plugins, "one", {"fine": "plug_fine:Thing"})
    with pytest.raises(UnknownNameError, match=r"Unknown thing 'fin'\. Did you mean fine\? Known: fine, path\."):
        registry(path="pathlib:Path").load("fin")


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("no_such", "ModuleNotFoundError: No module named 'plug_no_such'"),
        ("wrong_name", "AttributeError: module 'plug_wrong_name' has no attribute 'Thing'"),
        ("crash", "RuntimeError: two lines"),
        ("bad_syntax", "SyntaxError: invalid syntax (plug_bad_syntax.py, line 1)"),
        ("wants_stranger", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_broken_plug_in_is_named_in_one_line_and_others_work(plugins: Path, module: str, why: str) -> None:
    install(plugins, "one", {"fine": "plug_fine:Thing", "broken": f"plug_{module}:Thing"})
    found = registry()
    with pytest.raises(PluginError) as error:
        found.load("broken")
    assert str(error.value) == f"thing broken is a plug-in of one 1.0 that can't be imported: {why}."
    assert found.load("fine").__name__ == "Thing"


def test_a_plug_in_that_lacks_a_package_of_an_extra_says_how_to_get_it(plugins: Path) -> None:
    install(plugins, "one", {"hungry": "plug_wants_torch:Thing"})
    with pytest.raises(MissingExtraError, match=r"thing hungry needs torch.*pip install 'reelstore\[train\]'"):
        registry().load("hungry")


def test_a_plug_in_does_not_take_a_built_in_name(plugins: Path) -> None:
    install(plugins, "one", {"path": "plug_fine:Thing", "fine": "plug_fine:Thing"})
    found = registry(path="pathlib:Path")
    with pytest.warns(ReelstoreWarning, match="one 1.0 brings the thing 'path', a name that reelstore has"):
        assert list(found) == ["path", "fine"]
    assert found.load("path") is Path


def test_of_two_plug_ins_with_one_name_both_are_named_and_one_is_taken(plugins: Path) -> None:
    install(plugins, "one", {"fine": "plug_fine:Thing"})
    install(plugins, "two", {"fine": "plug_other:Thing"})
    with pytest.warns(ReelstoreWarning, match="two 1.0 brings the thing 'fine', a name that one 1.0 has"):
        assert registry().load("fine").__module__ == "plug_fine"


def test_a_package_that_is_found_twice_is_no_conflict(plugins: Path) -> None:
    install(plugins, "one", {"fine": "plug_fine:Thing"})
    install(plugins, "one-again", {"fine": "plug_fine:Thing"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(registry()) == ["fine"]


def test_a_name_that_needs_more_than_others_names_its_own_extra() -> None:
    found = Registry("thing", "tested", {}, extra="train", extras={"rich": "all"})
    for name, extra in (("rich", "all"), ("poor", "train")):
        with pytest.raises(MissingExtraError, match=rf"thing {name} needs av.*\[{extra}\]"), found.packages(name):
            raise ModuleNotFoundError("No module named 'av'", name="av")


def test_a_warning_of_plug_ins_is_one_line_for_a_user_of_the_command_line(plugins: Path) -> None:
    install(plugins, "one", {})
    (plugins / "one-1.0.dist-info" / "entry_points.txt").write_text("[reelstore.aligners]\nridge = plug_fine:Thing\n")
    code = (
        "from reelstore.cli.border import border; from reelstore.align.registry import ALIGNERS\n"
        "with border(): list(ALIGNERS)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(plugins), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "Warning: one 1.0 brings the aligner 'ridge', a name that reelstore has: it is ignored.\n"

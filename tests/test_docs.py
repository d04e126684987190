"""What README and docs show is so: every command exists, every example runs, every link leads somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import yaml

import reelstore
from reelstore.cli import main
from reelstore.project.settings import parse_params

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """store/emoji with the names, shapes and keys that the examples use; the values are drawn."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    videos = ["1f600", "1f436", "1f408"]
    captions = [(video, index) for video in videos for index in range(2)]
    store = reelstore.open(folder / "store/emoji", create=True)
    pooled, tokens = rng.normal(size=(3, 1280)), [rng.normal(size=(4, 384)) for _ in captions]
    store.write("video/efficientnet-lite0/mean", videos, pooled, splits="test", dtype="float16")
    store.write("text/minilm-l6/tokens", captions, tokens, splits="test", dtype="float16")
    return folder


@pytest.mark.parametrize(
    "code",
    [pytest.param(code, id=f"{page.name}-{n}") for page in PAGES for n, code in enumerate(blocks(page, "python"))],
)
def test_examples_in_python_run_and_print_what_they_say(code: str, small_store: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=small_store, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed
    for said, line in zip(printed, re.findall(r"^print\(.*$", code, flags=re.MULTILINE), strict=True):
        promised = line.partition("  # ")[2].strip()
        # The example's store has 3 clips where the real one has 734; shapes, keys and dtypes are the same.
        assert not promised or re.sub(r"\b(734|146)\b", "3", promised) == said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_show_exist_with_their_options(page: Path) -> None:
    text = re.sub(r"\bSTAGE\b", "embed", page.read_text())
    shown = re.findall(r"^ *(?:\w+ +)?reelstore ([a-z-]+)((?: +[^\s#`)]+)*)", "\n".join(blocks_of_shell(text)), re.M)
    shown += re.findall(r"`reelstore ([a-z-]+)([^`]*)`", text)
    for name, rest in shown:
        assert name in main.commands, f"{page.name} shows reelstore {name}"
        command = main.commands[name]
        parts = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
        options = {option for part in parts for param in part.params for option in param.opts} | {"--help"}
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in options, f"{page.name} shows reelstore {name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_dvc_commands_that_pages_show_are_dvc_s(page: Path) -> None:
    from dvc.cli.parser import get_main_parser

    shown = re.findall(r"^dvc [^#\n]*", "\n".join(blocks_of_shell(page.read_text())), re.M)
    for command in shown:
        get_main_parser().parse_args(shlex.split(command)[1:])  # exits where DVC doesn't know a command or an option


def blocks_of_shell(text: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [block for language, block in fenced if not language]


def test_settings_that_pages_show_are_valid() -> None:
    base = yaml.safe_load((ROOT / "params.yaml").read_text())
    seen = 0
    for page in PAGES:
        for block in blocks(page, "yaml"):
            shown = yaml.safe_load(block)
            parse_params({**base, **shown})
            seen += 1
    assert seen >= 2


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_and_an_example(name: str) -> None:
    command = main.commands[name]
    assert command.help and "Example:" in command.help and f"reelstore {name}" in command.help
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help


def test_the_two_commands_of_the_readme_are_make_s() -> None:
    first = next(one for one in blocks_of_shell((ROOT / "README.md").read_text()) if "make " in one)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert [target for target in re.findall(r"^make (\w+)", first, flags=re.MULTILINE)] == ["run", "test"]
    assert {"run", "test", "lint"} <= set(targets)
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_readme_s_table_is_what_the_metrics_say(tmp_path: Path) -> None:
    """The committed metrics are those of the last `dvc repro`; the README shows them."""
    import json

    shown = blocks_of_shell((ROOT / "README.md").read_text())
    table = next(one for one in shown if one.startswith("emoji,")).splitlines()
    for line in table[3:]:
        aligner, *cells = line.split()
        path = ROOT / "metrics/emoji/efficientnet-lite0+minilm-l6" / f"{aligner}.json"
        metrics = json.loads(path.read_text())
        want = [f"{metrics[d][n]:.4f}" for d, p in [("t2v", "R"), ("v2t", "hit")] for n in columns(metrics[d], p)]
        assert cells == want, f"README shows {aligner} as it isn't"


def columns(metrics: dict, prefix: str) -> list[str]:
    return [*(name for name in sorted(metrics) if name.startswith(f"{prefix}@")), "MRR"]


def test_nothing_to_run_is_a_clear_error_and_no_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for command in [["show"], ["ls"], ["embed", "video/x"]]:
        done = subprocess.run(
            [sys.executable, "-c", "from reelstore.cli import main; main()", *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr

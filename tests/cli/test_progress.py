"""Other people's text can't command a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.cli.progress import printable


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "café — 你好", "👨‍🍳 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️", "עברית"])
def test_text_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", "\\u001b"),
        ("\x07", "\\u0007"),
        ("\r", "\\u000d"),
        ("\x7f", "\\u007f"),
        ("\x9b", "\\u009b"),
        ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"),
        ("\ud83d", "\\ud83d"),
    ],
)
def test_commands_are_shown(character: str, shown: str) -> None:
    assert printable(f"a{character}[2Jb") == f"a{shown}[2Jb"


def test_ids_and_reasons_reach_no_terminal_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("npy")
    np.save("npy/a.npy", np.ones(4, np.float16))
    evil = "v\x1b]0;title\x07\x9b2J\u202e"
    Path("keys.csv").write_text(f"video_id,failure\na,\n{evil},because {evil}\n")
    for words in (
        ["import", "npy", "npy", "store/d/video/e", "--keys", "keys.csv"],
        ["info", "store/d/video/e/embedding"],
        ["import", "npy", "npy", "store/d/video/e\x1b[2J", "--keys", "keys.csv"],
        ["ls", "st\x1b[2Jore"],
    ):
        done = CliRunner().invoke(main, words)
        assert not set(done.output) & set("\x1b\x07\x9b\u202e"), words
    assert "because v\\u001b]0;title" in CliRunner().invoke(main, ["info", "store/d/video/e/embedding"]).output


def test_an_encoding_without_the_letters_is_no_error(tmp_path: Path) -> None:
    code = "from reelstore.cli.progress import echo; echo('caf\\u00e9 \\u2013 \\U0001f600')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "caf\\xe9 \\u2013 \\U0001f600\n"

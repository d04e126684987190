"""Whatever the system refuses ends in one line and a non-zero exit code; a fault of ours keeps its traceback."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.cli.border import TRACEBACK, border
from reelstore.errors import StoreError

REELSTORE = [sys.executable, "-c", "from reelstore.cli import main; main()"]


def run(error: BaseException) -> tuple[int, str]:
    @click.command()
    def command() -> None:
        with border():
            raise error

    done = CliRunner().invoke(command)
    return done.exit_code, done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StoreError("mean: no row"), "mean: no row"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: permission denied. Change its permissions"),
        (OSError(errno.ENOSPC, "No space left", "c"), "c: the disk is full. Make room"),
        (OSError(errno.EIO, "Input/output error", "c"), "c: the disk reports an input/output error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"caf\xe9"), "caf\\udce9: no such file"),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"), "a -> b: invalid cross-device link"),
        (MemoryError(), "Out of memory"),
        (RecursionError(), "A value is nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "Text can't be encoded or decoded"),
    ],
)
def test_an_error_of_the_system_is_one_line(error: BaseException, line: str) -> None:
    code, said = run(error)
    assert code == 1
    assert said.startswith("Error: ") and said.count("\n") == 1
    assert line in said.replace("\\\\", "\\")


def test_notes_follow_the_line() -> None:
    error = StoreError("mean: no row")
    error.add_note("video '7'")
    assert run(error) == (1, "Error: mean: no row\n  video '7'\n")


@pytest.mark.parametrize("error", [KeyError("ours"), ZeroDivisionError(), AssertionError("ours")])
def test_a_fault_of_ours_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), border():
        raise error


def test_tracebacks_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(StoreError), border():
        raise StoreError("mean: no row")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_with_its_number(number: signal.Signals) -> None:
    code = "import os, sys, time\nfrom reelstore.cli.border import border\nimport click\n"
    code += "@click.command()\ndef c():\n  with border():\n    print('here', flush=True); time.sleep(60)\nc()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.readline()
        child.send_signal(number)
        said = child.stderr.read().decode()
    assert child.returncode == 128 + number
    assert said.startswith(f"Stopped by {number.name}.") and said.count("\n") == 1


def test_results_that_can_t_be_printed_are_a_failure() -> None:
    with open("/dev/full", "w") as full:
        for words in (["params"], ["--help"], ["ls", "--help"]):
            done = subprocess.run([*REELSTORE, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert (done.returncode, done.stderr) == (1, "Error: The disk is full. Make room and run it again.\n"), (
                words
            )


def test_a_reader_that_goes_away_is_no_error_to_speak_of() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run([*REELSTORE, "params"], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_command_without_stdout_runs() -> None:
    done = subprocess.run(f"{sys.executable} -c '{REELSTORE[2]}' params >&-", shell=True, check=False)
    assert done.returncode == 0


def test_a_link_in_a_circle_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    done = CliRunner().invoke(main, ["ls", str(tmp_path / "loop")])
    assert done.exit_code == 1 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


def test_a_message_quotes_no_megabytes(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["ls", "x" * 200 + "/" + "y" * 100_000])
    assert done.exit_code == 1 and done.stderr.startswith("Error: ") and "[...]" in done.stderr
    assert len(done.stderr) < 3000

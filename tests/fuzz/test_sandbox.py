"""The fuzzer sees what it is there to see."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .case import Case, run_case
from .catalogue import COMMANDS
from .project import precious, write_params
from .sandbox import Conditions

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def refused() -> None:
    sys.stderr.write("Error: this is refused.\n")
    sys.exit(1)


def raises() -> None:
    raise KeyError("nobody expected it")


def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs() -> None:
    time.sleep(20)


def says_nothing() -> None:
    sys.exit(1)


def leaves_something() -> None:
    Path("notes.txt").write_text("where no command writes")


def writes_through_a_link() -> None:
    Path("report").symlink_to("precious")
    Path("report/keep.txt").write_text("not any more")


def removes() -> None:
    shutil.rmtree("../precious")


def leaves_half() -> None:
    Path("pairs/drawn/captions").mkdir(parents=True)
    Path("pairs/drawn/captions/train.parquet.partial").write_text("half")


def takes_memory() -> None:
    kept = bytearray(128 * 2**20)
    kept[::4096] = b"x" * len(kept[::4096])


def does_its_work() -> None:
    Path("pairs/drawn/captions").mkdir(parents=True)
    Path("pairs/drawn/captions/train.parquet").write_text("whole")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (does_its_work, ""),
        (refused, "a sound project is refused"),
        (raises, "exit code 70; traceback"),
        (crashes, "dies of SIGSEGV"),
        (hangs, "takes too long"),
        (says_nothing, "no line that begins with Error:"),
        (leaves_something, "new: project/notes.txt"),
        (writes_through_a_link, "changed: project/precious/keep.txt"),
        (removes, "gone: precious"),
        (leaves_half, "left behind: project/pairs/drawn/captions/train.parquet.partial"),
        (takes_memory, "takes "),
    ],
)
def test_what_must_not_be_is_found(command: Callable[[], None], found: str, tmp_path: Path) -> None:
    template = tmp_path / "template"
    for name in ("project", "home", "tmp"):
        (template / name).mkdir(parents=True)
    precious(template / "precious")
    precious(template / "project" / "precious")
    write_params(template / "project", {})
    case = Case(0, 0, "pairs", "nothing", random.Random(0))
    case.conditions = Conditions(seconds=2.0, peak_bytes=32 * 2**20)
    result = run_case(template, tmp_path, case, lambda words: command())
    assert "; ".join(result.problems).startswith(found) and bool(result.problems) == bool(found), result


def test_a_seed_and_a_number_give_the_same_case() -> None:
    drawn = [str(Case.drawn(7, number)) for number in range(50)]
    assert drawn == [str(Case.drawn(7, number)) for number in range(50)]
    assert len({Case.drawn(7, number).command for number in range(len(COMMANDS))}) == len(COMMANDS)

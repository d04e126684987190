"""Whatever a command finds, it ends with a result or a sentence, and nothing of a person's is lost.

A sample of the cases; `make soak` tries thousands. One of them by hand: python -m tests.fuzz --seed 0 --case 17
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
SOAK = "REELSTORE_SOAK" in os.environ
SEED = int(os.environ.get("REELSTORE_SEED", "0"))
N_GROUPS, GROUP = (100, 50) if SOAK else (10, 15)
"""Cases are told apart by their numbers; a test runs a group of them."""


class Server:
    """A process that has made the project and runs cases; ours has threads, which can't be forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz", "--serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready\n", "the project couldn't be made"

    def _read(self) -> str:
        return _of(self._process.stdout).readline()

    def run(self, case: str) -> dict[str, Any]:
        """Result of a case, `SEED NUMBER` or a command's name."""
        asked = _of(self._process.stdin)
        asked.write(f"{case}\n")
        asked.flush()
        answer: dict[str, Any] = json.loads(self._read())
        return answer

    def close(self) -> int:
        _of(self._process.stdin).close()
        return self._process.wait()


def _of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    assert server.close() == 0


def in_words(result: dict[str, Any]) -> str:
    return f"{result['title']}\n  {'; '.join(result['problems'])}\n{result['ended']}"


def test_every_command_does_its_work_and_touches_nothing_else(server: Server) -> None:
    from .catalogue import COMMANDS
    from .project import STAGES

    others = [name for name, command in COMMANDS.items() if SOAK or command.words not in STAGES]  # those have been run
    results = [server.run(name) for name in others]
    assert not [in_words(result) for result in results if result["problems"]]


@pytest.mark.parametrize("first", range(0, N_GROUPS * GROUP, GROUP))
def test_whatever_is_found_ends_well(server: Server, first: int) -> None:
    results = [server.run(f"{SEED} {number}") for number in range(first, first + GROUP)]
    failed = [in_words(result) for result in results if result["problems"]]
    assert not failed, "\n\n".join([*failed, "Again: python -m tests.fuzz --seed SEED --case NUMBER"])

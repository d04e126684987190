"""A process that has everything loaded and a project made, and runs cases in children of its own."""

import os
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import torch

import reelstore
from reelstore.cli import main

from . import calls, filesystem, project, sandbox
from .case import Case, Result, read_files, run_case
from .catalogue import COMMANDS
from .sandbox import Conditions

LIBRARIES = ("h5py", "dvclive", "pyarrow.parquet", "pyarrow.feather", "lightning.pytorch", "transformers")
NONE = Conditions()


class Server:
    """Makes the project when it is entered; its folders go in the end.

    Nothing of it may start a thread: its children are forked.

    Args:
        keep: folder for all of it, which stays; a temporary one otherwise.
    """

    def __init__(self, keep: Path | None = None) -> None:
        torch.set_num_threads(1)
        names = [module.name for module in walk_packages(reelstore.__path__, "reelstore.")]
        for name in (*names, *LIBRARIES):  # children find all loaded
            import_module(name)
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = keep or Path(tempfile.mkdtemp(prefix="reelstore-fuzz-", dir=memory))
        self._keeps = keep is not None
        self._template = self._folder / "template"

    def __enter__(self) -> "Server":
        shutil.rmtree(self._template, ignore_errors=True)
        self._template.mkdir(parents=True)
        try:
            project.make(self._template, self._command)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._keeps:
            filesystem.release(self._folder)
            shutil.rmtree(self._folder)

    def run(self, case: Case) -> Result:
        """Run one case."""
        return run_case(self._template, self._folder, case, invoke)

    def each(self, seed: int, number: int) -> Case:
        """A cut, an encoding or a value of another type. Commands take turns; each has its files in turn, then any."""
        rng = random.Random(f"each {seed}/{number}")
        names = [name for name, command in COMMANDS.items() if command.reads]
        random.Random(seed).shuffle(names)
        turn, at = divmod(number, len(names))
        command = COMMANDS[names[at]]
        overlays = [self._template / "overlays" / command.overlay] if command.overlay else []
        files = read_files(command, [*overlays, self._template / "project"])
        # params.yaml has more in it than others.
        path = files[turn] if turn < len(files) else rng.choice([files[0], rng.choice(files)])
        return Case(seed, number, names[at], "each", rng, path=str(path))

    def _command(self, folder: Path, words: str, conditions: Conditions = NONE) -> int | None:
        at_home = replace(conditions, environment=(("HOME", str(self._template / "home")),))
        ended = sandbox.run(lambda: invoke(words.split()), folder, self._folder / "logs", at_home)
        if ended.code:
            sys.stderr.write(ended.stderr)
        return ended.code


def invoke(words: list[str]) -> None:
    """`reelstore WORDS` as its console script runs it; after `python`, a call of the library."""
    tempfile.tempdir = None  # it was found before TMPDIR was set
    if words[0] == "python":
        calls.run(words[1:])
        return
    main(words, prog_name="reelstore")


def sound(name: str) -> Case:
    """A command with nothing changed."""
    return Case(0, 0, name, "nothing", random.Random(0), what="nothing changed")

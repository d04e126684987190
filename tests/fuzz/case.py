"""One case: a copy of the project, one thing changed, one command run, and what must hold afterwards."""

import ctypes
import fnmatch
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import content, each, filesystem, sandbox
from .catalogue import COMMANDS, WITHOUT_PARAMS, Command
from .project import write_params
from .sandbox import Conditions, Ended
from .snapshot import Snapshot, changes, snapshot

PARAMS_ROOTS = ("data", "store", "pairs", "models", "metrics", "plots", "report", "runs")
"""Where names from params.yaml lead."""
ONCE = ("export", "embed finalise", "embed task", "python append", "python delete", "python rename")
"""Commands that are refused the second time."""
MESSAGE_CHARACTERS, MESSAGE_LINES = 4000, 15


@dataclass
class Case:
    """What is done, drawn from a seed and a number.

    Attributes:
        kind: `nothing`, `content`, `each` (a cut, an encoding or a value of another type), `odd`, `taken`,
            `conditions`, `full`, `words` (of the command line) or `signal`.
        what: in words.
        path: what is changed, relative to the project.
    """

    seed: int
    number: int
    command: str
    kind: str
    rng: random.Random
    what: str = ""
    path: str = ""
    conditions: Conditions = field(default_factory=Conditions)

    @classmethod
    def drawn(cls, seed: int, number: int) -> "Case":
        """Commands take turns, in an order of the seed's."""
        names = list(COMMANDS)
        random.Random(seed).shuffle(names)
        name = names[number % len(names)]
        rng = random.Random(f"{seed}/{number}")
        command = COMMANDS[name]
        kinds = [*["content"] * 8, *["each"] * 6] if command.reads else []
        kinds += ["odd"] * 3 if command.reads else []
        kinds += ["taken"] * 5 if command.folders or command.files else []
        kinds += ["conditions", "signal", "words"]
        kinds += ["full"] if command.folders or command.files else []
        return cls(seed, number, name, rng.choice(kinds), rng)

    def __str__(self) -> str:
        return f"seed {self.seed} case {self.number}: {self.command}: {self.kind}: {self.path}: {self.what}"


@dataclass(frozen=True)
class Result:
    """A case and what didn't hold."""

    title: str
    area: str
    problems: tuple[str, ...]
    ended: str
    seconds: float

    def as_json(self) -> str:
        return json.dumps(self.__dict__)


def run_case(template: Path, scratch: Path, case: Case, invoke: Callable[[list[str]], object]) -> Result:
    """Run a case in a folder of its own below `scratch`.

    Args:
        template: what `project.make` made.
        scratch: folder for the case's; removed in the end.
        case: what is done.
        invoke: runs `reelstore` with words, within the process that it is called in.
    """
    root, here = scratch / "case", Path.cwd()
    try:
        if case.kind == "full":  # what is mounted goes with the process that mounted it
            return _forked(lambda: _run(template, root, scratch / "logs", case, invoke), scratch / "answer.json")
        return _run(template, root, scratch / "logs", case, invoke)
    finally:
        os.chdir(here)
        if case.kind in ("taken", "odd"):
            filesystem.release(root)
        shutil.rmtree(root)


def _forked(run: Callable[[], Result], answer: Path) -> Result:
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            answer.write_text(run().as_json())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the fuzzer itself failed"
    return Result(**json.loads(answer.read_text()))


def _run(template: Path, root: Path, logs: Path, case: Case, invoke: Callable[[list[str]], object]) -> Result:
    command = COMMANDS[case.command]
    folder = root / "project"
    for name in ("project", "precious", "home", "tmp"):
        shutil.copytree(template / name, root / name, symlinks=True)
    if command.overlay:
        shutil.copytree(template / "overlays" / command.overlay, folder, dirs_exist_ok=True)
    os.chdir(folder)
    write_params(folder, command.params)
    for path in command.remove:
        shutil.rmtree(path)
    untouched = snapshot(root) if command.notices else {}
    kept = _prepare(case, command, logs)
    before = snapshot(root)
    changed_at_all = before != untouched
    words = _other_words(case, command) if case.kind == "words" else command.words.split()
    ended = sandbox.run(lambda: invoke(words), folder, logs, _with_home(case.conditions, root))
    problems = judged(case, command, ended)
    if case.kind == "nothing" and ended.code != 0:
        problems.append("a sound project is refused")
    if (
        command.notices
        and case.kind in ("content", "each")
        and changed_at_all
        and ended.code == 0
        and "sealed" not in case.what
    ):
        problems.append("a changed file isn't noticed")
    seconds = ended.seconds
    if case.kind == "signal":
        again = sandbox.run(lambda: invoke(words), folder, logs / "again", _with_home(Conditions(), root))
        done = command.words.startswith(ONCE) and "Error: " in again.stderr
        if again.code != 0 and not done:
            problems.append(f"run again, it ends with {again.code or again.signal}")
            ended = again
        seconds += again.seconds
    problems += wrongly_changed(case, command, before, snapshot(root), kept)
    # A person's files among ours are found by `verify`, and settings or words may say that it is another variant.
    checked = case.kind in ("content", "each", "full", "signal") and case.path != "params.yaml"
    if command.then and ended.code == 0 and checked:
        after = sandbox.run(lambda: invoke(command.then.split()), folder, logs / "then", _with_home(Conditions(), root))
        if after.code != 0:
            problems.append(f"{command.then} ends with {after.code or after.signal}")
            ended = after
    return Result(str(case), area(case), tuple(problems), _in_short(ended), seconds)


def _with_home(conditions: Conditions, root: Path) -> Conditions:
    places = (("HOME", str(root / "home")), ("TMPDIR", str(root / "tmp")))
    return Conditions(**{**conditions.__dict__, "environment": (*places, *conditions.environment)})


def _prepare(case: Case, command: Command, logs: Path) -> list[Path]:
    """Change what the case says; gives what must stay as it is."""
    rng = case.rng
    if case.kind in ("nothing", "words"):
        return []
    if case.kind == "conditions":
        case.what, case.conditions = _conditions(rng, command)
        return []
    if case.kind == "signal":
        number = rng.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
        delay = rng.random() * command.seconds * 1.2
        case.what = f"{signal.Signals(number).name} after {delay:.3f} s"
        case.conditions = Conditions(signal=number, delay_seconds=delay)
        return []
    if case.kind == "full":
        return _fill(case, command)
    if case.kind == "taken":
        path = Path(rng.choice([*command.folders, *command.files]))
        places = filesystem.TAKEN | filesystem.ODD
        if str(path) in command.files:  # its name is the command's, whatever is in it
            places = {name: place for name, place in places.items() if " among " not in name and name != "a plain file"}
        if str(path) == "params.yaml":  # edited where it is linked to
            places = filesystem.ODD
    else:
        path = Path(case.path) if case.path else _read_path(rng, command, files=case.kind in ("content", "each"))
        places = filesystem.ODD | filesystem.READ_ALSO
    case.path = str(path)
    if case.kind not in ("content", "each"):
        case.what = rng.choice(list(places))
        return places[case.what](rng, path)
    possible = (each if case.kind == "each" else content).changes_of(path)
    case.what = case.what or rng.choice(list(possible))

    def change() -> None:
        possible[case.what](rng, path)

    # In a process of its own: what a library started would not survive the fork.
    ended = sandbox.run(change, Path.cwd(), logs / "change")
    if ended.code:
        raise RuntimeError(f"{case}: the change failed:\n{ended.stderr}")
    return []


def _other_words(case: Case, command: Command) -> list[str]:
    """The command line with one of its words changed; a NUL can't be among them, nor what isn't text."""
    rng, words = case.rng, command.words.split()
    at = rng.randrange(1, len(words) + 1)
    odd = rng.choice([text for text in content.WEIRD_TEXTS if "\0" not in text and text.isprintable()])
    if rng.random() < 0.5 and at < len(words):
        head, slash, tail = words[at].rpartition("/")
        odd = rng.choice(
            [f"{head}{slash}{odd}", f"{odd}/{tail}", f"{words[at]}/..", f"{words[at]}{odd}", f"./{words[at]}"]
        )
    case.what = f"word {at} is {odd[:60]!r}"
    return [*words[:at], odd, *words[at + 1 :]]


def _read_path(rng: random.Random, command: Command, *, files: bool) -> Path:
    reads_params = not command.words.startswith(WITHOUT_PARAMS)
    if reads_params and rng.random() < 0.15:
        return Path("params.yaml")
    for _ in range(20):
        found = sorted(Path().glob(rng.choice(command.reads)))
        found = [path for path in found if path.is_file() or not files]
        if found:
            return rng.choice(found)
    raise RuntimeError(f"{command.words}: nothing matches {command.reads}")


def read_files(command: Command, folders: Iterable[Path]) -> list[Path]:
    """All files that a command reads, relative to the project; params.yaml first.

    Args:
        command: with its globs.
        folders: overlay and project.
    """
    found = [] if command.words.startswith(WITHOUT_PARAMS) else [Path("params.yaml")]
    for folder in folders:
        for pattern in dict.fromkeys(command.reads):
            found += [path.relative_to(folder) for path in sorted(folder.glob(pattern)) if path.is_file()]
    gone = [Path(path) for path in command.remove]
    found = [path for path in found if not any(path.is_relative_to(folder) for folder in gone)]
    return list(dict.fromkeys(found))


def _conditions(rng: random.Random, command: Command) -> tuple[str, Conditions]:
    kind = rng.choice(["few files", "little memory", "stdout full", "stdout broken", "stdout closed", "small files"])
    if kind == "few files":
        n_files = rng.choice([0, 1, 2, 4, 8, 16])
        return f"{n_files} files may be open", Conditions(more_files=n_files)
    if kind == "little memory":
        n_megabytes = rng.choice([1, 16, 64, 256])
        return f"{n_megabytes} MiB may be mapped", Conditions(more_bytes=n_megabytes * 2**20)
    if kind == "small files":
        n_bytes = rng.choice([0, 1, 100, 1000, 5000, 50_000])
        return f"files may have {n_bytes} bytes", Conditions(file_bytes=n_bytes)
    return kind, Conditions(stdout=kind.split()[1])


def _fill(case: Case, command: Command) -> list[Path]:
    """A disk of some kilobytes below an output's folder, where this may be mounted; else a limit on files."""
    rng = case.rng
    n_kilobytes = rng.choice([4, 16, 64, 200])
    path = Path(rng.choice([*command.folders, *command.files]))
    case.path, case.what = str(path), f"a disk of {n_kilobytes} kB"
    folder = path if path.is_dir() else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) == 0:  # CLONE_NEWNS: what is mounted goes with this process
        content_of = Path(tempfile.mkdtemp(dir=Path("../..")))
        shutil.copytree(folder, content_of / "x", symlinks=True)
        size = sum(4096 * (1 + one.lstat().st_size // 4096) for one in folder.rglob("*")) // 1024 + n_kilobytes
        for words in (
            ["mount", "--make-rprivate", "/"],
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)],
        ):
            if subprocess.run(words, capture_output=True, check=False).returncode:
                break
        else:
            shutil.copytree(content_of / "x", folder, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(content_of)
            return []
        shutil.rmtree(content_of)
    case.what = f"files may have {n_kilobytes} kB"
    case.conditions = Conditions(file_bytes=n_kilobytes * 1024)
    return []


def judged(case: Case, command: Command, ended: Ended) -> list[str]:
    """What is wrong with how a command ended."""
    said = ended.stdout + ended.stderr
    found = []
    if ended.hung:
        found.append("takes too long")
    expected = {0, 1, 2}
    if case.conditions.signal:
        expected |= {128 + case.conditions.signal}
    if case.conditions.stdout != "file" or case.conditions.file_bytes is not None:
        expected |= {128 + signal.SIGPIPE, 120}
    if ended.signal is not None and ended.signal != case.conditions.signal and not ended.hung:
        found.append(f"dies of {signal.Signals(ended.signal).name}")
    if ended.code is not None and ended.code not in expected:
        found.append(f"exit code {ended.code}")
    if "Traceback (most recent call last)" in said or "Exception ignored" in said or "Fatal Python error" in said:
        found.append("traceback")
    elif ended.code in (1, 2):
        found += [] if case.kind == "words" and ended.code == 2 else _message(command, ended, case.conditions)
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\x1b(?!\[A)", said):
        found.append("control characters reach the terminal")
    if case.conditions.more_bytes is None and "params.yaml" not in case.path:
        if re.search(r"out of memory|memory doesn't suffice|can't allocate|alloc", ended.stderr, re.I) and ended.code:
            found.append("out of memory")
        if ended.peak_bytes > case.conditions.peak_bytes:
            found.append(f"takes {ended.peak_bytes / 2**20:.0f} MiB")
    return found


def _message(command: Command, ended: Ended, conditions: Conditions) -> list[str]:
    lines = ended.stderr.replace("\r", "\n").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Error: ") or line == "Aborted!"]
    if not starts:
        fine = command.says_on_stdout and (ended.stdout.strip() or conditions.stdout != "file")
        unheard = conditions.file_bytes is not None and conditions.file_bytes < 1000  # stderr is a file too
        return [] if fine or unheard or conditions.signal else ["no line that begins with Error:"]
    message = lines[starts[0] :]
    if len(message) > MESSAGE_LINES or len("\n".join(message)) > MESSAGE_CHARACTERS:
        return [f"a message of {len(message)} lines, {len(chr(10).join(message))} characters"]
    return []


def wrongly_changed(case: Case, command: Command, before: Snapshot, after: Snapshot, kept: list[Path]) -> list[str]:
    """What was changed that isn't the command's to change."""
    found = []
    keep = [os.path.normpath(Path("project", path)) for path in kept]
    is_variant = case.path.startswith("old") or (case.path.startswith("store") and case.path.count("/") == 4)
    for path, how in sorted(changes(before, after).items()):
        # Where a variant belongs, nothing may be added to others' files either.
        mine = any(_is_below(path, kept_path) for kept_path in keep) and (how != "new" or is_variant)
        if mine or not _may_change(case, command, path, how):
            found.append(f"{how}: {path}")
        elif _is_left(case, path, how):
            found.append(f"left behind: {path}")
    return found[:8]


def _is_left(case: Case, path: str, how: str) -> bool:
    """Whether it is half-written, and isn't kept on purpose for the next run."""
    return how == "new" and path.endswith(".partial") and not _is_killed(case) and not _is_below(path, "project/runs")


def _is_killed(case: Case) -> bool:
    """Whether its signal leaves no time to clean up: a script of a person's has no handlers as a command has."""
    deadly = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
    return case.conditions.signal in (deadly if COMMANDS[case.command].words.startswith("python") else deadly[:1])


def _may_change(case: Case, command: Command, path: str, how: str) -> bool:
    top, _, inner = path.partition("/")
    if case.kind == "words" and how == "new":  # they say where to write
        return True
    if top == "elsewhere":
        return case.path.startswith(("store/", "old", "params.yaml"))  # a variant's folder may be a link
    if top != "project":
        return False
    outputs = (*command.folders, *command.files)
    if any(_is_below(inner, output) for output in outputs):
        return True
    if any(fnmatch.fnmatch(inner, touch) or _is_below(inner, touch) for touch in command.touches if touch != "store"):
        return True
    if _is_killed(case) and how == "new" and inner.endswith(".partial"):
        return any(inner.startswith(output) for output in outputs)
    if how == "new" and any(_is_below(output, inner) for output in (*outputs, *command.touches)):
        return True
    if case.kind == "words":  # of another variant, another aligner
        return any(_is_below(inner, root) for root in PARAMS_ROOTS)
    # Names in params.yaml are folders' names.
    return how == "new" and case.path == "params.yaml" and inner.split("/")[0] in PARAMS_ROOTS


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _in_short(ended: Ended) -> str:
    how = f"signal {ended.signal}" if ended.code is None else f"exit code {ended.code}"
    said = ended.stderr if len(ended.stderr) < 6000 else ended.stderr[:3000] + "\n...\n" + ended.stderr[-3000:]
    return f"{how} after {ended.seconds:.2f} s, {ended.peak_bytes >> 20} MiB\n{said}\n{ended.stdout[-500:]}"


AREAS = [
    ("params", "PARAMS"),
    ("clips/captions", "TABLE"),
    ("clips", "CLIP"),
    ("sources/llm", "TABLE"),
    ("sources", "TABLE"),
    ("msrvtt", "TABLE"),
    ("weights", "WEIGHTS"),
    ("runs", "READ"),
    ("data", "READ"),
    ("pairs", "READ"),
    ("models", "READ"),
    ("metrics", "READ"),
    ("plots", "READ"),
    ("exported", "TABLE"),
    ("store", "store"),
    ("old", "store"),
]


def area(case: Case) -> str:
    """Whose it is."""
    if case.kind in ("conditions", "signal", "full", "words"):
        return f"conditions of {case.command.split()[0]}"
    if case.kind == "taken":
        return "store" if case.path.startswith(("store", "old")) else "stage outputs"
    return next((name for prefix, name in AREAS if case.path.startswith(prefix)), "other")

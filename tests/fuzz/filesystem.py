"""Other things in the place of a file or folder: pipes, devices, links to a person's files, folders that are taken."""

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

Place = Callable[[random.Random, Path], list[Path]]
"""Puts something at a path, in a project's folder as working directory; gives what must stay as it is."""

OUTSIDE = Path("../precious")
INSIDE = Path("precious")


def clear(path: Path) -> None:
    """Take away what is at a path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)


def _precious(rng: random.Random) -> Path:
    return rng.choice([OUTSIDE, INSIDE])


def _replaced(make: Callable[[random.Random, Path], None]) -> Place:
    def place(rng: random.Random, path: Path) -> list[Path]:
        clear(path)
        make(rng, path)
        return []

    return place


def _link(target: Callable[[random.Random], Path | str]) -> Place:
    def make(rng: random.Random, path: Path) -> None:
        to = target(rng)
        path.symlink_to(to if isinstance(to, str) else to.absolute())

    return _replaced(make)


def _socket(rng: random.Random, path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFSOCK)


def _folder(rng: random.Random, path: Path) -> None:
    path.mkdir()


def _linked_elsewhere(rng: random.Random, path: Path) -> list[Path]:
    """The thing itself, moved and linked to."""
    elsewhere = Path("../elsewhere").absolute() / path.name
    elsewhere.parent.mkdir(exist_ok=True)
    if path.is_symlink() or path.exists():
        shutil.move(path, elsewhere)
    else:
        elsewhere.mkdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)
    return []


def _no_rights(rng: random.Random, path: Path) -> list[Path]:
    path.chmod(0)
    return []


ODD: dict[str, Place] = {
    "nothing": _replaced(lambda rng, path: None),
    "a pipe": _replaced(lambda rng, path: os.mkfifo(path)),
    "a socket": _replaced(_socket),
    "an empty folder": _replaced(_folder),
    "a link to a person's file": _link(lambda rng: _precious(rng) / "keep.txt"),
    "a link to a person's folder": _link(lambda rng: _precious(rng) / "thesis"),
    "a link to all of a person's files": _link(lambda rng: _precious(rng)),
    "a link to zeros without end": _link(lambda rng: "/dev/zero"),
    "a link to a full disk": _link(lambda rng: "/dev/full"),
    "a link to nothing": _link(lambda rng: "nowhere"),
    "a link to itself": _replaced(lambda rng, path: path.symlink_to(path.name)),
    "a link to /": _link(lambda rng: "/usr/share/misc"),
    "a person's file": _replaced(lambda rng, path: os.link(_precious(rng) / "keep.txt", path)),
}
"""For what is read, and for what is written."""


def _occupied(name: str) -> Place:
    """A folder of a person's in its place."""

    def place(rng: random.Random, path: Path) -> list[Path]:
        clear(path)
        shutil.copytree(_precious(rng) / name, path)
        return [path]

    return place


def _plain_file(rng: random.Random, path: Path) -> list[Path]:
    clear(path)
    path.write_text("A plain file of a person's.\n")
    return [path]


def _guests(rng: random.Random, path: Path) -> list[Path]:
    """A person's files beside ours in a folder, at some depth."""
    path.mkdir(parents=True, exist_ok=True)
    folders = [path, *(one for one in path.rglob("*") if one.is_dir() and not one.is_symlink())]
    folder = rng.choice(folders)
    name = rng.choice(["thesis", "notes.txt", ".hidden", "values.old", "plan.json.bak", "measured.zarr", "x.parquet"])
    guest = folder / name
    if name in ("thesis", "measured.zarr"):
        shutil.copytree(INSIDE / name, guest)
    else:
        guest.write_text("mine\n")
    return [guest]


def _guest_link(rng: random.Random, path: Path) -> list[Path]:
    """A link to a person's folder beside ours."""
    path.mkdir(parents=True, exist_ok=True)
    name = rng.choice(["old", "values", "c", "theirs", "other.html"])
    guest = path / name
    if not guest.exists():
        guest.symlink_to(_precious(rng).absolute())
        return [guest]
    return []


def _above(place: Place) -> Place:
    """The same, at one of the folders above."""

    def placed(rng: random.Random, path: Path) -> list[Path]:
        above = [one for one in path.parents if one != Path(".")]
        return place(rng, rng.choice(above) if above else path)

    return placed


def _in_a_cache(link: bool) -> Place:
    """All its files as DVC has them with `cache.type hardlink` or `symlink`: links into a cache, read-only."""

    def place(rng: random.Random, path: Path) -> list[Path]:
        files = [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.is_file()]
        for file in files:
            digest = md5(file.read_bytes()).hexdigest()
            kept = Path("../cache/files/md5", digest[:2], digest[2:]).absolute()
            kept.parent.mkdir(parents=True, exist_ok=True)
            if kept.exists():
                file.unlink()
            else:
                shutil.move(file, kept)
            kept.chmod(0o444)
            if link:
                file.symlink_to(kept)
            else:
                os.link(kept, file)
        return []

    return place


def _partials(rng: random.Random, path: Path) -> list[Path]:
    """Links with the names that half-written files have."""
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    file = rng.choice(files or [path / "zarr.json"])
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.symlink_to((_precious(rng) / rng.choice(["keep.txt", "thesis", "absent"])).absolute())
    return []


def _unwritable(rng: random.Random, path: Path) -> list[Path]:
    """Nobody may change it, root neither; where that can't be had, others may not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path if path.is_dir() else path.parent
    if subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False).returncode:
        folder.chmod(0o555)
    return []


TAKEN: dict[str, Place] = {
    "a thesis": _occupied("thesis"),
    "another tool's Zarr group": _occupied("measured.zarr"),
    "a plain file": _plain_file,
    "a person's files among ours": _guests,
    "more of a person's files among ours": _guests,
    "a person's link among ours": _guest_link,
    "a link to a person's folder above": _above(ODD["a link to all of a person's files"]),
    "a link to a person's thesis above": _above(ODD["a link to a person's folder"]),
    "a plain file above": _above(_plain_file),
    "links into a cache": _in_a_cache(True),
    "hard links into a cache": _in_a_cache(False),
    "links for half-written files": _partials,
    "a folder that nobody may change": _unwritable,
    "itself, elsewhere": _linked_elsewhere,
}
"""For what is written."""
READ_ALSO: dict[str, Place] = {"itself, elsewhere": _linked_elsewhere, "no rights": _no_rights}


def release(root: Path) -> None:
    """Make everything below a folder changeable again, so that it can be removed."""
    subprocess.run(["chattr", "-R", "-i", str(root)], capture_output=True, check=False)

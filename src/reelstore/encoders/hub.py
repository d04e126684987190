"""A checkpoint in the Hugging Face layout: a folder here, or one commit of a repository on the hub."""

import json
import re
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from reelstore.encoders.weights import sha256_of_all
from reelstore.errors import ParamsError, WeightsError

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of preference; each may be split, with an index beside it."""
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


@dataclass(frozen=True)
class Checkpoint:
    """Files of one model.

    Attributes:
        source: what messages call it: the folder, or `owner/name@commit`.
        folder: where they lie.
        config: config.json.
        weights: files that hold the weights, one or several.
    """

    source: str
    folder: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]

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
    if model is None:
        raise ParamsError(
            f"encoders.{encoder} needs `model`: a folder, or owner/name on the Hugging Face hub with its `revision`."
        )
    if Path(model).is_dir():
        if revision is not None:
            raise ParamsError(f"encoders.{encoder}: {model} is a folder here, which has no revision {revision!r}.")
        return _in_folder(Path(model), model)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model):
        raise WeightsError(f"encoders.{encoder}: {model!r} is neither a folder here nor owner/name on the hub.")
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ParamsError(
            f"encoders.{encoder}: {model} isn't a folder here, and on the hub it needs `revision`, the 40 hex digits "
            f"of a commit; it is {revision!r}. See https://huggingface.co/{model}/commits/main."
        )
    source = f"{model}@{revision[:12]}"
    return _in_folder(_snapshot(model, revision, source), source)


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
    pinned = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", name)
    if pinned is None:
        raise WeightsError(
            f"{weights} is {name!r}: neither a folder here nor a repository with its commit, owner/name@<40 digits>."
        )
    return _snapshot(pinned[1], pinned[2], f"{weights}: {name}")


def half_precision(checkpoint: Checkpoint, device: str) -> Any:
    """The torch dtype of a network: half on a GPU, bfloat16 where it was saved so; float32 elsewhere."""
    import torch

    if torch.device(device).type != "cuda":
        return torch.float32
    saved = checkpoint.config.get("dtype", checkpoint.config.get("torch_dtype"))
    saved = saved or checkpoint.config.get("text_config", {}).get("dtype")
    return torch.bfloat16 if saved == "bfloat16" else torch.float16


def load_network(checkpoint: Checkpoint, *, dtype: Any) -> Any:
    """The checkpoint's network on the CPU, for inference. Code that comes with a checkpoint is never run.

    Raises:
        WeightsError: transformers doesn't know the model, or a key is missing or has another shape.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # keys that are missing become an error of ours
    try:
        network, report = AutoModel.from_pretrained(
            checkpoint.folder,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            use_safetensors=checkpoint.weights[0].suffix == ".safetensors",
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, EOFError, UnpicklingError, SafetensorError) as error:
        raise WeightsError(f"{checkpoint.source} can't be loaded: {type(error).__name__}: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    for key, found, expected in sorted(report["mismatched_keys"]):
        raise WeightsError(f"{checkpoint.source}: {key} is {tuple(found)}, but config.json makes it {tuple(expected)}.")
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise WeightsError(
            f"{checkpoint.source}: the weights lack keys: {len(missing)}, {missing[0]} first. "
            f"They aren't those of {type(network).__name__}, or the download is incomplete."
        )
    return network.eval().requires_grad_(False)


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's tokenizer.

    Raises:
        WeightsError: its files are missing, or only its Python form is there, which comes as code.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, TypeError, AttributeError) as error:
        raise WeightsError(f"{checkpoint.source} has no tokenizer that can be loaded: {error}") from error


def arithmetic(network: Any) -> str:
    """Number format and attention of a network, in words, for the fingerprint: both move the last bits."""
    return f"{str(network.dtype).removeprefix('torch.')}, {network.config._attn_implementation} attention"


def pooled(output: Any) -> Any:
    """(batch, dim) of what a `get_*_features` returned: an object with `pooler_output` or, in older versions, a tensor.

    A middle axis of length one is dropped.
    """
    features = getattr(output, "pooler_output", output)
    if features.ndim == 3 and features.shape[1] == 1:
        features = features[:, 0]
    if features.ndim != 2:
        raise WeightsError(f"The model gives features of shape {tuple(features.shape)}, not one embedding an item.")
    return features


def _in_folder(folder: Path, source: str) -> Checkpoint:
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(f"{source} has no config.json. It must be a folder as save_pretrained or the hub makes it.")
    values = json.loads(config.read_text())
    if "model_type" not in values:
        raise WeightsError(f"{config} names no model_type.")
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return Checkpoint(source, folder, values, (folder / name,))
        if index.is_file():
            parts = tuple(folder / part for part in sorted(set(json.loads(index.read_text())["weight_map"].values())))
            for part in parts:
                if not part.is_file():
                    raise WeightsError(f"{source}: {part.name}, named by {index.name}, is missing. Download it again.")
            return Checkpoint(source, folder, values, parts)
    raise WeightsError(f"{source} has no weights: neither {' nor '.join(_WEIGHTS)}, whole or split.")


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
    except OSError as error:  # the hub's errors are, its offline mode among them
        raise WeightsError(
            f"{source} isn't in the local cache and can't be downloaded ({type(error).__name__}). Where there is a "
            f"network, run: hf download {model} --revision {revision}; or name a folder."
        ) from error

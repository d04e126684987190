"""A checkpoint in the Hugging Face layout: a folder here, or one commit of a repository on the hub."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelstore.encoders.folder import read_config, refusing, weight_files
from reelstore.encoders.weights import sha256_of_all
from reelstore.errors import ParamsError, WeightsError

if TYPE_CHECKING:
    from reelstore.encoders.checkpoint import StoredTensor

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
_MOST_SLACK = 2**24
_MODULES_PER_TENSOR = 64


@dataclass(frozen=True)
class Checkpoint:
    """Files of one model.

    Attributes:
        source: what messages call it: the folder, or `owner/name@commit`.
        folder: where they lie.
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


def half_precision(checkpoint: Checkpoint, device: str) -> Any:
    """The torch dtype of a network: half on a GPU, bfloat16 where it was saved so; float32 elsewhere."""
    import torch

    if torch.device(device).type != "cuda":
        return torch.float32
    saved = checkpoint.config.get("dtype", checkpoint.config.get("torch_dtype"))
    saved = saved or (checkpoint.config.get("text_config") or {}).get("dtype")
    return torch.bfloat16 if saved == "bfloat16" else torch.float16


def load_network(checkpoint: Checkpoint, *, dtype: Any) -> Any:
    """The checkpoint's network on the CPU, for inference. Code that comes with a checkpoint is never run.

    The files are opened here, and transformers is given their tensors: no name in a checkpoint leads it elsewhere.

    Raises:
        WeightsError: transformers doesn't know the model, a key is missing or has another shape or another dtype, or
            the weights hold NaN, infinity, or nothing.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    from reelstore.encoders.checkpoint import read_tensors, refuse_meaningless

    source = checkpoint.source
    try:
        tensors = read_tensors(checkpoint.weights, index=checkpoint.index)
    except WeightsError as error:
        raise WeightsError(f"{source} can't be loaded: {error}") from error
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(ERROR)  # keys that are missing become an error of ours
    try:
        with refusing(f"{source} can't be loaded"):
            config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
            with _no_larger_than(tensors, source):
                network, report = _class_of(config).from_pretrained(
                    None,
                    config=config,
                    state_dict={key: tensor.content for key, tensor in tensors.items()},
                    local_files_only=True,
                    dtype=dtype,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                )
    finally:
        logging.set_verbosity(verbosity)
    for key, found, expected in sorted(report["mismatched_keys"]):
        raise WeightsError(f"{source}: {key} is {tuple(found)}, but config.json makes it {tuple(expected)}.")
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise WeightsError(
            f"{source}: the weights lack keys: {len(missing)}, {missing[0]} first. "
            f"They aren't those of {type(network).__name__}, or the download is incomplete."
        )
    _check_floats(network, tensors)
    names = ", ".join(file.name for file in checkpoint.weights[:3])
    refuse_meaningless(network.named_parameters(), source=f"{source}: {names}")
    frequencies = ((name, values) for name, values in network.named_buffers() if name.endswith("inv_freq"))
    refuse_meaningless(frequencies, source=f"{source}: config.json makes rope_parameters of which")
    return network.eval().requires_grad_(False)


def _class_of(config: Any) -> Any:
    """The class of a model without a head, as AutoModel takes it."""
    from transformers import MODEL_MAPPING

    found: Any = MODEL_MAPPING[type(config)]
    classes = found if isinstance(found, tuple | list) else [found]
    named = [one for one in classes if one.__name__ in (getattr(config, "architectures", None) or ())]
    return (named or classes)[0]


@contextmanager
def _no_larger_than(tensors: "Mapping[str, StoredTensor]", source: str) -> Iterator[None]:
    """Ends the making of a network that is far larger than what the files hold: it is made without memory first.

    Raises:
        WeightsError: it has more modules or numbers.
    """
    from torch.nn.modules import module

    n_stored = sum(tensor.n_values for tensor in tensors.values())
    most_modules, most_values = _MODULES_PER_TENSOR * (len(tensors) + 64), 2 * n_stored + _MOST_SLACK
    n_modules, n_values = 0, 0
    seen: dict[int, Any] = {}  # kept, so that no id comes twice

    def count_module(*_: object) -> None:
        nonlocal n_modules
        n_modules += 1
        if n_modules > most_modules:
            raise WeightsError(
                f"{source}: config.json makes a network of more than {most_modules} modules, and the weights hold "
                f"{len(tensors)} tensors. They don't belong together; see num_hidden_layers."
            )

    def count_values(_: object, name: str, values: Any) -> None:
        nonlocal n_values
        if values is None or values.device.type != "meta" or id(values) in seen:
            return
        seen[id(values)] = values
        n_values += values.numel()
        if n_values > most_values:
            raise WeightsError(
                f"{source}: config.json makes a network of more than {n_values} numbers, and the weights hold "
                f"{n_stored}. They don't belong together; see hidden_size, intermediate_size and vocab_size."
            )

    hooks = [
        module.register_module_module_registration_hook(count_module),
        module.register_module_parameter_registration_hook(count_values),
        module.register_module_buffer_registration_hook(count_values),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_floats(network: Any, tensors: "Mapping[str, StoredTensor]") -> None:
    """Raise WeightsError where a parameter comes from whole numbers, booleans or the like: all would be cast."""
    endings = {ending for name, _ in network.named_parameters() for ending in _endings(name)}
    for key, tensor in tensors.items():
        if key.endswith(".weight") or endings.intersection(_endings(key)):
            tensor.check(key, tensor.shape)


def _endings(name: str) -> set[str]:
    """A name and what is left of it without the prefix of a base model, which is in a file or isn't.

    At least two parts, where it has them: `bias` alone would be everybody's.
    """
    parts = name.split(".")
    return {".".join(parts[start:]) for start in range(max(len(parts) - 1, 1))}


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

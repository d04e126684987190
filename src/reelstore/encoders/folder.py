"""Read and check a checkpoint's folder: its settings, and which files hold its weights. No code of it is run."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reelstore.errors import DamagedFileError, IrregularFileError, ReelstoreError, WeightsError
from reelstore.io import read_json, refuse_irregular

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of preference; each may be split, with an index beside it."""
_READ_BY_LIBRARIES = ("*.json", "*.txt", "*.model", "*.jinja", "additional_chat_templates/*")
_WITHOUT_MARK = (
    "added_tokens.json",
    "config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_MARK = b"\xef\xbb\xbf"
_LARGEST_SETTINGS = 16 * 2**20
_LARGEST_VOCABULARY = 128 * 2**20
"""Bytes of JSON unfold to twenty times as many in memory; the largest published tokenizer has half of this."""

_SIZES = {
    "hidden_size": 2**17,
    "intermediate_size": 2**20,
    "num_hidden_layers": 4096,
    "num_attention_heads": 4096,
    "num_key_value_heads": 4096,
    "head_dim": 2**16,
    "vocab_size": 2**25,
    "max_position_embeddings": 2**25,
    "projection_dim": 2**17,
    "image_size": 2**14,
    "patch_size": 2**14,
    "num_channels": 4096,
    "num_frames": 4096,
    "mit_hidden_size": 2**17,
    "mit_intermediate_size": 2**20,
    "mit_num_hidden_layers": 4096,
    "mit_num_attention_heads": 4096,
    "prompt_layers": 4096,
    "prompt_num_attention_heads": 4096,
}
"""Settings that are whole numbers of at least 1, and the largest that is believed: far above any published model.

Libraries make lists as long as some of these before a tensor is read."""
_LARGEST = {"layers": 4096, "num_labels": 2**20}
"""Endings of other such settings, which may be 0."""
_FLOATS = ("float64", "float32", "float16", "bfloat16")
_ELSEWHERE = {
    "auto_map": "the model comes as code, which is never run, so it can't be loaded",
    "transformers_weights": "it names another file of weights. Take it out, and name the file model.safetensors",
    "quantization_config": "the weights are quantised, which aren't read. Take the model's original ones",
    "kernel_config": "it names code on the hub, which is never run. Take it out",
}
"""Settings that would have libraries fetch or run something else; why each is refused."""


@contextmanager
def refusing(failure: str) -> Iterator[None]:
    """Turns what libraries raise on an odd file into WeightsError: they raise nearly anything.

    Args:
        failure: how the message begins, which names the file or folder.
    """
    try:
        yield
    except (ReelstoreError, MemoryError):
        raise
    except Exception as error:
        raise _refused(failure, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of libraries in Rust, which isn't an Exception
            raise
        raise _refused(failure, error) from error


def _refused(failure: str, error: BaseException) -> WeightsError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    return WeightsError(f"{failure}: {reason}")


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint, which must hold a mapping.

    Raises:
        WeightsError: it isn't JSON, or something else.
        OSError: it isn't there, or can't be read.
    """
    try:
        large = path.name == "tokenizer.json" or path.name.endswith(".index.json")
        values = read_json(path, at_most=_LARGEST_VOCABULARY if large else _LARGEST_SETTINGS)
    except DamagedFileError as error:
        reason = str(error).removeprefix(f"{path} isn't valid JSON: ")
        raise WeightsError(f"{path} isn't JSON that can be read: {reason}") from error
    except IrregularFileError as error:
        raise WeightsError(str(error)) from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds {_words(values)}; settings by name are expected.")
    return values


def read_config(folder: Path, *, source: str) -> dict[str, Any]:
    """config.json, once every size in it is one and nothing in it leads elsewhere.

    Args:
        folder: the checkpoint's.
        source: what messages call it.

    Raises:
        WeightsError: the file is missing or damaged, or a setting is refused; the message names it.
    """
    path = folder / "config.json"
    if not _is_there(path):
        raise WeightsError(f"{source} has no config.json. It must be a folder as save_pretrained or the hub makes it.")
    check_readable(folder)
    values = read_settings(path)
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        found = f"{model_type!r}" if "model_type" in values else "not there"
        raise WeightsError(f"{path} names no model_type: a text is expected, and it is {found}.")
    for name, inner in _levels(values):
        for key, value in inner.items():
            _check(path, f"{name}{key}", key, value)
    return values


def check_readable(folder: Path) -> None:
    """Refuse a folder with a pipe or a device in place of a file that libraries open by its name, and an adapter's.

    Byte-order marks too: most of these files can't be read with one, and a vocabulary's first token would be another.
    """
    for pattern in _READ_BY_LIBRARIES:
        for path in folder.glob(pattern):
            if not path.exists():
                continue  # a link to nothing is read as no file
            if path.is_dir():
                raise WeightsError(f"{path} is a folder; a regular file is expected.")
            try:
                refuse_irregular(path)
            except IrregularFileError as error:
                raise WeightsError(str(error)) from error
            if path.stat().st_size > _LARGEST_VOCABULARY:
                raise WeightsError(
                    f"{path} has {path.stat().st_size} bytes; at most {_LARGEST_VOCABULARY} are expected."
                )
    for path in map(folder.joinpath, _WITHOUT_MARK):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            marked = file.read(len(_MARK)) == _MARK
        if marked:
            raise WeightsError(
                f"{path} begins with a byte-order mark, which libraries refuse or take for a token. Save it as UTF-8 "
                "without one."
            )
    if (folder / "adapter_config.json").exists():
        raise WeightsError(
            f"{folder} has an adapter_config.json: it is an adapter of another model. Merge them, and take that folder."
        )


def weight_files(folder: Path, *, source: str, split_first: bool = False) -> tuple[Path | None, tuple[Path, ...]]:
    """The index of split weights, None for whole ones, and the files that hold them, all inside the folder.

    Args:
        folder: the checkpoint's.
        source: what messages call it.
        split_first: take the index where both are there.

    Raises:
        WeightsError: there are none, or the index is no index, or names what isn't a file of this folder.
    """
    layouts = [layout for name in _WEIGHTS for layout in (name, f"{name}.index.json")]
    if split_first:
        layouts = [layout for name in _WEIGHTS for layout in (f"{name}.index.json", name)]
    found = next((folder / layout for layout in layouts if _is_there(folder / layout)), None)
    if found is None:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise WeightsError(
            f"{source} has no weights: one of {', '.join(layouts)} was expected, and it holds {there}: "
            f"neither {' nor '.join(_WEIGHTS)}, whole or split."
        )
    index = found if found.suffix == ".json" else None
    files = tuple(folder / name for name in sorted(set(read_index(index).values()))) if index else (found,)
    for file in files:
        if not _is_there(file):
            raise WeightsError(f"{found} names {file.name}, which isn't there: it is missing. Download it again.")
        try:
            refuse_irregular(file)
        except IrregularFileError as error:
            raise WeightsError(str(error)) from error
    return index, files


def read_index(path: Path) -> dict[str, str]:
    """Key -> name of the file that holds it, a file beside the index.

    Raises:
        WeightsError: it is no index, or names a file elsewhere.
    """
    where = read_settings(path).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise WeightsError(f"{path} is no index of weights: a weight_map from keys to files was expected.")
    ending = path.name.removesuffix(".index.json").rpartition(".")[2]
    for key, name in where.items():
        if not isinstance(name, str) or not re.fullmatch(rf"\w[\w.-]*\.{ending}", name, re.ASCII):
            raise WeightsError(
                f"{path}: weight_map has {name!r} for {key}; the name of a .{ending} file beside it is expected."
            )
    return where


def _is_there(path: Path) -> bool:
    """Whether something has this name; a link to nothing is refused rather than passed over."""
    if path.is_symlink() and not path.exists():
        raise WeightsError(f"{path} is a link to nothing. Download it again.")
    return path.exists()


def _levels(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings in a configuration, each with the path to it: `text_config.`"""
    waiting = [("", values)]
    while waiting:
        name, inner = waiting.pop()
        yield name, inner
        waiting += [(f"{name}{key}.", value) for key, value in inner.items() if isinstance(value, dict)]


def _check(path: Path, name: str, key: str, value: Any) -> None:
    if value is None:
        return
    if key in _ELSEWHERE:
        raise WeightsError(f"{path} has {name}: {_ELSEWHERE[key]}.")
    if key.endswith("attn_implementation") or key.endswith("experts_implementation"):
        if value not in ("eager", "sdpa"):
            raise WeightsError(f"{path}: {name} is {_words(value)}, which may be code on the hub. Take it out.")
    elif key.endswith("_config") and not isinstance(value, dict):
        raise WeightsError(f"{path}: {name} is {_words(value)}; settings by name are expected.")
    elif key in ("dtype", "torch_dtype"):
        if not isinstance(value, str) or value.removeprefix("torch.") not in _FLOATS:
            raise WeightsError(f"{path}: {name} is {_words(value)}; one of {', '.join(_FLOATS)} is expected.")
    elif key in _SIZES and not (isinstance(value, dict) and key in ("image_size", "patch_size")):
        for one in value if isinstance(value, list) and value else [value]:
            if type(one) is not int or not 1 <= one <= _SIZES[key]:
                raise WeightsError(
                    f"{path}: {name} is {_words(value)}; a whole number from 1 to {_SIZES[key]} is expected."
                )
    elif isinstance(value, int):
        largest = next((most for ending, most in _LARGEST.items() if key.endswith(ending)), value)
        if value > largest:
            raise WeightsError(f"{path}: {name} is {_words(value)}; at most {largest} is expected.")


def _words(value: object) -> str:
    """A value in a message, cut where it's long."""
    if isinstance(value, int) and abs(value) > 2**64:
        return "a number beyond 64 bits"
    if isinstance(value, Mapping):
        return "settings by name"
    words = repr(value) if not isinstance(value, list) or len(value) < 10 else f"a list of {len(value)}"
    return words if len(words) < 80 else f"{words[:77]}..."

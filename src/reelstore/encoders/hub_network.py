"""Load a checkpoint's network: transformers makes it from tensors that were checked first."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import module

from reelstore.encoders.checkpoint import StoredTensor, read_tensors, refuse_meaningless
from reelstore.encoders.folder import refusing
from reelstore.encoders.hub import Checkpoint
from reelstore.encoders.hub_model import class_of, quiet_transformers, read_model_config
from reelstore.errors import WeightsError

_MOST_SLACK = 2**24
_MODULES_PER_TENSOR = 64


def load_network(checkpoint: Checkpoint, *, dtype: Any) -> Any:
    """The checkpoint's network on the CPU, for inference. Code that comes with a checkpoint is never run.

    The files are opened here, and transformers is given their tensors: no name in a checkpoint leads it elsewhere.

    Args:
        checkpoint: the files.
        dtype: `float32`, `float16` or `bfloat16`, or torch's of this name.

    Raises:
        WeightsError: transformers doesn't know the model, a key is missing or has another shape or another dtype, or
            the weights hold NaN, infinity, or nothing.
    """
    source = checkpoint.source
    try:
        tensors = read_tensors(checkpoint.weights, index=checkpoint.index)
    except WeightsError as error:
        raise WeightsError(f"{source} can't be loaded: {error}") from error
    config = read_model_config(checkpoint)
    # Keys that are missing become an error of ours.
    with quiet_transformers(), refusing(f"{source} can't be loaded"), _no_larger_than(tensors, source):
        network, report = class_of(config).from_pretrained(
            None,
            config=config,
            state_dict={key: tensor.content for key, tensor in tensors.items()},
            local_files_only=True,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
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


@contextmanager
def _no_larger_than(tensors: Mapping[str, StoredTensor], source: str) -> Iterator[None]:
    """Ends the making of a network that is far larger than what the files hold: it is made without memory first.

    Raises:
        WeightsError: it has more modules or numbers.
    """
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


def _check_floats(network: Any, tensors: Mapping[str, StoredTensor]) -> None:
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


def check_arithmetic(network: Any, expected: str, *, source: str) -> None:
    """Raise WeightsError where a network computes otherwise than its spec says, as another transformers may have it."""
    found = f"{str(network.dtype).removeprefix('torch.')}, {network.config._attn_implementation} attention"
    if found != expected:
        raise WeightsError(
            f"{source} was loaded with {found}, and its configuration says {expected}. Set attn_implementation in its "
            "config.json, or install the transformers that reelstore was tested with."
        )


def positions_of(network: Any, longest: int) -> int:
    """How many tokens a network has positions for: fewer than its table where counting begins behind the padding's.

    Args:
        network: of transformers.
        longest: what config.json says, `max_position_embeddings`.
    """
    tables = [getattr(module, "position_embeddings", None) for module in network.modules()]
    paddings = [getattr(table, "padding_idx", None) for table in tables]
    return longest - max((padding + 1 for padding in paddings if padding is not None), default=0)


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

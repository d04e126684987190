"""A LLaMA in the layout of transformers: text to token ids, and embeddings to the states of chosen layers.

Layer 0 is what goes in, layer k what the k-th block gives, and the last layer comes after the final norm: the numbering
of transformers' `hidden_states`. Blocks beyond the deepest layer asked for are neither read nor run.
"""

import json
import string
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from reelstore.encoders import folder as checkpoint_folder
from reelstore.encoders.caption_tokens import respelled, special_spellings
from reelstore.encoders.folder import refusing, weight_files
from reelstore.encoders.tokenizer import merges_fault, size_fault
from reelstore.errors import ParamsError, WeightsError
from reelstore.extras import needed

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import LlamaConfig, LlamaModel

TOKENIZERS = ("tokenizer.model", "tokenizer.json")
"""Read in this order: the first is what Video-LLaMA's code reads."""

_SPECIAL = ("<s>", "</s>", "<unk>")
"""A LLaMA's own special tokens, which tokenizer.json may list among its ordinary pieces."""
_SMALLEST_TABLE = 1000
"""Rows from which on a tokenizer must know a token for nearly each; no published model has fewer."""


class Tokenizer:
    """Text -> token ids of a LLaMA folder, without any special token; safe from several threads.

    Text is text: `</s>`, `<unk>` or `<ImageHere>` in a caption or a prompt are tokenised as their characters.

    Args:
        folder: holds `tokenizer.model` or `tokenizer.json`.
        config: the model's; pieces beyond its vocabulary can't be embedded.

    Attributes:
        bos: the token that begins every sequence: the tokenizer's `<s>`, since configurations of the first LLaMA's time
            name other ones; that of the configuration if the tokenizer has none.

    Raises:
        WeightsError: the folder has no tokenizer, one of another vocabulary than the model's, or one that gives the
            same tokens for every letter; or nothing names a token to begin with.
        MissingExtraError: `tokenizer.model` needs a package that isn't installed.
    """

    def __init__(self, folder: Path, config: "LlamaConfig") -> None:
        self.path = _tokenizer_path(folder)
        self._vocab_size = config.vocab_size
        read = _sentencepiece if self.path.suffix == ".model" else _tokenizers
        self._encode, bos, fault = read(self.path, config.vocab_size)
        bos = config.bos_token_id if bos is None else bos
        if not isinstance(bos, int) or not 0 <= bos < config.vocab_size:
            raise WeightsError(
                f"{self.path} has no <s>, and bos_token_id in config.json is {bos!r}: no token to begin with."
            )
        if fault is not None:
            raise WeightsError(f"{self.path} {fault}")
        self.bos = bos

    def ids(self, text: str) -> list[int]:
        """Token ids; those of an empty text are none."""
        with refusing(f"{self.path} fails on {text[:80]!r}"):
            ids = self._encode(text) if text else []
        if beyond := [number for number in ids if number >= self._vocab_size]:
            raise WeightsError(
                f"{self.path} gives token {beyond[0]} for {text!r}, beyond the {self._vocab_size} of the model: "
                "the tokenizer is another model's, or the text holds a token that was added to it."
            )
        return ids


def _tokenizer_path(folder: Path) -> Path:
    there = [folder / name for name in TOKENIZERS if (folder / name).is_file()]
    if not there:
        raise WeightsError(f"{folder} has neither {' nor '.join(TOKENIZERS)}: text can't be turned into tokens.")
    return there[0]


_Encode = Callable[[str], list[int]]


_Read = tuple[_Encode, int | None, str | None]
"""What encodes, the id of `<s>`, and why the tokenizer can't be this model's."""


def _sentencepiece(path: Path, n_rows: int) -> _Read:
    with needed(f"Reading {path}"):
        from sentencepiece import SentencePieceProcessor
    with refusing(f"{path} is no model of sentencepiece"):
        processor = SentencePieceProcessor(model_file=str(path))
        numbers = range(processor.get_piece_size())
        words = [number for number in numbers if not (processor.is_control(number) or processor.is_unknown(number))]
        pieces = {number: processor.id_to_piece(number) for number in words}
    bos = processor.bos_id()  # -1 for none

    def encode(text: str) -> list[int]:
        return list(processor.encode(text))

    return encode, None if bos < 0 else bos, _fault(path, encode, pieces, set(numbers), n_rows)


def _tokenizers(path: Path, n_rows: int) -> _Read:
    from tokenizers import Tokenizer as FromJson

    with refusing(f"{path} is no tokenizer"):
        tokenizer = FromJson.from_file(str(path))
        added = tokenizer.get_added_tokens_decoder()
        special = [*_SPECIAL, *(token.content for token in added.values() if token.special)]
        known = SimpleNamespace(added_tokens_decoder=added, all_special_tokens=special)
        text_alone = respelled(tokenizer, special_spellings(known, n_rows))
        names = {token.content for token in added.values()}
        vocabulary = tokenizer.get_vocab()
        broken = merges_fault(json.loads(tokenizer.to_str()), names)

    def encode(text: str) -> list[int]:
        return list(text_alone.encode(text, add_special_tokens=False).ids)

    pieces = {number: piece for piece, number in vocabulary.items() if piece not in names | set(_SPECIAL)}
    fault = _fault(path, encode, pieces, set(vocabulary.values()), n_rows)
    return encode, tokenizer.token_to_id("<s>"), fault or broken


def _fault(path: Path, encode: _Encode, pieces: Mapping[int, str], ids: set[int], n_rows: int) -> str | None:
    """Why a tokenizer of these pieces can't be that of a model; None where it can."""
    whole = ids if n_rows >= _SMALLEST_TABLE else set(range(n_rows))
    if (fault := size_fault(n_rows, set(pieces), whole)) is not None:
        return fault
    texts = [*string.ascii_letters, *islice(pieces.values(), 100)]
    with refusing(f"{path} fails on a piece of its own"):
        different = {tuple(encode(text)) for text in texts}
    if len(different) < 2:
        return "gives one and the same tokens for every letter and for each of its pieces. It is another model's."
    return None


class Llama:
    """The base model of a LLaMA, as deep as it's needed.

    Args:
        folder: `config.json`, weights as safetensors or `.bin` (one file or several), and a tokenizer.
        layers: layers whose states are wanted, at least one, 0 to the number of blocks.
        device: where it runs.
        dtype: of its weights and arithmetic.

    Raises:
        WeightsError: the folder lacks something, or a key or a shape isn't the model's.
    """

    def __init__(self, folder: Path, *, layers: Sequence[int], device: str, dtype: "torch.dtype") -> None:
        self.config = read_config(folder)
        self.layers = sorted(set(layers))
        self._device = device
        self._dtype = dtype
        self._network = _load(folder, self.config, depth=max(self.layers), device=device, dtype=dtype)

    @property
    def dim(self) -> int:
        """Width of a state."""
        return int(self.config.hidden_size)

    def embed(self, ids: "Tensor") -> "Tensor":
        """Token ids (batch, length) -> (batch, length, dim)."""
        embedded: Tensor = self._network.embed_tokens(ids.to(self._device))
        return embedded

    def states(self, embedded: "Tensor") -> "dict[int, Tensor]":
        """Embeddings (batch, length, dim) -> the states of each wanted layer, (batch, length, dim).

        Padding is on the right and needs no mask: no token sees what comes after it.
        """
        embedded = embedded.to(self._device, self._dtype)
        kept: dict[int, Tensor] = {0: embedded}
        hooks = [
            self._network.layers[layer - 1].register_forward_hook(
                lambda _module, _given, state, layer=layer: kept.update({layer: state})
            )
            for layer in self.layers
            if layer
        ]
        try:
            normed: Tensor = self._network(inputs_embeds=embedded, use_cache=False).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        kept[self.config.num_hidden_layers] = normed  # a shallower network's norm is nobody's layer
        return {layer: kept[layer] for layer in self.layers}


def read_config(folder: Path) -> "LlamaConfig":
    """`config.json` of a LLaMA folder, which must be of a LLaMA."""
    path = folder / "config.json"
    values = checkpoint_folder.read_config(folder, source=str(folder))
    if values["model_type"] != "llama":
        raise WeightsError(f"{path} is of a {values['model_type']!r}; model_type 'llama' was expected.")
    # Padding is never embedded, and some published configurations name an id the table doesn't have.
    from transformers import LlamaConfig

    with refusing(f"{path} can't be read as that of a LLaMA"):
        config: LlamaConfig = LlamaConfig.from_dict(values | {"pad_token_id": None})
    return config


def check_layers(layers: Sequence[int], config: "LlamaConfig", *, key: str) -> None:
    """An error, which names the encoder `key`, if a layer isn't one of this LLaMA's."""
    n_layers = config.num_hidden_layers
    for layer in layers:
        if type(layer) is not int or not 0 <= layer <= n_layers:
            raise ParamsError(
                f"encoders.{key}: layers has {layer!r}; this LLaMA's are 0 (what goes in) to {n_layers} (after the "
                "final norm)."
            )


def files_of(folder: Path) -> dict[str, Path]:
    """The files that determine a LLaMA's numbers, by name: configuration, weights and tokenizer."""
    _, weights = weight_files(folder, source=str(folder), split_first=True)
    paths = [folder / "config.json", *weights, _tokenizer_path(folder)]
    return {path.name: path for path in paths}


def _load(folder: Path, config: "LlamaConfig", *, depth: int, device: str, dtype: "torch.dtype") -> "LlamaModel":
    import torch
    from transformers import LlamaModel

    from reelstore.encoders.checkpoint import WeightsFile, read_tensors, refuse_meaningless

    index, files = weight_files(folder, source=str(folder), split_first=True)
    tensors = read_tensors(files, index=index)
    shallow = deepcopy(config)
    shallow.num_hidden_layers = depth
    with refusing(f"{folder / 'config.json'} makes no LLaMA"), torch.device("meta"):
        network = LlamaModel(shallow)
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    known = {key.removeprefix("model."): (key, tensor) for key, tensor in tensors.items()}
    if missing := [f"model.{name}" for name in wanted if name not in known]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise WeightsError(f"{folder} has no {missing[0]}{more}: expected in {files[0].name} or one beside it.")
    unknown = [
        key
        for name, (key, _) in known.items()
        if name not in wanted and not _is_expendable(name, depth, config.num_hidden_layers)
    ]
    WeightsFile(folder, {}).refuse(unknown, why=f"a LLaMA of {config.num_hidden_layers} layers has no such key")
    for name, shape in wanted.items():  # all of them, before the first is read
        key, tensor = known[name]
        tensor.check(key, shape)
    state = {name: known[name][1].read().to(device, dtype) for name in wanted}
    refuse_meaningless(((known[name][0], tensor) for name, tensor in state.items()), source=str(folder))
    network.load_state_dict(state, assign=True)
    with refusing(f"{folder / 'config.json'} makes no LLaMA"):
        rotary = type(network.rotary_emb)(config=network.config)  # its buffers aren't in the files
    refuse_meaningless(rotary.named_buffers(), source=f"{folder / 'config.json'}: rope_parameters")
    network.rotary_emb = rotary.to(device)
    network.requires_grad_(False)
    network.train(mode=False)
    return network


def _is_expendable(name: str, depth: int, n_layers: int) -> bool:
    """Whether a key isn't needed: the head, old buffers, and blocks deeper than the layers asked for."""
    if name == "lm_head.weight" or name.endswith("rotary_emb.inv_freq"):
        return True
    parts = name.split(".")
    return parts[0] == "layers" and parts[1].isdigit() and depth <= int(parts[1]) < n_layers

"""Load a checkpoint's tokenizer and check that it is the network's: complete files, and the same vocabulary."""

import json
import re
import string
from typing import Any

from reelstore.encoders.caption_tokens import MARKER
from reelstore.encoders.folder import read_settings, refusing
from reelstore.encoders.hub import Checkpoint
from reelstore.errors import WeightsError

_VOCABULARIES = (
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
)
"""Without any of these transformers makes up a tokenizer that knows special tokens alone: all captions become one."""
_SETTINGS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SLACK_ROWS, _SLACK = 128, 0.04
"""Rows of a network that no token has: tables are padded to multiples of 64 or 128; the largest published share is
2.3 % (DeepSeek LLM: 100,015 tokens, 102,400 rows)."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_UNMERGED = 0.05
"""Share of a BPE's pieces of several characters that no merge makes, beyond which its merges were cut."""


def load_tokenizer(checkpoint: Checkpoint, config: Any) -> Any:
    """The checkpoint's tokenizer.

    Args:
        checkpoint: the files.
        config: of the network that its token ids go into.

    Raises:
        WeightsError: its files are missing or damaged, only its Python form is there, which comes as code, it knows no
            words, or it is of a model with another vocabulary.
    """
    from transformers import AutoTokenizer

    folder, source = checkpoint.folder, checkpoint.source
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise WeightsError(
            f"{source} has no tokenizer that can be loaded: none of {', '.join(_VOCABULARIES)} is there. "
            "Download it again."
        )
    for name in _SETTINGS:
        if (folder / name).is_file() and "auto_map" in read_settings(folder / name):
            raise WeightsError(f"{folder / name} has auto_map: the tokenizer comes as code, which is never run.")
    with refusing(f"{source} has no tokenizer that can be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        vocabulary, added = tokenizer.get_vocab(), set(tokenizer.get_added_vocab())
        words = {number for piece, number in vocabulary.items() if piece not in added}
        texts = [letter * times for letter in string.ascii_letters for times in (1, 2)]
        different = {tuple(tokenizer(text)["input_ids"]) for text in texts}
    if (fault := size_fault(table_rows(config), words, set(vocabulary.values()))) is not None:
        raise WeightsError(f"{source}: its tokenizer ({_files(checkpoint)}) {fault}")
    if len(different) < 2:
        raise WeightsError(
            f"{source}: the tokenizer gives one and the same tokens for every letter from a to Z. It is another "
            f"model's, or a file of it is damaged: one of {', '.join(_VOCABULARIES)}."
        )
    if tokenizer.is_fast:
        fault = merges_fault(json.loads(tokenizer.backend_tokenizer.to_str()), added)
        if fault is not None:
            raise WeightsError(f"{source}: its tokenizer ({_files(checkpoint)}) {fault}")
    return tokenizer


def size_fault(n_rows: int | None, words: set[int], ids: set[int]) -> str | None:
    """Why a tokenizer can't be that of a network; None where its ids are those that the network has rows for.

    Args:
        n_rows: of the network; None where that isn't known.
        words: ids of the tokenizer's pieces without special tokens.
        ids: of all its tokens.
    """
    if len(words) < 2:
        return (
            f"knows {len(words)} pieces besides special tokens: a file of it is missing, and every caption would be "
            "the same. Download it again."
        )
    if n_rows is None:
        return None
    if max(words) >= n_rows:
        return (
            f"gives ids up to {max(words)}, and the network has {n_rows} rows, 0 to {n_rows - 1}. It is another "
            "model's tokenizer."
        )
    unused = n_rows - len({number for number in ids if number < n_rows})
    if unused > min(max(_SLACK_ROWS, _SLACK * n_rows), n_rows / 2):
        return (
            f"knows {n_rows - unused} tokens, and the network has {n_rows} rows. It is another model's, or a file of "
            "it is missing or cut."
        )
    return None


def merges_fault(settings: dict[str, Any], added: set[str]) -> str | None:
    """What is wrong with the merges of a BPE: many pieces can't be reached where they are missing or cut.

    Args:
        settings: content of tokenizer.json.
        added: tokens that aren't made by merges.
    """
    model = settings["model"]
    if "merges" not in model:
        return None
    suffix, prefix = model.get("end_of_word_suffix") or "", model.get("continuing_subword_prefix") or ""
    made = {left + right.removeprefix(prefix) for left, right in model["merges"]}
    long = [
        piece
        for piece in model["vocab"]
        if len(piece.removeprefix(prefix).removesuffix(suffix)) > 1
        and piece not in added
        and not MARKER.fullmatch(piece)
        and not _BYTE.fullmatch(piece)
    ]
    missing = [piece for piece in long if piece not in made]
    if not model.get("ignore_merges") and len(missing) > _UNMERGED * len(long):
        return (
            f"has merges for {len(long) - len(missing)} of its {len(long)} pieces of several characters. Merges are "
            "missing or cut: download it again."
        )
    return None


def _files(checkpoint: Checkpoint) -> str:
    return ", ".join(name for name in _VOCABULARIES if (checkpoint.folder / name).is_file())


def table_rows(config: Any) -> int | None:
    """How many token ids a network has rows for, where its configuration says so."""
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) else None


def padding_token(checkpoint: Checkpoint, tokenizer: Any, *, n_rows: int | None) -> int:
    """Id of the tokenizer's padding token.

    Raises:
        WeightsError: it has none, or the network has no row for it.
    """
    found: int | None = tokenizer.pad_token_id
    if found is None:
        raise WeightsError(f"{checkpoint.source}: the tokenizer has no padding token.")
    if n_rows is not None and found >= n_rows:
        raise WeightsError(
            f"{checkpoint.source}: the tokenizer's padding token is {found}, beyond the {n_rows} rows of the network. "
            "It was added later; remove it from the tokenizer."
        )
    return found


def closing_token(checkpoint: Checkpoint, tokenizer: Any, *, eos: int | None) -> int:
    """Id of the end token whose state is the embedding in a CLIP text tower, once it's sure to be found.

    Args:
        checkpoint: for messages.
        tokenizer: its tokenizer.
        eos: the id the network looks for; None where it takes the highest id of the row instead, as X-CLIP does and
            every CLIP checkpoint whose config.json still says 2.

    Raises:
        WeightsError: the network would take the state of another token, without a word.
    """
    found: int | None = tokenizer.eos_token_id
    ids = tokenizer("a")["input_ids"]
    highest = max(tokenizer.get_vocab().values())
    if found is None or not ids or ids[-1] != found:
        raise WeightsError(f"{checkpoint.source}: the tokenizer doesn't end a caption with its end token: {ids}.")
    if eos is not None and eos != found:
        raise WeightsError(
            f"{checkpoint.source}: config.json says the end token is {eos}, the tokenizer's is {found}. "
            "The embedding would be the state of the first token."
        )
    if eos is None and highest != found:
        raise WeightsError(
            f"{checkpoint.source}: the network takes the highest id of a caption for its end, {found}; the tokenizer "
            f"has ids up to {highest}, added later. Remove the added tokens."
        )
    return found

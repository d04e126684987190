"""Captions to token ids. Text is text: a caption that spells a special token, `</s>`, is tokenised as its characters.

Tokenizers look for the spelling of their special tokens in every text. In a caption it would end the sentence, or move
the position whose state is the embedding. `split_special_tokens` of transformers isn't enough: a Unigram or word-level
model still knows the spelling as one of its own pieces. So the special tokens get another spelling here, one that no
caption has; their ids stay, and so do the ids of every other text.
"""

import json
import re
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

from reelstore.encoders.folder import refusing
from reelstore.errors import WeightsError

CAPTION = "{caption}"
MARKER = re.compile(r"<(?!0x[0-9A-Fa-f]{2}>).+>|\[.+\]", re.DOTALL)
"""`</s>`, `<think>`, `[PAD]`: models list some of their special tokens as ordinary added ones. `<0x0A>` is a byte."""
_SPELLING = "reelstore{:08d}specialtoken"
"""Letters and digits of ASCII alone: no normaliser changes them."""


class CaptionTokenizer:
    """A caption in its template -> token ids. Safe from several threads.

    Args:
        tokenizer: of transformers, fast or slow.
        source: the checkpoint, for messages.
        n_rows: how many ids the network has rows for; None where that isn't known.
        max_tokens: longer texts are cut there, the closing special tokens kept; None cuts nothing.
        template: text around the caption. Special tokens in it are special.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        source: str,
        n_rows: int | None,
        max_tokens: int | None = None,
        template: str = CAPTION,
    ) -> None:
        self._source, self._n_rows, self._max_tokens = source, n_rows, max_tokens
        self._spelled = special_spellings(tokenizer, n_rows)
        self._tokenizer = tokenizer
        self._lock = Lock()  # slow tokenizers aren't safe from several threads
        self._backend: Any = None
        self._template = _parts(template, self._spelled)
        if tokenizer.is_fast:
            with refusing(f"{source} has no tokenizer that can be loaded"):
                self._backend = respelled(tokenizer.backend_tokenizer, self._spelled)
                if max_tokens is not None:
                    self._backend.enable_truncation(max_tokens, direction=tokenizer.truncation_side)
        self.ids("")

    def ids(self, caption: str) -> list[int]:
        """Token ids of the caption in its template, special tokens among them.

        Raises:
            WeightsError: the tokenizer fails, or gives an id or a number of tokens that the network has no place for.
        """
        with refusing(f"{self._source}: its tokenizer fails on {caption[:80]!r}"):
            ids = self._slow(caption) if self._backend is None else self._fast(caption)
        if self._n_rows is not None and ids and max(ids) >= self._n_rows:
            raise WeightsError(
                f"{self._source}: the tokenizer gives token {max(ids)} for {caption[:80]!r}, beyond the "
                f"{self._n_rows} of the network. It was added later; remove it from the tokenizer."
            )
        if self._max_tokens is not None and len(ids) > self._max_tokens:
            raise WeightsError(
                f"{self._source}: its tokenizer makes {len(ids)} tokens where {self._max_tokens} have a place."
            )
        return ids

    def _fast(self, caption: str) -> list[int]:
        text = "".join(self._spelled.get(part, part) if special else part for part, special in self._template)
        ids: list[int] = self._backend.encode(text.replace(CAPTION, caption)).ids
        return ids

    def _slow(self, caption: str) -> list[int]:
        """Slow tokenizers tokenise what is between special tokens by itself, too."""
        with self._lock:
            tokens: list[str] = []
            for part, special in self._template:
                if special:
                    tokens.append(part)
                    continue
                own = self._tokenizer.tokenize(part.replace(CAPTION, caption), split_special_tokens=True)
                unknown = self._tokenizer.unk_token
                tokens += [unknown if unknown and token in self._spelled else token for token in own]
            ids = self._tokenizer.convert_tokens_to_ids(tokens)
            cut = {} if self._max_tokens is None else {"truncation": True, "max_length": self._max_tokens}
            prepared: list[int] = self._tokenizer.prepare_for_model(ids, **cut)["input_ids"]
        return prepared


def special_spellings(tokenizer: Any, n_rows: int | None) -> dict[str, str]:
    """The tokens that no caption may spell -> another spelling for each, which none has.

    Those are the special tokens, added ones that look like them, and those the network has no row for. Words and white
    space that were added are text, and stay.
    """
    found = {
        token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or MARKER.fullmatch(token.content) or (n_rows is not None and number >= n_rows)
    }
    found |= set(tokenizer.all_special_tokens)
    return {token: _SPELLING.format(number) for number, token in enumerate(sorted(found)) if token}


def respelled(backend: Any, spelled: Mapping[str, str]) -> Any:
    """A copy of a `tokenizers.Tokenizer` whose tokens of these names have others: the same ids for all other text.

    It neither pads nor truncates.
    """
    from tokenizers import Tokenizer

    settings = json.loads(backend.to_str())
    settings["padding"] = settings["truncation"] = None
    for token in settings["added_tokens"]:
        token["content"] = spelled.get(token["content"], token["content"])
    model = settings["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {spelled.get(piece, piece): number for piece, number in vocabulary.items()}
    else:
        model["vocab"] = [[spelled.get(piece, piece), score] for piece, score in vocabulary]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = spelled.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not _involves(pair, spelled)]
    return Tokenizer.from_str(json.dumps(settings, ensure_ascii=False))


def _involves(pair: Iterable[str] | str, spelled: Mapping[str, str]) -> bool:
    """Whether a merge takes or makes a special token."""
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left in spelled or right in spelled or left + right in spelled


def _parts(template: str, spelled: Mapping[str, str]) -> list[tuple[str, bool]]:
    """A template cut at its special tokens: each part, and whether it is one."""
    if not spelled:
        return [(template, False)]
    longest_first = sorted(map(re.escape, spelled), key=len, reverse=True)
    parts = re.split(f"({'|'.join(longest_first)})", template)
    return [(part, number % 2 == 1) for number, part in enumerate(parts) if part]
